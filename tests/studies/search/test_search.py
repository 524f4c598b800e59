"""Searches on scikit-learn's digits: what is found, by one worker and by several, of which some are killed."""

from __future__ import annotations

import csv
import json
import signal
import sys
import textwrap
from dataclasses import replace
from functools import partial

import numpy as np
import optuna
import pytest
import torch
from filelock import FileLock

import warm
from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import RunError, SettingError, TrainingError, UsageError
from natmu.lineage import workspace
from natmu.methods import Retrain
from natmu.records.lineage import AllBut, Everything, Trained, Unlearned
from natmu.records.search import SearchFolder
from natmu.records.study import StudyFolder
from natmu.scores.objectives import Judgement, against_retrained, on_holdout, ranked, without_retrained
from natmu.studies import Recipe, read_recipe, run_recipe, run_search
from natmu.studies.search import search
from natmu.studies.search import trials as module
from natmu.studies.search.ranges import Range
from natmu.studies.search.storage import Storage
from natmu.studies.search.trials import Trials
from studies.fakes import DIVERGING


def recipe(**changed):
    values = {
        "name": "tiny",
        "data": {"source": "digits", "train_size": 100, "holdout": True},
        "model": "small_cnn",
        "training": {"epochs": 2, "lr": 0.05, "schedule": "cosine", "batch_size": 32, "warmup_epochs": 0},
        "forget": ["random:10%"],
        "search": {"trials": 4, "objective": "no-retrain"},
        "methods": [
            {"method": "amnesiac", "settings": {"epochs": 1}},
            {
                "method": "delete",
                "search": {
                    "lr": {"low": 1e-3, "high": 0.1, "log": True},
                    "epochs": {"low": 1, "high": 3},
                    "freeze_statistics": [False, True],
                },
            },
        ],
        "precision": "fp32",
    }
    return Recipe.parse(values | changed)


def found_by(asked, out, storage=None):
    folder = run_search(asked, data_dir=out, out=out, device="cpu", storage=storage, progress=False)
    return SearchFolder(folder).search


