"""Study and run folders as studies write them, small enough to be made for every test."""

from __future__ import annotations

import csv
import json
import statistics

import numpy as np
from natmu.study.table import columns
from safetensors.numpy import save_file

COLUMNS = columns([])
CLASSES, TRAIN, TEST, FORGOTTEN = 4, 120, 80, 20
DATA = {"source": "digits", "image_size": None, "train_size": None, "holdout": False}
TRAINING = {
    "epochs": 3,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "schedule": "cosine",
    "warmup_epochs": 2.0,
    "batch_size": 32,
    "augment": False,
}
FACTS = {"versions": {"natmu": "0.1.0"}, "hardware": {"device": "cpu", "precision": "fp32", "threads": "1"}}
FORGET = np.arange(3, 3 + 2 * FORGOTTEN, 2)


def column(*values):
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": spread, "values": list(values)}


def original_spec(seed=0):
    data = DATA | {"digests": {"train": "a", "test": "b"}}
    return {
        "kind": "train",
        "data": data,
        "model": "small_cnn",
        "precision": "fp32",
        "training": TRAINING,
        "seed": seed,
    }


def unlearned_spec(method, seed=0, forget="random:10%"):
    said = {"spec": forget, "scenario": "random", "classes": [], "digest": "f", "count": FORGOTTEN}
    more = {"settings": {"lr": 0.002, "mode": "a b"}, "batch_size": 32, "seed": seed, "precision": "fp32"}
    return {"kind": "unlearn", "original": original_spec(), "forget": said, "method": method, **more}


def make_run(path, spec, sure=3.0, sure_of_forgotten=3.0, seed=0):
    """A run folder; ``sure`` is how far the logit of the label stands out."""
    path.mkdir(parents=True)
    draw = np.random.default_rng(seed)
    arrays = {}
    for name, count in (("train", TRAIN), ("test", TEST)):
        labels = draw.integers(0, CLASSES, count)
        logits = draw.normal(size=(count, CLASSES)).astype(np.float32)
        logits[np.arange(count), labels] += sure
        if name == "train" and spec["kind"] == "unlearn":
            logits[FORGET, labels[FORGET]] += sure_of_forgotten - sure
        arrays |= {f"{name}_logits": logits, f"{name}_labels": labels}
    save_file(arrays, path / "predictions.safetensors", {"run": path.name})
    if spec["kind"] == "unlearn":
        np.save(path / "forget.npy", FORGET)
    scores = {"test_acc": 91.25, "forget_acc": 87.5}
    record = {"spec": spec, "digest": path.name, "scores": scores, "seconds": 1.5, "finished": "2026-01-01", **FACTS}
    (path / "record.json").write_text(json.dumps(record))
    (path / "spec.json").write_text(json.dumps(spec))
    rows = [{"epoch": epoch, "loss": 2.0 / epoch, "accuracy": 30.0 * epoch} for epoch in (1, 2, 3)]
    write_csv(path / "history.csv", rows)
    return path


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def add_audit(path, name="three"):
    """An audit with images in a run folder."""
    folder = path / "audit"
    folder.mkdir()
    verdict = {
        "interval": [0.6, 0.8],
        "p_value": 0.001,
        "distinguishable": True,
        "sees_original": True,
        "sentence": f"rmia_auc of {name} is told apart.",
    }
    audit = {
        "level": "standard",
        "verdict": f"Told apart by 1 of 1 scores ({name}).",
        "scores": {"rmia_auc": {"value": 0.7, "retrained": [0.5, 0.52], "original": 0.9, "verdict": verdict}},
        "missing": {"klom_forget_mean": f"Too few models ({name})."},
        "models": {"retrained": ["r", "s"]},
    }
    (folder / "audit.json").write_text(json.dumps(audit))
    rows = [
        {"index": int(index), "part": "forget", "class": 3, "difficulty": "", "loss": 0.1, "margin": 4.5}
        | {"margin_retrained": 1.5, "rmia": 0.9, "exposure": 3.0, "rank": rank}
        for rank, index in enumerate(FORGET, start=1)
    ]
    write_csv(folder / "samples.csv", [*rows, {**rows[0], "index": 0, "part": "retain"}])
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    np.savez(folder / "exposed.npz", images=images, samples=FORGET[:8], names=np.array([name] * 8))
    return audit


