"""Weights from elsewhere: what is accepted, and that nothing else is, or runs."""

import os
import pickle
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from natmu.errors import ModelError
from natmu.models import load_weights
from natmu.models.containers import read_container


@pytest.fixture
def model(build):
    return build("small_cnn", (1, 8, 8), seed=1)


@pytest.fixture
def weights(build):
    """The state dict of another model of the same architecture."""
    return build("small_cnn", (1, 8, 8), seed=2).state_dict()


def holds(model, weights):
    return all(torch.equal(value, model.state_dict()[name]) for name, value in weights.items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_weights_come_back_to_the_bit(suffix, model, weights, tmp_path):
    path = tmp_path / f"weights{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    load_weights(model, path)
    assert holds(model, weights)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_inside_a_checkpoint_is_found(key, model, weights, tmp_path):
    torch.save({"epoch": 3, "acc": 0.9, "optimizer": {"state": {}}, key: weights}, tmp_path / "weights.pt")
    load_weights(model, tmp_path / "weights.pt")
    assert holds(model, weights)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("wrapped", ["file", "model"])
def test_prefixes_of_wrappers_do_not_count_on_either_side(prefix, wrapped, model, weights, tmp_path):
    path = tmp_path / "weights.pt"
    if wrapped == "file":
        torch.save({f"{prefix}{name}": value for name, value in weights.items()}, path)
        load_weights(model, path)
    else:
        torch.save(weights, path)
        outer = model
        for part in reversed(prefix.rstrip(".").split(".")):
            outer = nn.ModuleDict({part: outer})
        load_weights(outer, path)
    assert holds(model, weights)


def test_a_module_named_module_is_not_a_wrapper(tmp_path):
    with torch.random.fork_rng(devices=[]):
        first, second = (nn.ModuleDict({"module": nn.Linear(2, 2), "head": nn.Linear(2, 2)}) for _ in range(2))
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    load_weights(second, tmp_path / "weights.pt")
    assert holds(second, first.state_dict())


def test_weights_without_normalisation_keep_that_of_the_model(model, weights, tmp_path):
    bare = {name: value for name, value in weights.items() if not name.startswith("normalize.")}
    torch.save(bare, tmp_path / "weights.pt")
    mean = model.normalize.mean.clone()
    load_weights(model, tmp_path / "weights.pt")
    assert holds(model, bare)
    assert torch.equal(model.normalize.mean, mean)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("classifier.bias"), "1 missing: classifier.bias"),
        (lambda w: w.pop("normalize.mean"), "1 missing: normalize.mean"),
        (lambda w: w.update({"fc.weight": torch.zeros(2)}), "1 unexpected: fc.weight"),
        (lambda w: w.update({f"fc{i}": torch.zeros(2) for i in range(9)}), "9 unexpected: fc0, fc1, fc2, …"),
        (
            lambda w: w.update({"classifier.weight": torch.zeros(100, 128)}),
            r"1 of another shape: classifier.weight \(100, 128\) where the model has \(10, 128\)",
        ),
        (lambda w: w.clear(), "missing"),
    ],
)
def test_weights_that_do_not_fit_are_listed_and_change_nothing(change, words, model, weights, tmp_path):
    change(weights)
    torch.save(weights, tmp_path / "weights.pt")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=words):
        load_weights(model, tmp_path / "weights.pt")
    assert holds(model, before)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "pickle protocol 2"])
def test_code_in_a_file_never_runs(form, model, weights, tmp_path):
    path, trace = tmp_path / "weights.pt", tmp_path / "trace"
    hostile = {**weights, "extra": Hostile(f"touch {trace}")}
    if form == "pickle":
        path.write_bytes(pickle.dumps(hostile))
    elif form == "pickle protocol 2":
        path.write_bytes(pickle.dumps(hostile, protocol=2))
    else:
        torch.save(hostile, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ModelError, match=r"run code.*state_dict"):
        load_weights(model, path)
    assert not trace.exists()


