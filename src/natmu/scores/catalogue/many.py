"""Scores that take many models: references, shadows, or many runs of the method."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from natmu.scores.catalogue import papers
from natmu.scores.catalogue.row import CHANCE, PARTS, RATES, ScoreInfo, by_part, each, seen_in_forget_set


def _exposed(family: str, name: str, **fields: Any) -> tuple[ScoreInfo, ...]:  # noqa: ANN401 - fields of a row
    """The area and the rates of an attack: ``name_auc``, ``name_tpr_at_fpr_1`` and ``name_tpr_at_fpr_0.1``."""
    area = ScoreInfo(
        name=f"{name}_auc",
        family=family,
        unit="0-1",
        low=0,
        high=1,
        measures=f"How well {family} distinguishes forget samples from unseen ones.",
        baseline=CHANCE,
        original="above `auc_forget_test_*`, up to 1",
        question="forgotten",
        remembers="above",
        **fields,
    )
    rates = replace(
        area,
        name=f"{name}_tpr_at_fpr_*",
        level="full",
        unit="%",
        high=100,
        measures=f"How much of the forget set {family} exposes, if it takes * unseen samples for members.",
        baseline="about the rate of false alarms",
        original="many times the rate of false alarms",
    )
    return (area, *each(rates, RATES))


RMIA = _exposed(
    "RMIA",
    "rmia",
    level="standard",
    needs=("predictions", "references"),
    cost="1 to 4 reference models",
    formula="samples ranked by ratio = p_θ / (½ [(1 + a) p_out + 1 - a]), a = 0.3, as they are by RMIA's fraction of "
    "population samples z with ratio(x) ≥ ratio(z)",
    source=papers.RMIA,
    published="The authors' code ranks a sample by the fraction of a separate population that has a smaller ratio. "
    "Ours is the limit for a large population. With 10,000 samples theirs finds 2.60 % at 1 in 1,000, ours 2.67 %, and "
    "the AUC is the same. Their code takes a = 0.3, as ours does, or tunes it on a model whose members are known. The "
    "AUC is 0.746 with 0.3, 0.748 with the best a and 0.717 with the worst.",
)
_LIRA = _exposed(
    "LiRA",
    "lira",
    level="full",
    needs=("predictions", "shadows"),
    cost="16 to 64 shadow models",
    formula="log N(φ; models trained on x) - log N(φ; models that were not), φ the margin; one variance for all "
    "samples below 64 shadows",
    source=papers.LIRA,
    published="The authors' code takes medians in place of means. With few shadows it takes one standard deviation of "
    "all margins of models trained on x, which includes the differences between samples. Its AUC is 0.836 with 16 "
    "shadows and 0.848 with 64; ours is 0.841 and 0.850. It averages over augmented copies of x; ours sees x alone.",
)
LIRA = (
    _LIRA[0],
    replace(
        _LIRA[0],
        name="lira_offline_auc",
        measures="How well LiRA does without shadow models that were trained on the forget samples.",
        formula="(φ - mean) / deviation of the margin φ over shadow models that were not trained on x",
        published="The authors' code ranks by the density, so samples with margins far below the mean count as members "
        "too. Its AUC is 0.727 with 16 shadows and 0.738 with 64; ours is 0.841 and 0.850.",
    ),
    *_LIRA[1:],
)

_ULIRA = replace(
    _LIRA[0],
    name="ulira_auc",
    family="U-LiRA",
    needs=("shadows", "many unlearned"),
    cost="64 shadows, 64 unlearning runs",
    measures="How well an attacker who knows the method distinguishes forgotten samples from unseen ones.",
    formula="log N(φ; models that trained on x and unlearned it) - log N(φ; models that unlearned without x); "
    "the model attacked is left out of the fit",
    source=papers.ULIRA,
    original="near that of LiRA",
    published="",
)
ULIRA = (
    _ULIRA,
    replace(
        _ULIRA,
        name="ulira_acc",
        unit="%",
        high=100,
        measures="How often an attacker who knows the method guesses right, on as many forgotten as unseen samples.",
        formula="100 · E[(ratio of `ulira_auc` > 0) = (x was unlearned)]",
        baseline="about 50",
        original="up to 100",
    ),
)

SWAP = (
    ScoreInfo(
        name="swap_advantage",
        family="SWAP test",
        level="full",
        needs=("shadows", "many unlearned"),
        cost="64 shadows, 64 unlearning runs",
        unit="0-1",
        low=0,
        high=1,
        measures="How much more often attackers call forgotten samples 'forgotten' than unseen ones, over pairs of "
        "models: one forgot the samples that the other never saw.",
        formula="largest over attackers (best rule on the margin, U-LiRA; both learn from other pairs) of "
        "|mean over pairs of ½ [TPR - FPR, half H forgotten] + ½ [TPR - FPR, the other half forgotten]|",
        source=papers.SWAP,
        baseline="that of exchanging the models of pairs at random, near 0",
        original="that of shadow models before unlearning, up to 1",
        question="forgotten",
        side="above",
    ),
)

_MARGINS_APART = "How far a sample's margins over unlearned models lie from those over retrained ones"
_KLOM = ScoreInfo(
    name="klom_*_mean",
    family="KLoM",
    level="standard",
    needs=("many unlearned", "many retrained"),
    cost="8 retrained, 8 unlearned models",
    unit="nats",
    low=0,
    high=None,
    measures=f"{_MARGINS_APART}: mean over *.",
    formula="per sample KL(unlearned ‖ retrained) of histograms of margins: 20 bins, clipped at ±100, at least 1e-5",
    source=papers.KLOM,
    published="The authors' code has the same direction, but leaves the largest margin of each sample out and scales "
    "the raised fractions back. Its mean is 4.215 if half of 100 models over-forget (4.201 here) and 0.818 if all "
    "collapse (0.828 here). A single sample of these differs by 0.13 at most. A sample differs by several nats if a "
    "retrained model has the largest margin and is the only retrained one in a bin with half of the unlearned ones.",
    baseline="that of two groups of retrained models, above 0",
    original="up to ln 1e5 = 11.5",
    side="above",
    identical=0,
)
KLOM = (
    *by_part(seen_in_forget_set(each(_KLOM, PARTS))),
    *by_part(
        seen_in_forget_set(
            each(replace(_KLOM, name="klom_*_p95", measures=f"{_MARGINS_APART}: 95th percentile over *."), PARTS)
        )
    ),
)

_CHALLENGE = ScoreInfo(
    name="epsilon",
    family="Forgetting quality",
    level="full",
    needs=("many unlearned", "many retrained"),
    cost="64 retrained, 64 unlearned models",
    unit="nats",
    low=0,
    high=50,
    measures="How clearly simple rules distinguish unlearned from retrained models by one forget sample: median over "
    "samples.",
    formula="per sample the largest log((1 - δ - FPR) / FNR) or log((1 - δ - FNR) / FPR) over rules with one threshold "
    "on the margin or with two, which lie within 2 nats of the narrower kind; δ = 1e-5, 0 to 50",
    source=papers.CHALLENGE,
    published="The challenge's code tries thresholds in steps of 0.01 nats. Ours tries all within the same bounds, so "
    "our F is 0.001 to 0.009 lower with 16, 64 and 512 models of a kind. The challenge's code also gives an epsilon of "
    "50 wherever one range is below 1 % of the other, which lowers F by less than 0.01 with 64 models.",
    baseline="that of two groups of retrained models, above 0",
    original="up to 50",
    side="above",
    question="forgotten",
)
QUALITY = (
    replace(
        _CHALLENGE,
        name="forgetting_quality",
        unit="0-1",
        high=1,
        measures="Epsilon as points: every 0.5 of epsilon halves the points of a sample; mean over samples.",
        formula="F = E[2^(-⌊ε / 0.5⌋)]",
        baseline="that of two groups of retrained models, below 1",
        original="near 0",
        side="below",
    ),
    _CHALLENGE,
    replace(
        _CHALLENGE,
        name="final_score",
        needs=("many unlearned", "many retrained", "predictions"),
        unit="ratio",
        high=None,
        question="neither",
        measures="Forgetting quality, times what is left of the accuracies.",
        formula="F · (`retain_acc` unlearned / retrained) · (`test_acc` unlearned / retrained)",
        baseline="that of two groups of retrained models, below 1",
        original="near 0",
        side="below",
    ),
)
