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

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from natmu.heads import RidgeHead, rows_of
        >>> rows, labels = rows_of(np.eye(6)), np.array([0, 1, 2, 0, 1, 2])
        >>> head = RidgeHead.fit(rows, labels, num_classes=3)
        >>> head = load_head(head.save(Path("head.safetensors")))
        >>> head = head.remove(rows[:2], labels[:2])
        >>> refit = RidgeHead.fit(rows[2:], labels[2:], num_classes=3)
        >>> head.count, np.array_equal(head.weights, refit.weights)
        (4, True)
    """
    kind, state = read_state(Path(path))
    if kind not in _KINDS:
        raise damaged(Path(path), f"this version of natmu knows no {kind!r} head", REMEDY)
    return _KINDS[kind].from_state(state)
