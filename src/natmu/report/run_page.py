"""The report of one run, original or unlearned: what the page's template is filled with."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natmu.errors import UsageError
from natmu.report.descriptions import asked_of_run
from natmu.report.digits import rounded
from natmu.report.distributions import Margins, margins_of
from natmu.report.figures import Model
from natmu.report.images import galleries
from natmu.report.runs import RunFiles, relatives
from natmu.report.views import audit_view, comparison
from natmu.types import ORIGINAL, REFERENCES

Spec = Mapping[str, Any]

KINDS = ("train", "import", "unlearn")
TRAINING_FLAGS = ("epochs", "optimizer", "lr", "schedule", "warmup_epochs", "weight_decay", "batch_size")


def run_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a run shows.

    Args:
        folder: The run folder; its original and a retrained model are shown with it where they lie beside it.

    Raises:
        RunError: Something stored cannot be read.
        UsageError: The run is neither of an original nor of an unlearned model.
    """
    run = RunFiles(folder)
    record, spec = run.record, run.spec
    if spec["kind"] not in KINDS:
        raise UsageError(f"{folder} holds a part of an audit; name the run of an original or of an unlearned model.")
    beside = relatives(run)
    label = _label(spec)
    runs = {name: beside.get(name) for name in REFERENCES} | {label: run}
    present = {name: one for name, one in runs.items() if one is not None}
    models = [Model(f"m{place}", name, 0) for place, name in enumerate(present)]
    files = {model.key: present[model.label] for model in models}
    (samples,) = galleries([run])
    return {
        "kind": "run",
        "title": f"{label}, {spec['forget']['spec']}" if "forget" in spec else label,
        "subtitle": f"run {record['digest']}",
        "asked": asked_of_run(spec),
        "scores": [(name, rounded(value, None)[0]) for name, value in record["scores"].items()],
        "seconds": rounded(record["seconds"], None)[0],
        "audits": [] if run.audit is None else [audit_view(label, run.audit, samples)],
        "audited": run.audit is not None,
        "unlearned": spec["kind"] == "unlearn",
        "comparison": comparison("r", models, files, _margins(run, files), [label]),
        "folder": folder.resolve().name,
        "commands": _commands(spec, beside.get(ORIGINAL), folder.resolve().name),
        "spec": json.dumps(spec, indent=1, sort_keys=True),
        "versions": record.get("versions", {}),
        "hardware": record.get("hardware", {}),
        "finished": record.get("finished", ""),
        "digest": record["digest"],
    }


def _label(spec: Spec) -> str:
    """What the run's model is called beside its original and a retrained one."""
    return str(spec["method"] if spec["kind"] == "unlearn" else spec["model"])


def _margins(run: RunFiles, files: Mapping[str, RunFiles]) -> dict[str, Margins]:
    """Margins of each model on the parts that the run's forget set makes."""
    answers = {key: one.outputs for key, one in files.items()}
    return {key: margins_of(outputs, run.forget) for key, outputs in answers.items() if outputs is not None}


def _commands(spec: Spec, original: RunFiles | None, name: str) -> list[str]:
    """The commands that compute the run again."""
    if spec["kind"] == "train":
        return [_train(spec)]
    if spec["kind"] != "unlearn":
        return []
    source = "ORIGINAL" if original is None else f"runs/{original.path.name}"
    before = [_train(spec["original"])] if spec["original"]["kind"] == "train" else []
    return [*before, _unlearn(spec, source), shlex.join(["natmu", "audit", f"runs/{name}", "--level", "standard"])]


def _train(spec: Spec) -> str:
    """The command of an original model."""
    data, training = spec["data"], spec["training"]
    words = ["natmu", "train", "--data", data["source"], "--model", spec["model"]]
    for name, flag in (("image_size", "--image-size"), ("train_size", "--train-size")):
        words += [flag, str(data[name])] if data[name] else []
    words += ["--holdout"] if data["holdout"] else []
    for name in TRAINING_FLAGS:
        words += [f"--{name.replace('_', '-')}", str(training[name])]
    words += ["--augment" if training["augment"] else "--no-augment"]
    return shlex.join([*words, "--seed", str(spec["seed"]), "--precision", spec["precision"]])


def _unlearn(spec: Spec, source: str) -> str:
    """The command of an unlearned model."""
    words = ["natmu", "unlearn", "--from", source, "--forget", spec["forget"]["spec"], "--method", spec["method"]]
    for name, value in spec["settings"].items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += [] if spec["method"] == "retrain" else ["--batch-size", str(spec["batch_size"])]
    return shlex.join([*words, "--seed", str(spec["seed"]), "--precision", spec["precision"]])
