"""The jobs that all work is made of: an original model, and a model unlearned from it, each a run in the store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from natmu.data import Splits, load
from natmu.engine.compute import Compute
from natmu.engine.predict import outputs_of
from natmu.engine.store import Run, Store, Workplace
from natmu.engine.training import train_classifier
from natmu.errors import ModelError, RunError
from natmu.methods import Method, Problem
from natmu.models import build_model, load_weights, source_digest
from natmu.records.run import History
from natmu.records.settings import TrainSettings
from natmu.scores import accuracy, scores
from natmu.study.recipe import DataSettings
from natmu.types import FloatArray, ForgetSet, Outputs, seed_for


def load_data(asked: DataSettings, data_dir: Path) -> Splits:
    """The data that the settings name.

    Args:
        asked: Which data.
        data_dir: Where it lies.
    """
    return load(asked.source, data_dir, image_size=asked.image_size, train_size=asked.train_size, holdout=asked.holdout)


@dataclass(frozen=True)
class Bench:
    """What the jobs of one study share.

    Attributes:
        data: What was asked for.
        splits: The data itself.
        model: Name of the architecture.
        training: Recipe of original and retrained models.
        compute: Device and precision.
        store: Where runs are kept.
        resume: Whether unfinished runs are continued.
    """

    data: DataSettings
    splits: Splits
    model: str
    training: TrainSettings
    compute: Compute
    store: Store
    resume: bool = True

    @cached_property
    def on_device(self) -> Splits:
        """The data with its resident images on the device."""
        splits, device = self.splits, self.compute.device
        holdout = None if splits.holdout is None else splits.holdout.to(device)
        return replace(splits, train=splits.train.to(device), test=splits.test.to(device), holdout=holdout)

    @cached_property
    def base_spec(self) -> dict[str, Any]:
        """The part of every spec that says which data and which architecture."""
        splits = self.splits
        digests = {"train": splits.train.digest, "test": splits.test.digest}
        if splits.holdout is not None:
            digests["holdout"] = splits.holdout.digest
        spec: dict[str, Any] = {
            "data": self.data.model_dump() | {"digests": digests},
            "model": self.model,
            **self.compute.spec,
        }
        if ":" in self.model:
            self.build(0)  # finds what is wrong with a factory, in a sentence, before its source is read
            spec["model_source"] = source_digest(self.model)
        return spec

    def build(self, seed: int) -> nn.Module:
        """The architecture with the initial weights of a training seed, on the device."""
        train = self.splits.train
        model = build_model(
            self.model,
            num_classes=train.num_classes,
            image_shape=train.image_shape,
            mean=self.splits.mean,
            std=self.splits.std,
            seed=seed_for(seed, "initial weights"),
        )
        return self.compute.place(model)


@dataclass(frozen=True)
class Original:
    """A trained model to unlearn from.

    Attributes:
        bench: What it was made with.
        run: Its run.
        seed: Its training seed; the seed of fresh initial weights where it was trained elsewhere.
    """

    bench: Bench
    run: Run
    seed: int

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Everything that determines it."""
        return self.run.record.spec

    @cached_property
    def outputs(self) -> Outputs:
        """Its stored answers."""
        return self.run.outputs()

    @property
    def trained_here(self) -> bool:
        """Whether its initial weights and its training are known."""
        return bool(self.spec["kind"] == "train")

    @cached_property
    def own_bench(self) -> Bench:
        """The bench with the precision that it was trained in, which models made from it need not have."""
        spec, compute = self.spec, self.bench.compute
        synced = spec.get("sync_batch_norm", compute.sync_batch_norm)
        own = replace(compute, precision=spec["precision"], sync_batch_norm=synced)
        return self.bench if own == compute else replace(self.bench, compute=own)

    def model(self) -> nn.Module:
        """A copy of it, on the device."""
        model = self.bench.build(self.seed)
        try:
            model.load_state_dict(self.run.weights())
        except RuntimeError:
            where = self.run.path
            raise RunError(f"The weights in {where} do not fit {self.bench.model}; delete that run.") from None
        return model

    def initial_model(self) -> nn.Module:
        """The architecture with the weights it started from, on the device."""
        return self.bench.build(self.seed)

    def hardness(self) -> Mapping[str, FloatArray]:
        """How hard each training sample was to learn, by criterion; larger is harder."""
        found = {"loss": sample_losses(self.outputs.train.logits, self.outputs.train.labels)}
        difficulty = self.difficulty()
        return found if difficulty is None else found | {"confidence": difficulty}

    def difficulty(self) -> FloatArray | None:
        """Each training sample's mean confidence during training with its sign reversed, where that was recorded."""
        confidence = self.run.confidence()
        return None if confidence is None else -confidence


