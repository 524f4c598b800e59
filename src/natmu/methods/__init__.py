"""Unlearning methods. The tuple below is the one list of them."""

from __future__ import annotations

from natmu.methods.amun import AMUN
from natmu.methods.ascent import GradAscent, NegGradPlus
from natmu.methods.base import Method, Paper, Unlearned
from natmu.methods.boundary import BoundaryExpand, BoundaryShrink
from natmu.methods.catalogue import catalogue
from natmu.methods.competition import MSG, ConvTranspose
from natmu.methods.composition import RUM
from natmu.methods.conflict import MUNBa, SFRon
from natmu.methods.distillation import DELETE, BadTeacher
from natmu.methods.exact import SISA, Downdate
from natmu.methods.finetuning import FineTune, L1Sparse
from natmu.methods.fisher import Fisher
from natmu.methods.importance import LFSSD, SSD
from natmu.methods.influence import Influence
from natmu.methods.layers import CFk, EUk
from natmu.methods.matching import QuantileMatch
from natmu.methods.mu_mis import MUMis
from natmu.methods.natmu import NatMU
from natmu.methods.negmerge import NegMerge
from natmu.methods.presets import Preset
from natmu.methods.problem import Problem
from natmu.methods.registry import checked_method, method_named
from natmu.methods.relabelling import Amnesiac, RandomLabel
from natmu.methods.reload import RELOAD
from natmu.methods.retraining import Retrain
from natmu.methods.rurk import RURK
from natmu.methods.saliency import SalUn
from natmu.methods.scrub import SCRUB
from natmu.methods.settings import FineTuneSettings
from natmu.methods.smoothing import JiT
from natmu.methods.uam import UAM
from natmu.methods.unseen import LoTUS, ReGUn
from natmu.methods.unsir import UNSIR

METHODS: tuple[type[Method], ...] = (
    Retrain,
    SISA,
    Downdate,
    NatMU,
    Amnesiac,
    BadTeacher,
    SalUn,
    SCRUB,
    DELETE,
    JiT,
    GradAscent,
    NegGradPlus,
    RURK,
    MUNBa,
    SFRon,
    UAM,
    NegMerge,
    Fisher,
    Influence,
    SSD,
    LFSSD,
    FineTune,
    L1Sparse,
    CFk,
    EUk,
    RandomLabel,
    MSG,
    ConvTranspose,
    BoundaryShrink,
    BoundaryExpand,
    UNSIR,
    RUM,
    AMUN,
    ReGUn,
    LoTUS,
    QuantileMatch,
    MUMis,
    RELOAD,
)
"""All methods of natmu; those of installed packages come by ``method_named``.

Examples:
    >>> [method.name for method in METHODS][:4]
    ['retrain', 'sisa', 'downdate', 'natmu']
"""


__all__ = [
    "AMUN",
    "DELETE",
    "LFSSD",
    "METHODS",
    "MSG",
    "RELOAD",
    "RUM",
    "RURK",
    "SCRUB",
    "SISA",
    "SSD",
    "UAM",
    "UNSIR",
    "Amnesiac",
    "BadTeacher",
    "BoundaryExpand",
    "BoundaryShrink",
    "CFk",
    "ConvTranspose",
    "Downdate",
    "EUk",
    "FineTune",
    "FineTuneSettings",
    "Fisher",
    "GradAscent",
    "Influence",
    "JiT",
    "L1Sparse",
    "LoTUS",
    "MUMis",
    "MUNBa",
    "Method",
    "NatMU",
    "NegGradPlus",
    "NegMerge",
    "Paper",
    "Preset",
    "Problem",
    "QuantileMatch",
    "RandomLabel",
    "ReGUn",
    "Retrain",
    "SFRon",
    "SalUn",
    "Unlearned",
    "catalogue",
    "checked_method",
    "method_named",
]
