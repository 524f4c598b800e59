"""Data: sources, forget sets, batches and augmentation."""

from natmu.data.catalogue import SourceInfo, load, sources
from natmu.data.class_order import read_class_names, require_same_classes, require_sure_order
from natmu.data.corrected import corrected_samples
from natmu.data.datasets import from_dataset
from natmu.data.forgetting import (
    forget_after,
    forget_from_indices,
    forget_relabelled,
    holds_kept_classes,
    resolve_forget,
    say_what_is_forgotten,
    unseen_rows,
    without_earlier_classes,
)
from natmu.data.images import ImageData, Labelling, Splits
from natmu.data.own import OwnParts, own_parts
from natmu.data.relabelling import with_corrections
from natmu.data.twins import with_copies
from natmu.records.forgetting import ForgetRequest, parse_forget

__all__ = [
    "ForgetRequest",
    "ImageData",
    "Labelling",
    "OwnParts",
    "SourceInfo",
    "Splits",
    "corrected_samples",
    "forget_after",
    "forget_from_indices",
    "forget_relabelled",
    "from_dataset",
    "holds_kept_classes",
    "load",
    "own_parts",
    "parse_forget",
    "read_class_names",
    "require_same_classes",
    "require_sure_order",
    "resolve_forget",
    "say_what_is_forgotten",
    "sources",
    "unseen_rows",
    "with_copies",
    "with_corrections",
    "without_earlier_classes",
]
