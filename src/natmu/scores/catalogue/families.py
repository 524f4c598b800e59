"""What an engineer should know of each family of scores before choosing one."""

from __future__ import annotations

FAMILIES = {
    "Accuracies": (
        "The first thing to look at, and the first thing that misleads: a forget accuracy far below that of a "
        "retrained model is over-forgetting, which gives the forget set away as surely as memory does. The aim is "
        "the retrained model's accuracy on each part, not 0 on the forget set. When a whole class is forgotten "
        "`test_acc` is without it and `forget_test_acc` has it."
    ),
    "Closeness of accuracies": (
        "One number for a table. It averages: two models with the same accuracies can differ on every single "
        "sample, so a small gap is where an audit begins and not where it ends."
    ),
    "Distance of predictions": (
        "Compares whole predictions, sample by sample, where accuracies compare averages. Two retrained models differ "
        "as well, so read a distance next to theirs. KL grows without bound where a model is sure and wrong, JS "
        "does not; agreement is the easiest to explain. What to look at is the forget set: a distance on the "
        "retain or test set is damage, one on the forget set may be memory. `zrf` needs no retrained model, but "
        "what it praises, predictions as of an untrained model, is not what a retrained model does."
    ),
    "Weights and relearning": (
        "Looks behind the predictions. A model that only hides what it knows learns it again in a few steps; compare "
        "with the steps that a retrained model takes. Weights differ between any two trainings, so a large "
        "`weight_distance` shows nothing by itself; a small one to the original and a large one to retrained "
        "models says that little has moved."
    ),
    "Information in features": (
        "Looks behind the last layer. A model whose head alone was changed may predict like a retrained one, so that "
        "no score of its predictions notices. Its features still hold what a new head can find: its `idi` is 1, that "
        "of the original. A value below the baseline means that less is known than by a model that never saw the "
        "samples, if the original knows more than retrained models; if it knows less, the sign is reversed. Where the "
        "original and retrained models know almost the same, the ratio divides by almost 0: values far from 0 and 1, "
        "on either side, then mean nothing, and the verdict says that the original is not distinguishable either. The "
        "paper trains a network on InfoNCE for each layer. Here a linear probe takes seconds, so compare values only "
        "with others of this package."
    ),
    "Residual knowledge": (
        "Looks at neighbours of the forget samples, where other scores look at the samples themselves: a model can be "
        "wrong on a sample and right on its neighbours. A value below the baseline means that the model is wrong there "
        "more often than one that never saw the samples. It reads predictions only, so a change of the head alone can "
        "hide everything. Where retrained models never predict the forgotten class, it detects memory but no "
        "over-forgetting."
    ),
    "Calibration": (
        "Shows damage that accuracies hide: unlearning often leaves a model right but unsure, or wrong and sure, "
        "on what it kept."
    ),
    "Entropy attack": (
        "The number that many papers print as MIA. It asks whether the model is as sure of forget samples as of "
        "retain samples. A retrained model does not score 0, because many unseen samples are easy; close to "
        "retraining is the aim, and far below it is over-forgetting."
    ),
    "Efficacy attacks": (
        "The other number that papers print as MIA, and it counts the other way round: the share called "
        "non-members. The attack learns from a bounded number of samples of each side, which is logged, and each of "
        "which has the weight of several."
    ),
    "Forget set against test set": (
        "Asks the question of a membership attack itself, with no model trained for it. 0.5 is where nothing can "
        "be told; below 0.5 is a leak too, as an attacker can turn the rule round, so the advantage is |AUC - "
        "0.5|. An average over all samples can hide a few that are fully exposed: the true positive rate at a low "
        "false positive rate looks at those. When classes are forgotten the unseen samples are test samples of "
        "these classes."
    ),
    "RMIA": (
        "A strong attack for the price of a few models. It compares how probable a sample's label is to the model "
        "with how probable it is to models that were not trained on it, so samples that are easy for everyone are "
        "not mistaken for members. The retrained models of an audit serve as references."
    ),
    "LiRA": (
        "The standard for membership attacks: for each sample, the margin's distribution over models that were "
        "trained on it and over those that were not. It needs many models, and knows nothing of unlearning: it "
        "asks whether the model still behaves as one that holds the sample."
    ),
    "U-LiRA": (
        "LiRA against an attacker who knows the method and can run it: are models that unlearned a sample "
        "different from models that never saw it? The strictest question, and the most expensive to ask."
    ),
    "SWAP test": (
        "A membership attack has a bias of its own, so that even retraining does not score 0. Here every attack is "
        "made twice, the second time with forgotten and unseen samples exchanged. What does not come from unlearning "
        "cancels, and retraining scores 0 in expectation, for every attacker. The shadow models of U-LiRA come in such "
        "pairs. Over-forgetting raises the score as memory does. The paper's quality is 1 minus this score."
    ),
    "KLoM": (
        "Compares distributions and not single models: what a method does to a sample's margin on average over "
        "seeds, next to what retraining does. It is large where margins of unlearned models are never those of "
        "retrained ones, and small where they only vary less. With few models the histograms are rough and the "
        "baseline is far from 0, so compare with the baseline only; values such as papers print take about 100 models "
        "of a kind. Look at the 95th percentile for the samples that fare worst."
    ),
    "Forgetting quality": (
        "The scoring of the NeurIPS 2023 challenge, close to the definition of differential privacy. With n "
        "models of a kind an epsilon between log(n - 1) and 50 cannot be observed, and the best rule is chosen on "
        "the models that it is judged on, so retrained models do not reach 1 either."
    ),
}
"""Text on each family, by its title and in the order of tables."""
