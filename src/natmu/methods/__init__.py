"""Unlearning methods. The tuple below is the one list of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from natmu.errors import SettingError, hint
from natmu.methods.base import FineTuneSettings, Method, Paper, Problem, Unlearned
from natmu.methods.distillation import BadTeacher
from natmu.methods.natmu import NatMU
from natmu.methods.relabelling import Amnesiac
from natmu.methods.retraining import Retrain
from natmu.methods.saliency import SalUn

METHODS: tuple[type[Method], ...] = (Retrain, NatMU, Amnesiac, BadTeacher, SalUn)


def method_named(name: str) -> type[Method]:
    """The method of this name.

    Raises:
        SettingError: There is none; names the closest ones.
    """
    known = {method.name: method for method in METHODS}
    if name not in known:
        raise SettingError(f"There is no method {name!r}{hint(name, known)}; choose one of {', '.join(known)}.")
    return known[name]


def catalogue() -> list[dict[str, Any]]:
    """What there is to know of each method before it is used, as plain values: one row per method.

    ``paper`` is None for retraining, which needs none.
    """
    return [
        {
            "name": method.name,
            "summary": (method.__doc__ or "").splitlines()[0],
            "paper": None if method.paper is None else asdict(method.paper),
            "scenarios": list(method.scenarios),
            "settings": [
                {"name": name, "default": field.default, "description": field.description}
                for name, field in method.Config.model_fields.items()
                if not field.is_required()
            ],
        }
        for method in METHODS
    ]


__all__ = [
    "METHODS",
    "Amnesiac",
    "BadTeacher",
    "FineTuneSettings",
    "Method",
    "NatMU",
    "Paper",
    "Problem",
    "Retrain",
    "SalUn",
    "Unlearned",
    "catalogue",
    "method_named",
]
