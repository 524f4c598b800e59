"""Which class reads which file of a head."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from natmu.heads.logistic import LogisticHead
from natmu.heads.ridge import RidgeHead
from natmu.heads.saving import REMEDY, read_state
from natmu.records.files import damaged

_KINDS: dict[str, type[RidgeHead] | type[LogisticHead]] = {head.kind: head for head in (RidgeHead, LogisticHead)}


def load_head(path: str | PathLike[str]) -> RidgeHead | LogisticHead:
    """The head that ``save`` wrote: removals go on from where they were.

    Args:
        path: The file.

    Raises:
        UsageError: There is none, or it holds something else.
        RunError: It is damaged, was changed, or has another format.
    """
    kind, state = read_state(Path(path))
    if kind not in _KINDS:
        raise damaged(Path(path), f"this version of natmu knows no {kind!r} head", REMEDY)
    return _KINDS[kind].from_state(state)
