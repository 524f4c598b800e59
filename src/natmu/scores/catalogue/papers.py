"""Where the scores come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A publication; ``url`` is None where it has no stable address.

    Examples:
        >>> score_named("ulira_auc").row.source.year
        2024
    """

    title: str
    authors: str
    year: int
    url: str | None = None


def _arxiv(number: str, title: str, authors: str, year: int) -> Source:
    return Source(title, authors, year, f"https://arxiv.org/abs/{number}")


BAD_TEACHING = _arxiv("2205.08096", "Can Bad Teaching Induce Forgetting?", "Chundawat et al.", 2023)
SALUN = _arxiv("2310.12508", "SalUn: Gradient-based Weight Saliency", "Fan et al.", 2024)
SPARSITY = _arxiv("2304.04934", "Model Sparsity Can Simplify Machine Unlearning", "Jia et al.", 2023)
RUM = _arxiv("2406.01257", "What makes unlearning hard and what to do about it", "Zhao et al.", 2024)
MIXED_PRIVACY = _arxiv("2012.13431", "Mixed-Privacy Forgetting in Deep Networks", "Golatkar et al.", 2021)
STANTON = _arxiv("2106.05945", "Does Knowledge Distillation Really Work?", "Stanton et al.", 2021)
GUO = _arxiv("1706.04599", "On Calibration of Modern Neural Networks", "Guo et al.", 2017)
YEOM = _arxiv("1709.01604", "Privacy Risk in Machine Learning", "Yeom et al.", 2018)
SONG = _arxiv(
    "2003.10595", "Systematic Evaluation of Privacy Risks of Machine Learning Models", "Song and Mittal", 2021
)
LIRA = _arxiv("2112.03570", "Membership Inference Attacks From First Principles", "Carlini et al.", 2022)
RMIA = _arxiv("2312.03262", "Low-Cost High-Power Membership Inference Attacks", "Zarifzadeh et al.", 2024)
ULIRA = _arxiv(
    "2403.01218",
    "Inexact Unlearning Needs More Careful Evaluations to Avoid a False Sense of Privacy",
    "Hayes et al.",
    2024,
)
NATMU = _arxiv("2405.15495", "Towards Natural Machine Unlearning", "He et al.", 2025)
KLOM = _arxiv("2410.23232", "Attribute-to-Delete: Machine Unlearning via Datamodel Matching", "Georgiev et al.", 2024)
CHALLENGE = _arxiv(
    "2406.09073",
    "Are we making progress in unlearning? Findings from the first NeurIPS unlearning competition",
    "Triantafillou et al.",
    2024,
)
IDI = _arxiv("2405.17878", "An Information Theoretic Evaluation Metric for Strong Unlearning", "Jeon et al.", 2026)
RESIDUAL = _arxiv(
    "2601.22359",
    "The Unseen Threat: Residual Knowledge in Machine Unlearning under Perturbed Samples",
    "Hsu et al.",
    2025,
)
SWAP = _arxiv(
    "2404.11577",
    "A Reliable Cryptographic Framework for Empirical Machine Unlearning Evaluation",
    "Tu et al.",
    2025,
)
KULLBACK = Source(
    "On Information and Sufficiency", "Kullback and Leibler", 1951, "https://doi.org/10.1214/aoms/1177729694"
)
LIN = Source("Divergence Measures Based on the Shannon Entropy", "Lin", 1991, "https://doi.org/10.1109/18.61115")
