"""What ``precision: auto`` is: the rules on made-up processors and timings, and that one machine keeps one choice."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook

from natmu.engine import fastest as timing
from natmu.engine import precision
from natmu.engine.precision import fastest, limit, precision_for, processor_of, reason_for
from natmu.errors import ResourceError
from natmu.models import convolution
from natmu.progress import shown_on
from natmu.records.precision import NEVER, PrecisionChoice, ProductLimits, cache_folder, choice_file_name

X86 = "processor\t: 0\nmodel name\t: {name}\nflags\t\t: fpu avx2 {flags}\nbugs\t\t: amx_bf16\n\nprocessor\t: 1\n"
ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd sve {flags}\nCPU part\t: 0xd40\n"
AVX512 = X86.format(name="X", flags="avx512f avx512_bf16")


@pytest.mark.parametrize(
    ("cpuinfo", "instructions"),
    [
        (X86.format(name="A", flags="avx512_bf16 amx_bf16 amx_tile"), ("amx_bf16", "avx512_bf16")),
        (AVX512, ("avx512_bf16",)),
        (X86.format(name="C", flags="avx512f my_avx512_bf16 bf16"), ()),
        (X86.format(name="D", flags=""), ()),
        (ARM.format(flags="bf16"), ("bf16",)),
        (ARM.format(flags="svebf16 avx512_bf16"), ()),
        ("", ()),
        ("no colon\n: \n", ()),
    ],
    ids=["AMX", "AVX-512", "other names", "AVX2", "Arm", "Arm without", "nothing", "nonsense"],
)
def test_a_processor_has_the_instructions_that_it_lists(cpuinfo, instructions):
    assert processor_of(cpuinfo).instructions == instructions


def test_a_processor_is_the_first_that_is_described():
    both = X86.format(name="first", flags="avx512_bf16") + X86.format(name="second", flags="")
    assert (processor_of(both).name, processor_of(both).instructions) == ("first", ("avx512_bf16",))
    assert processor_of("").name


@pytest.mark.parametrize(
    ("speedup", "expected"), [(0.5, "fp32"), (1.0, "fp32"), (1.19, "fp32"), (1.2, "bf16"), (3, "bf16")]
)
def test_bf16_has_to_be_clearly_faster(speedup, expected):
    assert precision_for(speedup) == expected


@pytest.mark.parametrize(
    ("ratios", "usual", "expected"),
    [
        ([0.9, 9, 9, 9], 0, 0),
        ([1.1, 9, 9, 9], 0, 0),
        ([1.2, 1.1, 9, 9], 0, 4),
        ([2, 2, 2, 2], 0, 256),
        ([3.3, 2.1, 0.5, 0.3], 16, 16),  # outputs, with AMX
        ([11.8, 5.9, 1.1, 0.8], 64, 64),  # gradients of weights, with AMX
        ([11.8, 5.9, 1.1, 0.8], 16, 16),
        ([0.9, 0.9, 2, 1.1], 16, 64),
        ([0.8, 9, 9, 9], 16, 0),
    ],
)
def test_products_are_taken_as_far_as_they_are_clearly_faster_or_usual_and_not_clearly_slower(ratios, usual, expected):
    assert limit(zip((4, 16, 64, 256), ratios, strict=True), usual) == expected


def test_no_larger_map_is_timed_than_decides():
    timed = iter([(4, 2.0), (16, 1.0), (64, 2.0)])
    assert limit(timed, 0) == 4
    assert list(timed) == [(64, 2.0)]


def test_a_ratio_is_the_median_of_turns_without_the_first(monkeypatch):
    clock = iter([0, 900, 0, 1, 0, 6, 0, 2, 0, 3, 0, 3, 0, 40, 0, 4])  # pairs: 900/1, 6/2, 3/3, 40/4
    monkeypatch.setattr(timing.time, "thread_time", lambda: next(clock))
    assert timing.turns_ratio(lambda: None, lambda: None) == 3


@pytest.mark.parametrize("name", ProductLimits.model_fields)
def test_both_ways_that_are_timed_compute_the_same(name):
    def maps(*shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).double()

    one, other = (way() for way in timing._ways(name, maps(2, 3, 4, 4), maps(2, 3, 4, 4) + 1, maps(3, 3, 3, 3)))
    gradients = {"outputs": one, "input_gradients": one[0], "weight_gradients": one[1]}
    torch.testing.assert_close(gradients[name], other)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of caches without anything in it, and how often something was measured."""
    made = []

    def measured(this):
        made.append(this)
        speedup = 2.0 if len(made) == 1 else 1.0
        return PrecisionChoice(processor=this, precision=precision_for(speedup), speedup=speedup, products=NEVER)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(precision, "measured", measured)
    precision._chosen.cache_clear()
    yield made
    precision._chosen.cache_clear()


def kept():
    return cache_folder() / choice_file_name(processor_of(AVX512))


def anew():
    """What another process would choose."""
    precision._chosen.cache_clear()
    return fastest(AVX512)


def test_without_instructions_nothing_is_measured_or_kept(cache):
    assert fastest(X86.format(name="X", flags="")) is None
    assert not cache
    assert not cache_folder().exists()


def test_a_choice_is_measured_once_and_kept(cache):
    first = fastest(AVX512)
    assert PrecisionChoice.read(kept()) == first == anew()
    assert len(cache) == 1


