"""Names that a user may have meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence


def fold(name: str) -> str:
    """A name without regard to case, spaces, underscores and hyphens.

    >>> fold("Aquatic-mammals") == fold("aquatic_mammals")
    True
    """
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def hint(name: str, known: Sequence[str]) -> str:
    """`` (did you mean …?)`` with the closest of the known names, or nothing where none is close.

    >>> hint("cifar11", ["cifar10", "digits"])
    ' (did you mean cifar10?)'
    """
    by_fold = {fold(candidate): candidate for candidate in known}
    close = difflib.get_close_matches(fold(name), by_fold, n=3)
    close += [candidate for candidate in by_fold if len(fold(name)) > 2 and fold(name) in candidate]
    return f" (did you mean {', '.join(dict.fromkeys(by_fold[key] for key in close[:4]))}?)" if close else ""
