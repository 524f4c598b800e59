"""What in a policy contradicts itself, and what it leaves without effect."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeGuard

from pydantic import BaseModel

from natmu.errors import hint
from natmu.records.guarantees import DOWNDATE, RETRAIN, SISA, is_at_least, promise_of
from natmu.records.settings import AnyTraining, HeadTraining, sharding_of

if TYPE_CHECKING:
    from natmu.records.policy import Policy

EXACT_METHODS = f"{RETRAIN}, {SISA} of shards and {DOWNDATE} of a head"
"""What can be more than approximate, in a sentence."""


def places(policy: Policy) -> list[str]:
    """Where each candidate stands in the policy: ``method``, then ``fallbacks.0`` and so on."""
    return ["method", *(f"fallbacks.{number}" for number in range(len(policy.fallbacks)))]


def contradictions(policy: Policy) -> list[str]:
    """What cannot hold together, a clause each that says what to do.

    Args:
        policy: The policy.
    """
    candidates = dict(zip(places(policy), policy.candidates, strict=True))
    faults = []
    weaker = [f"{place} ({one.method})" for place, one in candidates.items() if not one.may_give(policy.guarantee)]
    if weaker:
        verb = "does" if len(weaker) == 1 else "do"
        faults.append(
            f"guarantee: {policy.guarantee} is what {EXACT_METHODS} can give, and {', '.join(weaker)} {verb} not; "
            "write one of them there, or guarantee: approximate"
        )
    seen: dict[str, str] = {}
    last = None
    for place, one in candidates.items():
        key = json.dumps(one.model_dump(mode="json"), sort_keys=True)
        if key in seen:
            faults.append(f"{place} is the same as {seen[key]}; give it other settings, or leave it out")
        elif last is not None:
            faults.append(f"{place} ({one.method}) is never reached, because {last} is retrain; put retrain last")
        if last is None and one.method == RETRAIN:
            last = place
        seen.setdefault(key, place)
    if policy.audit.every > 1 and not policy.audit.references:
        faults.append("audit.every says when references are trained, and audit.references is 0; leave one of them out")
    return faults


def broken_promises(policy: Policy, recipe: AnyTraining | None) -> list[str]:
    """What the candidates cannot give of an original that was trained in a certain way, a clause each.

    Args:
        policy: The policy, which is sound in itself.
        recipe: How the original was trained; None where nobody says.
    """
    faults = []
    for place, one in zip(places(policy), policy.candidates, strict=True):
        gives = promise_of(one.method, recipe).guarantee
        if one.method == SISA and sharding_of(recipe) is None:
            faults.append(
                f"{place}: sisa trains the shards of a model again, and the original was not trained in shards. Begin "
                "a service with a model that natmu train --shards 5 has trained, or write another method"
            )
        elif one.method == DOWNDATE and not isinstance(recipe, HeadTraining):
            faults.append(
                f"{place}: downdate takes samples out of a ridge or logistic head, and the original has none. Begin a "
                "service with a model that natmu train --head ridge has made, or write another method"
            )
        elif not is_at_least(gives, policy.guarantee):
            of = f" of a {recipe.head} head" if isinstance(recipe, HeadTraining) else ""
            faults.append(
                f"{place}: {one.method}{of} is {gives}, and guarantee is {policy.guarantee}; write guarantee: {gives}, "
                f"or {RETRAIN} there"
            )
    return faults


def remarks(policy: Policy) -> list[str]:
    """What a user should know of a policy that is sound, a sentence each.

    Args:
        policy: The policy.
    """
    told = []
    promised = all(one.may_give("certified") for one in policy.candidates)
    if promised and (count := policy.audit.references):
        models = "a model" if count == 1 else f"{count} models"
        told.append(
            f"audit.references is {count}, so a process retrains {models} to compare with. Such a comparison refuses "
            "no exact or certified candidate. Write audit: {references: 0} to save that time."
        )
    if policy.audit.references == 0 and not promised:
        told.append(
            "audit.references is 0, so nothing is compared with retrained models: over_forgetting, forgotten and "
            "earlier refuse no candidate."
        )
    if policy.audit.every > 1 and not promised:
        told.append(
            f"audit.every is {policy.audit.every}: the releases between are not compared with retrained models, and "
            "over_forgetting, forgotten and earlier refuse none of their candidates."
        )
    if all(one.method != RETRAIN for one in policy.candidates):
        told.append(
            "No candidate is retrain: where all are refused, the requests stay pending until natmu requests retrain."
        )
    return told


def unknown_methods(policy: Policy) -> list[str]:
    """A clause for each candidate whose method neither natmu nor an installed package has; loads none of them.

    Args:
        policy: The policy.
    """
    rows = json.loads(files("natmu").joinpath("methods/catalogue.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in rows] + [point.name for point in entry_points(group="natmu.methods")]
    clauses = []
    for place, one in zip(places(policy), policy.candidates, strict=True):
        if one.method not in names:
            key = place if place == "method" else f"{place}.method"
            clauses.append(f"{key}: there is no method {one.method!r}{hint(one.method, names)}; see natmu methods")
    return clauses


SHOWN = 4
"""Keys that are named where more are wrong."""


def misspelt(values: Mapping[str, Any], settings: type[BaseModel], path: str = "") -> list[str]:
    """What is said of the first keys that settings do not have, with those that may have been meant.

    Args:
        values: Plain values by name.
        settings: What they should be; settings within it are looked into, and lists of them.
        path: Where ``values`` stand, with a dot at the end.
    """
    known = settings.model_fields
    unknown = [key for key in values if key not in known]
    clauses = [f"{path}{key} is not a setting{hint(str(key), known)}" for key in unknown[:SHOWN]]
    if unknown:
        more = f"and {len(unknown) - SHOWN:,} more; " if len(unknown) > SHOWN else ""
        clauses[-1] += f"; {more}known here: {', '.join(known)}"
    for key, value in values.items():
        field = known.get(key)
        if field is None:
            continue
        inner = [kind for kind in (field.annotation, *_arguments(field.annotation)) if _is_settings(kind)]
        if inner and isinstance(value, Mapping):
            clauses += misspelt(value, inner[0], f"{path}{key}.")
        elif inner and isinstance(value, list | tuple):
            for number, item in enumerate(value):
                clauses += misspelt(item, inner[0], f"{path}{key}.{number}.") if isinstance(item, Mapping) else []
    return clauses


def _arguments(annotation: object) -> tuple[object, ...]:
    """What stands between the brackets of a type."""
    arguments: tuple[object, ...] = getattr(annotation, "__args__", ())
    return arguments


def _is_settings(kind: object) -> TypeGuard[type[BaseModel]]:
    """Whether a type is a group of settings."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)
