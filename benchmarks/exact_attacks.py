"""Membership attacks on what was forgotten, before and after: on the original, the unlearned and retrained models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from exact_common import MODEL, ORIGINAL, OWN, SMALL, Setup, Step
from natmu.audits import RunAudit
from natmu.audits.obtaining import make_models
from natmu.engine.store import Store
from natmu.opening import Source
from natmu.records.lineage import AnyLineage
from natmu.scores import examine
from natmu.verbs import Asked, train_run, unlearn_run

KINDS = ("sisa", "ridge", "logistic")

SHARDING = {"shards": 4, "slices": 2}
REQUESTS: Mapping[str, str] = {"sisa": "random:5%", "ridge": "random:1%", "logistic": "random:1%"}
"""What is forgotten: as many samples of each."""

SCORES = (
    "forget_acc",
    "test_acc",
    "mia_efficacy_entropy",
    "mia_efficacy_confidence",
    "auc_forget_test_loss",
    "rmia_auc",
    "lira_auc",
    "lira_offline_auc",
)


def attack(setup: Setup, kind: str, seed: int) -> Step:
    """Unlearn by one of the three ways, and attack."""
    place = setup.empty(f"attack-{kind}-{seed}", ORIGINAL)
    if kind == "sisa":
        settings: dict[str, Any] = setup.training | {"epochs": 2 * setup.epochs, "sharding": SHARDING}
        original = train_run(data=setup.file(SMALL), model=MODEL, training=settings, seed=seed, place=place)
    else:
        source = str(setup.place(f"backbone-{seed}").root / ORIGINAL)
        original = train_run(
            data=setup.file(OWN),
            model=None,
            training={"head": kind},
            seed=seed,
            place=place,
            features_from=source,
        )
    place = setup.place(f"attack-{kind}-{seed}")
    asked = Asked(REQUESTS[kind], method="sisa" if kind == "sisa" else "downdate", seed=seed)
    run = unlearn_run(asked, Source(original.path), place)
    audit = RunAudit(run, original, Store(place.root), "full", setup.models)
    workspace = Source(original.path).open(place).workspace
    workspace.remember_all(audit.models.subject, audit.store)
    parts = audit.models.parts
    wanted: list[AnyLineage] = [*parts["initial"], *parts["retrained"], *parts["shadow"]]
    make_models([(wanted, True)], workspace, f"models of the attacks on {kind}")
    found = examine(audit.panel(), "full", seed)
    return {
        "forget": REQUESTS[kind],
        "forgotten": len(audit.forget),
        "missing": {name: reason for name, reason in found.missing.items() if name in SCORES},
        "decisions": list(run.record.decisions),
        "scores": {
            name: {
                "original": found.original.get(name),
                "unlearned": found.scores[name],
                "retrained": found.retrained.get(name, []),
            }
            for name in SCORES
            if name in found.scores
        },
        "same_as_retrained": sum(
            all(value.equal(run.weights()[name]) for name, value in other.weights().items())
            for other in audit.runs["retrained"]
        ),
    }
