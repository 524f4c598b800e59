"""Run and study folders as natmu writes them, made through its own writers without computing anything."""

from __future__ import annotations

import statistics

import numpy as np

from natmu.records.audit import Answer, Audit, AuditedForget, AuditedScore, ComparedModels, ScoreVerdict, write_audit
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.derived import forget_of, original, retrained
from natmu.records.forgetting import parse_forget
from natmu.records.forgotten import FORGET, Forgotten
from natmu.records.lineage import Architecture, Arithmetic, Forget, Unlearned
from natmu.records.passes import Passes, Shown
from natmu.records.predictions import write_outputs
from natmu.records.recipe import Range, RecipeSettings
from natmu.records.run import PREDICTIONS, Hardware, RunRecord, write_history, write_run
from natmu.records.samples import Exposed, Sample
from natmu.records.search import BestTrial, JudgedModel, Search, SearchedMethod, Trial, write_search
from natmu.records.settings import TrainSettings
from natmu.records.study import Hybrids, StudyAudit, StudyAudits, write_study
from natmu.records.table import Column, Replicate, Row, Table
from natmu.types import ForgetSet, Outputs, Part

CLASSES, TRAIN, TEST, FORGOTTEN = 4, 120, 80, 20
POSITIONS = np.arange(3, 3 + 2 * FORGOTTEN, 2)
COLUMNS = ("test_acc", "retain_acc", "forget_acc", "avg_gap", "seconds", "retrain_fraction")
DATA = DataLineage(
    source="digits", image_size=None, train_size=None, holdout=False, digests=DataDigests(train="a1", test="b2")
)
FP32 = Arithmetic(precision="fp32")
TRAINING = TrainSettings(epochs=3, schedule="cosine", batch_size=32, augment=False)
HARDWARE = Hardware(device="cpu", precision="fp32", processor="x86", threads=1)
VERSIONS = {"natmu": "0.1.0"}
HISTORY = [{"epoch": float(epoch), "loss": 2.0 / epoch, "accuracy": 30.0 * epoch} for epoch in (1, 2, 3)]


def an_original(seed=0, model="small_cnn"):
    return original(DATA, Architecture(name=model), FP32, TRAINING, seed)


def a_forget(request="random:10%", seed=0):
    return Forget(request=parse_forget(request), seed=seed)


def a_retrained(source=None, forget=None, seed=0):
    return retrained(source or an_original(), forget or a_forget(), FP32, seed, fresh=False)


def an_unlearned(method="natmu", source=None, forget=None, seed=0, **settings):
    return Unlearned(
        source=source or an_original(),
        forget=forget or a_forget(),
        method=method,
        settings=settings or {"lr": 0.002, "mode": "a b"},
        batch_size=32,
        seed=seed,
        arithmetic=FP32,
    )


def outputs(sure=3.0, sure_of_forgotten=3.0, seed=0):
    """Predictions in which the logit of the label stands out by ``sure``."""
    draw = np.random.default_rng(seed)
    parts = []
    for count in (TRAIN, TEST):
        labels = draw.integers(0, CLASSES, count)
        logits = draw.normal(size=(count, CLASSES)).astype(np.float32)
        logits[np.arange(count), labels] += sure
        if count == TRAIN:
            logits[POSITIONS, labels[POSITIONS]] += sure_of_forgotten - sure
        parts.append(Part(logits, labels))
    return Outputs(*parts)


