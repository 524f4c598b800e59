from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from natmu.errors import UsageError
from natmu.scores.uncertainty import auc_interval
from natmu.scores.verdict import holm, judge

RETRAINED = [0.49, 0.50, 0.51, 0.50]


def test_a_value_is_distinguishable_outside_the_prediction_interval(rng):
    retrained = rng.normal(80, 3, 5)
    half = stats.t(4).ppf(0.975) * retrained.std(ddof=1) * math.sqrt(1.2)
    low, high = retrained.mean() - half, retrained.mean() + half
    found = judge("mia_entropy", high - 1e-6, None, retrained)
    assert (found.baseline_low, found.baseline_high) == pytest.approx((low, high))
    assert not found.distinguishable
    assert judge("mia_entropy", high + 1e-6, None, retrained).distinguishable


def test_a_value_below_the_baseline_is_distinguishable_as_one_above_is():
    for value in (0.3, 0.7):
        assert judge("rmia_auc", value, None, RETRAINED).distinguishable


@pytest.mark.parametrize(("side", "expected"), [("both", [1, 1]), ("above", [0, 1]), ("below", [1, 0])])
def test_of_a_distance_only_the_far_side_counts(side, expected):
    found = [judge("kl_forget", value, None, [1.0, 1.1, 0.9], side=side) for value in (0.1, 1.9)]
    assert [one.distinguishable for one in found] == expected
    assert [one.p_value < 0.05 for one in found] == expected


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_retrained_model_is_distinguishable_as_often_as_the_level_says(rng, count):
    trials = 1500
    found = [judge("auc", value, None, rest) for value, *rest in rng.normal(0.5, 0.01, (trials, count + 1))]
    low, high = stats.binom.interval(0.999, trials, 0.05)
    assert low <= sum(one.distinguishable for one in found) <= high
    assert [one.distinguishable for one in found] == [one.p_value < 0.05 for one in found]
    assert stats.kstest([one.p_value for one in found], "uniform").pvalue > 0.001


@pytest.mark.parametrize("count", [3, 4, 8])
def test_distances_from_each_other_tell_a_retrained_model_apart_as_often_as_the_level_says(rng, count):
    """The distance of two models is the sum of how far each lies from what they share."""
    trials = 1500
    own = rng.normal(5, 1, (trials, count + 1))
    mean_rest = [(row[1:].sum() - row[1:]) / (count - 1) for row in own]
    found = [
        judge("js_forget", row[0] + row[1:].mean(), None, list(row[1:] + rest), mutual=True)
        for row, rest in zip(own, mean_rest, strict=True)
    ]
    low, high = stats.binom.interval(0.999, trials, 0.05)
    assert low <= sum(one.distinguishable for one in found) <= high


def test_the_one_distance_of_two_models_shows_no_spread():
    found = judge("kl_forget", 9.0, None, [1.0, 1.001], mutual=True)
    assert found.p_value is None
    assert "3 are needed" in found.sentence


@pytest.mark.parametrize("count", [3, 8])
def test_a_difference_of_the_stated_size_is_seen_with_the_stated_power(rng, count):
    trials, seen = 1500, 0
    for value, *rest in rng.normal(0.5, 0.01, (trials, count + 1)):
        shift = judge("auc", value, None, rest, power=0.8).detectable
        seen += judge("auc", value + shift, None, rest).distinguishable
    assert seen / trials == pytest.approx(0.8, abs=0.03)


def attacked(rng, exposure, easy):
    """Area and interval of one model's margins on the forget set against those on the test set.

    All models find the same samples easy; beyond that, each adds something of its own.
    """
    forget = easy[:400] + rng.normal(exposure, 0.7, 400)
    test = easy[400:] + rng.normal(0, 0.7, 1000)
    labels = np.repeat([1, 0], [400, 1000])
    return roc_auc_score(labels, [*forget, *test]), auc_interval(forget, test, seed=0, draws=200)


def test_the_original_is_distinguishable_and_two_retrained_models_are_not(rng):
    leaks, false_alarms, trials = 0, 0, 40
    for _ in range(trials):
        easy = rng.normal(0, 2, 1400)
        retrained = [attacked(rng, 0, easy)[0] for _ in range(8)]
        for exposure in (0, 1):
            value, interval = attacked(rng, exposure, easy)
            found = judge("auc_forget_test_margin", value, interval, retrained)
            leaks += found.distinguishable and exposure == 1
            false_alarms += found.distinguishable and exposure == 0
    assert leaks == trials
    assert false_alarms <= stats.binom.ppf(0.999, trials, 0.05)


def test_samples_that_are_easy_for_all_models_are_no_leak(rng):
    """The forget set may be easier than the test set by chance: then no model, retrained or not, scores 0.5."""
    easy = np.concatenate([rng.normal(1, 2, 400), rng.normal(0, 2, 1000)])
    value, interval = attacked(rng, 0, easy)
    assert interval[0] > 0.55
    assert not judge("auc", value, interval, [attacked(rng, 0, easy)[0] for _ in range(8)]).distinguishable


