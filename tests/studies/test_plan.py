"""What a recipe wants: which models there are, in which order they come, and what they would take."""

from __future__ import annotations

import pickle

import pytest

from natmu.audits import RunAudit
from natmu.engine.store import Run
from natmu.lineage import in_order, sources
from natmu.methods import NatMU
from natmu.records.derived import title
from natmu.records.lineage import AllBut, Trained, Unlearned
from natmu.records.run import History
from natmu.studies import forecast, run_recipe
from natmu.studies.bench import workspace_of
from natmu.studies.forecasting import _Times
from natmu.studies.plan import audit_models, methods_of, plan_of

from . import fakes


def recipe(**changed):
    return fakes.recipe(**{"methods": fakes.FAST, "forget": ["random:10%", "class:3"]} | changed)


@pytest.fixture
def place(tmp_path):
    """Where models of the recipes here would be made."""
    return workspace_of(recipe(), tmp_path, tmp_path / "none", "cpu")


def never(model):
    """No model has been made."""
    return False


@pytest.mark.parametrize("level", [None, "quick", "standard", "full"])
def test_each_model_comes_after_those_that_it_starts_from_and_each_run_has_a_name_of_its_own(place, level):
    asked = recipe(audit=level, **({} if level is None else {"references": 3}))
    plan = plan_of(asked, place)
    audited = [model for runs in plan.rows.values() for model in audit_models(asked, runs[0])]
    assert bool(audited) == (level is not None)
    before = set()
    for model in in_order([*plan.models, *audited], never):
        assert {one.digest for one in sources(model)} <= before
        before.add(model.digest)
    assert {model.digest for model in (*plan.models, *audited)} <= before
    assert len({run.name for run in plan.runs}) == len(plan.runs)
    assert len({run.model.digest for run in plan.runs}) == len(plan.runs)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert not (place.store.root).exists()


def test_every_replicate_has_its_models(place):
    plan = plan_of(recipe(seeds={"split": [4, 5], "training": [0, 1], "unlearning": [2, 3]}), place)
    assert [model.seed for model in plan.originals] == [0, 1]
    found = {(run.label, run.request.text, run.seeds, run.model.seed) for run in plan.runs}
    assert {one for one in found if one[0] == "natmu"} == {
        ("natmu", text, (split, training, unlearning), unlearning)
        for text in ("random:10%", "class:3")
        for split, training, unlearning in ((4, 0, 2), (5, 1, 3))
    }
    assert {one[2:] for one in found if one[:2] == ("retrained", "class:3")} == {((4, 0, None), 0), ((5, 1, None), 1)}
    for run in plan.runs:
        split, training, _ = run.seeds
        assert run.forget.seed == (split if run.request.kind == "random" else None)
        if isinstance(run.model, Unlearned):
            assert run.model.source == run.source == plan.originals[training]
            assert run.model.forget == run.forget
        else:
            assert run.model.on == AllBut(forget=run.forget)


def test_rows_hold_the_replicates_of_each_method_in_their_order(place):
    plan = plan_of(recipe(seeds={"training": [0, 1]}), place)
    assert list(plan.rows) == [
        (text, label) for text in ("random:10%", "class:3") for label in ("retrained", "natmu", "amnesiac")
    ]
    assert [run.seeds[1] for run in plan.rows["class:3", "natmu"]] == [0, 1]
    assert sum(map(len, plan.rows.values())) == len(plan.runs)


def test_methods_are_those_of_the_recipe_with_retraining_first():
    found = methods_of(recipe(retrain={"init": "fresh"}))
    assert list(found) == ["retrained", "natmu", "amnesiac"]
    assert found["retrained"].config.init == "fresh"
    assert isinstance(found["natmu"], NatMU)
    assert found["natmu"].config.n == 2


@pytest.mark.parametrize(
    ("text", "seeds", "references"),
    [
        ("random:10%", {"split": [0], "training": [0, 1]}, 2),
        ("random:10%", {"split": [0, 1], "training": [0, 1]}, 4),
        ("random:10%", {"split": [0], "training": [0]}, 2),
        ("hardest:5%", {"split": [0], "training": [0, 1]}, 4),
        ("hardest:5%", {"split": [0, 1], "training": [0]}, 4),
        ("class:3", {"split": [0, 1], "training": [0, 1]}, 2),
    ],
)
def test_each_forget_set_has_two_retrained_models(place, text, seeds, references):
    plan = plan_of(recipe(forget=[text], seeds=seeds), place)
    runs = [run for run in plan.runs if run.label == "retrained"]
    assert len(runs) == references
    sets = {}
    for run in runs:
        split, original = run.seeds[0], run.source.seed
        same = {"random:10%": split, "hardest:5%": original, "class:3": 0}[text]
        sets.setdefault(same, set()).add(run.model.digest)
    assert all(len(models) >= 2 for models in sets.values())


def test_the_batch_size_of_a_recipe_is_that_of_its_methods_alone(place):
    runs = plan_of(recipe(batch_size=20), place).runs
    sizes = {run.label: getattr(run.model, "batch_size", None) for run in runs}
    assert sizes == {"retrained": None, "natmu": 20, "amnesiac": 20}
    assert {run.model.recipe.batch_size for run in runs if isinstance(run.model, Trained)} == {32}


def test_what_a_method_cannot_serve_is_left_out(place):
    plan = plan_of(recipe(), place, {("class:3", "natmu")})
    assert ("class:3", "natmu") not in plan.rows
    assert plan.rows["random:10%", "natmu"]


