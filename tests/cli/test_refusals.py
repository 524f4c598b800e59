"""What a user gets wrong: one sentence, status 2, nothing written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import warm

TINY = ["--data", "digits", "--model", "small_cnn", "--epochs", "1", "--precision", "fp32"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["frobnicate"], "frobnicate"),
        (["frobnicate"], "See natmu --help."),
        (["plan", "--method", "sisa"], "See natmu plan --help."),
        (["train", "--data", "digits"], "--model"),
        (["train", "--data", "digitz", "--model", "small_cnn"], "digits"),
        (["train", "--data", "digits", "--model", "vgg61"], "vgg16"),
        (["train", "--data", "digits", "--model", "vgg16"], "32"),
        (["train", "--data", "cifar10", "--model", "vgg16"], "natmu data download cifar10"),
        (["train", *TINY, "--epochs", "0"], "epochs"),
        (["train", *TINY, "--lr", "-1"], "lr"),
        (["train", *TINY, "--lr", "nan"], "lr"),
        (["train", *TINY, "--optimizer", "lion"], "optimizer"),
        (["train", *TINY, "--schedule", "zigzag"], "schedule"),
        (["train", *TINY, "--device", "tpu"], "tpu"),
        (["train", *TINY, "--device", "cuda:99"], "cuda:99"),
        (["train", *TINY, "--precision", "fp8"], "fp8"),
        (["train", *TINY, "--seed", "-1"], "seed"),
        (["train", *TINY, "--out", "."], "--out"),
        (["unlearn", "--from", "runs/none", "--forget", "random:1%"], "runs/none"),
        (
            ["unlearn", "--from", ".", "--forget", "random:1%", *TINY[:4]],
            "is not a run folder, which holds record.json",
        ),
        (["unlearn", "--from", "none.pt", "--forget", "random:1%", *TINY[:4]], "There is no none.pt"),
        (["unlearn", "--forget", "random:1%"], "--from"),
        (["audit", "runs/none"], "runs/none"),
        (["bench", "none.yaml"], "none.yaml"),
        (["data", "download", "mnist"], "mnist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_refused(refused, tmp_path, words, said):
    assert said in refused(*words)
    assert not list(tmp_path.rglob("record.json"))


METHOD_REFUSALS = [
    ("random:10%", "amnesiac", {"lr": -1e-3}, "lr"),
    ("random:10%", "salun", {"threshold": 0}, "threshold"),
    ("random:10%", "salun", {"threshold": 1.01}, "threshold"),
    ("random:10%", "natmu", {"n": 5}, "n:"),
    ("class:3", "cf_k", {"k": 99}, "k=99 is more than the"),
    ("random:10%", "unsir", {}, "unsir serves class, subclass forget sets, not random"),
    ("hardest:10%", "unsir", {}, "not hardest"),
    ("random:10%", "rum", {"low": "unsir"}, "unsir serves class, subclass forget sets, not random"),
    ("random:10%", "rum", {"high_settings": "{threshold: 2}"}, "high_settings"),
]


@pytest.mark.parametrize(("forget", "method", "settings", "said"), METHOD_REFUSALS)
def test_a_study_is_refused_before_its_first_model_is_trained(refused, tmp_path, forget, method, settings, said):
    recipe = {"name": "tiny", "data": {"source": "digits"}, "model": "small_cnn", "training": {"epochs": 1}}
    recipe |= {"forget": [forget], "methods": [{"method": "amnesiac"}, {"method": method, "settings": settings}]}
    recipe["methods"][1]["label"] = "wrong"
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    assert said in refused("bench", "recipe.yaml")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("forget", "method", "settings", "said"), METHOD_REFUSALS)
def test_unlearning_is_refused_before_anything_is_written(
    refused, tmp_path, original_once, forget, method, settings, said
):
    words = ["--forget", forget, "--method", method, *(f"--set={name}={value}" for name, value in settings.items())]
    assert said in refused("unlearn", "--from", original_once, *words, "--out", "runs/wrong")
    shutil.copy(original_once / "model.safetensors", tmp_path / "mine.safetensors")
    weights = ["--from", "mine.safetensors", "--data", "digits", "--model", "small_cnn"]
    if forget == "hardest:10%":
        said = "hardest:10%:loss"  # nobody recorded how it was trained
    assert said in refused("unlearn", *weights, *words)
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def original(natmu):
    assert natmu("train", *TINY, "--out", "runs/original").status == 0
    return "runs/original"


def test_refused_after_training(refused, original, tmp_path):
    def unlearn(*words):
        return refused("unlearn", "--from", original, *words)

    assert "random" in unlearn("--forget", "rnadom:1%")
    assert "class" in unlearn("--forget", "class:seventeen")
    assert "natmu" in unlearn("--forget", "random:1%", "--method", "natmoo")
    assert "delta" in unlearn("--forget", "random:1%", "--set", "delta=7")
    assert "speed" in unlearn("--forget", "random:1%", "--set", "speed=7")
    assert "KEY=VALUE" in unlearn("--forget", "random:1%", "--set", "lr")
    assert "twice" in unlearn("--forget", "random:1%", "--set", "lr=1", "--set", "lr=2")
    assert "twice" in unlearn("--forget", "random:1%", "--set", "lr=1", "--lr", "2")
    assert "epochs" in unlearn("--forget", "random:1%", "--method", "retrain", "--epochs", "3")
    assert "reuse_partners" in unlearn("--forget", "random:60%", "--set", "reuse_partners=false")
    assert "already holds" in unlearn("--forget", "random:1%", "--set", "epochs=1", "--out", original)
    assert "delete, jit" in unlearn("--forget", "all")
    assert "delete, jit" in unlearn("--forget", "class:1", "--method", "finetune", "--forget-only")
    assert "nowhere.npy" in unlearn("--forget", "indices:nowhere.npy")
    (tmp_path / "bad.json").write_text(json.dumps([1, 1, -4]))
    assert "-4" in unlearn("--forget", "indices:bad.json")
    assert "not that of an original" in refused("audit", original)
    assert {path.name for path in (tmp_path / "runs").iterdir() if not path.name.startswith(".")} == {"original"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(max_size=30), st.from_regex(r"(random|hardest|class|indices):.{0,12}", fullmatch=True)))
def test_no_forget_spec_shows_a_traceback(natmu, original_once, text):
    outcome = natmu(
        "unlearn", f"--from={original_once}", f"--forget={text}", "--set", "epochs=1", "--method", "amnesiac"
    )
    assert outcome.status in (0, 2), outcome
    assert "Traceback" not in outcome.err
    assert "a bug" not in outcome.err


@pytest.fixture(scope="module")
def original_once(tmp_path_factory):
    from natmu.opening import Place
    from natmu.verbs import train_run

    place = Place(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs"), "original", "cpu", "fp32")
    data = {"source": "digits", "train_size": 60}
    return train_run(data=data, model="small_cnn", training={"epochs": 1}, seed=0, place=place).path


def test_something_that_fails_is_status_1(natmu, tmp_path):
    outcome = natmu("train", *TINY, "--optimizer", "sgd", "--lr", "100", "--schedule", "constant", "--epochs", "3")
    if outcome.status:
        assert (outcome.status, outcome.err.count("\n")) == (1, 1)
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / "runs/broken").mkdir()
    (tmp_path / "runs/broken/record.json").write_text("{")
    broken = natmu("audit", "runs/broken")
    assert broken.status == 1
    assert "runs/broken" in broken.err


def test_a_bug_of_ours_is_one_sentence_and_a_log(tmp_path):
    code = "from natmu.cli import app, methods\ndef run(): raise KeyError('oops')\nmethods.run = run\napp.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "methods"],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (log,) = tmp_path.glob("natmu-*.log")
    assert str(log) in done.stderr
    assert "oops" in log.read_text()


def test_help_and_lists_do_not_load_torch():
    code = (
        "import sys; sys.argv = ['natmu', '--help']\nfrom natmu.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nassert not {'torch', 'numpy', 'pydantic', 'rich'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for verb in ("demo", "train", "unlearn", "audit", "bench", "methods", "scores", "models", "data"):
        assert verb in done.stdout


def test_interrupted_training_leaves_nothing_half_written(tmp_path):
    words = ["train", *TINY[:4], "--epochs", "4000", "--precision", "fp32", "--out", "runs/long"]
    process = warm.start("from natmu.cli import main; main()", *words, cwd=tmp_path)
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("runs/.work/*/run")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    done = process.join(60)
    assert done.returncode == 130
    assert "Interrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs/long").exists()


def test_interruption_ends_with_its_status_even_inside_the_exec_of_a_string(tmp_path):
    (tmp_path / "interrupted.py").write_text(
        "from natmu.cli import app, methods\ndef run(): exec('raise KeyboardInterrupt')\nmethods.run = run\napp.main()"
    )
    command = [sys.executable, "-m", "interrupted", "methods"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130
    assert "Interrupted" in done.stderr