@pytest.mark.parametrize(("retrained", "said"), [([], "no retrained models"), ([0.5], "1 retrained model,")])
def test_without_two_retrained_models_nothing_is_concluded(retrained, said):
    found = judge("rmia_auc", 0.99, (0.98, 1.0), retrained, 1.0)
    assert (found.distinguishable, found.baseline_low, found.baseline_high, found.detectable) == (
        False,
        None,
        None,
        None,
    )
    assert (found.p_value, found.sees_original) == (None, None)
    assert "nothing can be concluded" in found.sentence
    assert said in found.sentence
    assert "2 are needed" in found.sentence


def test_where_retrained_models_agree_to_the_last_digit_the_samples_stand_in():
    coarse = judge("retain_acc", 90, (87, 93), [100.0] * 3)
    assert coarse.distinguishable
    assert (coarse.baseline_low, coarse.baseline_high) == pytest.approx((97, 103))
    assert coarse.detectable == pytest.approx(3 * (1 + stats.norm.ppf(0.8) / stats.norm.ppf(0.975)))
    assert not judge("retain_acc", 98, (95, 100), [100.0] * 3).distinguishable
    same = judge("retain_acc", 100, (100, 100), [100.0] * 3)
    assert not same.distinguishable
    assert same.detectable is None
    assert "nothing can be concluded; the 3 retrained models agree to the last digit" in same.sentence
    assert "nothing can be concluded" in judge("kl_avg", 0.2, None, [0.1, 0.1]).sentence


def test_an_indistinguishable_value_is_said_to_be_so_at_the_power_of_the_test():
    found = judge("rmia_auc", 0.51, (0.48, 0.54), RETRAINED, 0.9)
    assert not found.distinguishable
    assert found.sees_original
    said = re.fullmatch(
        r"rmia_auc 0\.510 \(0\.480 to 0\.540\): not distinguishable from 4 retrained models at this power; "
        r"a difference of (0\.\d+) or more would have been seen with 80 % probability\.",
        found.sentence,
    )
    assert found.detectable <= float(said[1]) < found.detectable + 0.001


def test_a_sentence_never_claims_more_than_the_power(rng):
    for scale in (1e-6, 1e-3, 0.1, 1, 30, 1e5):
        for _ in range(40):
            found = judge("x", 0.0, None, scale * rng.normal(size=4), level=0.999)
            (claimed,) = re.findall(r"a difference of ([\d.]+) or more", found.sentence)
            assert found.detectable <= float(claimed) * (1 + 1e-9)
            assert float(claimed) <= 1.1 * found.detectable


def test_a_value_distinguishable_comes_with_where_another_retrained_model_would_lie():
    found = judge("rmia_auc", 0.7, (0.6, 0.8), RETRAINED, 0.9)
    assert found.sentence == (
        "rmia_auc 0.700 (0.600 to 0.800): distinguishable from 4 retrained models; one more would lie between "
        "0.471 and 0.529 with 95 % probability."
    )
    near = judge("rmia_auc", 0.54, (0.51, 0.57), RETRAINED, 0.9)
    assert near.distinguishable
    assert near.sentence.endswith("with 95 % probability, though on other samples it may lie there too.")


def test_a_score_that_cannot_tell_the_original_shows_nothing():
    found = judge("mia_entropy", 0.5, None, RETRAINED, 0.51)
    assert found.sees_original is False
    assert "not distinguishable from 4 retrained models, but neither is the original" in found.sentence
    assert judge("mia_entropy", 0.5, None, RETRAINED).sees_original is None


def test_nothing_is_ever_called_forgotten(rng):
    for value in (0.5, 0.9):
        for retrained in ([], [0.5], [0.5, 0.5], RETRAINED):
            for original in (None, 0.5, 1.0):
                found = judge("auc", value, (value - 0.01, value + 0.01), retrained, original)
                assert "forgot" not in found.sentence
                assert found.sentence.count(". ") == 0
                assert found.sentence.endswith(".")


def slow_holm(p_values, level):
    """Reject the smallest while it is below its share of what the level leaves."""
    left, rejected = sorted(p_values), []
    while left and left[0] < (1 - level) / len(left):
        rejected.append(left.pop(0))
    return rejected


def test_the_correction_is_that_of_holm(rng):
    for _ in range(30):
        verdicts = [
            judge(f"score_{index}", 0.5 + 0.01 * rng.normal(0, 4), None, rng.normal(0.5, 0.01, 8))
            for index in range(12)
        ]
        expected = slow_holm([one.p_value for one in verdicts], 0.95)
        assert [one.p_value for one in holm(verdicts)] == expected
        assert [one.p_value for one in holm([*verdicts, judge("open", 0.9, None, [])])] == expected


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: judge("auc", math.nan, None, RETRAINED),
        lambda: judge("auc", 0.5, (0.4, math.inf), RETRAINED),
        lambda: judge("auc", 0.5, None, [0.5, math.nan]),
        lambda: judge("auc", 0.5, None, RETRAINED, math.inf),
        lambda: judge("auc", 0.5, None, RETRAINED, level=1.5),
        lambda: judge("auc", 0.5, None, RETRAINED, power=1.0),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_sentence(wrong):
    with pytest.raises(UsageError, match=r"; .+\.$"):
        wrong()