def test_the_models_of_audits_are_those_that_the_audits_ask_for(tmp_path):
    """The models of a plan are known before any is made; the parts of an audit follow from a model's record."""
    asked = recipe(audit="standard", references=3, forget=["class:3"], seeds={"training": [0]})
    place = workspace_of(asked, tmp_path, tmp_path, "cpu")
    plan = plan_of(asked, place)
    planned = {model.digest for runs in plan.rows.values() for model in audit_models(asked, runs[0])}
    made = {model.digest for model in plan.models}
    folder = run_recipe(asked, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    assert folder.is_dir()
    needed = set()
    for runs in plan.rows.values():
        run, source = (place.require(model) for model in (runs[0].model, runs[0].source))
        audit = RunAudit(run, source, place.store, "standard", 3)
        needed |= {(model.kind, part) for part, models in audit.models.parts.items() for model in models}
        assert {run.record.digest for runs in audit.runs.values() for run in runs} <= planned | made
        assert {model.digest for model in audit.models.all} <= planned
    assert needed == {
        ("initial", "initial"),
        ("trained", "retrained"),
        ("trained", "original"),
        ("unlearned", "unlearned"),
    }
    assert all(place.store.find(digest) for digest in planned)
    assert {path.parent.name for path in tmp_path.glob("*/record.json")} == planned | made


def test_a_forecast_knows_what_is_done_and_writes_nothing(tmp_path):
    out = tmp_path / "runs"
    before = forecast(recipe(), data_dir=tmp_path, out=out, device="cpu")
    assert (before.in_store, len(before.models)) == (0, 2 + 2 * 2 * 3)
    assert {one.basis for one in before.models} == {"steps"}
    assert before.seconds == pytest.approx(sum(one.seconds for one in before.models))
    assert not out.exists()

    run_recipe(recipe(forget=["class:3"]), data_dir=tmp_path, out=out, device="cpu", progress=False)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    after = forecast(recipe(), data_dir=tmp_path, out=out, device="cpu")
    plan = plan_of(recipe(), workspace_of(recipe(), tmp_path, out, "cpu"))
    done = {run.name for run in plan.runs if run.request.text == "class:3"}
    assert {one.name for one in after.models if one.in_store} == done | {title(model) for model in plan.originals}
    left = [one for one in after.models if not one.in_store]
    assert {one.basis for one in left} == {"records"}
    records = [Run(path.parent).record for path in out.glob("*/record.json")]
    natmu = [record.seconds for record in records if getattr(record.lineage, "method", None) == "natmu"]
    assert len(natmu) == 2
    seconds = [one.seconds for one in left if one.name.startswith("natmu, ")]
    assert seconds == [pytest.approx(sum(natmu) / 2)] * 2
    assert {digest for one in after.models for digest in one.after} == {model.digest for model in plan.originals}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


def test_the_time_of_an_epoch_is_that_of_its_steps(place, monkeypatch):
    """Four steps of 32 samples took 3 s, so the 150 samples of an epoch take 150 / 128 times as long."""

    def train(model, data, positions, settings, compute, *, seed, history: History):
        assert (len(positions), settings.epochs, settings.warmup_epochs) == (128, 2, 0)
        history += [{"seconds": 9.0}, {"seconds": 3.0}]

    monkeypatch.setattr("natmu.studies.forecasting.train_classifier", train)
    times = _Times(place, recipe().training)
    assert times.epoch == pytest.approx(3 * 150 / 128)
    seconds, basis = times.of(place.original(recipe().training, 0))
    assert (seconds, basis) == (pytest.approx(2 * 3 * 150 / 128), "steps")


@pytest.mark.parametrize("text", ["random:10%", "hardest:10%"])
def test_a_method_takes_as_long_as_the_samples_that_it_reads(tmp_path, text):
    """With 1 s an epoch of 150 samples, 15 of them forgotten; no original tells yet which are the hardest."""
    methods = [
        {"method": "finetune", "settings": {"epochs": 2}},
        {"method": "quantile_match", "settings": {"epochs": 4, "retain_fraction": 0.2}},
        {"method": "delete", "settings": {"epochs": 3}},
        {"method": "rum"},
    ]
    data = {"source": "digits", "train_size": 150, "holdout": True}
    asked = recipe(data=data, forget=[text], methods=methods, seeds={"split": [0], "training": [0], "unlearning": [0]})
    place = workspace_of(asked, tmp_path, tmp_path / "none", "cpu")
    times = _Times(place, asked.training)
    times.__dict__["epoch"] = 1.0
    seconds = {run.label: times.of(run.model) for run in plan_of(asked, place).runs if isinstance(run.model, Unlearned)}
    samples = {
        "finetune": 2 * 135,
        "quantile_match": 4 * (27 + 15) + (27 + 15 + 4 * len(place.splits.holdout)) / 3,
        "delete": 3 * 15 + 15 / 3,
        "rum": 150,  # nobody knows how many
    }
    assert seconds == {name: (pytest.approx(count / 150), "steps") for name, count in samples.items()}


def test_a_forecast_reads_records_of_the_executor_s_threads_and_passes_damaged_ones_over(tmp_path):
    threads = {"executor": {"kind": "local", "cpus": 3}}
    run_recipe(
        recipe(forget=["class:3"], **threads), data_dir=tmp_path, out=tmp_path / "runs", device="cpu", progress=False
    )
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "record.json").write_text("{")
    after = forecast(recipe(**threads), data_dir=tmp_path, out=tmp_path / "runs", device="cpu")
    assert {one.basis for one in after.models if not one.in_store} == {"records"}
