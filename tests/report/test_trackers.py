"""Trackers with the real libraries, off-line; what was written is read back by the libraries themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from mlflow import MlflowClient
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tests.records.folders import a_recipe, an_original, an_unlearned, column
from tests.report.folders import changed, rewrite, with_scores
from tests.report.tracked_folders import CURVES, DIGEST, lineages, write_audit, write_run, write_study
from tests.report.tracker_files import curves_of, mlflow_curves, of_tensorboard, of_wandb, one_of_mlflow

from natmu.errors import RunError, SettingError, TrackingError, UsageError
from natmu.records.disk import host
from natmu.records.run import RunFolder
from natmu.report import read_study
from natmu.report.trackers import known_trackers, track_run, track_study
from natmu.report.trackers.tracked import read_tracked_run, read_tracked_study

HOSTILE = 'a "b" <c>/%2e%2e \u2603 \n$(d)' + "x" * 400


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    """Nothing of the user's own configuration holds, nothing goes out, and whoever writes here would be seen."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty database of MLflow, whose tables take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(runs, database):
    shutil.copy(database, runs / "mlflow.db")
    return MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")


CURVE_POINTS = {(name, int(row["epoch"])): value for row in CURVES for name, value in row.items() if name != "epoch"}
SCORES = {"test_acc": 91.5, "forget_acc": 12.25, "seconds": 3.5, "peak_memory_mb": 100.0}


def test_wandb_has_the_run_as_its_folder_has_it(runs):
    track_run(["wandb"], write_run(runs, name="mine", audit={"rmia_auc": 0.75}))
    (found,) = of_wandb(runs)
    assert (found["id"], found["name"], found["group"], found["project"]) == (DIGEST, "mine", "", "natmu")
    points = {
        (name.removeprefix("curves/"), row["epoch"]): value
        for row in found["history"]
        for name, value in row.items()
        if name.startswith("curves/")
    }
    assert points == CURVE_POINTS
    assert {name: found["summary"][name] for name in SCORES} == SCORES
    assert found["summary"]["audit/rmia_auc"] == 0.75
    assert found["config"]["settings.lr"] == 0.001
    assert found["config"]["links"]["audit/audit.json"] == (runs / "mine/audit/audit.json").as_uri()


def test_wandb_knows_a_run_again_and_takes_what_is_new(runs):
    path = write_run(runs)
    track_run(["wandb"], path)
    (folder,) = (runs / "wandb").glob("offline-run-*")
    track_run(["wandb"], path)
    assert [*(runs / "wandb").glob("offline-run-*")] == [folder]
    write_audit(path, {"rmia_auc": 0.5})
    track_run(["wandb"], path)
    (found,) = of_wandb(runs)
    assert (found["id"], len(found["history"]), found["summary"]["audit/rmia_auc"]) == (DIGEST, 3, 0.5)


def test_wandb_goes_where_its_own_variables_say(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "there"))
    monkeypatch.setenv("WANDB_PROJECT", "forgetting")
    track_run(["wandb"], write_run(runs))
    (found,) = of_wandb(tmp_path / "there")
    assert found["project"] == "forgetting"
    assert not (runs / "wandb").exists()


