"""What is said of a machine and an installation, by stand-ins of both."""

from __future__ import annotations

import doctest
import tomllib
from pathlib import Path

import pytest

from natmu.diagnosis import finding, system
from natmu.diagnosis.finding import Diagnosis, Finding
from natmu.diagnosis.importing import MISSING, import_faults
from natmu.diagnosis.software import (
    EXTRAS,
    Extra,
    extra_finding,
    installation_finding,
    plug_in_findings,
    version_findings,
)
from natmu.diagnosis.speed import speed_finding
from natmu.diagnosis.system import (
    GIB,
    device_finding,
    load_finding,
    memory_finding,
    shared_memory_finding,
    threads_finding,
)

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("module", [finding, system])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


def device(name="cpu", *, asked=False, built_for=None, gpus=(), nvidia=False):
    return device_finding(name, asked=asked, built_for=built_for, gpus=gpus, nvidia=nvidia)


def test_a_gpu_that_is_there_and_not_used_is_wrong_unless_that_was_asked():
    without = device(nvidia=True)
    assert (without.state, "built without CUDA" in without.text, "pytorch.org" in without.remedy) == (
        "wrong",
        True,
        True,
    )
    driver = device(nvidia=True, built_for="13.0")
    assert driver.state == "wrong"
    assert "driver that supports CUDA 13.0" in driver.remedy
    assert device(nvidia=True, asked=True).state == "good"
    assert device().text == "cpu, as there is no NVIDIA GPU."
    assert device("cuda", built_for="13.0", gpus=("H100",), nvidia=True).text == "cuda, as PyTorch finds a GPU: H100."


@pytest.mark.parametrize(
    ("threads", "cores", "quota", "remedy"),
    [(2, 2, None, ""), (1, 2, None, ""), (2, 8, 1.5, ""), (4, 8, 1.5, "OMP_NUM_THREADS=1"), (3, 2, 8, "NUM_THREADS=2")],
)
def test_more_threads_than_cores_are_wrong(threads, cores, quota, remedy):
    found = threads_finding(threads, cores, quota)
    assert found.state == ("wrong" if remedy else "good")
    assert remedy in found.remedy


def test_a_busy_machine_is_told():
    assert load_finding(3.0, 2) is None
    assert load_finding(None, 2) is None
    assert load_finding(3.1, 2).state == "note"


def test_little_memory_is_wrong():
    assert memory_finding(8 * GIB, 2 * GIB).state == "good"
    assert memory_finding(8 * GIB, 2 * GIB - 1).state == "wrong"
    assert memory_finding(None, None).state == "note"
    assert shared_memory_finding(2**26).remedy.endswith("docker run --shm-size=4g.")
    assert shared_memory_finding(GIB) is None
    assert shared_memory_finding(None) is None


def test_speed_is_told_as_time_that_a_user_knows():
    assert "1,000 images of 32 x 32 pixels a second, an epoch of CIFAR-10 in 50 s." in speed_finding(1000).text
    assert speed_finding(10).text.endswith("83 min.")


def test_packages_that_are_too_old_or_missing_are_wrong():
    versions = {"numpy": "1.9.3", "torch": "2.13.0+cpu", "optuna": "3.9", "rich": "15.0.0"}
    required = ["numpy>=1.26", "torch>=2.11", "pydantic>=2.7", "rich>=13.7", 'optuna>=4.0; extra == "search"']
    required += ['optuna>=4.0; extra == "dev"', 'mypy>=1.13; extra == "dev"', 'ray>=2.60; extra == "ray"', "odd"]
    found = version_findings(required, versions.get)
    assert [one.text for one in found] == [
        "numpy 1.9.3 is older than 1.26.",
        "pydantic is missing.",
        "optuna 3.9 is older than 4.0.",
    ]
    assert {one.state for one in found} == {"wrong"}


def test_what_pyproject_requires_is_understood():
    lines = PROJECT["dependencies"] + [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    assert len(version_findings(lines, lambda _: None)) == len(set(lines))


def test_every_extra_of_pyproject_is_looked_at():
    ours = {extra.name for extra in EXTRAS if extra.packages.startswith("'natmu[")}
    assert ours == set(PROJECT["optional-dependencies"]) - {"dev", "docs"}


def test_an_extra_is_there_missing_in_part_or_broken():
    extra = Extra("track", ("a", "b"), "--track", "'natmu[track]'")
    assert extra_finding(extra, {"a": None, "b": None}).state == "good"
    part = extra_finding(extra, {"a": None, "b": MISSING})
    assert (part.state, part.remedy) == ("note", "To have it: pip install 'natmu[track]'.")
    assert "(b missing)" in part.text
    broken = extra_finding(extra, {"a": MISSING, "b": "OSError: no"})
    assert (broken.state, "b (OSError: no)" in broken.text) == ("wrong", True)
    assert "--force-reinstall 'natmu[track]'" in broken.remedy
    timm = extra_finding(Extra("timm", ("timm",), "", "timm"), {"timm": "RuntimeError: torchvision::nms"})
    assert "torchvision that fits" in timm.remedy


def test_modules_are_imported_where_nothing_can_be_broken_by_them(tmp_path, monkeypatch):
    """One ends Python, one raises, one needs what is missing, one prints: each is told apart, and the rest is tried."""
    sources = {
        "their_end": "import os; os._exit(3)",
        "their_error": "raise RuntimeError('operator\\nnone')",
        "their_need": "import their_missing_need",
        "their_noise": "print('natmu', end='')",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    assert import_faults([*sources, "their_absence"]) == {
        "their_end": "it ended Python with status 3",
        "their_error": "RuntimeError: operator none",
        "their_need": "ModuleNotFoundError: No module named 'their_missing_need'",
        "their_noise": None,
        "their_absence": MISSING,
    }


def test_another_copy_of_natmu_than_pip_knows_is_told():
    assert installation_finding(None).state == installation_finding("0.0.1").state == "note"
    assert "pip has installed natmu 0.0.1" in installation_finding("0.0.1").text


def test_plug_ins_that_cannot_be_used_are_wrong():
    good, bad = plug_in_findings(["mine"], ["Method 'x' of the package y cannot be imported; correct it."])
    assert (good.state, bad.state) == ("good", "wrong")
    assert (bad.text, bad.remedy) == ("Method 'x' of the package y cannot be imported.", "Correct it.")
    assert plug_in_findings([], []) == []


def test_what_is_wrong_is_counted():
    found = [Finding("a", "good", "A."), Finding("b", "wrong", "B.", "C."), Finding("c", "note", "D.")]
    diagnosis = Diagnosis(found, {"device": "cpu"})
    assert diagnosis.wrong == 1
    assert diagnosis.plain()["findings"][1] == {"subject": "b", "state": "wrong", "text": "B.", "remedy": "C."}
