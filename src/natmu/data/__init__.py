"""Data: sources, forget sets, batches and augmentation."""

from natmu.data.catalogue import SourceInfo, load, sources
from natmu.data.datasets import from_dataset
from natmu.data.downloads import download
from natmu.data.forgetting import (
    forget_after,
    forget_from_indices,
    resolve_forget,
    unseen_rows,
    without_earlier_classes,
)
from natmu.data.images import ImageData, Labelling, Splits
from natmu.data.own import OwnParts, own_parts
from natmu.records.forgetting import ForgetRequest, parse_forget

__all__ = [
    "ForgetRequest",
    "ImageData",
    "Labelling",
    "OwnParts",
    "SourceInfo",
    "Splits",
    "download",
    "forget_after",
    "forget_from_indices",
    "from_dataset",
    "load",
    "own_parts",
    "parse_forget",
    "resolve_forget",
    "sources",
    "unseen_rows",
    "without_earlier_classes",
]
