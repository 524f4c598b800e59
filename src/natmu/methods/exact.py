"""Methods that forget exactly, of models that were trained so that it can be done."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import nn

from natmu.errors import ModelError
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.records.settings import Sharding
from natmu.types import Settings

UNSHARDED = (
    "sisa trains the shards of a model again, and this one was not trained in shards. Train one with natmu train "
    "--shards 5, or give sisa the setting shards in a recipe."
)
"""Refuses any other model."""

UNFITTED = (
    "downdate takes samples out of a ridge or logistic head that no other method has changed, and this model has none. "
    "Start from the head as it was fitted or as downdate left it. Or train one with natmu train --head ridge "
    "--features-from MODEL."
)
"""Refuses any other model."""


class SISASettings(Settings):
    """How the original is divided; a model that was trained in shards has its division."""

    shards: int | None = Field(
        None, ge=1, le=1000, description="shards of an original of its own, in a recipe; if none, those of the original"
    )
    slices: int | None = Field(
        None, ge=1, le=1000, description="slices of each shard, likewise; 1 if only shards is set"
    )
    combine: Literal["probabilities", "logits", "votes"] | None = Field(
        None, description="what of the shards' models is averaged, likewise; probabilities if only shards is set"
    )

    @property
    def division(self) -> Sharding | None:
        """The division that they ask for; None where they ask for none.

        Raises:
            SettingError: It divides nothing.
        """
        asked = self.model_dump(exclude_none=True)
        return Sharding.parse(asked, where="sisa") if asked else None


class SISA(Method):
    """Train each shard that holds forgotten samples again, from its last stage that saw none of them.

    The training data of the original is divided into S shards, and each shard into R slices, by a keyed hash of the
    samples' names. Each shard has a model of its own, which learns slice after slice and is kept after each. The
    predictions of all shards' models are averaged. A forgotten sample had a part in one shard alone, and there from its
    slice on. So that shard goes back to the stage before that slice, and learns that slice and all later ones again
    without the sample. All other shards stay as they are.

    What is promised: Bit for bit, the weights are those of a training of the same shards without the forgotten
    samples. It is assumed:

    - Bit for bit holds in fp32 on one machine. Elsewhere the last digits may differ, as between any two trainings.
    - A training function that the user wrote uses only its samples and its seed. It uses nothing that an earlier call
      left, no weights or files made from the forgotten samples, and no other random numbers.
    - What was chosen before training stays as it was: the recipe, the normalisation of images, the seed. The forgotten
      samples may have had a part in these choices.
    - Other samples with the same content, such as another photograph of the same person, are not forgotten.
    - Former versions of the model are deleted: a comparison of them with this one shows what was forgotten.

    When to use:
        Where exact removal is asked for, the model may be trained in shards, and requests are few samples at a time.
        A request of many samples touches every shard and costs as much as retraining. Accuracy falls with the number
        of shards, because each model has seen a part of the data only; measure it on your data before you choose one.

    Cost:
        That of the affected stages. On average one forgotten sample costs (2R + 1) / (3R) of the training of one shard.
        That is 1 / S of the original's training if R is 1, and about 2 / (3S) of it if R is large. S models are kept
        after each of R slices, which makes S R files of weights. Every prediction takes all S models.

    Decisions:
        - Stage i of a shard trains on slices 1 to i for a part of the recipe's epochs. All stages together show the
          samples to the model as often as the recipe does without slices. The paper fixes the same sum.
        - Shard and slice of a sample follow from a hash of its name, keyed by the training seed, and not from its
          position. So they stay the same when other samples are deleted.
        - Nothing in the training of a shard depends on the other shards, and its seeds follow from those of the
          original. Nothing random is left for this method to choose, so its own seed changes nothing.
        - In a recipe the settings ask for an original of its own, which has this division and all else of the other
          originals. Anywhere else the division is that of the original, and other settings are refused.

    References:
        Machine Unlearning (Bourtoule et al., 2021), https://arxiv.org/abs/1912.03817

    Examples:
        >>> SISA(shards=3, slices=2).config.division
        Sharding(shards=3, slices=2, combine='probabilities', threads=None)
    """

    name = "sisa"
    paper = Paper("Machine Unlearning", "Bourtoule et al.", 2021, "https://arxiv.org/abs/1912.03817")
    needs_shards = True
    reads_forget = False
    stochastic = False

    Config = SISASettings

    def check(self, problem: Problem) -> None:
        """Refuse a model that was not trained in shards."""
        super().check(problem)
        if problem.sharded is None:
            raise ModelError(UNSHARDED)

    def run(self, problem: Problem) -> nn.Module:
        """Train the affected shards again."""
        assert problem.sharded is not None, "it was checked"
        model, history = problem.sharded.retrained(np.union1d(problem.forget.left_out, problem.aside))
        problem.history.extend(history)
        return model


class Downdate(Method):
    """Take the forgotten samples out of a head that was fitted on the features of a frozen backbone.

    Two sums over samples decide a ridge head: products of features, and of features with labels. The parts of the
    forgotten samples are subtracted, and the head is solved again. A logistic head takes a Newton step that removes the
    samples. What the step leaves of the gradient is bounded, and the noise with which the head was fitted hides that
    much. If a sum has lost its accuracy, or the budget of the noise is spent, the head is fitted again on the stored
    features of the samples that are left.

    What is promised of a ridge head: The weights of the head are those of a fit without the forgotten samples. The sums
    that decide the weights are exact, and the forgotten samples were taken out of them.

    What is promised of a logistic head: The weights of the head are distinguishable from those of a fit without the
    forgotten samples only as far as (epsilon, delta) allows. Any outcome of a test is at most exp(epsilon) times as
    likely, but for a probability of delta.

    Of both, it is assumed:

    - The guarantee covers the head alone: the backbone is frozen, and was not trained on the forgotten samples.
    - What was chosen before training stays as it was: the recipe, the normalisation of images, the seed. The forgotten
      samples may have had a part in these choices.
    - Other samples with the same content, such as another photograph of the same person, are not forgotten.
    - Former versions of the model are deleted: a comparison of them with this one shows what was forgotten.

    Of a logistic head, it is assumed further:

    - The seed of the noise stays secret. Anyone who knows it, for example from the run folder, can subtract the noise.
    - Each fit has its own noise, and all removals since then share one budget. When it is spent, the head is fitted
      again.
    - The bound on what removals leave is computed for the noise that was drawn, and assumed to hold for any other
      noise.
    - What removals leave is assumed not to depend on the noise, as in the proof (Guo et al., 2020).
    - Whether the head is fitted again is assumed not to depend on the noise either.
    - Which samples are to be forgotten does not depend on weights that were released.
    - Only people who have the training data have the state of the head, which contains the weights of the last fit.

    When to use:
        Where a head on the features of a pretrained backbone is accurate enough, and requests come often. It is the
        quickest way to forget exactly, or with a certificate.

    Cost:
        No pass through the network: stored features are read, and a system of as many equations as there are features
        is solved. In Python, a ridge head on 64 features removes a sample in 0.1 ms, and on 512 features in 3 ms. A
        logistic head of 10 classes takes 0.4 ms and 10 ms (one core of an AMD EPYC, 10,000 samples, median of 3 draws).
        The command line takes seconds to start and to read the data; to fit a small head again takes no longer. The
        features of all samples are kept, four bytes a number.

    Decisions:
        - Ridge regression is not in the paper. Its sums are kept on a grid on which they are exact, so that the order
          of removals does not matter.
        - The paper has two classes, and one class against the rest for several; the budget is shared by the classes.
        - The method reads no image, and no sample that is kept, unless the head has to be fitted again.
        - refit asks for a fit in any case. It needs nothing of the head but how it was fitted, and serves where the
          head has lost what it needs to forget.

    References:
        Certified Data Removal from Machine Learning Models (Guo et al., 2020), https://arxiv.org/abs/1911.03030

    Examples:
        >>> from natmu.testing import problem_for
        >>> from natmu.testing.exact_problems import equipped
        >>> problem = equipped(Downdate, problem_for("random"))  # its model ends in a ridge head
        >>> Downdate()(problem).passes.passes  # no image is read
        0.0
    """

    name = "downdate"
    paper = Paper(
        "Certified Data Removal from Machine Learning Models", "Guo et al.", 2020, "https://arxiv.org/abs/1911.03030"
    )
    needs_retain = False
    needs_head = True
    reads_forget = False
    stochastic = False

    class Config(Settings):
        """Whether samples are taken out at all."""

        refit: bool = Field(False, description="fit the head again on what is left, with fresh noise where it has any")

    def check(self, problem: Problem) -> None:
        """Refuse a model without such a head."""
        super().check(problem)
        if problem.fitted is None:
            raise ModelError(UNFITTED)

    def run(self, problem: Problem) -> nn.Module:
        """Take the samples out of the head."""
        assert problem.fitted is not None, "it was checked"
        left_out = np.union1d(problem.forget.left_out, problem.aside)
        return problem.fitted.downdated(problem.forget.indices, left_out, refit=self.config.refit)
