"""Where models are made: the data, the device and the store, and what of them is part of a lineage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData, Splits, load, resolve_forget, with_corrections
from natmu.data import sources as data_sources
from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store
from natmu.errors import DataError, ModelError, RunError
from natmu.lineage.difficulty import difficulties_of
from natmu.lineage.division import settled
from natmu.lineage.pools import Pool
from natmu.lineage.preprocessing import with_form, with_normalisation
from natmu.lineage.remaining import Remaining
from natmu.models import (
    Ensemble,
    build_model,
    check_class_order,
    network_of,
    preprocessing_of,
    reinitialised,
    shards_in,
    source_digest,
    with_unit_head,
    without_outputs,
)
from natmu.models import Outputs as ModelOutputs
from natmu.progress import deciding
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.derived import division_of, forget_of, original, root_of, title
from natmu.records.digests import digest_of
from natmu.records.forgetting import ForgetRequest
from natmu.records.heads import FeatureRows
from natmu.records.lineage import (
    AnyLineage,
    Architecture,
    Arithmetic,
    Forget,
    Imported,
    Initial,
    Referenced,
    Trained,
    Unlearned,
)
from natmu.records.settings import AnyTraining, DataSettings
from natmu.types import ForgetSet, Outputs, seed_for


@dataclass(frozen=True)
class Workspace:
    """What is needed to make models of one architecture on one data set.

    Where samples were deleted since the data was whole, ``splits`` holds those that are left, and positions mean two
    things. ``forget_set``, ``forgotten_by``, ``training_data`` and ``compact`` give positions of what is in memory.
    ``remember``, ``known`` and ``whole`` speak of the whole data, as lineages and run folders do. Without ``remaining``
    they are the same.

    Attributes:
        settings: Which data was asked for.
        splits: The data itself.
        model: Name of the architecture.
        compute: Device and precision.
        store: Where runs are kept.
        resume: Whether unfinished runs are continued.
        outputs: What a model that is not ours returns.
        trainer: The user's own function where it was handed over, and need not be found by its name.
        known: Forget sets that were found before, in positions of the whole data, by the digest of their rule.
        decisions: What was decided for the user while the data was read, and since; runs keep it.
        pools: The pool of shadow models that was used last, likewise; it holds a copy of all images.
        remaining: Which samples ``splits`` holds of the data as it was when it was whole; None where it is.
        unit_head: Whether the last layer is a head on features of length 1, and all else frozen.
        features: Rows of the backbone that was used last, by its digest, of the whole data.
    """

    settings: DataSettings
    splits: Splits
    model: str
    compute: Compute
    store: Store
    resume: bool = True
    outputs: ModelOutputs = "logits"
    trainer: Callable[..., nn.Module] | None = None
    known: dict[str, ForgetSet] = field(default_factory=dict, repr=False, compare=False)
    decisions: tuple[str, ...] = ()
    pools: dict[str, Pool] = field(default_factory=dict, repr=False, compare=False)
    remaining: Remaining | None = None
    unit_head: bool = False
    features: dict[str, FeatureRows] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        settings: DataSettings,
        data_dir: Path,
        model: str,
        compute: Compute,
        store: Store,
        *,
        resume: bool = True,
        outputs: ModelOutputs = "logits",
        unit_head: bool = False,
    ) -> Workspace:
        """Load the data, in the form that the configuration of a library's model gives where the settings give none.

        Args:
            settings: Which data.
            data_dir: Where it lies.
            model: Name of the architecture.
            compute: Device and precision.
            store: Where runs are kept.
            resume: Whether unfinished runs are continued.
            outputs: What a model that is not ours returns.
            unit_head: Whether the last layer is a head on features of length 1.

        Raises:
            DataError: The data cannot be had.
            ModelError: The model's library cannot be had, or its classes come in another order.
        """
        told = preprocessing_of(model)
        by_name = settings.source in {info.name for info in data_sources()}
        with deciding() as decisions:
            if not by_name and Path(settings.source).is_dir():
                settings = with_form(settings, told, model)
            splits = load(settings.source, data_dir, **settings.model_dump(exclude={"source", "mean", "std"}))
            check_class_order(model, splits.train.class_names)
            if splits.train.images.dtype in (torch.uint8, np.dtype(np.uint8)):
                settings = with_normalisation(settings, told, model)
        noted = tuple(decisions)
        return cls(settings, splits, model, compute, store, resume, outputs, decisions=noted, unit_head=unit_head)

    @cached_property
    def on_device(self) -> Splits:
        """The data with its resident images on the device."""
        splits, device = self.splits, self.compute.device
        holdout = None if splits.holdout is None else splits.holdout.to(device)
        return replace(splits, train=splits.train.to(device), test=splits.test.to(device), holdout=holdout)

    @cached_property
    def data(self) -> DataLineage:
        """The data, as lineages tell of it; as it was when it was whole."""
        if self.remaining is not None:
            return self.remaining.data
        splits = self.splits
        holdout = None if splits.holdout is None else splits.holdout.digest
        digests = DataDigests(train=splits.train.digest, test=splits.test.digest, holdout=holdout)
        return DataLineage(**self.settings.model_dump(), digests=digests)

    @cached_property
    def architecture(self) -> Architecture:
        """The architecture, as lineages tell of it.

        Raises:
            ModelError: The model is unknown, or its factory cannot be used.
        """
        if ":" not in self.model:
            return Architecture(name=self.model, unit_head=self.unit_head)
        self.build(0)  # finds what is wrong with a factory, in a sentence, before its source is read
        source = source_digest(self.model)
        return Architecture(name=self.model, source=source, outputs=self.outputs, unit_head=self.unit_head)

    @property
    def arithmetic(self) -> Arithmetic:
        """What of the device and the processes changes numbers."""
        return self.compute.arithmetic

    def original(self, recipe: AnyTraining, seed: int) -> Trained:
        """The original model of a training seed."""
        return original(self.data, self.architecture, self.arithmetic, settled(recipe), seed)

    def build(self, seed: int) -> nn.Module:
        """The architecture with the initial weights of a seed, on the device.

        Args:
            seed: That of ``Initial``.
        """
        train = self.splits.train
        model = self.plain(seed, train.num_classes)
        if self.unit_head:
            model = with_unit_head(model, num_classes=train.num_classes, image_shape=train.image_shape)
        return self.compute.place(model)

    def plain(self, seed: int, num_classes: int) -> nn.Module:
        """The architecture as it is without a head on features, on the CPU.

        Args:
            seed: That of ``Initial``.
            num_classes: Number of its outputs.
        """
        mean, std = self.settings.mean, self.settings.std
        return build_model(
            self.model,
            num_classes=num_classes,
            image_shape=self.splits.train.image_shape,
            mean=self.splits.mean if mean is None else mean,
            std=self.splits.std if std is None else std,
            seed=seed,
            outputs=self.outputs,
            always_normalize=mean is not None,
        )

    def start(self, model: Initial) -> nn.Module:
        """The network with its initial weights, on the device."""
        network = self.build(model.seed)
        if not model.reset:
            return network
        try:
            return reinitialised(network, model.seed)
        except ModelError:  # a layer cannot draw its weights anew
            return self.fresh(model.seed)

    def fresh(self, seed: int) -> nn.Module:
        """The architecture with fresh weights, for methods that ask for any."""
        return self.build(seed_for(seed, "initial weights"))

    def load(self, run: Run) -> nn.Module:
        """A copy of a run's model, on the device.

        Raises:
            RunError: The weights are damaged, or of another architecture.
        """
        lineage, weights = run.record.lineage, run.weights()
        sharding = division_of(lineage)
        model = self.build(0)
        if sharding is not None:
            model = Ensemble({shard: self.build(0) for shard in shards_in(weights)}, sharding.combine)
        if isinstance(lineage, Unlearned) and lineage.dropped is not None:
            model = without_outputs(model, lineage.dropped.layer, lineage.dropped.classes)
        try:
            network_of(model).load_state_dict(weights)
        except RuntimeError:
            raise RunError(f"The weights in {run.path} do not fit {self.model}; delete that run.") from None
        return model

    def has(self, model: AnyLineage) -> bool:
        """Whether a model has been made."""
        return self.store.find(model.digest) is not None

    def require(self, model: AnyLineage | Referenced) -> Run:
        """The run of a model that has been made.

        Raises:
            RunError: It is not in the store.
        """
        run = self.store.find(model.digest)
        if run is None and isinstance(model, Referenced):
            raise RunError(
                f"{self.store.root} no longer holds the {title(model)}; restore it from a backup, or retrain."
            )
        if run is None:
            raise RunError(f"{self.store.root} no longer holds the {title(model)} (run {model.digest}); make it again.")
        return run

    def forget(
        self, request: ForgetRequest, seed: int, source: Trained | Imported | Unlearned, *, copies: bool = False
    ) -> Forget:
        """What a request means here, as lineages tell of it.

        Args:
            request: The request.
            seed: Of a random draw.
            source: The model that is to forget; what it forgot before comes before this request, and the root of its
                sequence decides which samples are the hardest.
            copies: Whether byte-identical copies of the samples are forgotten with them.

        Raises:
            ForgetSetError: The request lists samples that do not fit the data.
            ValueError: The data has gaps; see ``forget_set``.
        """
        self._require_no_gaps()
        after, before = forget_of(source), self.forgotten_by(source)
        if request.kind == "random":
            return Forget(request=request, seed=seed, after=after, copies=copies)
        if request.kind == "hardest":
            return Forget(request=request, by=root_of(source), after=after, copies=copies)
        if request.kind != "indices":
            return Forget(request=request, after=after, copies=copies)
        listed = resolve_forget(request, self.splits.train, seed=seed, after=before, copies=copies)
        forget = Forget(request=request, positions=listed.digest, after=after, copies=copies)
        self.remember(forget, listed)
        return forget

    def forgotten_by(self, model: Trained | Imported | Unlearned) -> ForgetSet | None:
        """What a model has forgotten, and what before that, as ``forget_set``; None of an original."""
        forget = forget_of(model)
        return None if forget is None else self.forget_set(forget)

    def remember_all(self, model: Trained | Imported | Unlearned, store: Store) -> None:
        """Keep the forget sets of a sequence of requests, as the runs have them that are there.

        Args:
            model: The last model of the sequence.
            store: Where the runs are.
        """
        forget, run = forget_of(model), store.find(model.digest)
        if forget is not None and run is not None:
            self.remember(forget, run.forget())
        if isinstance(model, Unlearned) and not isinstance(model.source, Referenced):
            self.remember_all(model.source, store)

    def remember(self, forget: Forget, found: ForgetSet) -> None:
        """Keep a forget set that is known already.

        Args:
            forget: What lineages say of it.
            found: Its samples, in positions of the whole data, all of them, whether they are left or not.

        Raises:
            ValueError: It has other positions than the lineages say.
        """
        if forget.positions not in (None, found.digest):
            raise ValueError(
                "the forget set is not the one that its lineage names; its positions are those of the whole"
            )
        self.known[digest_of(forget.plain())] = found

    def compact(self, forget: ForgetSet) -> ForgetSet:
        """A forget set of the whole data in positions of what is in memory; samples that are gone are left out.

        Args:
            forget: In positions of the whole data.
        """
        return forget if self.remaining is None else forget.among(self.remaining.train)

    def predicted(self, outputs: Outputs) -> Outputs:
        """Predictions on the data in memory, with which samples of the whole data they are of."""
        return outputs if self.remaining is None else replace(outputs, rows=self.remaining.rows)

    def forget_set(self, forget: Forget) -> ForgetSet:
        """The samples that are forgotten and are in memory, in positions of what is in memory.

        Raises:
            ForgetSetError: The request does not fit the data, or what it listed has changed.
            RunError: The model that decides which samples are the hardest is not in the store.
            ValueError: The data has gaps, and the forget set is not among those that were remembered.
        """
        return self.compact(self.whole(forget))

    def whole(self, forget: Forget) -> ForgetSet:
        """The samples that are forgotten, all of them, in positions of the whole data; raises as ``forget_set``."""
        key = digest_of(forget.plain())
        if key not in self.known:
            self._require_no_gaps()
            difficulty = {} if forget.by is None else difficulties_of(self.require(forget.by))
            earlier = None if forget.after is None else self.forget_set(forget.after)
            found = resolve_forget(
                forget.request,
                self.splits.train,
                seed=forget.seed or 0,
                difficulty=difficulty,
                after=earlier,
                copies=forget.copies,
            )
            if forget.positions not in (None, found.digest):
                raise DataError(f"{forget.request.file} lists other samples than before; restore that file.")
            self.known[key] = found
        return self.known[key]

    def _require_no_gaps(self) -> None:
        """Refuse to find out what a request means where positions of the data are not those of the whole."""
        if self.remaining is not None:
            raise ValueError("of data with gaps nobody can say what a request means; remember its forget set before")

    def training_data(self, forget: Forget) -> ImageData:
        """The training data on the device, with what was corrected behind it: what methods and retraining get."""
        return with_corrections(self.on_device.train, self.forget_set(forget))

    def pool(self, forget: Forget) -> Pool:
        """The pool of shadow models for a forget set; only of data without gaps, or other models would come of it."""
        self._require_no_gaps()
        key = digest_of(forget.plain())
        if key not in self.pools:
            self.pools.clear()
            self.pools[key] = Pool(self.on_device, self.forget_set(forget))
        return self.pools[key]
