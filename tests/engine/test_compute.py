"""Device, precision, and what is recorded about them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from natmu.engine import compute
from natmu.engine import precision as precisions
from natmu.engine.compute import Compute, hardware, peak_memory_mb, versions
from natmu.errors import SettingError
from natmu.models import convolution
from natmu.records.precision import NEVER, PrecisionChoice, Processor, ProductLimits

from . import fakes

LIMITS = ProductLimits(outputs=4, input_gradients=16, weight_gradients=64)


def choice(precision):
    """A choice that was made somewhere."""
    processor = Processor(name="X", instructions=("avx512_bf16",), torch="2")
    return PrecisionChoice(processor=processor, precision=precision, speedup=2.0, products=LIMITS)


@pytest.mark.parametrize(
    ("device", "precision", "word"),
    [
        ("gpu", "fp32", "'gpu'"),
        ("", "fp32", "''"),
        ("cpu:x", "fp32", "'cpu:x'"),
        ("mps", "fp32", "not supported"),
        ("meta", "fp32", "not supported"),
        ("cuda:4096", "fp32", "--device cpu"),
        ("cpu", "fp16", "'fp16'"),
        ("cpu", "", "fp32 or bf16"),
    ],
)
def test_what_does_not_exist_is_refused(device, precision, word):
    with pytest.raises(SettingError, match=word):
        Compute.choose(device, precision)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SettingError, match="not on this machine"):
        Compute.choose("cuda")
    assert Compute.choose("auto").device == torch.device("cpu")


def test_choices_are_kept():
    assert Compute.choose("cpu", "fp32") == Compute(torch.device("cpu"), "fp32")
    assert Compute.choose("cpu", "bf16").precision == "bf16"


def test_what_was_asked_for_is_not_measured(monkeypatch):
    monkeypatch.setattr(compute, "fastest", lambda _: pytest.fail("it was measured"))
    assert Compute.choose("cpu", "fp32").reason == "fp32, as asked."


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_auto_is_what_was_measured_with_its_products(monkeypatch, precision):
    monkeypatch.setattr(compute, "fastest", lambda _: choice(precision))
    chosen = Compute.choose("cpu")
    assert chosen.precision == precision
    assert chosen.products == (LIMITS if precision == "bf16" else NEVER)
    assert chosen.reason.startswith(
        f"{precision}, because training steps in bf16 were 2.00 times as fast as in fp32 on X"
    )
    assert Compute.choose("cpu", "bf16").products == LIMITS


def test_another_arithmetic_has_the_products_that_belong_to_it(monkeypatch):
    monkeypatch.setattr(compute, "fastest", lambda _: choice("bf16"))
    exact, mixed = Compute.choose("cpu", "fp32"), Compute.choose("cpu", "bf16")
    assert exact.at(mixed.arithmetic) == mixed
    assert mixed.at(exact.arithmetic) == exact
    assert mixed.at(mixed.arithmetic).reason == mixed.reason


def test_a_processor_that_says_nothing_of_itself_works_in_fp32(monkeypatch, tmp_path):
    monkeypatch.setattr(precisions, "CPUINFO", tmp_path / "cpuinfo")
    chosen = Compute.choose("cpu")
    assert (chosen.precision, chosen.products) == ("fp32", NEVER)
    assert "lacks instructions for bf16" in chosen.reason
    assert hardware(chosen).processor


def test_models_run_in_bf16_have_the_products_of_their_compute():
    products = ProductLimits(outputs=4)
    for precision, expected in (("bf16", products), ("fp32", NEVER)):
        with Compute(torch.device("cpu"), precision, products=products).autocast():
            assert convolution._limits.get() == expected
        assert convolution._limits.get() == NEVER


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_precision_is_that_of_the_products(precision, dtype):
    with Compute(torch.device("cpu"), precision).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_a_placed_model_is_the_same_model_with_convolutions_channels_last():
    model = nn.Sequential(nn.Conv2d(3, 4, kernel_size=3), nn.Flatten(), nn.Linear(4, 2))
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert fakes.CPU.place(model) is model
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert fakes.same(fakes.state(model), weights)


def test_facts_for_the_record():
    assert peak_memory_mb() > 20
    facts = hardware(Compute(torch.device("cpu"), "fp32"))
    assert (facts.device, facts.precision) == ("cpu", "fp32")
    assert facts.processor
    assert facts.threads >= 1
    assert versions()["torch"] == torch.__version__
    assert {"python", "natmu", "numpy"} <= versions().keys()


def test_trains_beside_a_broken_torchvision(tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    script = textwrap.dedent("""
        import sys
        import torch
        from natmu.data import load
        from natmu.engine.compute import Compute
        from natmu.records.settings import TrainSettings
        from natmu.engine.training import train_classifier
        from natmu.models import build_model
        import natmu.studies

        splits = load("digits", None, train_size=40)
        train = splits.train
        model = build_model("small_cnn", num_classes=10, image_shape=train.image_shape, mean=splits.mean,
                            std=splits.std, seed=0)
        settings = TrainSettings(epochs=1, batch_size=20, warmup_epochs=0)
        train_classifier(model, train, torch.arange(len(train)), settings, Compute.choose("cpu", "fp32"), seed=0)
        assert not {"torchvision", "timm"} & sys.modules.keys()
        try:
            import torchvision
        except RuntimeError:
            print("trained")
    """)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.strip(), done.returncode) == ("trained", 0), done.stderr
