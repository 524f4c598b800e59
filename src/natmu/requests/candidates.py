"""Whether the methods of a policy can be had, and have the settings that it gives them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from natmu.errors import SettingError

if TYPE_CHECKING:
    from natmu.records.policy import Policy


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
    from natmu.records.policy_rules import places

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
