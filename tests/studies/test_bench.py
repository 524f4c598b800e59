"""A whole study on scikit-learn's digits, against what its stored runs say."""

from __future__ import annotations

import statistics
import sys

import numpy as np
import pytest
import torch

from natmu.data import load
from natmu.data.digits import load_digits
from natmu.engine.store import Run
from natmu.records.derived import forget_of
from natmu.records.lineage import AllBut, Everything, Trained, Unlearned
from natmu.records.study import StudyFolder
from natmu.scores import SCORE_NAMES, quick_scores
from natmu.studies import run_recipe, running
from natmu.studies.recipe import Recipe

from . import fakes

COLUMNS = (*SCORE_NAMES, "avg_gap", "seconds", "retrain_fraction", "passes")


def runs(out):
    return [Run(path.parent) for path in sorted(out.glob("*/record.json"))]


def run_study(recipe, out):
    folder = run_recipe(recipe, data_dir=out, out=out, device="cpu", progress=False)
    return StudyFolder(folder).table


def rows_of(table):
    return {(row.scenario, row.method): row for row in table.rows}


def values(row, name):
    """All replicates of one column."""
    return list(row.scores[name].values)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out, run_study(fakes.recipe(), out)


def test_the_table_has_every_row_and_column(study):
    _, table = study
    assert [(row.scenario, row.method) for row in table.rows] == [
        (text, label)
        for text in ("random:10%", "hardest:5%", "class:3")
        for label in ("original", "retrained", "natmu", "amnesiac", "diverging")
    ]
    assert table.columns == COLUMNS
    for row in table.rows:
        assert row.scores.keys() == {*COLUMNS}
        present = row.scores["forget_test_acc"] is not None
        assert present == (row.scenario == "class:3" and row.method != "diverging")
        if row.method != "diverging":
            second_reference = row.method == "retrained" and row.scenario == "hardest:5%"
            assert (row.n, row.failed, row.log) == (4 if second_reference else 2, None, None)
            assert len(row.replicates) == row.n
            for name in ("test_acc", "retain_acc", "forget_acc", "mia_entropy"):
                assert len(values(row, name)) == row.n
                assert all(0 <= value <= 100 for value in values(row, name))
        assert (row.scores["seconds"] is None) == (row.method in ("original", "diverging"))
    assert table.score_on == "test"
    assert table.hardware.precision == "fp32"
    assert table.versions["torch"]
    assert fakes.recipe() == fakes.Recipe.parse(table.recipe.model_dump(mode="json"))


def test_a_method_that_diverges_is_a_failed_row_and_the_others_complete(study):
    for (_, label), row in rows_of(study[1]).items():
        if label == "diverging":
            assert row.n == 0
            assert "not finite" in row.failed
            assert all(column is None for column in row.scores.values())


def test_a_second_run_computes_nothing(study):
    out, table = study

    def stamps():
        return {
            path: path.stat().st_mtime_ns
            for path in out.rglob("*")
            if path.is_file() and not {".work", "tiny"} & set(path.relative_to(out).parts)
        }

    before = stamps()
    assert run_study(fakes.recipe(), out).rows == table.rows
    assert stamps() == before


def originals(out):
    """All stored originals by their seed."""
    models = {run.record.lineage: run for run in runs(out)}
    return {
        model.seed: run
        for model, run in models.items()
        if isinstance(model, Trained) and isinstance(model.on, Everything)
    }


def chosen(out, method, text, seed):
    """The stored run of a method, told from the others by its lineage alone."""

    def fits(model):
        kind = Trained if method == "retrain" else Unlearned
        forget = forget_of(model)
        wanted = isinstance(model, kind) and getattr(model, "method", "retrain") == method
        return wanted and forget is not None and (forget.request.text, model.seed) == (text, seed)

    found = [run for run in runs(out) if fits(run.record.lineage)]
    assert len(found) == 1
    return found[0]


