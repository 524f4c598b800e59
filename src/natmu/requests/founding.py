"""How a service begins: its original, its list of samples, its keys, and the first entry of its ledger."""

from __future__ import annotations

import shutil
from pathlib import Path

from natmu.engine.store import Run, Store
from natmu.errors import ModelError
from natmu.lineage import import_model
from natmu.lineage.original_check import check_run
from natmu.lineage.own_training import require_trainer
from natmu.opening import Place, Source
from natmu.progress import say
from natmu.records.audit import AUDIT_FOLDER
from natmu.records.derived import backbone_of, is_original, stages_of, title
from natmu.records.files import write_atomically
from natmu.records.ledger import Opening
from natmu.records.lineage import AnyLineage, Imported, Trained
from natmu.records.policy import Policy
from natmu.records.service import CENSUS, CURRENT, KEY, LEDGER, MODELS, POLICY, SERVICE, ServiceRecord
from natmu.records.settings import in_words, sharding_of
from natmu.requests.candidates import check_methods, check_noise, check_promises
from natmu.requests.keys import ServiceKey, create_signing_key
from natmu.requests.ledger import Ledger
from natmu.requests.processing import deployed
from natmu.requests.remaining import take_census
from natmu.user_files import read_file

DEFAULT_POLICY = Path(__file__).with_name(POLICY)
"""The policy that stands where the user gives none; every key is explained in it."""


def found(
    folder: Path,
    source: Source,
    policy: Path | None,
    *,
    manifest: Path | None,
    data_dir: Path,
    device: str,
    precision: str,
    force: bool,
) -> None:
    """Fill the folder of a new service; see ``Service.create``."""
    policy = policy or DEFAULT_POLICY
    rules = Policy.read(policy)
    check_methods(rules, str(policy))
    for remark in rules.remarks:
        say(f"{policy.name}: {remark}")
    store = Store(folder / MODELS)
    opened = source.open(Place(data_dir, store.root, device=device, precision=precision))
    workspace, recipe = opened.workspace, opened.recipe
    if opened.model is not None and not is_original(opened.model):
        raise ModelError(
            f"{source.path} has forgotten something already; begin the service with its original, and record what was "
            "asked before as requests."
        )
    check_promises(rules, recipe, str(policy), "say it with --training FILE or --trainer")
    check_noise(rules, opened.model, str(policy))
    if recipe is not None:
        require_trainer(recipe, workspace)
    original = opened.model or import_model(workspace, source.path, recipe, force=force)
    run = store.adopt(Run(source.path)) if source.is_run else workspace.require(original)
    assert isinstance(original, Trained | Imported), "it is an original"
    adopt_parts(original, source.path.parent, store)
    shutil.rmtree(run.path / AUDIT_FOLDER, ignore_errors=True)  # which may name samples
    check = check_run(run, workspace, None, force=force)
    key = ServiceKey.create(folder / KEY)
    create_signing_key(folder)
    census = take_census(workspace.splits, key)
    census.write(folder / CENSUS, key.seal)
    write_atomically(folder / POLICY, read_file(policy))
    settings = workspace.settings
    ServiceRecord(
        original=run.record.digest,
        data=workspace.data,
        source=_where(source.data.get("source") or settings.source),
        test=None if settings.test is None else _where(source.data.get("test") or settings.test),
        data_dir=str(data_dir.resolve()),
        manifest=None if manifest is None else str(manifest.resolve()),
        architecture=workspace.architecture,
        arithmetic=workspace.arithmetic,
        recipe=recipe,
        mean=workspace.splits.mean,
        std=workspace.splits.std,
    ).write(folder / SERVICE)
    Ledger.create(
        folder / LEDGER,
        key,
        Opening(
            original=deployed(run),
            architecture=workspace.architecture.name,
            training=in_words(recipe),
            trained_here=isinstance(original, Trained),
            accuracies=dict(check.accuracies),
            samples=len(workspace.splits.train),
            census=census.digest,
            retraining_seconds=run.record.seconds or None,
            policy=rules,
            versions=run.record.versions,
        ),
    )
    (folder / CURRENT).symlink_to(Path(MODELS) / run.record.digest)


def adopt_parts(original: Trained | Imported, runs: Path, store: Store) -> None:
    """Copy what an original is made of, and forgets by: the stages of its shards, or the backbone with its features.

    Args:
        original: The original.
        runs: The folder of runs that it lies in.
        store: That of the service.

    Raises:
        ModelError: A part is not there.
    """
    backbone = backbone_of(original)
    parts: list[AnyLineage] = [] if backbone is None else [backbone]
    division = sharding_of(original.recipe)
    if division is not None and isinstance(original, Trained):
        parts += [stage for shard in range(division.shards) for stage in stages_of(original, shard)]
    elsewhere = Store(runs)
    for part in parts:
        run = elsewhere.find(part.digest)
        if run is None:
            raise ModelError(
                f"{runs} does not hold the {title(part)}that the original consists of; name the original in the folder "
                "of runs where natmu train left it."
            )
        store.adopt(run)


def _where(source: str) -> str:
    """Where data lies, whatever the current directory is; the name of a data set stays."""
    return str(Path(source).resolve()) if Path(source).exists() else source