def trials_in(out, name="tiny"):
    with (out / name / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def outcome(out):
    """All that trials came to, but for the time that they took."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in trials_in(out)]


def stored(out):
    return [Run(path.parent) for path in sorted(out.glob("*/record.json"))]


def original_in(out):
    """The only original."""
    (found,) = [run for run in stored(out) if isinstance(getattr(run.record.lineage, "on", None), Everything)]
    return found


def stamps(out):
    return {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out, found_by(recipe(), out)


def in_rank(row):
    """What the trial of a row on a single forget set is ranked by."""
    return 100 + float(row["lost"]) if float(row["lost"]) else float(row["value"])


def test_every_method_has_its_trials_and_the_best_is_that_of_the_lowest_value(searched):
    out, found = searched
    rows = trials_in(out)
    assert [(row["method"], row["trial"]) for row in rows] == [
        (method, str(number)) for method in ("amnesiac", "delete") for number in range(4)
    ]
    assert {row["state"] for row in rows} == {"complete"}
    for method in found.methods:
        values = [in_rank(row) for row in rows if row["method"] == method.label]
        assert method.best.value == min(values)
        assert method.best.trial == values.index(min(values))
        best = next(
            row for row in rows if (row["method"], row["trial"]) == (method.label, str(values.index(min(values))))
        )
        assert method.best.settings == json.loads(best["settings"])
        assert (method.trials, method.failed) == (4, 0)
    assert (found.storage, found.score_on, found.objective) == ("journal", "holdout", "no-retrain")
    assert found.versions.keys() >= {"optuna", "torch", "natmu"}


def test_settings_stay_within_their_ranges(searched):
    out, _ = searched
    for row in trials_in(out):
        settings = json.loads(row["settings"])
        if row["method"] == "amnesiac":
            assert settings.keys() == {"epochs", "lr"}
            assert 1e-5 <= settings["lr"] <= 0.3
        else:
            assert 1e-3 <= settings["lr"] <= 0.1
            assert settings["epochs"] in (1, 2, 3)
            assert settings["freeze_statistics"] in (False, True)


def test_values_and_terms_are_those_of_the_stored_answers(searched):
    out, found = searched
    original = original_in(out).outputs()
    for row in trials_in(out):
        run = Run(out / row["run"])
        forget = run.forget()
        before, noise = on_holdout(original, forget), Judgement(**found.noise["random:10%"].plain())
        judged = without_retrained(on_holdout(run.outputs(), forget), before, whole_classes=False, noise=noise)
        assert (float(row["value"]), float(row["lost"])) == (judged.value, judged.lost)
        assert {name: float(row[name]) for name in judged.terms} == judged.terms
        assert json.loads(row["settings"]).items() <= run.record.lineage.settings.items()
        assert float(row["seconds"]) == run.record.seconds
    forget = Run(out / trials_in(out)[0]["run"]).forget()
    before = on_holdout(original, forget)
    assert found.original["random:10%"].value == without_retrained(before, before, whole_classes=False).value


def test_a_second_search_computes_nothing_and_a_larger_one_goes_on(searched):
    out, found = searched
    before, rows = stamps(out), outcome(out)
    assert found_by(recipe(), out) == found
    assert (stamps(out), outcome(out)) == (before, rows)
    more = recipe(search={"trials": 6, "objective": "no-retrain"})
    found_by(more, out)
    longer = outcome(out)
    assert [row for row in longer if int(row["trial"]) < 4] == rows
    assert len(longer) == 12
    assert found_by(recipe(), out) == found
    assert outcome(out) == rows


def test_trials_whose_values_meant_something_else_are_not_continued(tmp_path, monkeypatch):
    methods = [{"method": "amnesiac", "settings": {"epochs": 1}}]
    asked = recipe(methods=methods, search={"trials": 1, "objective": "no-retrain"})
    with monkeypatch.context() as earlier:
        earlier.setitem(search.REVISIONS, "no-retrain", 1)
        earlier.setattr(search, "ranked", lambda judgements: -1.0)
        run_search(asked, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    before = stamps(tmp_path)
    assert found_by(asked, tmp_path).methods[0].best.value > 0
    assert stamps(tmp_path) == before


def test_the_best_recipe_runs(searched):
    out, found = searched
    best = read_recipe(out / "tiny" / "best.yaml")
    assert (best.search, best.score_on, best.name) == (None, "test", "tiny")
    assert [entry.settings for entry in best.methods] == [method.best.settings for method in found.methods]
    before = stamps(out)
    run_recipe(best, data_dir=out, out=out, device="cpu", progress=False)
    rows = StudyFolder(out / "tiny").table.rows
    assert [row.method for row in rows] == ["original", "retrained", "amnesiac", "delete"]
    assert len(stamps(out)) == len(before) + 2  # the retrained models; the rest was there


def test_no_retrained_model_is_trained_or_read_without_retraining(tmp_path, monkeypatch):
    def never(*_):
        raise AssertionError("a retrained model was asked for")

    for name in ("__init__", "run", "check"):
        monkeypatch.setattr(Retrain, name, never)
    found_by(recipe(), tmp_path)
    models = [run.record.lineage for run in stored(tmp_path)]
    assert {getattr(model, "method", None) for model in models} == {None, "amnesiac", "delete"}
    assert [model.on for model in models if isinstance(model, Trained)] == [Everything()]


def test_nothing_of_the_test_set_is_seen(tmp_path, monkeypatch, capsys):
    """With other labels in the test set the search finds the very same."""
    asked = recipe(search={"trials": 3, "objective": "retrained"}, forget=["random:10%", "class:3"])
    load = workspace.load

    def other_test(*words, **names):
        splits = load(*words, **names)
        test = replace(splits.test, labels=(splits.test.labels + 1) % 10)
        return replace(splits, test=test)

    plain, other = tmp_path / "plain", tmp_path / "other"
    run_search(asked, data_dir=plain, out=plain, device="cpu")
    assert "test_acc" not in capsys.readouterr().err
    monkeypatch.setattr(workspace, "load", other_test)
    found_by(asked, other)
    same = [[{**row, "run": ""} for row in outcome(out)] for out in (plain, other)]
    assert same[0] == same[1]
    assert {row["run"] for row in outcome(plain)}.isdisjoint(row["run"] for row in outcome(other))


def test_the_objective_retrained_compares_with_two_retrained_models_of_each_forget_set(tmp_path):
    found = found_by(recipe(forget=["random:10%", "class:3"], search={"trials": 2, "objective": "retrained"}), tmp_path)
    retrained = {"random:10%": [], "class:3": []}
    for run in sorted(stored(tmp_path), key=lambda run: getattr(run.record.lineage, "seed", 0)):
        model = run.record.lineage
        if isinstance(model, Trained) and isinstance(model.on, AllBut):
            retrained[model.on.forget.request.text].append(run)
    assert {len(runs) for runs in retrained.values()} == {2}
    values = {}
    for row in trials_in(tmp_path):
        run = Run(tmp_path / row["run"])
        forget = run.forget()
        assert forget.request == row["forget"]
        first, second = (on_holdout(one.outputs(), forget) for one in retrained[forget.request])
        noise = against_retrained(second, [first])
        assert found.noise[forget.request].value == noise.value
        judged = against_retrained(on_holdout(run.outputs(), forget), [first, second], noise)
        assert (float(row["value"]), float(row["lost"])) == (judged.value, judged.lost)
        values.setdefault((row["method"], row["trial"]), []).append(judged)
    assert all(len(both) == 2 for both in values.values())
    for method in found.methods:
        ranks = [ranked(both) for (label, _), both in values.items() if label == method.label]
        assert method.best.value == pytest.approx(min(ranks))


def test_of_a_whole_class_the_accuracy_itself_must_go(tmp_path):
    found_by(recipe(forget=["class:3"], search={"trials": 2, "objective": "no-retrain"}), tmp_path)
    for row in trials_in(tmp_path):
        train = Run(tmp_path / row["run"]).outputs().train
        of_class = train.labels == 3
        accuracy = 100 * np.mean(train.logits[of_class].argmax(1) == 3)
        assert float(row["forget_acc"]) == pytest.approx(accuracy)


def test_trials_that_diverge_count_and_say_why_and_the_others_go_on(tmp_path):
    settings = {name: value for name, value in DIVERGING.items() if name != "lr"}
    diverging = {"method": "amnesiac", "label": "diverging", "settings": settings, "search": {"lr": [99.0, 100.0]}}
    asked = recipe(methods=[diverging, *recipe().model_dump(mode="json", exclude_unset=True)["methods"][:1]])
    found = {method.label: method for method in found_by(asked, tmp_path).methods}
    assert found["diverging"].best is None
    assert (found["diverging"].trials, found["diverging"].failed) == (4, 4)
    assert (found["amnesiac"].trials, found["amnesiac"].failed) == (4, 0)
    failed = [row for row in trials_in(tmp_path) if row["method"] == "diverging"]
    assert [(row["state"], row["value"], row["run"]) for row in failed] == [("failed", "", "")] * 4
    assert all("not finite" in row["reason"] for row in failed)
    assert [entry.method for entry in read_recipe(tmp_path / "tiny" / "best.yaml").methods] == ["amnesiac"]
    assert "left out: diverging" in (tmp_path / "tiny" / "best.yaml").read_text()


@pytest.mark.parametrize(
    ("error", "reason"),
    [(TrainingError("It diverged."), "It diverged."), (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0")],
)
def test_a_failure_on_the_second_forget_set_fails_the_trial_whatever_it_is(tmp_path, monkeypatch, error, reason):
    def outcome(method, source, forget, **words):
        if forget.request.kind == "class":
            raise error
        return real(method, source, forget, **words)

    real = search.outcome_of
    monkeypatch.setattr(search, "outcome_of", outcome)
    found = found_by(
        recipe(forget=["random:10%", "class:3"], search={"trials": 1, "objective": "no-retrain"}), tmp_path
    )
    assert [method.failed for method in found.methods] == [1, 1]
    assert [(row["forget"], row["state"], row["reason"]) for row in trials_in(tmp_path)] == [
        ("random:10%", "complete", ""),
        ("class:3", "failed", reason),
    ] * 2
    logs = [path.read_text() for path in (tmp_path / "tiny" / "logs" / "search").iterdir()]
    assert len(logs) == 2
    assert all("Traceback" in log and str(error) in log for log in logs)


def test_a_forget_set_that_a_method_does_not_serve_is_left_out_of_its_trials(tmp_path):
    methods = [{"method": "unsir", "settings": {"noise_copies": 1}}]
    found = found_by(
        recipe(forget=["random:10%", "class:3"], methods=methods, search={"trials": 1, "objective": "no-retrain"}),
        tmp_path,
    )
    assert found.methods[0].forget == ("class:3",)
    assert [row["forget"] for row in trials_in(tmp_path)] == ["class:3"]


def test_the_seed_of_the_search_decides_what_is_tried(searched, tmp_path):
    out, _ = searched
    found_by(recipe(search={"trials": 4, "objective": "no-retrain"}), tmp_path / "same")
    found_by(recipe(search={"trials": 4, "objective": "no-retrain", "seed": 1}), tmp_path / "other")
    found_by(recipe(), out)
    assert outcome(tmp_path / "same") == outcome(out)
    assert {row["settings"] for row in outcome(tmp_path / "other")}.isdisjoint(row["settings"] for row in outcome(out))


def test_later_trials_learn_from_earlier_ones(tmp_path):
    """A third of the trials is at random; then the sampler, which is told of a clear optimum, comes close to it."""
    ranges = {"lr": (Range(low=1e-6, high=1.0, log=True), False)}
    trials = Trials(Storage(tmp_path, None), "made up/method/0", ranges, 30, 0)
    while (claim := trials.claim()) is not None:
        claim.finish(abs(np.log10(claim.settings["lr"]) + 3), [], None)
    distance = [trial.value for trial in trials.finished()]
    assert len(distance) == 30
    assert np.median(distance[20:]) < 0.5 * np.median(distance[:10])


SCRIPT = textwrap.dedent("""
    import json, os, signal, sys
    from pathlib import Path
    from optuna import Trial
    from natmu.studies import Recipe
    from natmu.studies.search import search

    said, out, storage, where, count = sys.argv[1:]
    calls = 0

    def deadly(function):
        def call(*words, **names):
            global calls
            calls += 1
            if calls == int(count):
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*words, **names)
        return call

    if where == "unlearn":
        search.outcome_of = deadly(search.outcome_of)
    if where == "suggest":
        Trial.suggest_float = deadly(Trial.suggest_float)
    if where == "note":
        Trial.set_user_attr = deadly(Trial.set_user_attr)
    recipe = Recipe.parse(json.loads(said))
    search.run_search(recipe, data_dir=Path(out), out=Path(out), device="cpu", storage=storage or None, progress=False)
