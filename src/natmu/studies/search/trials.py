"""Trials that many workers share: claimed one at a time, never more than the budget, taken over from the dead.

Whoever runs a trial holds a file lock meanwhile, which the system takes away from a process that ends, however it ends.
A trial that is under way in the storage while nobody holds its lock has lost its worker, and the next worker goes on
with it, with the same settings. All that is read from or written to the storage happens under one more file lock, so
workers share the folder of the study.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from natmu.errors import NatmuError, UsageError
from natmu.records.recipe import Range
from natmu.studies.search.storage import Storage, is_free
from natmu.types import seed_for

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

RANDOM_TRIALS = 10
"""Trials at random before the sampler learns from them, at most, and at most a third of all."""

MOST_WORKERS = 10
"""Workers that take up a trial and end before it does, until it counts as failed: it may be what ends them."""

MOST_SHORT = 3
"""Workers whose memory does not hold a trial, until it counts as failed: it may never fit, as a batch too large."""


def require_optuna() -> None:
    """Refuse to search without Optuna, and keep its own messages off standard error.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError("natmu search needs Optuna; install it with pip install 'natmu[search]'.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Trials:
    """All trials of one method.

    Args:
        storage: Where they are kept.
        name: Of their study in the storage; names everything that decides their values.
        ranges: Of each searched setting, and whether it is a whole number.
        budget: How many trials there are in all.
        seed: Of the sampler.
    """

    def __init__(
        self, storage: Storage, name: str, ranges: Mapping[str, tuple[Range, bool]], budget: int, seed: int
    ) -> None:
        import optuna

        self.storage, self.name, self.ranges, self.budget, self.seed = storage, name, ranges, budget, seed
        self._aside: set[int] = set()
        with storage.writing():
            self.study: Study = optuna.create_study(storage=storage.optuna, study_name=name, load_if_exists=True)

    def claim(self) -> Claim | None:
        """A trial to run: one whose worker is dead, else a new one; None where all are finished or under way.

        One that this worker gave back is none for it.
        """
        with self.storage.writing():
            known = self._known()
            for one in known:
                if one.number in self._aside:
                    continue
                lock = self._lock(one.number)
                if not one.state.is_finished() and is_free(lock):
                    claim = self._claim(one.number, one._trial_id, lock)
                    if claim.workers <= MOST_WORKERS:
                        return claim
                    claim.finish(None, [], f"{MOST_WORKERS} workers ended, one after the other, while they ran it.")
            if len(known) < self.budget:
                lock = self._lock(len(known))
                lock.acquire()
                return self._claim(len(known), None, lock)
        return None

    def finished(self) -> list[Finished]:
        """The trials that came to an end, by number."""
        with self.storage.writing():
            ended = [one for one in self._known() if one.state.is_finished()]
        return [Finished(one.number, one.value, self._settings(one.params), one.user_attrs) for one in ended]

    def left(self) -> int:
        """How many trials are not finished; those that this worker gave back are left to another time."""
        return self.budget - len({one.number for one in self.finished()} | self._aside)

    def put_aside(self, number: int) -> None:
        """Leave a trial to another worker, or to another time."""
        self._aside.add(number)

    def _known(self) -> list[FrozenTrial]:
        """All trials of the budget; of a search that once had a larger one, the first."""
        return self.study.get_trials(deepcopy=False)[: self.budget]

    def _claim(self, number: int, known_as: int | None, lock: FileLock) -> Claim:
        """Give a trial its settings; they follow from its number and the trials before it, whoever runs it."""
        import optuna

        startup = min(RANDOM_TRIALS, -(-self.budget // 3))
        seed = seed_for(self.seed, "trial", number) % 2**32
        self.study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)
        trial = self.study.ask() if known_as is None else optuna.Trial(self.study, known_as)
        workers = trial.user_attrs.get("workers", 0) + 1
        trial.set_user_attr("workers", workers)
        params = {name: _suggest(trial, name, *range_) for name, range_ in self.ranges.items()}
        return Claim(self, trial, self._settings(params), lock, workers)

    def _settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Settings from what the storage holds, where choices are JSON: it does not take any value."""
        return {
            name: json.loads(value) if self.ranges[name][0].choices is not None else value
            for name, value in params.items()
        }

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.storage.locks / f"{self.short_name(number)}.lock")

    def short_name(self, number: int) -> str:
        """What a trial's files are called."""
        return f"{self.name.rpartition('/')[2]}-{number}"


@dataclass(frozen=True)
class Finished:
    """A trial that came to an end.

    Attributes:
        number: Counted from 0.
        value: What is minimised; None if it failed.
        settings: The searched settings.
        notes: What ``Claim.finish`` was given.
    """

    number: int
    value: float | None
    settings: dict[str, Any]
    notes: dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's to run.

    Attributes:
        trials: All trials of the method.
        trial: This one.
        settings: The searched settings.
        lock: Held until the trial is finished.
        workers: How many workers took it up so far, this one included.
    """

    trials: Trials
    trial: Trial
    settings: dict[str, Any]
    lock: FileLock
    workers: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return self.trials.short_name(self.trial.number)

    def finish(self, value: float | None, rows: Sequence[Mapping[str, Any]], reason: str | None) -> None:
        """Note what came of it.

        Args:
            value: What is minimised; None if it failed.
            rows: One for each forget set, as plain values.
            reason: Why it failed.
        """
        from optuna.trial import TrialState

        with self.trials.storage.writing():
            self.trial.set_user_attr("rows", [dict(row) for row in rows])
            self.trial.set_user_attr("reason", reason)
            self.trials.study.tell(self.trial.number, value, state=TrialState.FAIL if value is None else None)
            self.lock.release()
            Path(self.lock.lock_file).unlink(missing_ok=True)

    def short_of_memory(self) -> int:
        """Note that memory ran out; how many workers met that so far, this one included."""
        short = int(self.trial.user_attrs.get("short", 0)) + 1
        with self.trials.storage.writing():
            self.trial.set_user_attr("short", short)
        return short

    def give_back(self) -> None:
        """Leave the trial unfinished, as if no worker had taken it up."""
        self.trials.put_aside(self.trial.number)
        self.lock.release()
        with suppress(NatmuError), self.trials.storage.writing():  # else the number of workers is one too high
            self.trial.set_user_attr("workers", self.workers - 1)


def _suggest(trial: Trial, name: str, range_: Range, whole: bool) -> Any:  # noqa: ANN401 - any setting's value
    """The value of one setting, as the storage holds it."""
    if range_.choices is not None:
        return trial.suggest_categorical(name, [json.dumps(choice, sort_keys=True) for choice in range_.choices])
    assert range_.low is not None and range_.high is not None, "a range has both ends"  # noqa: PT018
    if whole:
        return trial.suggest_int(name, int(range_.low), int(range_.high), log=range_.log)
    return trial.suggest_float(name, range_.low, range_.high, log=range_.log)