def four(run, forgotten, without=None):
    """The scores that the gap averages over, from the stored answers; the attack's is taken from the record."""
    outputs = run.outputs()
    hit = outputs.train.logits.argmax(1) == outputs.train.labels
    test_hit = outputs.test.logits.argmax(1) == outputs.test.labels
    test_kept = outputs.test.labels != without
    return [
        100 * statistics.mean(test_hit[test_kept].tolist()),
        100 * statistics.mean(hit[~forgotten].tolist()),
        100 * statistics.mean(hit[forgotten].tolist()),
        run.record.scores["mia_entropy"],
    ]


@pytest.mark.parametrize("method", ["natmu", "amnesiac"])
def test_avg_gap_is_the_distance_to_the_mean_of_the_retrained_models(study, method):
    out, table = study
    labels = chosen(out, method, "class:3", 0).outputs().train.labels
    forgotten = labels == 3
    retrained = [four(chosen(out, "retrain", "class:3", seed), forgotten, 3) for seed in (0, 1)]
    reference = [statistics.mean(column) for column in zip(*retrained, strict=True)]
    expected = []
    for seed in (0, 1):
        found = four(chosen(out, method, "class:3", seed), forgotten, 3)
        expected.append(statistics.mean(abs(one - other) for one, other in zip(found, reference, strict=True)))
    gap = rows_of(table)["class:3", method].scores["avg_gap"]
    assert gap.values == pytest.approx(expected)
    assert gap.mean == pytest.approx(statistics.mean(expected))
    assert gap.std == pytest.approx(abs(expected[0] - expected[1]) / 2**0.5)


def test_a_retrained_model_is_compared_with_the_others_only(study):
    out, table = study
    forgotten = chosen(out, "retrain", "class:3", 0).outputs().train.labels == 3
    first, second = (four(chosen(out, "retrain", "class:3", seed), forgotten, 3) for seed in (0, 1))
    between = statistics.mean(abs(one - other) for one, other in zip(first, second, strict=True))
    assert values(rows_of(table)["class:3", "retrained"], "avg_gap") == [pytest.approx(between), None]
    assert between > 0


def test_the_hardest_samples_are_those_of_least_confidence_in_each_original(study):
    out, table = study
    digests = []
    for seed in (0, 1):
        unlearned = chosen(out, "natmu", "hardest:5%", seed)
        original = next(run for run in runs(out) if run.record.lineage == unlearned.record.lineage.source)
        assert unlearned.record.lineage.forget.by == original.record.lineage
        confidence = original.confidence()
        hardest = sorted(sorted(range(150), key=lambda row: (confidence[row], row))[:8])
        assert unlearned.record.forgotten.count == 8
        assert unlearned.forget().indices.tolist() == hardest
        digests.append(unlearned.record.forgotten.digest)
    assert digests[0] != digests[1]
    row = rows_of(table)["hardest:5%", "retrained"]
    assert row.n == 4
    first, mirrored, second, mirrored_too = values(row, "avg_gap")
    assert mirrored is mirrored_too is None
    assert first > 0 < second


def test_scores_and_costs_are_those_of_the_records(study):
    out, table = study
    for text in ("random:10%", "class:3"):
        row = rows_of(table)[text, "natmu"]
        records = [chosen(out, "natmu", text, seed).record for seed in (0, 1)]
        for name, value in records[0].scores.items():
            assert values(row, name) == [value, records[1].scores[name]]
        retrain = statistics.mean(chosen(out, "retrain", text, seed).record.seconds for seed in (0, 1))
        assert values(row, "seconds") == [record.seconds for record in records]
        assert values(row, "passes") == [record.passes.passes for record in records]
        assert values(row, "retrain_fraction") == pytest.approx([record.seconds / retrain for record in records])


def test_originals_are_scored_on_each_forget_set(study):
    out, table = study
    part = {seed: run.outputs().train for seed, run in originals(out).items()}
    assert part.keys() == {0, 1}
    found = [100 * np.mean((part[seed].logits.argmax(1) == 3)[part[seed].labels == 3]) for seed in (0, 1)]
    assert values(rows_of(table)["class:3", "original"], "forget_acc") == pytest.approx(found)


