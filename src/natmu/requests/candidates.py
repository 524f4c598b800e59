"""Whether the methods of a policy can be had, and have the settings that it gives them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from natmu.errors import SettingError
from natmu.records.derived import noise_is_secret
from natmu.records.guarantees import DOWNDATE, RETRAIN
from natmu.records.policy_rules import broken_promises, places

if TYPE_CHECKING:
    from natmu.records.lineage import AnyLineage
    from natmu.records.policy import Policy
    from natmu.records.settings import AnyTraining


def check_methods(policy: Policy, where: str = "policy") -> None:
    """Refuse a policy with settings that a method does not have, or does not accept; this loads PyTorch.

    Args:
        policy: The policy.
        where: Where it comes from, named in errors.

    Raises:
        SettingError: A method is unknown, or one of its settings is unknown or out of its range; or two candidates are
            the same with the settings that they do not give.
    """
    from natmu.methods import method_named

    seen: dict[str, str] = {}
    for place, candidate in zip(places(policy), policy.candidates, strict=True):
        try:
            settings = method_named(candidate.method).configured(candidate.settings)
        except SettingError as error:
            raise SettingError(f"{where}: {place}: {error}") from None
        whole = [candidate.method, settings.model_dump(mode="json"), candidate.batch_size]
        earlier = seen.setdefault(json.dumps(whole, sort_keys=True), place)
        if earlier != place:
            raise SettingError(
                f"{where}: {place} is the same as {earlier} with the defaults of {candidate.method}; give it other "
                "settings, or leave it out."
            )


def check_promises(policy: Policy, recipe: AnyTraining | None, where: str, remedy: str) -> None:
    """Refuse a policy that asks more than its candidates give of a service's original, before anything begins.

    Args:
        policy: The policy.
        recipe: How the original was trained; None where nobody says.
        where: Where the policy comes from.
        remedy: How that can be said.

    Raises:
        SettingError: It trains references or has retrain among its candidates, and there is no recipe; a candidate
            serves only models that were trained otherwise, or gives a weaker guarantee of this one than is asked for.
    """
    _require_recipe(policy, recipe, where, remedy)
    if clauses := broken_promises(policy, recipe):
        raise SettingError(f"{where}: {'; '.join(clauses)}.")


def check_noise(policy: Policy, original: AnyLineage | None, where: str) -> None:
    """Refuse to certify a head whose noise can be guessed.

    Args:
        policy: The policy.
        original: The original; None where it comes from elsewhere.
        where: Where the policy comes from.

    Raises:
        SettingError: The policy asks for a certificate, and the user chose the seed of the noise.
    """
    certifies = policy.guarantee == "certified" and any(one.method == DOWNDATE for one in policy.candidates)
    if certifies and original is not None and not noise_is_secret(original):
        raise SettingError(
            f"{where}: guarantee is certified, but the seed of the head's noise was given by hand. Anyone who guesses "
            "it can subtract the noise. Begin a service with a head that natmu train --head logistic has fitted "
            "without --seed. Or write guarantee: approximate; then evidence says how the seed was chosen."
        )


def _require_recipe(policy: Policy, recipe: AnyTraining | None, where: str, remedy: str) -> None:
    """Refuse a policy that retrains models where nobody says how."""
    if recipe is not None:
        return
    candidates = zip(places(policy), policy.candidates, strict=True)
    clauses = [f"{place} is retrain" for place, one in candidates if one.method == RETRAIN]
    if policy.audit.references:
        clauses.insert(0, f"audit.references is {policy.audit.references}")
    if clauses:
        raise SettingError(
            f"{where}: {' and '.join(clauses)}, but nobody says how the original was trained, so nothing can be "
            f"retrained. {remedy}, or write audit: {{references: 0}} and leave retrain out; then nothing is compared "
            "with retrained models."
        )
