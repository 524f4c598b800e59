"""Which retain image each forget image is blended with: exact, in time linear in the number of hybrids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import SettingError
from natmu.types import IntArray

ANY_CLASS = -1
"""In place of a sample's own class where every class may serve it."""


def rank_classes(logits_FC: npt.NDArray[np.floating], own_F: IntArray, capacity_C: IntArray, n: int) -> IntArray:
    """Classes that may serve each forget sample, most probable first.

    Args:
        logits_FC: The original model's logits, ``(F, C)``; they keep apart what probabilities would round together, as
            those do that the research code ranks.
        own_F: Class that must not serve each sample, ``(F,)``, or ``ANY_CLASS``.
        capacity_C: Retain images of each class, ``(C,)``.
        n: Classes wanted per sample.

    Returns:
        ``(F, C)``; classes that may not serve stand last, as ``C``. Ties go to the lower class.

    Raises:
        SettingError: Fewer than ``n`` classes may serve some sample.
    """
    count = logits_FC.shape[1]
    keys = logits_FC.astype(np.float64)
    keys[:, capacity_C == 0] = -np.inf
    rows = np.flatnonzero(own_F != ANY_CLASS)
    keys[rows, own_F[rows]] = -np.inf
    ranked = np.argsort(-keys, axis=1, kind="stable")
    ranked[np.take_along_axis(keys, ranked, 1) == -np.inf] = count
    serving = int((ranked < count).sum(1).min())
    if serving == 0:
        raise SettingError(
            "For some forget sample, no other class has retain images to blend it with; retain images of two classes "
            "at least, or use another method."
        )
    if serving < n:
        raise SettingError(
            f"n={n} asks for {n} other classes per forget sample, but for some of them only {serving} have "
            f"retain images; set n={serving}."
        )
    return ranked


def assign_classes(ranked_FC: IntArray, own_F: IntArray, capacity_C: IntArray, n: int) -> IntArray:
    """Give each forget sample ``n`` classes so that no class serves more hybrids than it has retain images.

    Walks the samples in order. Each takes its most probable classes that still have an unused image, all different
    while that is possible. Where images run so short that the rest must be kept for samples of one class, a sample
    takes what leaves a solution for those after it: if any assignment exists, one is found.

    Args:
        ranked_FC: From ``rank_classes``.
        own_F: Class that must not serve each sample, or ``ANY_CLASS``.
        capacity_C: Retain images of each class.
        n: Hybrids per sample.

    Returns:
        ``(F, n)`` classes in order of rank.

    Raises:
        SettingError: No assignment exists.
    """
    top_FN = ranked_FC[:, :n]
    if np.all(np.bincount(top_FN.ravel(), minlength=len(capacity_C)) <= capacity_C):
        return top_FN.copy()
    slack_C = _require_enough(own_F, capacity_C, n)
    return _walk(ranked_FC, own_F, capacity_C, slack_C, n)


def enough_images(own_F: IntArray, capacity_C: IntArray, n: int) -> bool:
    """Whether each of ``n`` hybrids per forget sample can have a retain image of its own, by Hall's condition.

    Args:
        own_F: Class that must not serve each sample, or ``ANY_CLASS``.
        capacity_C: Retain images of each class.
        n: Hybrids per sample.
    """
    return n * len(own_F) <= int(capacity_C.sum()) and bool(_slack(own_F, capacity_C, n).min() >= 0)


def _slack(own_F: IntArray, capacity_C: IntArray, n: int) -> IntArray:
    """Per class, the images of other classes beyond what the samples of this class need."""
    total = int(capacity_C.sum())
    demand_C = n * np.bincount(own_F[own_F != ANY_CLASS], minlength=len(capacity_C))
    return np.where(demand_C > 0, total - capacity_C - demand_C, total).astype(np.int64)


def _require_enough(own_F: IntArray, capacity_C: IntArray, n: int) -> IntArray:
    """Hall's condition: all samples together, and those of each class by themselves, have enough images they may use.

    Returns:
        The slack of each class.
    """
    if not enough_images(own_F, capacity_C, n):
        raise SettingError(
            f"{n * len(own_F)} hybrids need as many different retain images of other classes, and there are too few "
            f"(the retain set has {int(capacity_C.sum())}); set a smaller n, or reuse_partners=true."
        )
    return _slack(own_F, capacity_C, n)


def _walk(ranked_FC: IntArray, own_F: IntArray, capacity_C: IntArray, slack_C: IntArray, n: int) -> IntArray:
    """The walk of ``assign_classes``. A class is *tight* when its samples need every image left of other classes.

    ``slack[c] - taken`` is how many images of other classes may still go to samples of other classes; it falls by one
    with each image taken, except for the class that the image is of and for the class of the sample that takes it.
    """
    free, slack = [*capacity_C.tolist(), 0], slack_C.tolist()
    assigned = np.empty((len(own_F), n), np.int64)
    taken, alarm = 0, min(slack)
    for sample, (ranked, own) in enumerate(zip(ranked_FC.tolist(), own_F.tolist(), strict=True)):
        used: list[int] = []
        for _ in range(n):
            if taken >= alarm:
                alarm = min(slack)
            tight = taken >= alarm and [c for c, left in enumerate(slack) if left == taken and c != own and free[c]]
            if tight:
                chosen = tight[0]
            else:
                chosen = next((c for c in ranked if free[c] and c not in used), ANY_CLASS)
                if chosen == ANY_CLASS:
                    chosen = next(c for c in ranked if free[c])
            used.append(chosen)
            free[chosen] -= 1
            slack[chosen] += 1
            if own != ANY_CLASS:
                slack[own] += 1
            taken += 1
        assigned[sample] = used
    return assigned


def draw_partners(
    classes_FN: IntArray, retain_labels_R: IntArray, rng: np.random.Generator, *, reuse: bool = False
) -> IntArray:
    """Draw a retain image of the given class for every hybrid.

    Args:
        classes_FN: Classes of the hybrids, ``(F, n)``.
        retain_labels_R: Labels of the retain set, ``(R,)``.
        rng: Source of the draw.
        reuse: Whether a retain image may serve several hybrids; otherwise it serves at most one.

    Returns:
        ``(F, n)`` positions in the retain set.
    """
    shuffled = rng.permutation(len(retain_labels_R))
    by_class = shuffled[np.argsort(retain_labels_R[shuffled], kind="stable")]
    size_C = np.bincount(retain_labels_R, minlength=int(classes_FN.max()) + 1)
    start_C = np.cumsum(size_C) - size_C
    flat = classes_FN.ravel()
    if reuse:
        place = (rng.random(len(flat)) * size_C[flat]).astype(np.int64)
    else:
        order = np.argsort(flat, kind="stable")
        count_C = np.bincount(flat, minlength=len(size_C))
        place = np.empty(len(flat), np.int64)
        place[order] = np.arange(len(flat)) - np.repeat(np.cumsum(count_C) - count_C, count_C)
    drawn: IntArray = by_class[start_C[flat] + place].reshape(classes_FN.shape)
    return drawn