def sample_losses(logits_NC: FloatArray, labels_N: np.ndarray[Any, np.dtype[np.int64]]) -> FloatArray:
    """Cross-entropy of each sample, float32 ``(N,)``, in nats."""
    logits = torch.from_numpy(logits_NC)
    losses = nn.functional.cross_entropy(logits, torch.from_numpy(labels_N), reduction="none")
    return losses.numpy()


def train_original(bench: Bench, seed: int, name: str | None = None) -> Original:
    """The original model of a training seed: found in the store, or trained."""

    def compute(work: Workplace) -> None:
        model = bench.build(seed)
        history: History = []
        data = bench.on_device.train
        start = time.perf_counter()
        meter = train_classifier(
            model,
            data,
            torch.arange(len(data)),
            bench.training,
            bench.compute,
            seed=seed,
            label=f"train (seed {seed})",
            checkpoint=work.checkpoint,
            history=history,
        )
        seconds = time.perf_counter() - start
        outputs = outputs_of(model, bench.on_device, bench.compute)
        work.finish(
            model,
            outputs,
            bench.compute,
            seconds=max(seconds, _total_seconds(history)),
            scores=_plain_scores(outputs),
            history=history,
            confidence=meter.confidence(),
        )

    run = bench.store.obtain(original_spec(bench, seed), compute, name=name, resume=bench.resume)
    return Original(bench, run, seed)


def original_spec(bench: Bench, seed: int) -> dict[str, Any]:
    """Everything that determines the original model of a training seed."""
    return {"kind": "train", **bench.base_spec, "training": bench.training.model_dump(), "seed": seed}


def import_original(bench: Bench, weights: Path, seed: int = 0) -> Original:
    """A model that was trained elsewhere, from its weights file, as a run in the store.

    Raises:
        ModelError: The file is missing or does not fit the architecture.
    """
    if not weights.is_file():
        raise ModelError(f"There are no weights at {weights}; name a run folder, a .safetensors or a .pt file.")
    content = hashlib.blake2b(weights.read_bytes(), digest_size=16).hexdigest()
    spec = {"kind": "import", **bench.base_spec, "training": bench.training.model_dump(), "weights": content}

    def compute(work: Workplace) -> None:
        model = bench.build(seed)
        load_weights(model, weights)
        outputs = outputs_of(model, bench.on_device, bench.compute)
        work.finish(model, outputs, bench.compute, seconds=0.0, scores=_plain_scores(outputs), history=[])

    return Original(bench, bench.store.obtain(spec, compute), seed)


def unlearn_from(
    original: Original,
    forget: ForgetSet,
    method: Method,
    *,
    seed: int,
    batch_size: int | None = None,
    name: str | None = None,
) -> Run:
    """A model unlearned from an original: found in the store, or computed."""
    bench = original.bench
    size = batch_size or bench.training.batch_size

    def compute(work: Workplace) -> None:
        data = bench.on_device
        problem = Problem(
            model=original.model(),
            data=data.train,
            forget=forget,
            training=bench.training,
            compute=bench.compute,
            seed=seed,
            batch_size=size,
            initial_model=original.initial_model if original.trained_here else None,
            fresh_model=bench.build,
            holdout=data.holdout,
            checkpoint=work.checkpoint,
            difficulty=original.difficulty(),
        )
        unlearned = method(problem)
        outputs = outputs_of(unlearned.model, data, bench.compute)
        work.finish(
            unlearned.model,
            outputs,
            bench.compute,
            seconds=max(unlearned.seconds, _total_seconds(problem.history)),
            scores=scores(outputs.split(forget)),
            history=problem.history,
            forget=forget,
        )

    spec = unlearned_spec(original, forget, method, seed, size)
    return bench.store.obtain(spec, compute, name=name, resume=bench.resume)


def unlearned_spec(original: Original, forget: ForgetSet, method: Method, seed: int, batch_size: int) -> dict[str, Any]:
    """Everything that determines a model unlearned from an original."""
    return {
        "kind": "unlearn",
        "original": original.spec,
        "forget": {
            "spec": forget.spec,
            "scenario": forget.scenario,
            "classes": list(forget.classes),
            "digest": forget.digest,
            "count": len(forget),
        },
        "method": method.name,
        "settings": method.config.model_dump(),
        "batch_size": batch_size,
        "seed": seed,
        **original.bench.compute.spec,
    }


def _total_seconds(history: History) -> float:
    """Seconds of all epochs, those before an interruption included."""
    return sum(row["seconds"] for row in history)


def _plain_scores(outputs: Outputs) -> dict[str, float]:
    """Scores of a model before any forget set is known."""
    found = {"train_acc": accuracy(outputs.train), "test_acc": accuracy(outputs.test)}
    return found if outputs.holdout is None else found | {"holdout_acc": accuracy(outputs.holdout)}
