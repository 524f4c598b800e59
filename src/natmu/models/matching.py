"""Which name in a file of weights stands for which name of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

COUNTER = "num_batches_tracked"
RESEARCH = ("net.", "data_normalize.")
"""How all names in a checkpoint of the research code of NatMU begin."""


@dataclass(frozen=True)
class Match:
    """How the names in a file and those of a model go together.

    Attributes:
        pairs: For each name of the model that the file has, the name in the file.
        missing: Names of the model that the file lacks.
        unexpected: Names in the file that the model lacks.
        beside: Names in the file that lie outside the prefix that all of the model's have there.
    """

    pairs: Mapping[str, str]
    missing: frozenset[str] = field(default=frozenset())
    unexpected: frozenset[str] = field(default=frozenset())
    beside: frozenset[str] = field(default=frozenset())

    def complete(self, optional: Iterable[str]) -> bool:
        """Whether nothing is left over on either side; names that may be missing are, all of a kind, or none of it.

        Args:
            optional: Names of constants that a file may lack as a whole.
        """
        constants = frozenset(optional)
        missing = frozenset(name for name in self.missing if not name.endswith(COUNTER))
        return not self.unexpected and missing in (frozenset(), constants)


def matches(own: Iterable[str], given: Iterable[str], optional: Iterable[str] = ()) -> list[Match]:
    """Every way in which a file's names fit a model's, or the closest one that does not.

    What ``DataParallel`` (``module.``) and ``torch.compile`` (``_orig_mod.``) put before names does not count, on
    either side. Neither do the names of the research code of NatMU, nor any prefix under which the file has all names
    of the model, such as Lightning's ``model.``.

    Args:
        own: Names in the model's state dict.
        given: Names in the file.
        optional: Names of the model that the file may lack as a whole.
    """
    own_names, given_names = plain_names(own), plain_names(given)
    closest = _matched(own_names, given_names, "")
    if closest.complete(optional):
        return [closest]
    candidates = (_matched(own_names, given_names, prefix) for prefix in _prefixes(own_names, given_names))
    fitting = (match for match in candidates if match.complete(optional) and not _normalises(match.beside))
    return [*fitting] or [closest]


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Names without what wrappers add to them, each with the name it came from.

    >>> plain_names(["module._orig_mod.fc.weight"])
    {'fc.weight': 'module._orig_mod.fc.weight'}
    """
    plain = {name.replace("_orig_mod.", ""): name for name in names}
    if plain and all(name.startswith("module.") for name in plain):
        plain = {name.removeprefix("module."): original for name, original in plain.items()}
    if all(name.startswith(RESEARCH) for name in plain):
        ours = {_in_our_words(name): original for name, original in plain.items()}
        return ours if len(ours) == len(plain) else plain
    return plain


def _normalises(names: Iterable[str]) -> bool:
    """Whether there are normalisation constants among these names, without which the weights are worth nothing."""
    return any(name.rpartition(".")[2] in ("mean", "std") for name in names)


def _prefixes(own: Mapping[str, str], given: Mapping[str, str]) -> list[str]:
    """What may stand before all names in the file: whatever stands before one of the model's."""
    if not own:
        return []
    name = max(own, key=len)
    found = {candidate.removesuffix(name) for candidate in given if candidate.endswith(f".{name}")}
    return sorted(found)


def _matched(own: Mapping[str, str], given: Mapping[str, str], prefix: str) -> Match:
    """The match where all of the model's names have a prefix in the file."""
    under = {name.removeprefix(prefix): original for name, original in given.items() if name.startswith(prefix)}
    return Match(
        pairs={own[name]: under[name] for name in own.keys() & under.keys()},
        missing=frozenset(own[name] for name in own.keys() - under.keys()),
        unexpected=frozenset(under[name] for name in under.keys() - own.keys()),
        beside=frozenset(original for name, original in given.items() if not name.startswith(prefix)),
    )


def _in_our_words(name: str) -> str:
    """A name of the research code of NatMU as ours."""
    return name.removeprefix("net.").replace("data_normalize.", "normalize.")
