"""Whether retrained models learnt what the original did, without which nothing can be read from them."""

from __future__ import annotations

FAR = 10.0
"""Points of accuracy on the retain set. Trainings with one recipe differ by a few at most, also on small data."""


def poor_baseline(retrained: float | None, original: float | None) -> list[str]:
    """A warning where retrained models are far less often right on the retain set than the original; else nothing.

    Args:
        retrained: Their mean ``retain_acc``, in percent; None where it is not known.
        original: That of the original.
    """
    if retrained is None or original is None or original - retrained <= FAR:
        return []
    return [
        f"Retrained models are right on {retrained:.1f} % of the retain set, and the original on {original:.1f} %. "
        "They did not learn what it did, so a comparison with them says little; train them as the original was "
        "trained (--training or --trainer)."
    ]
