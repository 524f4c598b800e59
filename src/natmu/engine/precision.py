"""What ``precision: auto`` means on a CPU: its instructions and a short measurement decide, once for each machine.

Everything is timed in one thread by the processor time of that thread. So other work on the machine hardly moves the
result, and it holds for any number of threads: worker processes, which have fewer, compute as their parent does.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from platform import machine, processor
from typing import Literal

import torch
from filelock import FileLock

from natmu.engine.fastest import bf16_speedup, product_ratios
from natmu.engine.threads import threads
from natmu.errors import ResourceError, RunError
from natmu.progress import say
from natmu.records.precision import (
    NEVER,
    PrecisionChoice,
    Processor,
    ProductLimits,
    cache_folder,
    choice_file_name,
)

CPUINFO = Path("/proc/cpuinfo")
"""Where Linux describes the processor."""

BF16_INSTRUCTIONS = {"flags": ("amx_bf16", "avx512_bf16"), "Features": ("bf16",)}
"""Instructions that multiply in bf16, by the key under which ``/proc/cpuinfo`` lists them: on x86, and on Arm."""

FASTER = 1.2
"""How many times as fast as in fp32 a training step in bf16 must be; below, exact fp32 is the better choice."""

CLEAR = 1.15
"""Ratio of times from which on one of two ways is clearly faster; between, what is usual on such processors stays."""

USUAL = {"amx_bf16": ProductLimits(outputs=16, input_gradients=16, weight_gradients=64)}
"""Limits that are usual on processors with an instruction; products are unusual on others."""

PATIENCE = 30.0
"""Seconds to wait for another process that measures."""


def described() -> str:
    """What this machine says of its processor; nothing where it is not Linux."""
    with suppress(OSError):
        return CPUINFO.read_text(encoding="utf-8", errors="replace")
    return ""


def processor_of(cpuinfo: str) -> Processor:
    """Name and instructions of the first processor that is described, with the version of PyTorch.

    Args:
        cpuinfo: Content of ``/proc/cpuinfo``.
    """
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in cpuinfo.splitlines())]
    first = dict(reversed(pairs))
    found = [name for key, names in BF16_INSTRUCTIONS.items() for name in names if name in first.get(key, "").split()]
    name = first.get("model name") or processor() or machine()
    return Processor(name=name, instructions=tuple(found), torch=torch.__version__)


def fastest(described_as: str) -> PrecisionChoice | None:
    """The choice for this machine: the one that is kept, or one that is measured now and kept.

    One machine keeps one choice, because results in bf16 depend on it in their last bits. Of several processes that
    have none yet, one measures and the others take what it found.

    Args:
        described_as: Content of ``/proc/cpuinfo``.

    Returns:
        None where the processor has no instructions for bf16, or PyTorch no kernels that use them.
    """
    this = processor_of(described_as)
    if not this.instructions or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    return _chosen(this, cache_folder())


@lru_cache(maxsize=8)
def _chosen(this: Processor, folder: Path | None) -> PrecisionChoice:
    """The choice that is kept in a folder, or a new one; the same for all of this process."""
    if folder is None:
        return measured(this)
    path, choice = folder / choice_file_name(this), None
    if (kept := _kept(path, this)) is not None:
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=PATIENCE):
            choice = _kept(path, this)
            if choice is None:
                choice = measured(this)
                choice.write(path)
            return choice
    except (OSError, RunError, ResourceError, NotImplementedError):  # a lock fails in these ways too
        say(f"{folder} cannot be written, so each process measures anew whether bf16 is faster; say --precision.")
        return choice or measured(this)


def _kept(path: Path, this: Processor) -> PrecisionChoice | None:
    """The choice in a file; None where there is none for this processor, or it is damaged."""
    if not path.is_file():
        return None
    try:
        choice = PrecisionChoice.read(path)
    except RunError as error:
        say(str(error))
        return None
    return choice if choice.processor == this else None


def measured(this: Processor) -> PrecisionChoice:
    """The choice by a measurement of a fraction of a second, which leaves random numbers and threads as they were.

    Args:
        this: This machine's processor.
    """
    usual = next((USUAL[name] for name in this.instructions if name in USUAL), NEVER)
    with threads(1), torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad():
        limits = {name: limit(product_ratios(name), getattr(usual, name)) for name in ProductLimits.model_fields}
        products = ProductLimits(**limits)
        speedup = bf16_speedup(products)
    return PrecisionChoice(processor=this, precision=precision_for(speedup), speedup=speedup, products=products)


def precision_for(speedup: float) -> Literal["fp32", "bf16"]:
    """The precision to take.

    Args:
        speedup: Time of a training step in fp32 over that in bf16.
    """
    return "bf16" if speedup >= FASTER else "fp32"


def limit(ratios: Iterable[tuple[int, float]], usual: int) -> int:
    """The largest map on which products are taken.

    Args:
        ratios: Pixels of a map, ascending, and the time of PyTorch's kernel over that of products on it. No more are
            asked for than decide.
        usual: The limit that stays where neither way is clearly faster.

    Returns:
        Pixels; 0 if products are never taken.
    """
    largest = 0
    for pixels, ratio in ratios:
        if ratio < (1 / CLEAR if pixels <= usual else CLEAR):
            break
        largest = pixels
    return largest


def reason_for(choice: PrecisionChoice | None) -> str:
    """Why ``auto`` is what it is on a CPU, in a sentence or two.

    Args:
        choice: What ``fastest`` gave.
    """
    if choice is None:
        named = ", ".join(name for names in BF16_INSTRUCTIONS.values() for name in names)
        return f"fp32, because the processor or this build of PyTorch lacks instructions for bf16 ({named})."
    this, products = choice.processor, choice.products
    return (
        f"{choice.precision}, because training steps in bf16 were {choice.speedup:.2f} times as fast as in fp32 on "
        f"{this.name} ({', '.join(this.instructions)}; PyTorch {this.torch}), and natmu asks for {FASTER:g} times. In "
        f"bf16, convolutions on small maps are computed as matrix products: outputs up to {products.outputs} pixels, "
        f"gradients of inputs up to {products.input_gradients}, gradients of weights up to {products.weight_gradients}."
    )
