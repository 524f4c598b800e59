"""Methods that teach the model wrong labels for the forget set."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import nn

from natmu.data.batches import Samples, joined, plain
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.labels import relabelled
from natmu.methods.problem import Problem
from natmu.methods.settings import FineTuneSettings, SGDRetainSettings


class Amnesiac(Method):
    """Give each forget sample one fixed wrong label and fine-tune on it together with the retain set.

    Labels are drawn once: for single samples uniformly over the classes that are not their own, and where a whole class
    or sub-class is forgotten that of a random retain image of another class. The loss is the cross-entropy on the
    retain set and the relabelled forget set, shuffled together.

    When to use:
        As the plainest of the relabelling methods, and to forget whole classes. On random samples it forgets too much:
        the model learns a wrong answer to them, which a retrained model would not give, and membership attacks see it.

    Cost:
        ``epochs`` forward and backward passes over D_r and D_f together. No extra memory.

    Decisions:
        - The paper calls this relabelling "unlearning" and trains on all data with random wrong labels of the class to
          forget; its "amnesiac unlearning" is another method, which subtracts the updates that were recorded in
          training when batches with forget samples came. Later work, the research code of NatMU among it, compares the
          relabelling under the name of amnesiac, and so it is called here.
        - Retain images are not augmented unless ``augment_retain`` says so, as in that code; NatMU's are, which has to
          be kept in mind when the two are compared.

    References:
        Amnesiac Machine Learning (Laura Graves, Vineel Nagisetty, Vijay Ganesh, 2021), https://arxiv.org/abs/2010.10981,
        as defined by the research code of Towards Natural Machine Unlearning (He et al., 2024).

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = Amnesiac(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.0
    """

    name = "amnesiac"
    paper = Paper("Amnesiac Machine Learning", "Graves et al.", 2021, "https://arxiv.org/abs/2010.10981")
    presets = published.AMNESIAC

    class Config(FineTuneSettings):
        """Settings of ``amnesiac``; the defaults are the NatMU paper's for CIFAR-10 and VGG16."""

        lr: float = Field(1.8e-5, gt=0, le=100, description="base learning rate")
        weight_decay: float = Field(4e-4, ge=0, le=1, description="decoupled weight decay")
        reset_head: bool = Field(False, description="re-initialise the last linear layer before fine-tuning")

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on the retain set and the relabelled forget set."""
        if self.config.reset_head:
            problem.reset_head()
        retain = problem.retain_samples(self.config)
        forget = plain(problem.forget_positions, torch.from_numpy(relabelled(problem)), augment=False)
        return fine_tune(self, problem, joined(retain, forget))


class RandomLabel(Method):
    """Give each forget sample another wrong label at every visit, and fine-tune on them together with the retain set.

    The loss is the cross-entropy on the retain set and the relabelled forget set, shuffled together. With one fixed
    wrong label the model learns a new answer; with one drawn anew in each epoch there is no answer to learn, and it
    becomes unsure of the forget set.

    When to use:
        As a simple baseline that keeps accuracy well. It leaves a trace: forget samples end up less sure than unseen
        ones are, which membership attacks pick up. ``amnesiac`` is the form with one fixed wrong label.

    Cost:
        ``epochs`` forward and backward passes over D_r and D_f together. No extra memory.

    Decisions:
        - A visit is an epoch: every forget sample comes once in each, and its label depends on the seed and the epoch.
        - Labels are uniform over the wrong classes. Much code of the field draws from all classes, so that in one of C
          visits a sample is taught its true label; here none is. Where a class or sub-class is forgotten, a label is
          that of a random retain image of another class, as for ``amnesiac`` and ``salun``.
        - Retain and forget samples share batches; some code goes through the whole forget set first, then through the
          retain set, which ends each epoch with a repair.
        - The defaults are those with which Fan et al. (2024) compare: SGD with rate 0.01 for ten epochs.

    References:
        Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks (Aditya Golatkar, Alessandro
        Achille, Stefano Soatto, 2020), https://arxiv.org/abs/1911.04933

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = RandomLabel(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        2.0
    """

    name = "random_label"
    paper = Paper("Eternal Sunshine of the Spotless Net", "Golatkar et al.", 2020, "https://arxiv.org/abs/1911.04933")
    presets = published.RANDOM_LABEL

    class Config(SGDRetainSettings):
        """Settings of ``random_label``."""

    def run(self, problem: Problem) -> nn.Module:
        """Fine-tune on the retain set and the forget set, relabelled anew for every epoch."""
        retain = problem.retain_samples(self.config)

        def samples(epoch: int) -> Samples:
            labels = torch.from_numpy(relabelled(problem, epoch))
            return joined(retain, plain(problem.forget_positions, labels, augment=False))

        return fine_tune(self, problem, samples)