def make_run(
    path,
    lineage,
    sure=3.0,
    sure_of_forgotten=3.0,
    seed=0,
    history=HISTORY,
    scores=None,
    seconds=1.5,
    finished="2026-01-01T00:00:00+00:00",
):
    """A complete run folder."""
    path.mkdir(parents=True)
    forget = forget_of(lineage)
    write_outputs(outputs(sure, sure if forget is None else sure_of_forgotten, seed), path / PREDICTIONS)
    forgotten = None
    if forget is not None:
        positions = ForgetSet(POSITIONS, forget.request.text, forget.request.kind)
        np.save(path / FORGET, POSITIONS)
        classes = (3,) if positions.class_wise else ()
        forgotten = Forgotten(count=FORGOTTEN, digest=positions.digest, classes=classes)
    write_history(history, path)
    write_run(
        path,
        lambda files: RunRecord(
            lineage=lineage,
            digest=lineage.digest,
            forgotten=forgotten,
            scores={"test_acc": 91.25, "forget_acc": 87.5} if scores is None else scores,
            seconds=seconds,
            passes=Passes(training_set=TRAIN, request=Shown(trained=3 * TRAIN)),
            peak_memory_mb=100.0,
            versions=VERSIONS,
            hardware=HARDWARE,
            finished=finished,
            files=files,
        ),
    )
    return path


def column(*values):
    known = [value for value in values if value is not None]
    if not known:
        return None
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Column(mean=statistics.fmean(known), std=spread, values=values)


def row(scenario, method, replicates=(), failed=None, log=None, columns=COLUMNS, **values):
    """A row; ``replicates`` are pairs of seeds and a run folder, values are tuples by column."""
    runs = tuple(
        Replicate(split=split, training=training, unlearning=unlearning, run=run, digest=digest)
        for (split, training, unlearning), run, digest in replicates
    )
    scores = {name: column(*values[name]) if name in values else None for name in dict.fromkeys((*columns, *values))}
    return Row(scenario=scenario, method=method, n=len(runs), failed=failed, log=log, replicates=runs, scores=scores)


def a_recipe(forget=("random:10%",), methods=(), **more):
    plain = {
        "name": "example",
        "data": {"source": "digits"},
        "model": "small_cnn",
        "training": TRAINING.model_dump(),
        "retrain": {"init": "original"},
        "forget": list(forget),
        "methods": [{"method": "natmu"} | entry for entry in methods],
        "batch_size": None,
        "seeds": {"split": [0], "training": [0, 1], "unlearning": [0, 1]},
        "score_on": "test",
        "scores": [],
        "audit": None,
        "references": None,
        "search": None,
        "precision": "auto",
        "sync_batch_norm": False,
        "executor": {"kind": "local", "cpus": None, "gpus": 0.0, "retries": 3, "address": None},
    }
    return RecipeSettings.parse(plain | more)


def a_table(*rows, columns=COLUMNS, recipe=None, **more):
    plain = {"name": "example", "score_on": "test", "hardware": HARDWARE, "versions": VERSIONS} | more
    forget = dict.fromkeys(row.scenario for row in rows) or ("random:10%",)
    return Table(recipe=recipe or a_recipe(forget), columns=tuple(columns), rows=rows, **plain)


def a_verdict(name, value=0.7):
    return ScoreVerdict(
        score=name,
        value=value,
        interval=(0.6, 0.8),
        distinguishable=True,
        sentence=f"{name} is distinguishable from 2 retrained models.",
        p_value=0.001,
        references=2,
        sees_original=True,
    )


def an_audit(digest, method="natmu", note="three", scores=None):
    """An audit; ``scores`` are bare values by name."""
    full = {
        "rmia_auc": AuditedScore(
            value=0.7, retrained=(0.5, 0.52), original=0.9, verdict=a_verdict("rmia_auc"), leak=0.2
        )
    }
    bare = {name: AuditedScore(value=value) for name, value in (scores or {}).items()}
    return Audit(
        run=digest,
        level="standard",
        references=2,
        method=method,
        forget=AuditedForget(request=parse_forget("random:10%"), scenario="random", count=FORGOTTEN, digest="f0"),
        forgotten=Answer(outcome="no", sentence=f"Not forgotten: distinguishable by 1 of 1 scores ({note})."),
        kept=Answer(outcome="yes", sentence="Kept: retain_acc 99.0 %."),
        decisions=("The model is compared with 2 retrained models.",),
        scores=bare or full,
        missing={"klom_forget_mean": f"Too few models ({note})."},
        seed=0,
        models=ComparedModels(retrained=("a0", "a1")),
    )


