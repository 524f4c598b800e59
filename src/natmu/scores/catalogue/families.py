"""What an engineer should know of each family of scores before choosing one."""

from __future__ import annotations

FAMILIES = {
    "Accuracies": (
        "The first thing to look at, and the first thing that misleads. A forget accuracy far below that of a "
        "retrained model is over-forgetting, which shows what was forgotten as clearly as memory does. The aim is the "
        "retrained model's accuracy on each part, not 0 on the forget set. When a whole class is forgotten, `test_acc` "
        "leaves it out, and `forget_test_acc` is its accuracy."
    ),
    "Closeness of accuracies": (
        "One number for a table. It averages: two models with the same accuracies can differ on every single sample. "
        "So an audit begins with a small gap, and does not end there."
    ),
    "Distance of predictions": (
        "Compares whole predictions, sample by sample, where accuracies compare averages. Two retrained models differ "
        "as well, so read a distance next to theirs. KL grows without bound where a model is sure and wrong, JS does "
        "not. Agreement is the easiest to explain. Look at the forget set first: a distance there may be memory, but a "
        "distance on the retain or test set is damage. `zrf` needs no retrained model. But it rewards predictions like "
        "those of an untrained model, and a retrained model does not predict so."
    ),
    "Weights and relearning": (
        "Looks behind the predictions. A model that only hides what it knows learns it again in a few steps. Compare "
        "with the steps that a retrained model takes. Weights differ between any two trainings, so a large "
        "`weight_distance` shows nothing by itself. If it is small to the original and large to retrained models, "
        "little has moved."
    ),
    "Information in features": (
        "Looks behind the last layer. If only the head of a model was changed, the model may predict like a retrained "
        "one, and no score of its predictions notices. Its features still hold what a new head can find: its `idi` is "
        "1, that of the original. A value below the baseline means that the model knows less than models that never "
        "saw the samples. (This holds if the original knows more than retrained models. If it knows less, the sign is "
        "reversed.) If the original and retrained models know almost the same, the ratio divides by almost 0. Then "
        "values far from 0 and 1 mean nothing, and the verdict says that the original is not distinguishable either. "
        "The paper trains a network on InfoNCE for each layer. Here a linear probe takes seconds, so compare values "
        "only with others of this package."
    ),
    "Residual knowledge": (
        "Looks at neighbours of the forget samples; other scores look at the samples themselves. A model can be wrong "
        "on a sample and right on its neighbours. A value below the baseline means that the model is wrong there more "
        "often than one that never saw the samples. It reads predictions only, so a change of the head alone can hide "
        "everything. If retrained models never predict the forgotten class, it detects memory but no over-forgetting."
    ),
    "Calibration": (
        "Shows damage that accuracies hide: unlearning often leaves a model right but unsure, or wrong and sure, "
        "on what it kept."
    ),
    "Entropy attack": (
        "The number that many papers print as MIA. It asks whether the model is as sure of forget samples as of retain "
        "samples. A retrained model does not score 0, because many unseen samples are easy; aim for the value of "
        "retraining. A value far below it is over-forgetting."
    ),
    "Efficacy attacks": (
        "The other number that papers print as MIA. It counts the other way round: the fraction called non-members. "
        "The attack learns from a bounded number of samples of each side, which is logged. Each of these samples has "
        "the weight of several."
    ),
    "Forget set against test set": (
        "Asks the question of a membership attack itself, with no model trained for it. At 0.5 an attacker learns "
        "nothing. Below 0.5 is a leak too, because an attacker can reverse the rule. So the advantage is |AUC - 0.5|. "
        "An average over all samples can hide a few that are fully exposed. The true positive rate at a low false "
        "positive rate looks at those. When classes are forgotten, the unseen samples are test samples of these "
        "classes."
    ),
    "RMIA": (
        "A strong attack for the cost of a few models. It compares how probable a sample's label is for the model with "
        "how probable it is for models that were not trained on it. So it does not take samples that are easy for "
        "every model for members. The retrained models of an audit serve as references."
    ),
    "LiRA": (
        "The standard for membership attacks. For each sample it compares the margin's distribution over models that "
        "were trained on it with that over models that were not. It needs many models, and does not depend on "
        "unlearning: it asks whether the model still behaves like one that was trained on the sample."
    ),
    "U-LiRA": (
        "LiRA with an attacker who knows the method and can run it: are models that unlearned a sample different from "
        "models that never saw it? This is the strictest question, and the most expensive one."
    ),
    "SWAP test": (
        "A membership attack has a bias of its own, so even retraining does not score 0. Here every attack is made "
        "twice, the second time with forgotten and unseen samples exchanged. What does not come from unlearning "
        "cancels, and retraining scores 0 in expectation, for every attacker. The shadow models of U-LiRA come in such "
        "pairs. Over-forgetting raises the score as memory does. The paper's quality is 1 minus this score."
    ),
    "KLoM": (
        "Compares distributions and not single models: the margins of a sample over many seeds of a method, and over "
        "many seeds of retraining. It is large if margins of unlearned models are never those of retrained ones, and "
        "small if they only vary less. With few models the histograms are rough and the baseline is far from 0, so "
        "compare with the baseline only. Values like those in papers take about 100 models of a kind. The 95th "
        "percentile shows the worst samples."
    ),
    "Forgetting quality": (
        "The scoring of the NeurIPS 2023 challenge, close to the definition of differential privacy. With n models of "
        "a kind, an epsilon between log(n - 1) and 50 cannot be observed. The best rule is chosen on the same models "
        "on which it is judged. So retrained models do not reach 1 either."
    ),
}
"""Text on each family, by its title and in the order of tables."""