def make_study(root, labels=("natmu", "amnesiac", "salun"), scenario="random:10%", name="three"):
    """A study of original, retrained and labelled methods with their runs; the last failed, another has one seed."""
    made = [("original", original_spec(), 3.0), ("retrained", unlearned_spec("retrain"), 0.5)]
    made += [(label, unlearned_spec(f"method{place}"), 1.0 + place) for place, label in enumerate(labels[:-1])]
    rows = []
    for place, (label, spec, sure) in enumerate(made):
        replicates = [
            {"split": 0, "training": seed, "unlearning": seed if place > 1 else None, "run": f"run{place}{seed}"}
            | {"digest": f"run{place}{seed}"}
            for seed in ((0,) if label == labels[-2] else (0, 1))
        ]
        make_run(root / f"run{place}0", spec, 3.0, sure, place)
        values = {
            "test_acc": (90.0 + place, 91.5 - place),
            "retain_acc": (99.0 - place / 10, 99.5),
            "forget_acc": (70.0 + 3 * place, 72.0),
            "mia_entropy": (40.0 + place, 44.0),
            "avg_gap": (1.0 + 10.0 / (place + 1), 1.5),
            "seconds": (3.0 + place, 4.0),
            "retrain_share": (0.5 + place / 10, 0.6),
        }
        numbers = {name: column(*pair[: len(replicates)]) for name, pair in values.items()}
        numbers |= {"seconds": None, "retrain_share": None} if label == "original" else {}
        rows.append(_row(scenario, label, replicates, None, None) | numbers)
    rows.append(_row(scenario, labels[-1], [], f"It diverged {name}; use a smaller lr.", f"logs/{name[:8]}.log"))
    recipe = {
        "name": "example",
        "data": DATA,
        "model": "small_cnn",
        "training": TRAINING,
        "retrain": {"init": "original"},
        "forget": [scenario],
        "methods": [{"method": "natmu", "label": label, "settings": {"note": name}, "grid": {}} for label in labels],
        "seeds": {"split": [0], "training": [0, 1], "unlearning": [0, 1]},
        "score_on": "test",
        "audit": None,
    }
    study = {"name": "example", "score_on": "test", "recipe": recipe, "columns": COLUMNS, "rows": rows, **FACTS}
    study |= {"comparisons": [], "ranks": []}
    folder = root / "example"
    folder.mkdir()
    write_study(folder, study)
    return folder, study


def write_study(folder, study):
    (folder / "table.json").write_text(json.dumps(study))


def add_statistics(folder, study):
    """The two methods that were measured, not told apart by their gaps."""
    shown = {"scenario": study["rows"][0]["scenario"], "score": "avg_gap", "n": 2}
    compared = {
        "best": "natmu",
        "method": "amnesiac",
        "difference": -0.6,
        "interval": [-2.0, 0.8],
        "within_noise": True,
    }
    places = {"mean": 1.5, "best": 1.0, "worst": 2.0, "first": 0.5}
    study["comparisons"] = [shown | compared]
    study["ranks"] = [shown | {"agreement": 0.25, "methods": {"natmu": places, "amnesiac": places}}]
    write_study(folder, study)


def add_hybrids(folder, name="three"):
    images = np.random.default_rng(1).integers(0, 256, (2, 8, 8), dtype=np.uint8)
    arrays = dict.fromkeys(("forget", "partner", "hybrid"), images) | {"mask": np.full((2, 8, 8), 0.25)}
    np.savez(folder / "hybrids.npz", **arrays, forget_names=np.array([name] * 2), partner_names=np.array(["five"] * 2))


def _row(scenario, label, replicates, failed, log):
    common = {"scenario": scenario, "method": label, "n": len(replicates), "failed": failed, "log": log}
    return common | {"replicates": replicates} | dict.fromkeys(COLUMNS)