def test_one_run_for_several_replicates_counts_once(study):
    """A single training seed has one original and one retrained model: three unlearning seeds do not make them three.

    A second retrained model, from other initial weights, gives the floor.
    """
    out, _ = study
    recipe = fakes.recipe(
        name="shared",
        forget=["random:10%"],
        methods=[{"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}],
        seeds={"split": [0], "training": [0], "unlearning": [0, 1, 2]},
    )
    rows = rows_of(run_study(recipe, out))
    assert rows["random:10%", "amnesiac"].n == 3
    assert rows["random:10%", "original"].n == 1
    retrained = rows["random:10%", "retrained"]
    assert [(seeds.training, seeds.unlearning) for seeds in retrained.replicates] == [(0, None), (1, None)]
    models = [Run(out / seeds.run).record.lineage for seeds in retrained.replicates]
    assert [(model.start == originals(out)[0].record.lineage.start, model.seed) for model in models] == [
        (True, 0),
        (False, 1),
    ]
    assert models[1].start not in [run.record.lineage.start for run in originals(out).values()]
    assert all(isinstance(model.on, AllBut) for model in models)
    assert len([gap for gap in values(retrained, "avg_gap") if gap is not None]) == 1
    assert len(values(rows["random:10%", "amnesiac"], "avg_gap")) == 3


def test_one_original_with_several_forget_sets_counts_once_for_each(study):
    out, _ = study
    recipe = fakes.recipe(
        name="splits",
        forget=["random:10%"],
        methods=[],
        seeds={"split": [0, 1], "training": [0], "unlearning": [0]},
    )
    rows = rows_of(run_study(recipe, out))
    assert rows["random:10%", "original"].n == 2
    assert [(seeds.split, seeds.training) for seeds in rows["random:10%", "retrained"].replicates] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]
    assert len(values(rows["random:10%", "original"], "avg_gap")) == 2


def test_a_search_is_scored_on_the_holdout_and_shows_no_test_score(tmp_path, capsys):
    recipe = fakes.recipe(
        data={"source": "digits", "train_size": 150, "holdout": True},
        forget=["random:10%"],
        methods=[],
        seeds={"training": [0]},
        score_on="holdout",
    )
    run_recipe(recipe, data_dir=tmp_path, out=tmp_path, device="cpu")
    table_row = rows_of(StudyFolder(tmp_path / "tiny").table)["random:10%", "retrained"]
    retrained = Run(tmp_path / table_row.replicates[0].run)
    holdout = retrained.outputs().holdout
    found = 100 * float(np.mean(holdout.logits.argmax(1) == holdout.labels))
    assert values(table_row, "test_acc")[0] == pytest.approx(found)
    original = originals(tmp_path)[0].record.scores
    lines = capsys.readouterr().err.replace("\n", " ").split(" s)")
    told = {name: next(line for line in lines if f"{name}, " in line) for name in ("original", "retrained")}
    assert f"holdout_acc {original['holdout_acc']:.2f}" in told["original"]
    assert "test_acc" not in told["original"]
    assert retrained.record.scores["test_acc"] != found
    assert f"test_acc {found:.2f}" in told["retrained"]


def test_too_few_partners_are_a_failed_row_and_the_table_is_written(study):
    out, _ = study
    recipe = fakes.recipe(
        name="short",
        forget=["random:60%"],
        methods=[{"method": "natmu", "settings": {"epochs": 1, "reuse_partners": False}}],
        seeds={"training": [0]},
    )
    rows = rows_of(run_study(recipe, out))
    assert rows["random:60%", "natmu"].n == 0
    assert "reuse_partners" in rows["random:60%", "natmu"].failed
    assert rows["random:60%", "retrained"].n == 2


def test_further_scores_are_those_of_the_stored_answers(study):
    """Each model against the retrained ones of its forget set; a retrained model against the others."""
    out, _ = study
    names = ["tow", "kl_forget", "mia_efficacy_entropy"]
    recipe = fakes.recipe(name="further", forget=["class:3"], methods=fakes.FAST, scores=names)
    table = run_study(recipe, out)
    assert table.columns == (*SCORE_NAMES, *names, "avg_gap", "seconds", "retrain_fraction", "passes")
    rows = rows_of(table)
    retrained = [chosen(out, "retrain", "class:3", seed) for seed in (0, 1)]
    forget = retrained[0].forget()
    answers = [run.outputs().split(forget) for run in retrained]
    for seed in (0, 1):
        model = chosen(out, "natmu", "class:3", seed).outputs().split(forget)
        found = quick_scores(model, answers).scores
        assert [values(rows["class:3", "natmu"], name)[seed] for name in names] == [found[name] for name in names]
        alone = quick_scores(answers[seed], [answers[1 - seed]]).scores
        assert [values(rows["class:3", "retrained"], name)[seed] for name in names] == [alone[name] for name in names]
    assert rows["class:3", "original"].scores["kl_forget"].mean > 0


def test_further_scores_compare_with_models_retrained_without_the_same_forget_set(tmp_path):
    seeds = {"split": [0, 1], "training": [0]}
    recipe = fakes.recipe(forget=["random:10%"], methods=fakes.FAST[1:], seeds=seeds, scores=["kl_forget"])
    rows = rows_of(run_study(recipe, tmp_path))
    row, retrained = rows["random:10%", "amnesiac"], rows["random:10%", "retrained"]
    for place, split in enumerate((0, 1)):
        run = Run(tmp_path / row.replicates[place].run)
        others = [Run(tmp_path / one.run) for one in retrained.replicates if one.split == split]
        answers = [one.outputs().split(run.forget()) for one in (run, *others)]
        assert len(others) == 2
        assert values(row, "kl_forget")[place] == quick_scores(answers[0], answers[1:]).scores["kl_forget"]


def test_the_study_saw_a_balanced_part_of_the_digits(study):
    out, _ = study
    train, _ = load_digits()
    splits = load("digits", out, train_size=150)
    assert np.bincount(splits.train.labels.numpy()).tolist() == [15] * 10
    assert len(train) > 150
    assert {len(run.outputs().train) for run in runs(out)} == {150}


def test_retraining_as_a_method_is_no_nearer_to_retraining_than_retrained_models_are(tmp_path):
    """One of them is the very model that the method makes; it is not compared with itself."""
    again = [{"method": "retrain", "label": "again"}]
    table = run_study(fakes.recipe(methods=again, forget=["class:3"], seeds={"training": [0]}), tmp_path)
    rows = rows_of(table)
    again, retrained = rows["class:3", "again"], rows["class:3", "retrained"]
    assert again.replicates[0].run == retrained.replicates[0].run
    assert again.scores["avg_gap"].mean == retrained.scores["avg_gap"].mean > 0


def test_the_table_tells_the_threads_of_its_jobs(tmp_path):
    recipe = fakes.recipe(
        methods=fakes.FAST[1:], forget=["class:3"], seeds={"training": [0]}, executor={"kind": "local", "cpus": 3}
    )
    before = torch.get_num_threads()
    table = run_study(recipe, tmp_path)
    assert torch.get_num_threads() == before
    assert {run.record.hardware.threads for run in runs(tmp_path)} == {table.hardware.threads} == {3}


IGNORES = """
from natmu.models import build_model


def train(samples, seed):
    return build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.3], std=[0.3], seed=len(samples))
"""


def test_a_trainer_that_ignores_its_seed_is_told_of(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ignores.py").write_text(IGNORES)
    said = []
    monkeypatch.setattr(running, "say", said.append)
    recipe = {"name": "own", "data": {"source": "digits", "train_size": 60}, "model": "small_cnn"}
    recipe |= {"training": {"trainer": "ignores:train"}, "forget": ["random:10%"], "seeds": {"training": [0, 1]}}
    run_study(
        Recipe.parse(recipe | {"methods": [{"method": "amnesiac", "settings": {"epochs": 1}}]}), tmp_path / "runs"
    )
    sys.modules.pop("ignores")
    warnings = [line for line in said if line.startswith("warning")]
    assert warnings[0].startswith("warning: original, seed 1 has the same weights as original, seed 0")
