"""Whether an original model is what it is taken for: its accuracy, and what explains a poor one.

Everything is read from predictions on samples that the model was trained on and has not been asked to forget. Errors
say that the weights and the data do not belong together; what an honest but weak model shows is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from natmu.errors import ModelError
from natmu.scores.utility import accuracy
from natmu.types import BoolArray, ForgetSet, IntArray, Outputs, Part

DOUBTFUL = 95.0
"""Percent right on its own training data below which a model is looked at more closely."""

WEAK = 60.0
"""Percent right on its own training data below which an honest model is warned of."""

NEAR_CHANCE = 0.1
"""Largest Cohen's kappa, with an accuracy of at most twice chance, that counts as near chance.

Of two equal classes, a model of kappa 0.3 comes out below it with 100 samples once in 40 times, with 200 once in 400,
and with more samples or classes hardly ever.
"""

SIGNIFICANT = 1e-6
"""Largest p-value of a sign test that makes a finding an error."""

SUSPECT = 1e-3
"""Largest p-value of a sign test that makes another order of the classes worth a warning."""

PER_CLASS = 3
"""Samples per class below which unseen samples do not tell the order of the classes: of few, some order fits any."""

ALTERNATIVES = "class order, normalisation, image size, colour order"
"""What is usually wrong, where nothing tells which."""


@dataclass(frozen=True)
class OriginalCheck:
    """What is found out about an original before anything is forgotten.

    Attributes:
        accuracies: ``train_acc``, ``test_acc``, ``holdout_acc`` and ``forget_acc``, where there are such samples, in
            percent. Training and unseen samples are without what earlier requests had forgotten.
        chance: Percent of the training samples that the same predictions would get right if they had nothing to do with
            the images.
        causes: What makes it likely that the weights and the data do not belong together, most likely first.
        warnings: What is unusual, and may be so honestly.
    """

    accuracies: Mapping[str, float]
    chance: float
    causes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def doubtful(self) -> bool:
        """Whether it is worth finding out if the model would like other images better."""
        return self.accuracies["train_acc"] < DOUBTFUL

    @property
    def line(self) -> str:
        """The accuracies in one line."""
        names = {"train_acc": "training data", "test_acc": "test data", "holdout_acc": "holdout"}
        names |= {"forget_acc": "forget set"}
        told = [f"{self.accuracies[key]:.1f} % of {name}" for key, name in names.items() if key in self.accuracies]
        return f"original: right on {', '.join(told)} (chance {self.chance:.1f} %)"

    def require(self) -> None:
        """Refuse weights that do not belong to the data.

        Raises:
            ModelError: One sentence that names the likely causes.
        """
        if self.causes:
            raise ModelError(
                f"The original is right on {self.accuracies['train_acc']:.1f} % of its own training data (chance "
                f"{self.chance:.1f} %), so weights and data do not seem to belong together: {'; '.join(self.causes)}. "
                "Correct that, or continue with --force (in Python force=True)."
            )


@dataclass(frozen=True)
class FormTrial:
    """Which of the same samples a model gets right as the images are, and in another form.

    Attributes:
        right: bool ``(M,)``, as they are.
        right_in_form: bool ``(M,)``, in the other form.
    """

    right: BoolArray
    right_in_form: BoolArray


def check_original(
    outputs: Outputs,
    forget: ForgetSet | None,
    class_names: Sequence[str],
    forms: Mapping[str, FormTrial] | None = None,
) -> OriginalCheck:
    """Examine an original by its predictions.

    Args:
        outputs: Its predictions; an empty test part is left out.
        forget: What is to be forgotten; None where that is not known yet.
        class_names: One name per class, in the order of the labels.
        forms: Trials of other forms of the images, by a text that names the form.
    """
    parts = {"train_acc": outputs.train, "test_acc": outputs.test, "holdout_acc": outputs.holdout}
    if forget is not None:
        kept = np.ones(len(outputs.train), bool)
        kept[forget.before] = False
        split = outputs.split(forget)
        parts = {"train_acc": outputs.train.take(kept), "test_acc": split.test, "holdout_acc": split.holdout}
        parts |= {"forget_acc": split.forget}
    train = parts["train_acc"]
    assert train is not None
    labels, predicted = train.labels, train.logits.argmax(1).astype(np.int64)
    accuracies = {name: accuracy(part) for name, part in parts.items() if part is not None and len(part)}
    level = chance(labels, predicted, len(class_names))
    orders = _orders({name.removesuffix("_acc"): part for name, part in parts.items() if part is not None}, class_names)
    causes = [*better_forms(forms or {}), *(text for text, p_value in orders if p_value <= SIGNIFICANT)]
    unpredicted = never_predicted(labels, predicted, class_names)
    hopeless = near_chance(accuracies["train_acc"] / 100, level)
    if not causes and hopeless:
        causes = [f"it is near chance; look at {ALTERNATIVES}, and whether it was trained"]
    causes += [] if causes else unpredicted
    warnings = [f"It may be another {text}." for text, _ in orders] if not causes else []
    if not causes and accuracies["train_acc"] < WEAK:
        warnings += [
            f"The original is right on {accuracies['train_acc']:.1f} % of its own training data. If it was better "
            f"after its training, check {ALTERNATIVES}."
        ]
    return OriginalCheck(accuracies, 100 * level, tuple(causes), tuple(warnings))


def chance(labels_N: IntArray, predicted_N: IntArray, classes: int) -> float:
    """Fraction that the same predictions would get right on average if they were shuffled.

    >>> chance(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), 2)
    0.5
    """
    true, said = (np.bincount(values, minlength=classes) / len(values) for values in (labels_N, predicted_N))
    return float(true @ said)


def near_chance(right: float, level: float) -> bool:
    """Whether an accuracy is hardly better than chance, both as fractions.

    Cohen's kappa tells for few classes, where twice chance is everything; twice chance for many, where an honest model
    that has just begun to learn has a small kappa too.
    """
    return right < 1 and right - level <= NEAR_CHANCE * (1 - level) and right <= 2 * level


def _orders(parts: Mapping[str, Part], class_names: Sequence[str]) -> list[tuple[str, float]]:
    """Other orders of the classes that fit better, as ``wrong_order`` has them.

    That of the training data explains those of the other parts. Where it is right, test data or a holdout may have been
    read with another one; the accuracies on them would mean nothing.
    """
    for name in ("train", "test", "holdout"):
        part = parts.get(name)
        if (
            part is None
            or not len(part)
            or (name != "train" and len(part) < PER_CLASS * len(set(part.labels.tolist())))
        ):
            continue
        found = wrong_order(part.labels, part.logits.argmax(1).astype(np.int64), class_names)
        if found:
            return [(text if name == "train" else f"{text} of {name} samples", p_value) for text, p_value in found]
    return []


def wrong_order(labels_N: IntArray, predicted_N: IntArray, class_names: Sequence[str]) -> list[tuple[str, float]]:
    """That the outputs stand for the classes in another order, as far as the predictions say so.

    The order that makes most predictions right is found. It counts where it moves at least two classes, is right on
    more than half of their samples, and a sign test prefers it to the order as it is: on data that it was trained on,
    no honest model takes most of one class for another and the reverse.

    Returns:
        A sentence and the p-value of the sign test, where that is at most ``SUSPECT``; nothing otherwise.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    classes = len(class_names)
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels_N, predicted_N), 1)
    rows, order = linear_sum_assignment(2 * counts + np.eye(classes, dtype=np.int64), maximize=True)
    moved = (order != rows) & (counts.sum(1) > 0)
    better, worse = int(counts[rows, order][moved].sum()), int(counts[rows, rows][moved].sum())
    p_value = _sign_test(better, worse)
    if moved.sum() < 2 or 2 * better <= counts[moved].sum() or p_value > SUSPECT:
        return []
    examples = [
        f"images of {class_names[row]!r} are most often taken for {class_names[order[row]]!r}"
        for row in np.flatnonzero(moved)[:2]
    ]
    right = 100 * counts[rows, order].sum() / len(labels_N)
    text = f"class order: {' and '.join(examples)}"
    natural = sorted(range(classes), key=lambda row: _natural(class_names[row]))
    alphabetical = sorted(range(classes), key=lambda row: class_names[row])
    orders = {"alphabetical": (alphabetical, "leave out --classes and --class-order")}
    if natural != alphabetical:
        orders = {"natural": (natural, "--class-order natural, without --classes")} | orders
    for name, (names, advice) in orders.items():
        place = np.argsort(np.array(names))
        known = 100 * counts[rows, place].sum() / len(labels_N)
        if known >= right - 1:
            return [
                (f"{text}; with the classes in {name} order ({advice}) it would be right on {known:.1f} %", p_value)
            ]
    return [(f"{text}; in another order of the classes it would be right on {right:.1f} %", p_value)]


