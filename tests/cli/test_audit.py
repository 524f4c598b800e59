"""``natmu audit`` beyond the level quick: what it trains, what it writes, and what it does with files alone."""

import csv
import shutil
from dataclasses import replace

import pytest

from natmu.cli.score_manual import WIDTH
from natmu.engine.store import Run
from natmu.lineage import workspace
from natmu.opening import Place, Source
from natmu.records.audit import AuditFolder
from natmu.records.files import read_rows
from natmu.records.samples import SAMPLE_COLUMNS
from natmu.scores import names_of
from natmu.verbs import Asked, audit_run, train_run, unlearn_run

STANDARD = ["--level", "standard", "--references", 2]
KLOM = [f"klom_{part}_{number}" for number in ("mean", "p95") for part in ("retain", "forget", "test")]


@pytest.fixture(scope="module")
def unlearned(tmp_path_factory):
    """A store with an original, a model that was made to forget some of it, and a retrained one."""
    root = tmp_path_factory.mktemp("store") / "runs"
    place = Place(root, root, device="cpu", precision="fp32", resume=False)
    train_run(
        data={"source": "digits", "train_size": 100},
        model="small_cnn",
        training={"epochs": 1},
        seed=0,
        place=replace(place, name="original"),
    )
    for name, method, settings in (("less", "amnesiac", {"epochs": 1}), ("retrained", "retrain", {})):
        asked = Asked("random:10%", method, settings)
        unlearn_run(asked, Source(root / "original"), replace(place, name=name))
    return root


@pytest.fixture(scope="module")
def audited(unlearned, tmp_path_factory):
    """The same store after an audit of the level standard."""
    root = tmp_path_factory.mktemp("audited") / "runs"
    shutil.copytree(unlearned, root)
    audit_run(root / "less", level="standard", references=2, data_dir=root, device="cpu")
    return root


@pytest.fixture
def no_data(monkeypatch):
    """Data that nobody may read."""

    def read(*_, **__):
        raise AssertionError("the data was read")

    monkeypatch.setattr(workspace, "load", read)


def audit_in(folder):
    """The audit that lies beside a run."""
    return AuditFolder(Run(folder)).audit


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
    audit = audit_in(audited / "less")
    assert (audit.run, audit.level) == (Run(audited / "less").record.digest, "standard")
    rows = read_rows(audited / "less/audit/samples.csv")
    assert list(rows[0]) == list(SAMPLE_COLUMNS)
    assert [int(row["rank"]) for row in rows if row["part"] == "forget"] == list(range(1, 11))


def test_an_audit_on_the_terminal_says_what_is_missing_where_the_files_are_and_what_may_be_said(
    natmu, audited, tmp_path
):
    shutil.copytree(audited, tmp_path / "runs")
    done = natmu("audit", "runs/less", *STANDARD, "--offline")
    assert done.status == 0, done.err
    said = " ".join(done.out.split())
    audit = audit_in(tmp_path / "runs/less")
    answers = (f"Forgotten? {audit.forgotten.sentence}", f"Kept? {audit.kept.sentence}")
    decided = "Decided for you: Retrained models were trained: 1 epoch of sgd"
    for text in ("rmia_auc", "Not measured: klom_", *answers, decided, "less/audit/audit.json", "audit/samples.csv"):
        assert text in said
    assert "Promised" not in said, "amnesiac promises nothing"
    assert said.count("klom needs at least 8") == 1, "one reason is said once, for all scores that have it"


def samples_in(folder):
    with (folder / "samples.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_alone_give_the_same_audit(natmu, audited, tmp_path, no_data):
    shutil.copytree(audited, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/less/audit")
    done = natmu("audit", "runs/less", *STANDARD, "--offline", "--json", "--data-dir", "nowhere")
    assert done.status == 0, done.err
    found, expected = (folder / "less/audit" for folder in (tmp_path / "runs", audited))
    assert samples_in(found) == [row | {"name": ""} for row in samples_in(expected)], "the data alone has the names"
    # Pictures need the data, and are the only files that are missing.
    assert audit_in(tmp_path / "runs/less").files.keys() == {"samples.csv"}
    with_pictures = {"files": audit_in(audited / "less").files}
    assert audit_in(tmp_path / "runs/less").model_copy(update=with_pictures) == audit_in(audited / "less")
    assert done.json["audit"] == audit_in(tmp_path / "runs/less").plain()


def test_without_data_an_audit_makes_do_with_the_references_that_are_left(natmu, refused, audited, tmp_path, no_data):
    shutil.copytree(audited, tmp_path / "runs")
    all_of_them = audit_in(audited / "less").models.retrained
    (fresh,) = [digest for digest in all_of_them if (tmp_path / "runs" / digest).exists()]
    shutil.rmtree(tmp_path / "runs" / fresh)
    better = (tmp_path / "runs/less/audit/audit.json").read_bytes()
    for words, there in ((STANDARD, "level standard and 1"), (["--references", 2], "level quick and 1")):
        said = refused("audit", "runs/less", *words, "--offline")
        assert "holds an audit of the level standard with 2 retrained models" in said
        assert there in said
    assert "level quick and 5" in refused("audit", "runs/less", "--references", 5)
    assert "level standard and 1" in refused("audit", "runs/less", "--level", "standard", "--references", 1)
    assert (tmp_path / "runs/less/audit/audit.json").read_bytes() == better
    done = natmu("audit", "runs/less", *STANDARD, "--offline", "--json", "--force")
    assert done.status == 0, done.err
    audit = done.json["audit"]
    assert audit["models"]["retrained"] == [digest for digest in all_of_them if digest != fresh]
    assert audit["forgotten"]["outcome"] == "cannot be said"
    assert "2 retrained models" in audit["forgotten"]["sentence"]
    assert all(score["verdict"]["p_value"] is None for score in audit["scores"].values() if score["verdict"])
    assert not (tmp_path / "runs" / fresh).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["less", "--level", "thorough"], "thorough"),
        (["less", "--level", "standard", "--references", 0], "--references"),
        (["less", "--references", "many"], "--references"),
        (["original", "--level", "standard"], "not that of an original"),
        (["original", "--offline"], "not that of an original"),
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
        assert "name its run folder, or its weights file, with --from" in refused("audit", "runs/less", *options)
    assert not (tmp_path / "runs/less/audit").exists()


def test_predictions_of_another_run_fail_in_one_sentence(natmu, audited, tmp_path):
    shutil.copytree(audited, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/less/audit")
    shutil.copy(tmp_path / "runs/retrained/predictions.safetensors", tmp_path / "runs/less")
    for options in ([], ["--offline"]):
        done = natmu("audit", "runs/less", *STANDARD, *options)
        assert (done.status, done.out, done.err.count("\n")) == (1, "", 1), done
        assert "runs/less/predictions.safetensors is not what this run wrote" in done.err
        assert "of another run" in done.err
    assert not (tmp_path / "runs/less/audit").exists()


def test_the_help_tells_the_levels_and_fits_a_terminal(natmu):
    said = natmu("audit", "--help").out
    assert all(len(line) <= WIDTH for line in said.splitlines())
    told = " ".join(said.split())
    for text in ("quick: 1 retrained model", "standard: 8", "full: 64", "[default: quick]", "Train nothing"):
        assert text in told
    for option in ("--level", "--from", "--references", "--offline", "--data-dir", "--device", "--json"):
        assert f"\n  {option} " in said