def test_what_decides_it_has_a_choice_of_its_own(cache, monkeypatch):
    fastest(AVX512)
    fastest(AVX512.replace(": X", ": Y"))
    fastest(AVX512.replace("avx512_bf16", "avx512_bf16 amx_bf16"))
    monkeypatch.setattr(precision.torch, "__version__", "9.9")
    fastest(AVX512)
    assert len({*cache}) == len(cache) == 4


@pytest.mark.parametrize("content", ["", "{}", "[1]", "\x00", '{"format": 2}', None, "other"])
def test_a_choice_that_is_damaged_or_of_another_processor_is_measured_again(cache, content):
    first = fastest(AVX512)
    if content is None:
        kept().write_text(json.dumps(json.loads(kept().read_text()) | {"precision": "fp32"}))
    elif content == "other":
        other = first.processor.model_copy(update={"name": "Y"})
        first.model_copy(update={"processor": other}).write(kept())
    else:
        kept().write_text(content)
    assert anew().precision == "fp32"
    assert anew().precision == "fp32"
    assert len(cache) == 2


class Lines:
    def __init__(self):
        self.said = []
        self.say = self.said.append


@pytest.mark.parametrize("place", ["file", "folder", "full disk"])
def test_where_nothing_can_be_written_each_process_measures_once_and_says_so(cache, place, tmp_path, monkeypatch):
    lines = Lines()
    if place == "file":
        (tmp_path / "cache").write_text("")
    elif place == "folder":
        kept().mkdir(parents=True)
    else:

        def fail(*_):
            raise ResourceError("no space")

        monkeypatch.setattr(PrecisionChoice, "write", fail)
    with shown_on(lines):
        assert fastest(AVX512) == fastest(AVX512)
    assert len(cache) == 1
    assert [line.partition(",")[0] for line in lines.said] == [f"{cache_folder()} cannot be written"]


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which is to be ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/natmu"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache/natmu"

    def homeless():
        raise RuntimeError

    monkeypatch.setattr("pathlib.Path.home", homeless)
    assert cache_folder() is None


def test_two_at_once_agree(cache, monkeypatch):
    """Threads stand for processes here: a lock is that of an open file, and each opens its own."""
    quick, begun = precision.measured, threading.Barrier(2)

    def slow(this):
        time.sleep(0.2)
        return quick(this)

    def choose():
        begun.wait()
        return precision._chosen.__wrapped__(processor_of(AVX512), cache_folder())

    monkeypatch.setattr(precision, "measured", slow)
    with ThreadPoolExecutor(2) as pool:
        one, other = (job.result() for job in [pool.submit(choose) for _ in range(2)])
    assert one == other == PrecisionChoice.read(kept())
    assert len(cache) == 1


def test_a_measurement_leaves_the_process_as_it_was(monkeypatch):
    """With the smallest of works; what it finds is this machine's."""
    monkeypatch.setattr(timing, "BATCH", 2)
    monkeypatch.setattr(timing, "TURNS", 1)
    monkeypatch.setattr(timing, "MAPS", ((2, 4),))
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with torch.inference_mode():
        choice = precision.measured(processor_of(AVX512))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert choice.precision == precision_for(choice.speedup)
    assert choice.products.outputs in (0, 4)


def test_the_limits_of_a_measurement_are_those_of_the_timings(monkeypatch):
    times = {"outputs": [2, 0.5], "input_gradients": [1.1, 2], "weight_gradients": [2, 1.1]}
    monkeypatch.setattr(precision, "product_ratios", lambda name: zip((4, 16), times[name], strict=True))
    seen = []
    monkeypatch.setattr(precision, "bf16_speedup", lambda products: seen.append(products) or 1.5)
    choice = precision.measured(processor_of(AVX512))
    assert choice.products == ProductLimits(outputs=4, input_gradients=0, weight_gradients=4) == seen[0]
    assert (choice.precision, choice.speedup) == ("bf16", 1.5)
    amx = precision.measured(processor_of(X86.format(name="A", flags="amx_bf16")))
    assert amx.products == ProductLimits(outputs=4, input_gradients=16, weight_gradients=16)


def test_the_reason_is_one_sentence_or_two(cache):
    for choice in (fastest(AVX512), None):
        reason = reason_for(choice)
        assert reason.startswith("fp32" if choice is None else "bf16")
        assert reason.endswith(".")
        assert reason.count(". ") <= 1
    assert "2.00 times as fast as in fp32 on X (avx512_bf16" in reason_for(fastest(AVX512))


def test_steps_are_timed_in_both_precisions_with_the_limits(monkeypatch):
    kinds, limits = [], ProductLimits(outputs=4)

    def note(layer, _, maps):
        if isinstance(layer, timing.Conv2d):
            kinds.append((maps.dtype, convolution._limits.get()))

    def turns(one, other):
        one()
        other()
        return 1.5

    monkeypatch.setattr(timing, "BATCH", 2)
    monkeypatch.setattr(timing, "turns_ratio", turns)
    with register_module_forward_hook(note):
        assert timing.bf16_speedup(limits) == 1.5
    assert kinds == [(torch.float32, limits)] * 3 + [(torch.bfloat16, limits)] * 3
