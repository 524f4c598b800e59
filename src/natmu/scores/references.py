"""What the attacks with reference models share: checks of what they are given, and work in blocks of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError

Float64 = npt.NDArray[np.float64]
Number = npt.NDArray[np.number]
BLOCK_VALUES = 2**19
"""Values that one block of samples holds over all models: 4 MiB in float64."""


def blocks(models: int, samples: int, values: int = BLOCK_VALUES) -> Iterator[slice]:
    """Slices that walk through the samples, so that no temporary array holds more than a block of all models.

    Args:
        models: Values per sample.
        samples: Number of samples; with none there is no slice.
        values: Values in a block; a block has one sample at least.
    """
    step = max(1, values // max(1, models))
    return (slice(start, min(start + step, samples)) for start in range(0, samples, step))


def by_model(score: str, needed: int, **sets: npt.ArrayLike) -> list[Number]:
    """Check sets of models that were asked about the same samples.

    Args:
        score: The score they are for, named in errors.
        needed: Models that each set needs.
        sets: By the models' name, their values ``(models, N)``, all with the same N.

    Returns:
        The arrays, in the order given.

    Raises:
        UsageError: If a set has another shape or too few models, or a value is not a finite number.
    """
    arrays = {name: np.asarray(values) for name, values in sets.items()}
    if len({values.shape[1:] for values in arrays.values()}) > 1 or any(v.ndim != 2 for v in arrays.values()):
        shapes = " and ".join(f"{name} {values.shape}" for name, values in arrays.items())
        raise UsageError(f"{score} needs one row per model and one column per sample, but got {shapes}; align them.")
    for name, values in arrays.items():
        if len(values) < needed:
            models = "model" if needed == 1 else "models"
            raise UsageError(
                f"{score} needs at least {needed} {name} {models} (got {len(values)}); train more of them."
            )
        require_finite(score, values)
    return list(arrays.values())


def require_finite(score: str, values: Number) -> None:
    """Refuse values that no distribution can be fitted to.

    Raises:
        UsageError: If a value is not a number or infinite.
    """
    if not np.isfinite(values).all():
        raise UsageError(f"{score} needs finite numbers; leave out the models whose training diverged.")
