"""The images of the most exposed forget samples, stored beside an audit so that a report needs no data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from natmu.data import ImageData
from natmu.data.thumbnails import thumbnails
from natmu.records.samples import Exposed, Sample

KEPT = 24


def exposed_images(samples: Sequence[Sample], data: ImageData) -> Exposed:
    """Pictures of the most exposed forget samples.

    Args:
        samples: The table of an audit, the most exposed forget samples first.
        data: The training data.
    """
    chosen = [sample for sample in samples if sample.part == "forget"][:KEPT]
    positions = np.array([sample.index for sample in chosen], np.int64)
    return Exposed(
        images=thumbnails(data, positions),
        samples=positions,
        names=np.array([data.class_names[sample.label] for sample in chosen], np.str_),
    )
