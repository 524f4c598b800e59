"""The plan of a study: the graph of jobs that a recipe expands to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from natmu.data import parse_forget
from natmu.methods import Retrain
from natmu.study.cast import NUMBERS, parts_of
from natmu.study.graph import (
    SHADOW,
    STARTS,
    UNLEARNED_SHADOW,
    AuditJob,
    AuditModelJob,
    Job,
    Subject,
    TrainJob,
    UnlearnJob,
)
from natmu.study.recipe import Recipe
from natmu.study.table import Replicate
from natmu.types import RETRAINED


@dataclass(frozen=True)
class Plan:
    """All jobs of a study, each after those that it needs.

    Attributes:
        trained: The originals.
        unlearned: What methods make of them, retrained references included, replicate by replicate.
        audit_models: What audits compare with.
        audits: The audits, one per forget set and method.
    """

    trained: tuple[TrainJob, ...]
    unlearned: tuple[UnlearnJob, ...]
    audit_models: tuple[AuditModelJob, ...]
    audits: tuple[AuditJob, ...]

    @property
    def jobs(self) -> list[Job]:
        """All jobs, each after those that it needs."""
        return [*self.trained, *self.unlearned, *self.audit_models, *self.audits]

    @property
    def jobs_in_turn(self) -> list[Job]:
        """The jobs of one process: models of audits are left to the audits, which train several side by side."""
        return [*self.trained, *self.unlearned, *self.audits]


def plan_of(recipe: Recipe, unserved: Collection[tuple[str, str]] = ()) -> Plan:
    """The jobs that a recipe expands to.

    Args:
        recipe: What to do.
        unserved: Forget spec and label of what a method cannot serve, which is left out.
    """
    trained = {seed: TrainJob(seed) for _, seed, _ in recipe.seeds.replicates()}
    jobs = {
        job.name: job
        for replicate in recipe.seeds.replicates()
        for text in recipe.forget
        for job in _unlearn_jobs(recipe, trained, text, Replicate(*replicate))
        if (text, job.label) not in unserved
    }
    unlearned = tuple(jobs.values())
    models, audits = _audits(recipe, unlearned)
    return Plan(tuple(trained.values()), unlearned, models, audits)


def _unlearn_jobs(
    recipe: Recipe, trained: Mapping[int, TrainJob], text: str, replicate: Replicate
) -> Iterator[UnlearnJob]:
    """The reference and the methods of one replicate on one forget set.

    A forget set that only one retrained model would serve gets a second one, from other initial weights: without it
    nobody could say how far two retrained models lie apart.
    """
    split, training, unlearning = replicate
    assert unlearning is not None
    original, settings = trained[training], recipe.retrain.model_dump()
    plain = replicate._replace(unlearning=None)
    yield UnlearnJob(original, text, RETRAINED, Retrain.name, settings, plain, training)
    alike = [seeds for seeds in recipe.seeds.replicates() if _same_set(text, replicate, Replicate(*seeds))]
    if len({seeds[1] for seeds in alike}) == 1:
        seeds = Replicate(split, training + 1, None)
        yield UnlearnJob(original, text, RETRAINED, Retrain.name, settings | {"init": "fresh"}, seeds, training + 1)
    for entry in recipe.methods:
        for label, name, settings in entry.expanded():
            yield UnlearnJob(original, text, label, name, settings, replicate, unlearning, recipe.batch_size)


def _same_set(text: str, first: Replicate, second: Replicate) -> bool:
    """Whether two replicates forget the same samples."""
    kind = parse_forget(text).kind
    if kind == "random":
        return first.split == second.split
    return kind != "hardest" or first.training == second.training


def _audits(recipe: Recipe, unlearned: Sequence[UnlearnJob]) -> tuple[tuple[AuditModelJob, ...], tuple[AuditJob, ...]]:
    """An audit of each method on each forget set, and the models that these need."""
    if recipe.audit is None:
        return (), ()
    level, number = recipe.audit, recipe.references or NUMBERS[recipe.audit]
    replicates: defaultdict[tuple[str, str], list[UnlearnJob]] = defaultdict(list)
    for job in unlearned:
        replicates[job.scenario, job.label].append(job)
    subjects = {place: Subject(tuple(jobs), level, number) for place, jobs in replicates.items()}
    models: dict[str, AuditModelJob] = {}

    def model(subject: Subject, part: str, one: int, *after: Job) -> AuditModelJob:
        job = AuditModelJob(subject, part, one, (*subject.replicates, *after))
        return models.setdefault(job.name, job)

    def models_for(subject: Subject) -> Iterator[AuditModelJob]:
        reference = subjects[subject.scenario, RETRAINED]
        for part, one in _audit_parts(subject):
            if part not in STARTS:
                yield model(reference, part, one)
            else:
                start = STARTS[part]
                yield model(subject, part, one, *([] if start is None else [model(reference, start, one)]))

    audits = [AuditJob(subject, (*subject.replicates, *models_for(subject))) for subject in subjects.values()]
    return tuple(models.values()), tuple(audits)


def _audit_parts(subject: Subject) -> list[tuple[str, int]]:
    """Parts and numbers of the models that an audit compares with."""
    number = subject.references
    parts = parts_of(subject.level, number, repeats=subject.method != Retrain.name)
    if subject.level == "full":
        parts += [(part, one) for one in range(number + number % 2) for part in (SHADOW, UNLEARNED_SHADOW)]
    return parts
