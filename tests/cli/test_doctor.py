"""The verb ``doctor``, whose exit status says whether something is wrong."""

from __future__ import annotations

import pytest

from natmu.diagnosis import diagnosing, speed, system


@pytest.fixture(autouse=True)
def well(monkeypatch, tmp_path):
    """A machine and an installation without faults, whatever the one that this runs on has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(diagnosing, "import_faults", lambda modules: dict.fromkeys(modules))
    monkeypatch.setattr(speed, "STEPS", {"cpu": (1, 8)})
    monkeypatch.setattr(system, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(system, "shared_memory", lambda: None)
    monkeypatch.setattr(system, "memory_of", lambda *_: (2**35, 2**34))
    monkeypatch.setattr(system, "usable_cores", lambda: 64)
    monkeypatch.setattr(system, "core_quota", lambda _: None)


def test_all_is_well(natmu):
    outcome = natmu("doctor", "--json", "--device", "cpu", "--precision", "fp32")
    assert outcome.status == 0, outcome.json
    assert outcome.json["wrong"] == 0
    subjects = [finding["subject"] for finding in outcome.json["findings"]]
    for subject in ("device", "precision", "threads", "memory", "speed", "versions", "extra track", "cache", "data"):
        assert subject in subjects
    assert outcome.json["facts"]["images_per_second"] > 0
    assert outcome.json["facts"]["precision"] == "fp32"


def test_what_is_wrong_is_said_with_what_to_do(natmu, monkeypatch, tmp_path):
    (tmp_path / "data" / "cifar-10-batches-py" / "test_batch").mkdir(parents=True)
    monkeypatch.setattr(diagnosing, "images_per_second", lambda _: 1000.0)
    outcome = natmu("doctor", "--device", "cpu", "--precision", "fp32")
    assert outcome.status == 1
    lines = outcome.out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith("WRONG")]
    assert "data cifar10" in lines[number]
    assert lines[number + 1].strip().startswith("Move it away, and run natmu data download cifar10")
    assert lines[-1] == "1 thing is wrong; see WRONG above."


def test_a_device_that_is_not_there_is_refused(refused):
    assert "cuda:99" in refused("doctor", "--device", "cuda:99")
