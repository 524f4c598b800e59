"""``natmu audit`` beyond the level quick: what it trains, what it writes, and what it does with files alone."""

import csv
import json
import shutil

import pytest

from natmu.cli.score_manual import WIDTH
from natmu.engine.store import Run
from natmu.scores import names_of
from natmu.scores.exposure import COLUMNS
from natmu.studies import workbench

STANDARD = ["--level", "standard", "--references", 2]
KLOM = [f"klom_{part}_{number}" for number in ("mean", "p95") for part in ("retain", "forget", "test")]


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory):
    """A store with an original, a model that was made to forget some of it, and a retrained one."""
    root = tmp_path_factory.mktemp("store") / "runs"
    common = {"data_dir": root, "seed": 0, "device": "cpu", "precision": "fp32", "root": root, "resume": False}
    data, training = {"source": "digits", "train_size": 100}, {"epochs": 1}
    workbench.train(data=data, model="small_cnn", training=training, name="original", **common)
    for name, method, settings in (("less", "amnesiac", {"epochs": 1}), ("retrained", "retrain", {})):
        workbench.unlearn_run(
            source=root / "original",
            data={},
            model=None,
            forget="random:10%",
            method=method,
            settings=settings,
            batch_size=None,
            name=name,
            **common,
        )
    return root


@pytest.fixture(scope="module")
def audited(unlearned, tmp_path_factory):
    """The same store after an audit of the level standard."""
    root = tmp_path_factory.mktemp("audited") / "runs"
    shutil.copytree(unlearned, root)
    workbench.audit_run(root / "less", root, "standard", 2, "cpu")
    return root


@pytest.fixture
def no_data(monkeypatch):
    """Data that nobody may read."""

    def read(*_):
        raise AssertionError("the data was read")

    monkeypatch.setattr(workbench, "load_data", read)


def test_an_audit_of_two_retrained_models_names_what_it_lacks(natmu, unlearned, tmp_path):
    shutil.copytree(unlearned, tmp_path / "runs")
    done = natmu("audit", "runs/less", *STANDARD, "--json")
    assert done.status == 0, done.err
    audit = done.json["audit"]
    assert {row["method"]: row["n"] for row in done.json["rows"]} == {"original": 1, "retrained": 2, "amnesiac": 1}
    assert audit["scores"].keys() | audit["missing"].keys() == set(names_of("standard"))
    assert not audit["scores"].keys() & audit["missing"].keys()
    assert {*KLOM, "forget_test_acc", "tpr_at_fpr_0.1"} <= audit["missing"].keys()
    assert all("at least 8 unlearned models (got 2)" in audit["missing"][name] for name in KLOM)
    assert {"rmia_auc", "weight_distance", "zrf"} <= audit["scores"].keys()
    assert len(audit["models"]["retrained"]) == 2


def test_an_audit_is_written_into_the_run(audited):
    audit = json.loads((audited / "less/audit/audit.json").read_text())
    assert (audit["run"], audit["level"]) == (Run(audited / "less").record.digest, "standard")
    with (audited / "less/audit/samples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [int(row["rank"]) for row in rows if row["part"] == "forget"] == list(range(1, 11))


def test_an_audit_on_the_terminal_says_what_is_missing_where_the_files_are_and_what_may_be_said(
    natmu, audited, tmp_path
):
    shutil.copytree(audited, tmp_path / "runs")
    done = natmu("audit", "runs/less", *STANDARD, "--offline")
    assert done.status == 0, done.err
    said = " ".join(done.out.split())
    verdict = json.loads((tmp_path / "runs/less/audit/audit.json").read_text())["verdict"]
    for text in ("rmia_auc", "Not measured: klom_", verdict, "less/audit/audit.json", "audit/samples.csv"):
        assert text in said
    assert said.count("klom needs at least 8") == 1, "one reason is said once, for all scores that have it"


def test_files_alone_give_the_same_audit(natmu, audited, tmp_path, no_data):
    shutil.copytree(audited, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/less/audit")
    done = natmu("audit", "runs/less", *STANDARD, "--offline", "--json", "--data-dir", "nowhere")
    assert done.status == 0, done.err
    for name in ("audit.json", "samples.csv"):
        assert (tmp_path / "runs/less/audit" / name).read_text() == (audited / "less/audit" / name).read_text()
    assert done.json["audit"] == json.loads((audited / "less/audit/audit.json").read_text())


def test_without_data_an_audit_makes_do_with_the_references_that_are_left(natmu, audited, tmp_path, no_data):
    shutil.copytree(audited, tmp_path / "runs")
    all_of_them = json.loads((audited / "less/audit/audit.json").read_text())["models"]["retrained"]
    (fresh,) = [digest for digest in all_of_them if (tmp_path / "runs" / digest).exists()]
    shutil.rmtree(tmp_path / "runs" / fresh)
    done = natmu("audit", "runs/less", *STANDARD, "--offline", "--json")
    assert done.status == 0, done.err
    audit = done.json["audit"]
    assert audit["models"]["retrained"] == [digest for digest in all_of_them if digest != fresh]
    assert "2 retrained models" in audit["verdict"]
    assert all(score["verdict"]["p_value"] is None for score in audit["scores"].values() if score["verdict"])
    assert not (tmp_path / "runs" / fresh).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["less", "--level", "thorough"], "thorough"),
        (["less", "--level", "standard", "--references", 0], "--references"),
        (["less", "--references", "many"], "--references"),
        (["original", "--level", "standard"], "original model"),
        (["original", "--offline"], "original model"),
        (["none", "--offline"], "runs/none"),
        (["less", "--from", "runs/less"], "--from"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_refused(refused, unlearned, tmp_path, words, said):
    shutil.copytree(unlearned, tmp_path / "runs")
    before = sorted(tmp_path.rglob("*"))
    folder, *options = words
    assert said in refused("audit", f"runs/{folder}", *options)
    assert sorted(tmp_path.rglob("*")) == before


def test_refused_without_the_original(refused, unlearned, tmp_path):
    shutil.copytree(unlearned, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/original")
    for options in ([], ["--offline"]):
        assert "name its run folder with --from" in refused("audit", "runs/less", *options)
    assert not (tmp_path / "runs/less/audit").exists()


def test_answers_of_another_run_fail_in_one_sentence(natmu, audited, tmp_path):
    shutil.copytree(audited, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/less/audit")
    shutil.copy(tmp_path / "runs/retrained/predictions.safetensors", tmp_path / "runs/less")
    for options in ([], ["--offline"]):
        done = natmu("audit", "runs/less", *STANDARD, *options)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done
        assert "runs/less are of another run" in done.err
    assert not (tmp_path / "runs/less/audit").exists()


def test_the_help_tells_the_levels_and_fits_a_terminal(natmu):
    said = natmu("audit", "--help").out
    assert all(len(line) <= WIDTH for line in said.splitlines())
    told = " ".join(said.split())
    for text in ("quick: 1 retrained model", "standard: 8", "full: 64", "[default: quick]", "Train nothing"):
        assert text in told
    for option in ("--level", "--from", "--references", "--offline", "--data-dir", "--device", "--json"):
        assert f"\n  {option} " in said
