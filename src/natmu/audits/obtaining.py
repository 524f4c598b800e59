"""Making the models of an audit, and saying of each what a user wants to hear of it."""

from __future__ import annotations

from collections.abc import Sequence

from natmu.engine.store import Run
from natmu.errors import TrainingError, UsageError
from natmu.lineage.executors.local import make_here
from natmu.lineage.graph import in_order
from natmu.lineage.workspace import Workspace
from natmu.progress import say, task
from natmu.records.derived import title
from natmu.records.lineage import AnyLineage, Trained
from natmu.records.run import WEIGHTS
from natmu.records.settings import OwnTraining
from natmu.scores.panel import Level
from natmu.types import ForgetSet


def make_models(groups: Sequence[tuple[Sequence[AnyLineage], bool]], workspace: Workspace, label: str) -> None:
    """Make models that are missing; what is finished stays, so it goes on where it was stopped.

    A model that cannot be had is left out, with a line that says why. Each one that the user's own function trains has
    a line too, because that may take long.

    Args:
        groups: Models, and whether small ones may be trained at the same time; the groups are made in turn.
        workspace: Where they are made.
        label: Names the work.

    Raises:
        TrainingError: The user's own function fails, which would fail with all other models too.
        UsageError: It has returned the same model twice.
    """
    own = _trained_by_the_user([model for models, _ in groups for model in models], workspace)
    said: set[str] = set()
    weights: dict[str, str] = {}
    for models, side_by_side in groups:
        with task(label, len(models)) as advance:
            for model, outcome in make_here(models, workspace, side_by_side=side_by_side):
                if outcome.failed is not None and model.digest in own:
                    raise TrainingError(f"{title(model)}: {outcome.failed}")
                if outcome.failed is not None and outcome.failed not in said:
                    said.add(outcome.failed)
                    say(f"{title(model)}: {outcome.failed}")
                if outcome.run is not None and model.digest in own - said:
                    said.add(model.digest)
                    _require_new_weights(model, outcome.run, weights)
                    done = f"{len(own & said)} of {len(own)}"
                    say(f"{title(model)}: {done}, trained in {outcome.run.record.seconds:.0f} s")
                advance()


def refuse_shadows_of_corrected(forget: ForgetSet, level: Level) -> None:
    """Refuse shadow models where labels were corrected.

    A shadow model stands for an original, which knew the wrong pairs alone; trained on the corrected ones too, as the
    judged model was, it would no longer do so.

    Raises:
        UsageError: The level has shadow models, and labels were corrected by this request or an earlier one.
    """
    if level == "full" and len(forget.corrections):
        raise UsageError(
            "Shadow models cannot show what is known of samples that are kept with a right label; audit at the level "
            "standard."
        )


def _require_new_weights(model: AnyLineage, run: Run, known: dict[str, str]) -> None:
    """Refuse weights that the user's own function has returned before, as one does that ignores its seed.

    Args:
        model: What was trained.
        run: Its run.
        known: Titles of the models so far by the digest of their weights; this one is added.
    """
    digest = run.record.files[WEIGHTS]
    if digest in known:
        raise UsageError(
            f"The trainer has returned the same weights for {known[digest]} and for {title(model)}. It must train anew "
            "each time and use the seed that it gets. If training draws nothing at random, compare with a single model "
            "(--references 1, in Python references=1)."
        )
    known[digest] = title(model)


def _trained_by_the_user(models: Sequence[AnyLineage], workspace: Workspace) -> set[str]:
    """Digests of the missing models that the user's own function has to train."""
    missing = [model for model in in_order(models, workspace.has) if not workspace.has(model)]
    return {model.digest for model in missing if isinstance(model, Trained) and isinstance(model.recipe, OwnTraining)}
