"""Requests that overlap, policies that change under a process, and other ways to get wrong numbers without a word."""

import csv
import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock
from tests.deletion_requests.world import POLICY, World, make_world, picture

from natmu.engine.store import Run
from natmu.errors import DataError, RunError, SettingError, UsageError
from natmu.opening import Source
from natmu.records.ledger import Rejected, Released
from natmu.records.run import PREDICTIONS, RECORD, WEIGHTS, RunRecord
from natmu.requests import Service, processing


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photographs and an original, made once."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(made, tmp_path):
    """A copy of them."""
    shutil.copytree(made.folder, tmp_path / "world")
    return World(tmp_path / "world")


def listed(world: World, photos: list[Path]) -> str:
    """A request for photographs."""
    path = world.folder / "listed.txt"
    path.write_text("".join(f"{photo.relative_to(world.photos)}\n" for photo in photos))
    return f"files:{path}"


def edit_policy(service: Service, **values: object) -> None:
    (service.files.path / "policy.yaml").write_text(yaml.safe_dump(POLICY | values))


def interrupt_candidate(number: int, monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    """Process until a candidate, counted from 1, is about to be tried."""
    tried, count = processing.Processing._tried, 0

    def broken(*given, **named):
        nonlocal count
        count += 1
        if count == number:
            raise KeyboardInterrupt
        return tried(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(processing.Processing, "_tried", broken)
        with pytest.raises(KeyboardInterrupt):
            service.process()


def test_photographs_that_an_earlier_request_forgot_need_not_be_there_for_the_next(world):
    service = world.service(fallbacks=[])
    first, second = world.of(1), world.of(2)
    service.add(listed(world, first), "T-1")
    service.process()
    service.add(listed(world, [*first[:2], *second]), "T-2")
    world.delete(1)
    done = service.process()
    assert (done.kind, done.method, done.measured.samples) == ("release", "finetune", 8)
    assert len(Run(service.files.current.path).forget().left_out) == 16


def test_a_request_whose_samples_others_named_together_is_answered_by_them(world):
    service = world.service()
    first, second = world.of(1), world.of(2)
    service.add(listed(world, first), "T-1")
    service.add(listed(world, second), "T-2")
    service.add(listed(world, world.of(3)), "T-3")
    both = listed(world, [first[0], second[0]])
    with pytest.raises(UsageError, match=r"part of requests 1 \(ticket T-1\), 2 \(ticket T-2\), which answer it too"):
        service.add(both, "T-4")
    assert len(service.state.requests) == 3


@pytest.mark.parametrize("fallbacks", [[], [{"method": "retrain"}]])
def test_a_policy_that_changed_under_a_process_is_followed_from_its_first_candidate(world, monkeypatch, fallbacks):
    """Of an old policy two candidates were refused, and the new one has no third, or another second one."""
    service = world.service(fallbacks=[{"method": "scrub"}, {"method": "retrain"}], guardrails={"no_op": 1.0})
    service.add("where:person=1", "T-1")
    interrupt_candidate(3, monkeypatch, service)
    edit_policy(service, fallbacks=fallbacks, audit={"references": 2})
    done = service.process()
    assert isinstance(done, Released)
    assert (done.process, done.method, done.measured.references) == (1, "finetune", 2)
    assert service.state.unfinished is None


def test_what_was_refused_beside_retrained_models_is_not_released_without_them(world):
    """References for every second release: a refused process is no release, so the next one trains them too."""
    service = world.service(
        fallbacks=[],
        settings={"epochs": 1, "lr": 1e-5},
        audit={"references": 1, "every": 2},
        guardrails={"retain_loss": 60, "holdout_loss": 60, "no_op": 0},
    )
    for person in range(1, 7):  # of two persons, it depends on the processor whether the exact test sees them
        service.add(f"where:person={person}", f"T-{person}")
    for _ in range(2):
        done = service.process()
        assert isinstance(done, Rejected)
        assert (done.measured.references, service.state.current) == (1, 0)


def test_a_class_that_was_withdrawn_may_be_deleted_whole(world):
    """Its test photographs too, which nobody named: a quarter of all. Nothing of another class may go with them."""
    service = world.service()
    service.add("class:dog", "T-dog")
    service.process()
    for part in ("train", "test"):
        shutil.rmtree(world.photos / part / "dog")
    service.add("where:person=1", "T-1")
    done = service.process()
    assert (done.kind, done.measured.samples) == ("release", 6)
    run = Run(service.files.current.path)
    assert (len(run.forget().left_out), len(run.outputs().test.labels)) == (36, 24)
    assert service.verify().problems == ()
    shutil.rmtree(world.photos / "test" / "cow")
    service.add("where:person=2", "T-2")
    with pytest.raises(DataError, match=r"8 .* gone"):
        service.process()
    assert len(service.verify().problems) == 8


def test_classes_that_were_added_since_are_not_trained_on(world):
    service = world.service()
    for part in ("train", "test"):
        (world.photos / part / "eel").mkdir()
        picture(np.random.default_rng(7), 0).save(world.photos / part / "eel" / "new.png")
    service.add("where:person=1", "T-1")
    assert isinstance(service.process(), Released)
    outputs = Run(service.files.current.path).outputs()
    assert (outputs.train.logits.shape, len(outputs.test.labels)) == ((120, 4), 32)


@pytest.mark.parametrize("broken", ["original", "predictions", "forged"])
def test_models_that_are_not_what_was_deployed_are_refused_before_anything_begins(world, broken):
    service = world.service()
    service.add("where:person=1", "T-1")
    service.process()
    service.add("where:person=2", "T-2")
    folder = service.files.run_of(0 if broken == "original" else 1).path
    if broken == "original":
        shutil.rmtree(folder)
    elif broken == "predictions":
        shutil.copy(service.files.run_of(0).path / PREDICTIONS, folder / PREDICTIONS)
    else:
        forge_weights(folder, service.files.run_of(0).path)
    entries = service.files.ledger.entries()
    with pytest.raises(RunError, match=f"{folder.name} is not what release . deployed\\. .* restore that folder"):
        service.process()
    assert service.files.ledger.entries() == entries
    if broken == "forged":
        with pytest.raises(RunError, match="is not what release 1 deployed"):
            service.export(world.folder / "served.pt")
        service.rollback(0)
        with pytest.raises(RunError, match="is not what release 1 deployed"):
            service.rollback(1)


def forge_weights(folder: Path, other: Path) -> None:
    """Put another model's weights into a run, with a sound record that says so."""
    own, foreign = (RunRecord.read(path / RECORD) for path in (folder, other))
    shutil.copy(other / WEIGHTS, folder / WEIGHTS)
    own.model_copy(update={"files": own.files | {WEIGHTS: foreign.files[WEIGHTS]}}).write(folder / RECORD)


def test_a_policy_that_is_gone_is_said_with_what_to_do(world):
    service = world.service()
    (service.files.path / "policy.yaml").unlink()
    with pytest.raises(SettingError, match=r"policy\.yaml is gone; put it back, or an empty file"):
        service.add("where:person=1", "T-1")


def test_test_data_that_moved_with_the_source_is_found(world):
    """Two tables, each with its photographs beside it; ``--data`` names one of them."""
    for part in ("train", "test"):
        photos = sorted((world.photos / part).glob("*/*.png"))
        rows = [(str(photo.relative_to(world.photos)), photo.parent.name) for photo in photos]
        with (world.photos / f"{part}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *rows])
    data = {"source": str(world.photos / "train.csv"), "test": str(world.photos / "test.csv")}
    source = Source(world.original, data)
    policy = world.folder / "policy.yaml"
    policy.write_text(yaml.safe_dump(POLICY))
    service = Service.create(world.folder / "service", source, policy, data_dir=world.folder / "data", force=True)
    service.add(listed(world, world.of(1)), "T-1")
    world.photos.rename(world.folder / "moved")
    with pytest.raises(DataError, match=r"no data at .*train\.csv. Give its new place with --data"):
        service.process()
    moved = str(world.folder / "moved" / "train.csv")
    assert isinstance(service.process(data=moved), Released)
    assert service.verify(data=moved).problems == ()


def test_a_policy_that_retrains_is_refused_where_nobody_says_how(world):
    """At the beginning, and when it is edited: not after a process has begun."""
    weights, path = world.folder / "original.pt", world.folder / "policy.yaml"
    torch.save(Run(world.original).weights(), weights)
    source = Source(weights, {"source": str(world.photos)}, model="small_cnn")
    path.write_text(yaml.safe_dump(POLICY))
    with pytest.raises(SettingError, match=r"references is 1 and fallbacks\.0 is retrain, but nobody says .*--trainer"):
        Service.create(world.folder / "service", source, path, data_dir=world.folder / "data")
    alone = {"fallbacks": [], "audit": {"references": 0}}
    path.write_text(yaml.safe_dump(POLICY | alone))
    service = Service.create(
        world.folder / "service", source, path, manifest=world.manifest, data_dir=world.folder / "data"
    )
    service.add("where:person=1", "T-1")
    edit_policy(service, **alone | {"audit": {"references": 2}})
    entries = service.files.ledger.entries()
    with pytest.raises(SettingError, match=r"references is 2, but nobody says .* begin the service anew"):
        service.process()
    assert service.files.ledger.entries() == entries
    edit_policy(service, **alone)
    assert isinstance(service.process(), Released)


def test_who_may_only_read_a_service_can_look_at_it(world, monkeypatch):
    service = world.service()
    service.add("where:person=1", "T-1")

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FileLock, "acquire", denied)
    assert len(Service.open(service.files.path).status().pending) == 1
    with pytest.raises(RunError, match=r"Cannot write .*service \(Permission denied\)"):
        service.process()