""")


def start(asked, out, storage="", where="", count=0):
    said = json.dumps(asked.model_dump(mode="json"))
    return warm.start(SCRIPT, said, out, storage, where, count)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_two_workers_share_the_budget_exactly(tmp_path, kind):
    storage = f"sqlite:///{tmp_path / 'trials.db'}" if kind == "sqlite" else ""
    asked = recipe(search={"trials": 8, "objective": "no-retrain"})
    workers = [start(asked, tmp_path, storage) for _ in range(2)]
    for worker in workers:
        done = worker.join()
        assert (done.returncode, done.stderr) == (0, "")
    rows = trials_in(tmp_path)
    assert [(row["method"], row["trial"]) for row in rows] == [
        (method, str(number)) for method in ("amnesiac", "delete") for number in range(8)
    ]
    assert {row["state"] for row in rows} == {"complete"}
    settings = {row["settings"] for row in rows}
    assert len([run for run in stored(tmp_path) if isinstance(run.record.lineage, Unlearned)]) == len(settings)
    assert len({row["settings"] for row in rows if row["method"] == "amnesiac"}) == 8
    assert [path.name for path in (tmp_path / "tiny" / ".search").iterdir()] == ["lock"]
    assert SearchFolder(tmp_path / "tiny").search.storage == kind


@pytest.mark.parametrize(
    ("kind", "where", "ended"),
    [("journal", "unlearn", 2), ("journal", "suggest", 2), ("journal", "note", 0), ("sqlite", "suggest", 2)],
)
def test_a_killed_search_keeps_what_it_found_and_started_again_finds_what_it_would_have(
    searched, tmp_path, where, kind, ended
):
    storage = f"sqlite:///{tmp_path / 'trials.db'}" if kind == "sqlite" else ""
    assert start(recipe(), tmp_path, storage, where, 3).join().returncode == -signal.SIGKILL
    before = stamps(tmp_path)
    assert before
    folder = SearchFolder(tmp_path / "tiny")
    assert (folder.path / "search.json").exists() == (ended > 0)
    if ended:
        assert [(row.method, row.trial) for row in folder.trials] == [("amnesiac", 0), ("amnesiac", 1)]
        assert (folder.search.to_come, [method.trials for method in folder.search.methods]) == (6, [2, 0])
        best = (folder.path / "best.yaml").read_text()
        assert "# The search is not finished: 2 of 8 trials have ended." in best
        assert "left out: delete" in best
        assert [entry.settings for entry in read_recipe(folder.path / "best.yaml").methods] == [
            folder.search.methods[0].best.settings
        ]
    again = found_by(recipe(), tmp_path, storage or None)
    assert before.items() <= stamps(tmp_path).items()
    out, _ = searched
    found = found_by(recipe(), out)
    assert outcome(tmp_path) == outcome(out)
    assert [method.best for method in again.methods] == [method.best for method in found.methods]
    assert [method.trials for method in again.methods] == [4, 4]
    assert again.to_come == 0
    assert "not finished" not in (tmp_path / "tiny" / "best.yaml").read_text()


def test_a_trial_that_another_worker_runs_is_left_to_it(tmp_path):
    made = partial(Trials, name="made up/method/0", ranges={"lr": (Range(low=0, high=1), False)}, budget=2, seed=0)
    one, other = made(Storage(tmp_path, None)), made(Storage(tmp_path, None))
    first, second = one.claim(), other.claim()
    assert (first.trial.number, second.trial.number) == (0, 1)
    assert first.settings != second.settings
    assert one.claim() is None
    second.lock.release()  # as when its worker dies
    third = one.claim()
    assert (third.trial.number, third.settings) == (1, second.settings)
    first.finish(1.0, [], None)
    third.finish(None, [], "It diverged.")
    assert other.claim() is None
    assert [(trial.value, trial.notes["reason"]) for trial in other.finished()] == [(1.0, None), (None, "It diverged.")]


def test_a_trial_that_ends_every_worker_counts_as_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MOST_WORKERS", 2)
    storage = Storage(tmp_path, None)
    trials = module.Trials(storage, "made up/method/0", {"lr": (Range(low=0, high=1), False)}, 2, 0)
    for _ in range(2):
        claim = trials.claim()
        assert claim.trial.number == 0
        claim.lock.release()  # as when its worker dies
    assert trials.claim().trial.number == 1
    (failed,) = trials.finished()
    assert (failed.number, failed.value) == (0, None)
    assert failed.notes["reason"].startswith("2 workers ended")
    assert failed.settings.keys() == {"lr"}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"search": None}, "no search; add for example"),
        ({"data": {"source": "digits", "train_size": 100}}, "data.holdout: true"),
        ({"methods": []}, "no methods to search"),
        ({"methods": [{"method": "fisher"}]}, "methods.0.search: fisher has no lr"),
        ({"methods": [{"method": "delete"}, {"method": "retrain"}]}, "methods.1.search: retrain is what"),
        ({"methods": [{"method": "delete", "grid": {"lr": [1.0]}}]}, "takes no grid; list the values of lr here"),
        ({"methods": [{"method": "cf_k", "search": {"k": [1, 99]}}]}, "k"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(changed, words, tmp_path):
    with pytest.raises(SettingError) as caught:
        found_by(recipe(**changed), tmp_path)
    assert words in str(caught.value)
    assert str(caught.value).count(". ") == 0
    assert stored(tmp_path) == []


def test_several_processes_of_one_command_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(SettingError, match="start the same command several times"):
        found_by(recipe(), tmp_path)


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'natmu\[search\]'"):
        found_by(recipe(), tmp_path)


@pytest.mark.parametrize(
    "url", ["nonsense", "sqlite:////no/such/folder/trials.db", "postgresql+nosuchdriver://host/trials", ""]
)
def test_a_storage_that_cannot_be_opened_is_one_sentence(tmp_path, url):
    with pytest.raises(UsageError, match="--storage cannot be opened") as caught:
        found_by(recipe(), tmp_path, url)
    assert "\n" not in str(caught.value)


def test_the_originals_weights_are_left_alone(searched):
    out, _ = searched
    original = original_in(out)
    assert all(torch.isfinite(tensor).all() for tensor in original.weights().values())


def test_a_line_that_a_worker_was_killed_in_is_cut_off(tmp_path):
    study = optuna.create_study(study_name="one", storage=Storage(tmp_path, None).optuna)
    study.enqueue_trial({})
    whole = (tmp_path / "search.journal").read_bytes()
    (tmp_path / "search.journal").write_bytes(whole + whole.splitlines()[-1][:-3])
    again = optuna.load_study(study_name="one", storage=Storage(tmp_path, None).optuna)
    again.ask()
    assert len(optuna.load_study(study_name="one", storage=Storage(tmp_path, None).optuna).trials) == 1


JUNK = [b"\x00\xff junk\n", b"[1, 2]\n", b'{"op_code": 3}\n', b"\xff\n{}\n", b'"\r', b"[" * 100_000 + b"\n"]


@pytest.mark.parametrize("content", JUNK)
def test_a_journal_that_holds_no_trials_is_kept_beside_a_fresh_one(tmp_path, monkeypatch, content):
    content = content if content.endswith(b"\n") else content + b"\n"
    said = journal_of(tmp_path, monkeypatch, content)
    assert len(said) == 1
    assert "search.journal is damaged" in said[0]
    assert "\n" not in said[0]
    assert (tmp_path / "search.journal.damaged-1").read_bytes() == content
    optuna.create_study(study_name="one", storage=Storage(tmp_path, None).optuna).ask()
    assert len(optuna.load_study(study_name="one", storage=Storage(tmp_path, None).optuna).trials) == 1


def journal_of(folder, monkeypatch, content):
    """What is said when a journal of this content is opened."""
    said = []
    monkeypatch.setattr("natmu.studies.search.storage.say", said.append)
    (folder / "search.journal").write_bytes(content)
    Storage(folder, None)
    return said


def test_of_a_journal_that_is_damaged_inside_the_trials_before_the_damage_are_kept(tmp_path, monkeypatch):
    study = optuna.create_study(study_name="one", storage=Storage(tmp_path, None).optuna)
    for value in (1.0, 2.0):
        study.tell(study.ask(), value)
    lines = (tmp_path / "search.journal").read_bytes().splitlines(keepends=True)
    cut = next(number for number, line in enumerate(lines) if b'"trial_id": 1' in line or b'"trial_id":1' in line)
    whole = b"".join([*lines[:cut], b"\x00\xff" + lines[cut], *lines[cut + 1 :]])
    said = journal_of(tmp_path, monkeypatch, whole)
    assert [f"its line {cut + 1} is none of a journal's" in line for line in said] == [True]
    assert (tmp_path / "search.journal.damaged-1").read_bytes() == whole
    trials = optuna.load_study(study_name="one", storage=Storage(tmp_path, None).optuna).trials
    assert trials[0].value == 1.0
    assert all(one.value is None for one in trials[1:])


def test_a_damaged_journal_is_left_alone_while_another_worker_uses_it(tmp_path):
    Storage(tmp_path, None)
    content = b"\xff\n"
    (tmp_path / "search.journal").write_bytes(content)
    with FileLock(tmp_path / ".search" / "natmu-3.lock"):
        with pytest.raises(RunError, match=r"search\.journal is damaged .* stop them and search again") as caught:
            Storage(tmp_path, None)
        assert "delete" not in str(caught.value)
    assert (tmp_path / "search.journal").read_bytes() == content
