"""How far our scores are from those that published code computes, on the same made-up models.

    python -m tests.scores.differences          # from the root of the repository; about a minute

The catalogue of scores tells these numbers. What learns from a part of the samples is in ``benchmarks/audit.py``.
"""

from __future__ import annotations

import numpy as np
from scipy.special import softmax

from natmu.scores import auc, entropy, mia_entropy, modified_entropy, tpr_at_fpr, zrf, zrf_code
from natmu.scores.klom import klom
from natmu.scores.lira import lira_offline, lira_online
from natmu.scores.quality import epsilons, forgetting_quality
from natmu.scores.rmia import log_ratio, rmia
from natmu.types import Part

from . import published
from .made_up import predictions, random_part
from .shadows import shadow_models


def main() -> None:
    """Print a line for each score and kind of model: ours, theirs."""
    for compare in (of_klom, of_quality, of_rmia, of_lira, of_predictions):
        compare(np.random.default_rng(0))


def of_klom(rng):
    retrained = rng.normal(size=(100, 200))
    half = -6.0 * (np.arange(100) % 2)[:, None]
    standard = rng.normal(size=(100, 200))
    for kind, unlearned in {
        "collapsed": 0.3 * standard,
        "half": standard + half,
        "x4": 4 * standard,
        "alike": standard,
    }.items():
        ours, theirs = klom(unlearned, retrained), published.klom(unlearned, retrained)
        print(
            f"klom {kind}: mean {ours.mean():.3f}, {theirs.mean():.3f}; largest difference of a sample "
            f"{np.abs(ours - theirs).max():.3f}; the other direction {klom(retrained, unlearned).mean():.3f}"
        )


def of_quality(rng):
    for spread in (0.5, 2.0):
        for models in (16, 64, 512):
            unlearned, retrained = spread * rng.normal(size=(2, models, 100))
            ours, theirs = epsilons(unlearned, retrained), published.epsilon(unlearned, retrained)
            print(
                f"forgetting_quality, {models} models, spread {spread}: {forgetting_quality(ours):.3f}, "
                f"{forgetting_quality(theirs):.3f}; median epsilon {np.median(ours):.2f}, {np.median(theirs):.2f}"
            )


def of_rmia(rng):
    def probed(samples, lift=0.0):
        difficulty = rng.normal(3, 3, samples)
        target = difficulty + lift + rng.normal(size=samples)
        return -np.logaddexp(0, -target), -np.logaddexp(0, -(difficulty + rng.normal(size=(4, samples))))

    rates, areas = [], []
    for _ in range(40):
        members, unseen, population = probed(1000, 1.5), probed(1000), probed(10_000)
        sides = [[log_ratio(*one) for one in (members, unseen)]]
        sides += [[published.rmia(*one, *population, 0.3) for one in (members, unseen)]]
        sides += [[rmia(*one, *unseen) for one in (members, unseen)]]
        rates.append([(auc(*pair), 100 * tpr_at_fpr(*pair, 0.001)) for pair in sides])
        areas.append([auc(log_ratio(*members, a), log_ratio(*unseen, a)) for a in (0.0, 0.3, 0.6, 1.0)])
    (ours, theirs, of_one), by_a = np.mean(rates, axis=0), np.mean(areas, axis=0)
    print(f"rmia: AUC {ours[0]:.4f}, {theirs[0]:.4f}; TPR at 0.1 % {ours[1]:.2f}, {theirs[1]:.2f}")
    print(f"rmia with the unseen samples as population: TPR at 0.1 % {of_one[1]:.2f}")
    print("rmia: AUC with a = 0, 0.3, 0.6, 1:", " ".join(f"{area:.3f}" for area in by_a))


def of_lira(rng):
    for models in (16, 64):
        shadows, member, difficulty = shadow_models(rng, models, 20_000, lift=1.5)
        is_member = np.arange(20_000) % 2 == 0
        target = difficulty + 1.5 * is_member + rng.normal(size=20_000)
        for ours, theirs in ((lira_online, published.lira_online), (lira_offline, published.lira_offline)):
            found = ours(target, shadows, member), theirs(target, shadows, member, fix_variance=models < 64)
            areas = [f"{auc(scores[is_member], scores[~is_member]):.3f}" for scores in found]
            print(f"{ours.__name__}, {models} shadows: AUC {', '.join(areas)}")


def of_predictions(rng):
    sure = random_part(rng, 2000, 8)
    untrained = Part(0.1 * random_part(rng, 2000, 0).logits, sure.labels)
    print(f"zrf {zrf(sure, untrained):.3f}, zrf_code {zrf_code(sure, untrained):.3f}")
    unsure = random_part(rng, 256, 4)
    theirs = published.modified_entropy(softmax(unsure.logits.astype(np.float64), axis=1), unsure.labels)
    print(f"modified entropy {modified_entropy(unsure).mean():.2f}, {theirs.mean():.1f}")
    predicted = predictions(rng, retain=6, forget=4, test=3, counts=(9000, 1000, 2000))
    sides = [entropy(one) for one in (predicted.retain, predicted.test, predicted.forget)]
    print(
        f"mia_entropy {mia_entropy(predicted):.1f}, {published.mia_entropy(*sides):.1f}; support vector machine "
        f"{published.svc_entropy(*sides):.1f}"
    )


if __name__ == "__main__":
    main()