def never_predicted(labels_N: IntArray, predicted_N: IntArray, class_names: Sequence[str]) -> list[str]:
    """That common classes are hardly ever predicted, although the model knows the others well.

    A class is common with ten samples and half of what it would have if all had equally many: a model of unequal
    classes may honestly neglect the rare ones. The others are known well where half of them are right on 80 %.
    """
    classes = len(class_names)
    counts = np.bincount(labels_N, minlength=classes)
    right = np.bincount(labels_N[labels_N == predicted_N], minlength=classes)
    recall = right / np.maximum(counts, 1)
    common = (counts >= 10) & (counts >= len(labels_N) / (2 * classes))
    missed, others = common & (recall <= 0.05), (counts > 0) & (recall > 0.05)
    if not missed.any() or not others.any() or np.median(recall[others]) < 0.8:
        return []
    names = ", ".join(class_names[row] for row in np.flatnonzero(missed)[:4])
    return [
        f"some classes are hardly ever predicted ({names}) although it is right on most others. Check the order of the "
        "classes, and if the model forgot those before, say so"
    ]


def better_forms(trials: Mapping[str, FormTrial]) -> list[str]:
    """That the model would rather have the images in another form, best form first.

    A form counts where it at least halves the errors and a sign test prefers it, corrected for the number of forms.
    """
    found = []
    for form, trial in trials.items():
        before, after = trial.right.mean(), trial.right_in_form.mean()
        better = int((trial.right_in_form & ~trial.right).sum())
        worse = int((trial.right & ~trial.right_in_form).sum())
        if 2 * (1 - after) <= 1 - before and _sign_test(better, worse) * len(trials) <= SIGNIFICANT:
            count = f"{len(trial.right)} training samples"
            found.append((after, f"{form}: right on {100 * after:.1f} % instead of {100 * before:.1f} % of {count}"))
    return [text for _, text in sorted(found, key=lambda one: -one[0])]


def _sign_test(better: int, worse: int) -> float:
    """The p-value of a one-sided sign test, by how many samples are right in the one way alone and in the other."""
    from scipy.special import bdtrc  # slow to import

    return float(bdtrc(better - 1, better + worse, 0.5)) if better > worse else 1.0


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """A key that orders numbers within names by their value."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name) if part]