def test_wandb_without_a_key_stays_off_line_and_says_so(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    track_run(["wandb"], write_run(runs))
    assert len(of_wandb(runs)) == 1
    assert f"wandb sync {runs / 'wandb'}" in capsys.readouterr().err


def test_wandb_may_be_disabled(runs, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track_run(["wandb"], write_run(runs, name="mine"))
    assert [path.name for path in runs.iterdir()] == ["mine"]


def test_wandb_is_not_asked_for_a_key_where_it_must_be_online(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(TrackingError, match="No API key"):
        track_run(["wandb"], write_run(runs))


def test_mlflow_has_the_run_as_its_folder_has_it(runs, store):
    track_run(["mlflow"], write_run(runs, name="mine", audit={"rmia_auc": 0.75}))
    found = one_of_mlflow(store, "natmu")
    assert (found.info.run_name, found.info.status) == ("mine", "FINISHED")
    scores = {name: value for name, value in found.data.metrics.items() if not name.startswith("curves/")}
    assert scores == SCORES | {"audit/rmia_auc": 0.75}
    assert mlflow_curves(store, found) == CURVE_POINTS
    assert found.data.params["settings.lr"] == "0.001"
    assert found.data.params["forget.request"] == "random:10%"
    assert found.data.tags["natmu.digest"] == DIGEST
    assert found.data.tags["natmu.link.folder"] == (runs / "mine").as_uri()
    assert not (runs / "mlflow").exists()


def test_mlflow_knows_a_run_again_and_takes_what_is_new(runs, store):
    path = write_run(runs)
    for _ in range(2):
        track_run(["mlflow"], path)
        found = one_of_mlflow(store, "natmu")
        assert len(store.get_metric_history(found.info.run_id, "curves/loss")) == 3
        assert len(store.get_metric_history(found.info.run_id, "test_acc")) == 1
    write_audit(path, {"rmia_auc": 0.5})
    track_run(["mlflow"], path)
    assert one_of_mlflow(store, "natmu").data.metrics["audit/rmia_auc"] == 0.5


def test_mlflow_goes_where_its_own_variable_says(runs, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    with pytest.raises(TrackingError, match=r"mlflow failed .*nonsense"):
        track_run(["mlflow"], write_run(runs))
    assert store.get_experiment_by_name("natmu") is None


def test_mlflow_takes_a_run_that_was_computed_again_on_another_machine(runs, store):
    """MLflow refuses to change a setting, and would keep both curves."""
    path = write_run(runs)
    track_run(["mlflow"], path)
    record = RunFolder(path).record
    hardware = changed(record.hardware, device="cuda")
    later = "2026-01-02T03:05:06+00:00"
    changed(record, hardware=hardware, seconds=0.5, finished=later).write(path / "record.json")
    track_run(["mlflow"], path)
    found = one_of_mlflow(store, "natmu")
    assert (found.data.metrics["seconds"], found.data.params["hardware.device"]) == (0.5, "cpu")
    assert mlflow_curves(store, found) == CURVE_POINTS


def test_mlflow_begins_a_run_anew_whose_logging_was_cut_short(runs, store):
    place = store.create_experiment("natmu")
    store.log_metric(store.create_run(place, tags={"natmu.key": DIGEST}).info.run_id, "curves/loss", 1.25, step=1)
    track_run(["mlflow"], write_run(runs))
    assert mlflow_curves(store, one_of_mlflow(store, "natmu")) == CURVE_POINTS


def test_tensorboard_has_the_run_as_its_folder_has_it(runs):
    track_run(["tensorboard"], write_run(runs, name="mine", audit={"rmia_auc": 0.75}))
    found = of_tensorboard(runs / f"tensorboard/natmu/mine-{DIGEST}")
    assert curves_of(found) == pytest.approx(CURVE_POINTS)
    scores = {tag: found.Scalars(tag)[0].value for tag in found.Tags()["scalars"] if tag.startswith("scores/")}
    assert scores == {f"scores/{name}": value for name, value in (SCORES | {"audit/rmia_auc": 0.75}).items()}
    settings = HParamsPluginData()
    settings.ParseFromString(found.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    assert settings.session_start_info.hparams["settings.lr"].number_value == 0.001
    (links,) = found.Tensors("links")
    assert (runs / "mine").as_uri() in links.tensor_proto.string_val[0].decode()


def test_tensorboard_shows_nothing_that_a_killed_process_left(runs):
    left = runs / "tensorboard" / "natmu" / f".mine-{DIGEST}.{host()}.{2**22 + 1}.partial"
    left.mkdir(parents=True)
    (left / "events.out.tfevents.1").write_bytes(b"half")
    track_run(["tensorboard"], write_run(runs, name="mine"))
    assert [path.name for path in left.parent.iterdir()] == [f"mine-{DIGEST}"]


def test_tensorboard_knows_a_run_again_and_takes_what_is_new(runs):
    path = write_run(runs, name="mine")
    track_run(["tensorboard"], path)
    (first,) = (runs / "tensorboard").rglob("*tfevents*")
    track_run(["tensorboard"], path)
    assert [*(runs / "tensorboard").rglob("*tfevents*")] == [first]
    write_audit(path, {"rmia_auc": 0.5})
    track_run(["tensorboard"], path)
    (second,) = (runs / "tensorboard").rglob("*tfevents*")
    assert second.parent == first.parent
    assert of_tensorboard(second.parent).Scalars("scores/audit/rmia_auc")[0].value == 0.5
    assert [one.name for one in (runs / "tensorboard/natmu").iterdir()] == [second.parent.name]


def test_a_study_is_a_group_with_a_table(runs, store):
    folder = write_study(runs)
    for _ in range(2):
        track_study(["wandb", "mlflow", "tensorboard"], folder)
    names = {"original, random:10%, seed 0", "natmu, random:10%, seed 0"}
    names |= {"natmu, random:10%, split 0, training 1, unlearning 2"}

    in_wandb = {run["name"]: run for run in of_wandb(runs)}
    assert in_wandb.keys() == names | {"tiny: table"}
    assert len(of_wandb(runs)) == 4
    assert {run["group"] for run in in_wandb.values()} == {"tiny"}
    natmu = in_wandb["natmu, random:10%, seed 0"]
    assert (natmu["summary"]["test_acc"], natmu["summary"]["kl_avg"], natmu["summary"]["audit/rmia_auc"]) == (
        93,
        0.25,
        0.5,
    )
    assert natmu["config"]["label"] == "natmu"
    (table,) = (runs / "wandb").rglob("*.table.json")
    table = json.loads(table.read_text())
    assert [row[:5] for row in table["data"]] == [
        ["random:10%", "original", 1, 95.0, None],
        ["random:10%", "natmu", 2, 93.5, pytest.approx(0.5**0.5)],
        ["random:10%", "salun", 0, None, None],
    ]
    assert table["columns"][:5] == ["scenario", "method", "n", "test_acc", "test_acc std"]

    shown = store.search_runs([store.get_experiment_by_name("tiny").experiment_id])
    by_name = {run.info.run_name: run for run in shown}
    assert by_name.keys() == names | {"tiny: table"}
    assert len(shown) == 4
    assert by_name["natmu, random:10%, split 0, training 1, unlearning 2"].data.metrics["test_acc"] == 94.0
    assert "kl_avg" not in by_name["natmu, random:10%, split 0, training 1, unlearning 2"].data.metrics
    assert "| natmu |" in (runs / "mlflow" / by_name["tiny: table"].info.run_id / "artifacts/table.md").read_text()

    assert len([*(runs / "tensorboard/tiny").iterdir()]) == 4
    (table,) = (runs / "tensorboard/tiny").glob("table-*")
    assert "| natmu |" in of_tensorboard(table).Tensors("table")[0].tensor_proto.string_val[0].decode()


def test_one_original_on_two_forget_sets_is_shown_with_the_scores_of_each(runs):
    folder = write_study(runs)
    study = read_study(folder)
    other = changed(with_scores(study.rows[0], test_acc=column(81.0)), scenario="class:3")
    recipe = a_recipe(("random:10%", "class:3"))
    rewrite(folder, changed(study, rows=(study.rows[0], other), score_on="holdout", recipe=recipe))
    first, second = read_tracked_study(folder).runs
    assert first.digest == second.digest
    assert first.key != second.key
    assert (first.scores["holdout_acc"], second.scores["holdout_acc"]) == (95.0, 81.0)
    assert "test_acc" not in first.scores


def test_a_study_on_the_holdout_is_shown_without_audits_which_look_at_the_test_set(runs):
    folder = write_study(runs)
    assert [name for run in read_tracked_study(folder).runs for name in run.scores if "rmia" in name]
    rewrite(folder, changed(read_study(folder), score_on="holdout"))
    names = {name for run in read_tracked_study(folder).runs for name in run.scores}
    assert not [name for name in names if "audit" in name or "test" in name]


def test_hostile_names_are_told_to_all(runs, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRUNCATE_LONG_VALUES", "false")
    path = write_run(runs, an_unlearned(HOSTILE, **{HOSTILE: HOSTILE * 30}), scores={"a@b (%)": 1.5})
    track_run(["wandb", "mlflow", "tensorboard"], path)
    (found,) = of_wandb(runs)
    assert found["name"].startswith('a "b"')
    assert len(found["name"]) == 128
    assert one_of_mlflow(store, "natmu").data.metrics["a_b ___"] == 1.5
    (folder,) = (runs / "tensorboard/natmu").iterdir()
    assert of_tensorboard(folder).Scalars("scores/a@b (%)")[0].value == 1.5


def test_a_run_without_curves_is_told_to_all(runs, store):
    track_run(["wandb", "mlflow", "tensorboard"], write_run(runs, curves=[]))
    assert of_wandb(runs)[0]["history"] == []
    assert not [name for name in one_of_mlflow(store, "natmu").data.metrics if name.startswith("curves/")]


def test_names_come_from_the_folder_or_else_from_the_lineage(runs):
    assert read_tracked_run(write_run(runs)).name == "natmu, random:10%, seed 0 from original, seed 0"
    assert read_tracked_run(write_run(runs, an_original())).name == "original, seed 0"
    assert read_tracked_run(write_run(runs, an_original(seed=1), name="mine")).name == "mine"


@pytest.mark.parametrize("file", ["record.json", "history.csv", "audit/audit.json"])
@pytest.mark.parametrize("text", ["", "\x00,\x00\n1,x", "[]", "{}"])
def test_a_damaged_run_is_refused(runs, file, text):
    path = write_run(runs, audit={"rmia_auc": 0.5})
    (path / file).write_text(text)
    with pytest.raises(RunError, match=file):
        read_tracked_run(path)


def test_a_study_whose_run_is_gone_is_refused(runs):
    folder = write_study(runs)
    shutil.rmtree(runs / lineages()[2].digest)
    with pytest.raises(RunError, match=rf"{lineages()[2].digest} is gone; run the study again"):
        track_study(["tensorboard"], folder)


@pytest.mark.parametrize(
    ("name", "module"),
    [("wandb", "wandb"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy"), ("tensorboard", "tensorboard")],
)
def test_a_missing_library_is_named_with_its_extra(name, module, monkeypatch):
    assert known_trackers([name, name]) == (name,)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"--track {name} needs {module}; .* 'natmu\[track\]'"):
        known_trackers([name])


def test_an_unknown_tracker_is_refused_with_the_choices():
    assert known_trackers(None) == ()
    with pytest.raises(SettingError, match=r"wandb, mlflow, tensorboard \(did you mean tensorboard\?\)"):
        known_trackers(["tensor-board"])


def test_a_tracker_that_fails_does_not_keep_others_from_the_run(runs):
    """A file that is no database, and one where TensorBoard's folder should be."""
    path = write_run(runs)
    (runs / "mlflow.db").write_text("no database")
    (runs / "tensorboard").write_text("")
    with pytest.raises(TrackingError, match=r"mlflow failed .*; tensorboard failed .* is complete, and the same"):
        track_run(["mlflow", "tensorboard", "wandb"], path)
    assert len(of_wandb(runs)) == 1


def test_nothing_stays_behind_and_torch_is_not_needed(runs, store, tmp_path):
    """A process that tracked ends at once, leaves no service of wandb running, and never loads PyTorch."""
    write_run(runs, name="mine")
    code = (
        "import sys\nfrom pathlib import Path\nfrom natmu.report.trackers import track_run\n"
        "track_run(['wandb', 'mlflow', 'tensorboard'], Path(sys.argv[1]))\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(runs / "mine")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path / "here",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(of_wandb(runs)) == 1
