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
    "sisa trains the shards of a model again, and this one was not trained in shards; train one with natmu train "
    "--shards 5, or give sisa the setting shards in a recipe."
)
"""Refuses any other model."""

UNFITTED = (
    "downdate takes samples out of a ridge or logistic head that no other method has changed, and this model has none; "
    "start from the head as it was fitted or as downdate left it, or train one with natmu train --head ridge "
    "--features-from MODEL."
)
"""Refuses any other model."""


class SISASettings(Settings):
    """How the original is divided; a model that was trained in shards has its division."""

    shards: int | None = Field(
        None, ge=1, le=1000, description="in a recipe, shards of an original of its own; else those of the original"
    )
    slices: int | None = Field(None, ge=1, le=1000, description="likewise slices of each shard; 1 beside shards")
    combine: Literal["probabilities", "logits", "votes"] | None = Field(
        None, description="likewise what of the shards' models is averaged; probabilities beside shards"
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
    samples' names. Each shard has a model of its own, which learns slice after slice and is kept after each; what the
    models of all shards give is averaged. A forgotten sample had a part in one shard alone, and there from its slice
    on, so that shard goes back to the stage before that slice and learns the slices from there on again without the
    sample. All other shards stay as they are.

    What is promised: The weights are, bit for bit, those of a training of the same shards that never had the forgotten
    samples. It is assumed:

    - Bit for bit holds in fp32 on one machine; elsewhere the last digits may differ, as between any two trainings.
    - A training function that the user wrote uses its samples and its seed alone: nothing that an earlier call left
      behind, no weights or files that know the forgotten samples, and no other random numbers.
    - What was chosen before training stays as it was, although the forgotten samples may have had a part in it: the
      recipe, the normalisation of images, the seed.
    - Samples that show the same, such as another photograph of the same person, count as other samples.
    - Former versions of the model are deleted: whoever compares them with this one sees what was forgotten.

    When to use:
        Where exact removal is asked for, the model may be trained in shards, and requests are few samples at a time.
        A request of many samples touches every shard and costs as much as retraining. Accuracy falls with the number
        of shards, because each model has seen a part of the data only; measure it on your data before you choose one.

    Cost:
        That of the affected stages. One forgotten sample costs (2R + 1) / (3R) of the training of one shard on
        average, that is 1 / S of the original's training where R is 1, and about 2 / (3S) of it where R is large. S
        models are kept after each of R slices, S R files of weights, and S models answer every prediction.

    Decisions:
        - Stage i of a shard trains on slices 1 to i for its share of the recipe's epochs, so that all stages together
          show the samples to the model as often as the recipe does without slices. The paper fixes the same sum.
        - Shard and slice of a sample follow from a hash of its name, keyed by the training seed, and not from its
          position: they stay the same when other samples are deleted.
        - Nothing in the training of a shard depends on the other shards, and its seeds follow from those of the
          original; there is nothing random left for this method to choose, so that its own seed changes nothing.
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

    A ridge head is decided by two sums over samples, of products of features and of features with labels: the parts
    of the forgotten samples are subtracted, and the head solved again. A logistic head takes a Newton step that
    removes the samples; what the step leaves of the gradient is bounded, and noise that the head was fitted with hides
    so much. Where a sum has lost its accuracy, or the budget of the noise is spent, the head is fitted again on the
    stored features of what is left.

    What is promised of a ridge head: The weights of the head are those of a fit that never had the forgotten samples:
    the sums that decide them are exact, and the forgotten samples were taken out of them.

    What is promised of a logistic head: No test can tell the weights of the head from those of a fit that never had
    the forgotten samples better than (epsilon, delta) allows: any outcome is at most exp(epsilon) times as likely, but
    for a probability of delta.

    Of both, it is assumed:

    - The guarantee covers the head alone: the backbone is frozen, and was not trained on the forgotten samples.
    - What was chosen before training stays as it was, although the forgotten samples may have had a part in it: the
      recipe, the normalisation of images, the seed.
    - Samples that show the same, such as another photograph of the same person, count as other samples.
    - Former versions of the model are deleted: whoever compares them with this one sees what was forgotten.

    Of a logistic head, it is assumed further:

    - The seed of the noise stays secret: whoever knows it, as from the run folder, can subtract the noise.
    - Each fit has its own noise, and all removals since then share one budget; once it is spent the head is fitted
      again.
    - The bound on what removals leave is computed for the noise that was drawn, and assumed to hold for any other
      noise.
    - What removals leave is assumed not to depend on the noise, as in the proof (Guo et al., 2020).
    - Whether the head is fitted again is assumed not to depend on the noise either.
    - Which samples are to be forgotten does not depend on weights that were released.
    - The state of the head, which holds the weights of the last fit, stays with whoever holds the training data.

    When to use:
        Where a head on the features of a pretrained backbone is accurate enough, and requests come often. It is the
        quickest way to forget exactly, or with a certificate.

    Cost:
        None of it is in the network: stored features are read, and a system of as many equations as there are features
        is solved. Removing a sample in Python takes 0.1 ms from a ridge head on 64 features and 3 ms on 512, and from a
        logistic head of 10 classes 0.4 ms and 10 ms (one core of an AMD EPYC, 10,000 samples, median of 3 draws). The
        command line takes seconds to start and to read the data, and small heads are fitted again as fast. The features
        of all samples are kept, four bytes a number.

    Decisions:
        - Ridge regression is not of the paper; its sums are kept on a grid on which they are exact, so that the order
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