def samples():
    forget = [
        Sample.model_validate(
            {"index": int(index), "part": "forget", "class": 3, "difficulty": None, "loss": 0.1, "margin": 4.5}
            | {"margin_retrained": 1.5, "rmia": 0.9, "exposure": 3.0, "rank": rank}
        )
        for rank, index in enumerate(POSITIONS, start=1)
    ]
    return [*forget, forget[0].model_copy(update={"index": 0, "part": "retain", "rmia": None})]


def exposed(name="three"):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    return Exposed(images=images, samples=POSITIONS[:8].astype(np.int64), names=np.array([name] * 8))


def add_audit(path, record, note="three", scores=None):
    """An audit with images in a run folder."""
    return write_audit(path, an_audit(record.digest, note=note, scores=scores), samples(), exposed(note))


def hybrids(name="three"):
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    names = {"forget_names": np.array([name] * 2), "partner_names": np.array(["five"] * 2)}
    return Hybrids(forget=images, partner=images, hybrid=images, mask=np.full((2, 8, 8), 0.25), **names)


def make_study(runs, name="example", seed=0):
    """A small but complete study beside its runs: audits, hybrids, and what a search of it found."""
    source = an_original(seed)
    made = [("original", source), ("retrained", a_retrained(source)), ("natmu", an_unlearned(source=source))]
    rows, digests = [], {}
    for place, (label, lineage) in enumerate(made):
        make_run(
            runs / lineage.digest, lineage, seed=seed + place, history=[*HISTORY, {"epoch": 4.0, "loss": 0.1 + seed}]
        )
        replicate = ((0, 0, 0 if place == 2 else None), lineage.digest, lineage.digest)
        digests[label] = lineage.digest
        rows.append(row("random:10%", label, [replicate], test_acc=(90.0 + place,), avg_gap=(1.0 + place,)))
    rows.append(row("random:10%", "salun", failed="It diverged.", log="logs/salun.log"))
    audit = an_audit(digests["natmu"])
    audits = (
        StudyAudit(scenario="random:10%", label="natmu", audit=audit),
        StudyAudit(scenario="random:10%", label="salun", failed="It diverged.", log="logs/salun.log"),
    )
    write_audit(runs / digests["natmu"], audit, samples(), exposed(name))
    write_study(runs / name, a_table(*rows, name=name), StudyAudits(name=name, audits=audits), hybrids(name))
    make_search(runs / name, name, seed)
    return runs / name


def make_search(folder, name="example", seed=0):
    trials = [
        Trial(
            method="natmu",
            forget="random:10%",
            trial=number,
            state="complete",
            value=2.5 - number + seed,
            terms={"forget_acc": 1.25, "retain_acc": 0.5},
            seconds=1.5,
            run="ab12",
            settings={"lr": 0.01 * (number + 1)},
        )
        for number in range(2)
    ]
    failed = Trial(method="natmu", forget="random:10%", trial=2, state="failed", settings={"lr": 1.0}, reason="No.")
    best = BestTrial(trial=1, value=1.5, terms={"forget_acc": 1.25}, searched={"lr": 0.02}, settings={"lr": 0.02})
    found = Search(
        name=name,
        objective="no-retrain",
        trials=3,
        seed=0,
        storage="journal",
        hardware=HARDWARE,
        versions=VERSIONS,
        original={"random:10%": JudgedModel(value=9.0, terms={"forget_acc": 1.0})},
        noise={"random:10%": JudgedModel(value=0.5, terms={"forget_acc": 0.25})},
        methods=(
            SearchedMethod(
                label="natmu",
                method="natmu",
                forget=("random:10%",),
                ranges={"lr": Range(low=1e-5, high=0.3, log=True), "n": Range(choices=(1, 2))},
                trials=3,
                failed=1,
                seconds=3.0,
                passes=6.5,
                best=best,
            ),
        ),
    )
    write_search(folder, found, [*trials, failed], "name: example\n", ("forget_acc", "retain_acc"))