def test_a_whole_pickled_model_is_refused_with_advice(model, tmp_path):
    torch.save(model, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"run code.*save it again"):
        load_weights(model, tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_a_pointer_of_git_lfs_is_named(name, model, tmp_path):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 45\n")
    with pytest.raises(ModelError, match="only points to a file in Git LFS; get that with `git lfs pull`"):
        load_weights(model, tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        3,
        {"epoch": 3},
        {1: torch.zeros(2)},
        {"state_dict": "here"},
        {"weight": torch.zeros(2, 2).to_sparse()},
        {"weight": torch.empty(2, device="meta")},
    ],
)
def test_what_is_no_state_dict_is_refused(content, model, tmp_path):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="no state dict"):
        load_weights(model, tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.pt", "no file"),
        ("weights.txt", "none of these"),
        (".", "holds no weights: name a file, or a folder with config.json"),
    ],
)
def test_paths_that_lead_nowhere_are_refused(name, words, model, tmp_path):
    with pytest.raises(ModelError, match=words):
        load_weights(model, tmp_path / name)


def test_an_archive_that_claims_a_second_disk_is_refused(model, tmp_path):
    locator = b"PK\x06\x07" + struct.pack("<LQL", 0, 0, 2)
    end = b"PK\x05\x06" + bytes(18)
    (tmp_path / "weights.pt").write_bytes(b"PK\x03\x04" + bytes(60) + locator + end)
    with pytest.raises(ModelError):
        load_weights(model, tmp_path / "weights.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@example(cut=0, edits=[])
@example(cut=1, edits=[])
@given(
    cut=st.integers(0, 2**16),
    edits=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_loaded_or_refused_but_never_a_traceback(suffix, cut, edits, tmp_path):
    path, model = tmp_path / f"weights{suffix}", nn.BatchNorm1d(3)
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    content = bytearray(path.read_bytes())
    for place, value in edits:
        content[place % len(content)] = value
    path.write_bytes(content[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with suppress(ModelError):
            load_weights(model, path)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_a_file_without_its_end_is_to_be_copied_again(kind, share, weights, tmp_path):
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"weights\.\w+ is incomplete or damaged, .* bytes as it is; copy or download"):
        read_container(path)


def _normalised() -> nn.Module:
    with torch.random.fork_rng([]):
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize("name", ["0.weight", "1.num_batches_tracked"])
@pytest.mark.parametrize("kind", [torch.bool, torch.complex64])
def test_truth_values_and_complex_numbers_are_no_weights(tmp_path: Path, name: str, kind: torch.dtype) -> None:
    state = _normalised().state_dict()
    torch.save({**state, name: state[name].to(kind)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=rf"1 of another type: {name} \(torch\.{str(kind)[6:]}\)"):
        load_weights(_normalised(), tmp_path / "w.pt")


def test_counters_may_be_floats_that_are_whole(tmp_path: Path) -> None:
    """``{name: tensor.half() for …}`` casts them too."""
    state = _normalised().state_dict()
    torch.save({**state, "1.num_batches_tracked": torch.tensor(3.0).half()}, tmp_path / "w.pt")
    model = _normalised()
    load_weights(model, tmp_path / "w.pt")
    assert model.state_dict()["1.num_batches_tracked"] == 3
    torch.save({**state, "1.num_batches_tracked": torch.tensor(1.5)}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"1 of another type: 1.num_batches_tracked"):
        load_weights(_normalised(), tmp_path / "w.pt")


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.qint8])
@pytest.mark.filterwarnings("ignore")
def test_quantised_weights_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    state = _normalised().state_dict()
    weight = state["0.weight"]
    small = torch.quantize_per_tensor(weight, 0.1, 0, kind) if kind is torch.qint8 else weight.to(kind)
    torch.save({**state, "0.weight": small}, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"holds quantised weights .0.weight is .*: save the model as it was before"):
        load_weights(_normalised(), tmp_path / "w.pt")
