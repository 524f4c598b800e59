"""The arithmetic that is fastest on a machine, measured once and kept in the user's cache folder; without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from natmu.records.digests import digest_of
from natmu.records.files import File, Value


class ProductLimits(Value):
    """Largest output maps, in pixels, for which 3 x 3 convolutions in bf16 on a CPU are matrix products; 0 is never.

    Attributes:
        outputs: For outputs.
        input_gradients: For gradients of inputs.
        weight_gradients: For gradients of weights.
    """

    outputs: int = Field(0, ge=0)
    input_gradients: int = Field(0, ge=0)
    weight_gradients: int = Field(0, ge=0)


NEVER = ProductLimits()
"""All convolutions are PyTorch's."""


class Processor(Value):
    """What decides which arithmetic is fastest.

    Attributes:
        name: Model of the processor.
        instructions: Its instructions for bf16, as ``/proc/cpuinfo`` names them.
        torch: Version of PyTorch.
    """

    name: str
    instructions: tuple[str, ...]
    torch: str


class PrecisionChoice(File):
    """The arithmetic that is fastest on a processor (``precision-NAME.json``); NAME is a digest of ``processor``.

    Attributes:
        processor: Where it was measured.
        precision: What ``auto`` means there.
        speedup: Time of a training step in fp32 over that in bf16.
        products: Which convolutions in bf16 are matrix products.
    """

    remedy: ClassVar[str] = "it is measured again"

    format: Literal[1] = 1
    processor: Processor
    precision: Literal["fp32", "bf16"]
    speedup: float = Field(gt=0)
    products: ProductLimits


def choice_file_name(processor: Processor) -> str:
    """Name of the file that holds the choice for a processor."""
    return f"precision-{digest_of(processor.plain())}.json"


def cache_folder() -> Path | None:
    """The user's folder for what can be computed again: ``natmu`` in ``XDG_CACHE_HOME`` or ``~/.cache``.

    Returns:
        None where the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if base.is_absolute():
        return base / "natmu"
    try:
        return Path.home() / ".cache" / "natmu"
    except RuntimeError:
        return None
