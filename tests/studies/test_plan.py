"""The graph of jobs of a recipe: what there is, in which order, and what it would take."""

from __future__ import annotations

import pickle

import pytest
from natmu.study.bench import bench_of, run_recipe
from natmu.study.cast import Cast
from natmu.study.forecasting import _Times, forecast
from natmu.study.graph import AuditModelJob, TrainJob, UnlearnJob, found

from natmu.records.run import History
from natmu.studies.plan import plan_of

from . import fakes


def recipe(**changed):
    return fakes.recipe(**{"methods": fakes.FAST, "forget": ["random:10%", "class:3"]} | changed)


def named(plan, kind):
    return [job.name for job in plan.jobs if isinstance(job, kind)]


@pytest.mark.parametrize("level", [None, "quick", "standard", "full"])
def test_each_job_comes_after_those_that_it_needs_and_has_a_name_of_its_own(level):
    plan = plan_of(recipe(audit=level, **({} if level is None else {"references": 3})))
    before = set()
    for job in plan.jobs:
        assert {one.name for one in (*job.needs, *job.after)} <= before
        before.add(job.name)
    assert len(before) == len(plan.jobs)
    assert pickle.loads(pickle.dumps(plan.jobs)) == plan.jobs


def test_every_replicate_has_its_jobs():
    plan = plan_of(recipe(seeds={"split": [4, 5], "training": [0, 1], "unlearning": [2, 3]}))
    assert [job.seed for job in plan.trained] == [0, 1]
    found = {(job.label, job.scenario, tuple(job.replicate), job.seed) for job in plan.unlearned}
    assert {one for one in found if one[0] == "natmu"} == {
        ("natmu", text, (split, training, unlearning), unlearning)
        for text in ("random:10%", "class:3")
        for split, training, unlearning in ((4, 0, 2), (5, 1, 3))
    }
    assert {one[2:] for one in found if one[:2] == ("retrained", "class:3")} == {((4, 0, None), 0), ((5, 1, None), 1)}


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
def test_each_forget_set_has_two_retrained_models(text, seeds, references):
    plan = plan_of(recipe(forget=[text], seeds=seeds))
    jobs = [job for job in plan.unlearned if job.label == "retrained"]
    assert len(jobs) == references
    sets = {}
    for job in jobs:
        split, original = job.replicate.split, job.original.seed
        same = {"random:10%": split, "hardest:5%": original, "class:3": 0}[text]
        sets.setdefault(same, set()).add(job.seed)
    assert all(len(seeds) >= 2 for seeds in sets.values())


def test_the_batch_size_of_a_recipe_is_that_of_its_methods_alone():
    jobs = plan_of(recipe(batch_size=20)).unlearned
    assert {job.label: job.batch_size for job in jobs} == {"retrained": None, "natmu": 20, "amnesiac": 20}


def test_what_a_method_cannot_serve_is_left_out():
    plan = plan_of(recipe(), {("class:3", "natmu")})
    assert not [job for job in plan.unlearned if (job.label, job.scenario) == ("natmu", "class:3")]
    assert [job for job in plan.unlearned if (job.label, job.scenario) == ("natmu", "random:10%")]


def test_the_models_of_audits_are_those_that_the_audits_ask_for(tmp_path):
    """The jobs of a plan are known before any model is; the parts of an audit follow from a model's record."""
    asked = recipe(audit="standard", references=3, forget=["class:3"], seeds={"training": [0]})
    folder = run_recipe(asked, data_dir=tmp_path, out=tmp_path, device="cpu", progress=False)
    assert folder.is_dir()
    bench = bench_of(asked, tmp_path, tmp_path, "cpu")
    plan = plan_of(asked)
    planned = {job.digest(bench) for job in plan.jobs if isinstance(job, AuditModelJob)}
    needed = set()
    for job in plan.audits:
        cast = job.subject.audit(bench).cast
        assert isinstance(cast, Cast)
        needed |= {role.spec["kind"] + str(role.part) for role in cast.roles()}
        assert {run.record.digest for runs in job.subject.audit(bench).runs.values() for run in runs} <= planned | {
            found(one, bench).record.digest for one in (*plan.unlearned, *plan.trained)
        }
    assert needed == {"initialinitial", "unlearnretrained", "trainoriginal", "unlearnunlearned"}
    assert all(bench.store.find(digest) for digest in planned - {None})


def test_a_forecast_knows_what_is_done_and_writes_nothing(tmp_path):
    out = tmp_path / "runs"
    before = forecast(recipe(), data_dir=tmp_path, out=out, device="cpu")
    assert (before.in_store, len(before.jobs)) == (0, 2 + 2 * 2 * 3)
    assert {one.basis for one in before.jobs} == {"steps"}
    assert before.seconds == pytest.approx(sum(one.seconds for one in before.jobs))
    assert not out.exists()

    run_recipe(recipe(forget=["class:3"]), data_dir=tmp_path, out=out, device="cpu", progress=False)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    after = forecast(recipe(), data_dir=tmp_path, out=out, device="cpu")
    assert {one.job.name for one in after.jobs if one.in_store} == {
        one.job.name
        for one in after.jobs
        if isinstance(one.job, TrainJob) or (isinstance(one.job, UnlearnJob) and one.job.scenario == "class:3")
    }
    left = [one for one in after.jobs if not one.in_store]
    assert {one.basis for one in left} == {"records"}
    records = [found(one.job, bench_of(recipe(), tmp_path, out, "cpu")) for one in after.jobs if one.in_store]
    natmu = [run.record.seconds for run in records if run.record.spec.get("method") == "natmu"]
    assert [one.seconds for one in left if one.job.label == "natmu"] == [pytest.approx(sum(natmu) / 2)] * 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps


def test_the_time_of_an_epoch_is_that_of_its_steps(tmp_path, monkeypatch):
    """Four steps of 32 samples took 3 s, so the 150 samples of an epoch take 150 / 128 times as long."""

    def train(model, data, positions, settings, compute, *, seed, history: History):
        assert (len(positions), settings.epochs, settings.warmup_epochs) == (128, 2, 0)
        history += [{"seconds": 9.0}, {"seconds": 3.0}]

    monkeypatch.setattr("natmu.study.forecasting.train_classifier", train)
    times = _Times(bench_of(recipe(), tmp_path, tmp_path, "cpu"))
    assert times.epoch == pytest.approx(3 * 150 / 128)
    seconds, basis = times.of(TrainJob(0))
    assert (seconds, basis) == (pytest.approx(2 * 3 * 150 / 128), "steps")


def test_a_forecast_reads_records_of_the_executor_s_threads_and_passes_damaged_ones_over(tmp_path):
    threads = {"executor": {"kind": "local", "cpus": 3}}
    run_recipe(
        recipe(forget=["class:3"], **threads), data_dir=tmp_path, out=tmp_path / "runs", device="cpu", progress=False
    )
    (tmp_path / "runs" / "damaged").mkdir()
    (tmp_path / "runs" / "damaged" / "record.json").write_text("{")
    after = forecast(recipe(**threads), data_dir=tmp_path, out=tmp_path / "runs", device="cpu")
    assert {one.basis for one in after.jobs if not one.in_store} == {"records"}
