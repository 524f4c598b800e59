"""What an audit compares: models in the store, by the part that they play, and their predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from natmu.audits.models import AuditModels, Part
from natmu.engine.relearning import shown_rows
from natmu.engine.store import Run, Store
from natmu.errors import RunError, UsageError
from natmu.lineage.probing import noted_probe
from natmu.lineage.relearning import relearning_steps
from natmu.records.derived import classes_without_output
from natmu.records.forgotten import Forgotten
from natmu.records.lineage import AnyLineage, DroppedOutputs, Imported, Trained, Unlearned
from natmu.records.settings import AnyTraining
from natmu.scores import loss, margin, weight_distance
from natmu.scores.panel import Level, Measured, Panel, Shadows
from natmu.scores.pool import draw_non_members, half_of_pool
from natmu.scores.population import unseen_part
from natmu.scores.probe import probe_scores
from natmu.scores.verdict import ENOUGH
from natmu.types import ForgetSet, IntArray, Outputs, Predictions

NOTHING_TO_RELEARN = "relearn_time needs an output for what was forgotten, and the model has none."
"""Why this score is missing of a model that lost its outputs."""

ALIKE_WITHOUT = (
    "The model has no output for what it forgot. The original and all other models are compared as if they had none "
    "either, so the comparison is about what is left."
)
"""What is decided for such a model."""


@dataclass(frozen=True)
class RunAudit:
    """An audit of one run.

    Attributes:
        run: The run of an unlearned or a retrained model.
        original: The run of its original.
        store: Where the models are that it is compared with.
        level: How much is asked for.
        number: How many retrained models, and from the level standard on how many models of the other kinds.
        seed: Of subsamples, bootstrap draws and random divisions.
        told: How an original from elsewhere was trained, where that is said for the audit.
    """

    run: Run
    original: Run
    store: Store
    level: Level
    number: int
    seed: int = 0
    told: AnyTraining | None = None

    @cached_property
    def models(self) -> AuditModels:
        """The models that are compared."""
        subject, source = self.run.record.lineage, self.original.record.lineage
        if not isinstance(subject, Trained | Unlearned) or not isinstance(source, Trained | Imported):
            raise UsageError(f"{self.run.path} holds no unlearned model; name the run of one.")
        return AuditModels(subject, source, self.level, self.number, self.told)

    @cached_property
    def forget(self) -> ForgetSet:
        """The forget set."""
        return self.run.forget()

    @cached_property
    def predictions(self) -> Predictions:
        """Those of the model under audit."""
        return self.predictions_of(self.run)

    def predictions_of(self, run: Run) -> Predictions:
        """A run's stored predictions, divided as the forget set asks; without the outputs that the subject lacks."""
        return self._outputs_of(run).split(self.forget)

    def _outputs_of(self, run: Run) -> Outputs:
        """A run's stored predictions; without the outputs that the subject lacks, so that what is left is compared."""
        return run.outputs().without_outputs(classes_without_output(self.models.subject))

    @cached_property
    def wanted(self) -> list[AnyLineage]:
        """Everything that has to be obtained; no shadow models where nobody is a non-member."""
        models = self.models
        if self.pool is not None:
            return models.all
        return [
            *(model for part, found in models.parts.items() if "shadow" not in part for model in found),
            *models.curves,
            *models.probes,
        ]

    @cached_property
    def runs(self) -> dict[Part, list[Run]]:
        """All runs in the store that are compared, by the part that they play.

        Raises:
            RunError: One of them forgot other samples.
        """
        there = {
            part: [run for model in models if (run := self.store.find(model.digest)) is not None]
            for part, models in self.models.parts.items()
        }
        for run in (*there["retrained"], *there["unlearned"], *there["again"]):
            if run.record.forgotten != Forgotten.of(self.forget):  # the hardest, of an original made again
                raise RunError(
                    f"{run.path} forgot other samples than {self.run.path}, because the original was made again in "
                    "between; delete both and compute them again."
                )
        return there

    @cached_property
    def pool(self) -> IntArray | None:
        """Non-members of the pool of shadow models, as rows of the unseen samples; None where there are none."""
        unseen = len(unseen_part(self.predictions))
        return draw_non_members(self.forget, unseen) if unseen else None

    def panel(self) -> Panel:
        """The models' predictions, as far as they are there."""
        runs, predictions = self.runs, self.predictions_of
        initial = runs["initial"]
        return Panel(
            model=self.predictions,
            retrained=_Predictions(predictions, runs["retrained"]),
            original=predictions(self.original),
            initial_forget=predictions(initial[0]).forget if initial else None,
            unlearned=_Predictions(predictions, runs["unlearned"]),
            originals=_Predictions(predictions, [self.original, *runs["original"]]),
            again=_Predictions(predictions, runs["again"]),
            shadows=self._shadow_margins(),
            measured={}
            if self.level == "quick"
            else {"relearn_time": self._relearning(), **self._weights(), **self._probes()},
        )

    def halves(self) -> list[npt.NDArray[np.bool_]]:
        """For each shadow model in the store, which samples of the pool it was trained on."""
        assert self.pool is not None, "there are shadow models only where there is a pool"
        size = len(self.forget) + len(self.pool)
        shadows = self.models.parts["shadow"]
        there = [number for number, model in enumerate(shadows) if self.store.find(model.digest) is not None]
        return [half_of_pool(self.forget, size, number) for number in there]

    def _shadow_margins(self) -> Shadows | None:
        """The margins of the shadow models that are in the store; None if there are none."""
        parts = self.models.parts
        trained = [self.store.find(model.digest) for model in parts["shadow"]]
        unlearned = [self.store.find(model.digest) for model in parts["unlearned shadow"]]
        there = [number for number, run in enumerate(trained) if run is not None]
        if not there or self.pool is None:
            return None
        after = [number for number in there if unlearned[number] is not None]
        size = len(self.forget) + len(self.pool)

        def margins(runs: Sequence[Run | None]) -> npt.NDArray[np.float64]:
            return np.array([self._pool_margins(run) for run in runs if run is not None]).reshape(-1, size)

        return Shadows(
            margins(trained),
            margins([unlearned[number] for number in after]),
            np.stack(self.halves()),
            self.pool,
            np.searchsorted(there, after).astype(np.int64),
        )

    def _pool_margins(self, run: Run) -> npt.NDArray[np.float64]:
        """A model's margins on the pool, in its order; of shadow models only these are stored."""
        outputs = self._outputs_of(run)
        if not len(outputs.test):
            return margin(outputs.train)
        assert self.pool is not None, "there are shadow models only where there is a pool"
        predictions = outputs.split(self.forget)
        return np.concatenate([margin(predictions.forget), margin(unseen_part(predictions).take(self.pool))])

    def _relearning(self) -> Measured:
        """Steps of relearning of the model and of retrained ones."""
        if classes_without_output(self.models.subject):
            return Measured(None, reason=NOTHING_TO_RELEARN)
        original_loss = float(loss(self.predictions_of(self.original).forget.take(shown_rows(self.forget))).mean())

        def steps(model: Trained | Unlearned) -> int | None:
            curve = self.store.find(self.models.curve(model).digest)
            return None if curve is None else relearning_steps([row["loss"] for row in curve.history()], original_loss)

        value = steps(self.models.subject)
        if value is None:
            return Measured(None, reason="relearn_time was not measured; audit without --offline.")
        retrained = [steps(model) for model in self.models.retrained[:ENOUGH]]
        return Measured(value, [float(count) for count in retrained if count is not None], 0.0)

    def _weights(self) -> dict[str, Measured]:
        """Distance of the weights from the first retrained model, which started from the original's initial ones."""
        retrained = self.runs["retrained"][:ENOUGH]
        if not retrained:
            return {}
        dropped = self.models.subject.dropped if isinstance(self.models.subject, Unlearned) else None
        first = _arrays(retrained[0], dropped)

        def distance(run: Run) -> float:
            return weight_distance(_arrays(run, dropped), first).total

        others = [distance(run) for run in retrained[1:]]
        return {"weight_distance": Measured(distance(self.run), others, distance(self.original))}

    def _probes(self) -> dict[str, Measured]:
        """What can be read within the models and beside the forget samples."""
        there = {run.record.digest for run in (self.run, self.original, *self.runs["retrained"])}
        runs = [self.store.find(one.digest) for one in self.models.probes if one.source.digest in there]
        probes = [None if run is None else noted_probe(run.history()) for run in runs]
        if classes_without_output(self.models.subject):
            probes = [None if one is None else one.without_outputs() for one in probes]
        model, original, *retrained = probes
        return probe_scores(model, [one for one in retrained if one is not None], original)


@dataclass(frozen=True)
class _Predictions(Sequence[Predictions]):
    """The predictions of several runs, each read when it is asked for: all of them may not fit in memory."""

    read: Callable[[Run], Predictions]
    runs: Sequence[Run]

    def __len__(self) -> int:
        return len(self.runs)

    @overload
    def __getitem__(self, place: int) -> Predictions: ...
    @overload
    def __getitem__(self, place: slice) -> list[Predictions]: ...
    def __getitem__(self, place: int | slice) -> Predictions | list[Predictions]:
        """One run's predictions, or those of several."""
        chosen = self.runs[place]
        return self.read(chosen) if isinstance(chosen, Run) else [self.read(run) for run in chosen]


def _arrays(run: Run, dropped: DroppedOutputs | None) -> dict[str, npt.NDArray[Any]]:
    """A run's weights as arrays, without the rows of outputs that not all models have."""
    arrays = {name: value.float().numpy() for name, value in run.weights().items()}
    if dropped is None or classes_without_output(run.record.lineage):
        return arrays
    rows = {f"{dropped.layer}.{part}".lstrip(".") for part in ("weight", "bias")}
    return {
        name: np.delete(value, dropped.classes, axis=0) if name in rows else value for name, value in arrays.items()
    }
