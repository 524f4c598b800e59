"""A service from its beginning through requests, deleted photographs, refusals, going back and retraining."""

import shutil

import numpy as np
import pytest
from tests.deletion_requests.world import CLASSES, PEOPLE, World, make_world

from natmu.engine.store import Run, Store
from natmu.errors import DataError, UsageError
from natmu.opening import Source
from natmu.records.disk import host
from natmu.records.ledger import NotMade, Rejected, Released, Retrained
from natmu.records.lineage import AllBut, Referenced, Trained, Unlearned
from natmu.requests import Service
from natmu.requests.folder import ServiceFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photographs and an original, made once."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(made, tmp_path):
    """A copy of them."""
    shutil.copytree(made.folder, tmp_path / "world")
    return World(tmp_path / "world")


def run_of(service: Service, release: int) -> Run:
    return Run(service.files.run_of(release).path)


def references(service: Service) -> list[Run]:
    """All models that were retrained to compare with."""
    runs = Store(service.files.models).all()
    return [
        run for run in runs if isinstance(run.record.lineage, Trained) and isinstance(run.record.lineage.on, AllBut)
    ]


def person(number: int) -> set[int]:
    """Positions of a person's training photographs when there were all: by class, and there by person and picture."""
    return {label * 2 * PEOPLE + 2 * number + picture for label in range(len(CLASSES)) for picture in range(2)}


def test_what_was_asked_before_stays_forgotten_though_its_photographs_are_gone(world):
    """Three of today's dangers: the first request is not retained by the second, no reference was trained on it, and
    deleted photographs stop nothing."""
    first, second = person(3), person(5)
    service = world.service()
    service.add("where:person=3", "T-3")
    one = service.process()
    assert (one.kind, one.release, one.requests, one.method) == ("release", 1, (1,), "finetune")
    world.delete(3)
    service.add("where:person=5", "T-5")
    two = service.process()
    assert (two.kind, two.release, two.requests) == ("release", 2, (2,))

    run = run_of(service, 2)
    lineage, forget = run.record.lineage, run.forget()
    assert isinstance(lineage, Unlearned)
    assert isinstance(lineage.source, Referenced)
    assert lineage.source.digest == run_of(service, 1).record.digest
    assert ({*forget.indices.tolist()}, {*forget.before.tolist()}) == (second, first)
    assert first.isdisjoint(run.outputs().positions.tolist()), "what is gone has no predictions"

    assert [{*one.forget().left_out.tolist()} for one in references(service)] in (
        [first, first | second],
        [first | second, first],
    )
    assert two.measured.samples == 8
    assert two.measured.references == 1
    assert [(one.request, one.samples) for one in two.remeasured] == [(1, 0)]
    assert (service.state.honoured, service.state.pending) == ((1, 2), ())
    assert service.files.path.joinpath("current").resolve().name == two.result.run


def test_what_a_killed_writer_left_goes_when_a_service_is_opened(world):
    folder = world.service().files.path
    left = folder / f".ledger.head.{host()}.{2**30}.partial"  # of a process that cannot run
    left.touch()
    ServiceFolder.open(folder)
    assert not left.exists()


def test_earlier_requests_are_measured_beside_models_that_never_saw_any(world):
    service = world.service(audit={"references": 2})
    service.add("where:person=1", "T-1")
    service.process()
    service.add("where:person=2", "T-2")
    two = service.process()
    (again,) = two.remeasured
    rows = sorted(person(1))

    def right(run: Run) -> float:
        part = run.outputs().train
        return 100 * float((part.logits[rows].argmax(axis=1) == part.labels[rows]).mean())

    assert (again.request, again.samples) == (1, 8)
    assert again.accuracy == right(run_of(service, 2))
    assert again.original == right(run_of(service, 0)) == 100
    both = person(1) | person(2)
    compared = [run for run in references(service) if {*run.forget().left_out.tolist()} == both]
    assert len(compared) == 2
    assert again.retrained == np.mean([right(run) for run in compared])
    assert two.earlier is not None
    assert two.earlier.samples == 8


def test_pending_requests_are_not_trained_on_while_others_are_processed(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    service.add("where:person=2", "T-2")
    one = service.process([1])
    assert service.state.pending == (2,)
    forget = run_of(service, one.release).forget()
    assert {*forget.before.tolist()} == person(2)


def test_samples_that_are_gone_before_they_were_processed_are_left_to_retraining(world):
    service = world.service()
    service.add("where:person=4", "T-4")
    world.delete(4)
    done = service.process()
    assert (done.kind, done.method, done.guarantee) == ("release", "retrain", "exact")
    refusal = next(entry.body for entry in service.files.ledger.entries() if entry.body.kind == "not made")
    assert "finetune needs the samples that it is to forget, and 8 of 8 are gone" in refusal.reasons[0]
    assert done.measured is None
    assert {*run_of(service, 1).forget().left_out.tolist()} == person(4)


def test_refused_candidates_leave_the_requests_pending_and_the_model_as_it_was(world):
    service = world.service(fallbacks=[], guardrails={"no_op": 1.0})
    service.add("where:person=1", "T-1")
    done = service.process()
    assert isinstance(done, Rejected)
    assert done.final
    assert next(one.sentence for one in done.guardrails if one.name == "no_op") in done.reasons
    assert (service.state.current, service.state.pending) == (0, (1,))
    assert service.files.current.path.name == service.files.record.original


def test_going_back_reopens_requests_and_the_next_process_answers_them(world):
    service = world.service()
    for number in (1, 2):
        service.add(f"where:person={number}", f"T-{number}")
        service.process()
    back = service.rollback(1)
    assert (back.reopened, service.state.pending, service.state.honoured) == ((2,), (2,), (1,))
    assert service.files.current.path.name == service.state.releases[1].model.run
    again = service.process()
    assert (again.release, again.requests) == (3, (2,))
    assert again.result == service.state.releases[2].model, "the same work on the same model"


def test_retraining_answers_everything_and_later_requests_go_on_from_it(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    service.add("where:person=2", "T-2")
    done = service.retrain()
    assert isinstance(done, Retrained)
    assert (done.requests, done.guarantee, service.state.pending) == ((1, 2), "exact", ())
    with pytest.raises(UsageError, match="was retrained without all"):
        service.retrain()
    service.add("where:person=3", "T-3")
    third = service.process()
    lineage = run_of(service, 2).record.lineage
    assert third.release == 2
    assert isinstance(lineage, Unlearned)
    assert lineage.source.digest == done.result.run
    assert {*run_of(service, 2).forget().before.tolist()} == person(1) | person(2)


def test_a_class_and_a_person_are_one_process(world):
    service = world.service()
    service.add("class:dog", "T-dog")
    service.add("where:person=1", "T-1")
    done = service.process()
    assert done.requests == (1, 2)
    labels = run_of(service, 0).outputs().train.labels
    dogs = {*np.flatnonzero(labels == 3).tolist()}
    last = run_of(service, 1).forget()
    assert (last.scenario, last.classes) == ("class", (3,))
    assert {*last.left_out.tolist()} == dogs | person(1)
    assert done.measured.samples == len(dogs | person(1))
    part = run_of(service, 1).outputs().test
    others = part.labels != 3
    right = 100 * float((part.logits[others].argmax(axis=1) == part.labels[others]).mean())
    assert done.measured.scores["test_acc"].value == right, "of the classes that are left"


def test_an_interrupted_process_goes_on_with_its_own_requests(world, monkeypatch):
    from natmu.requests import processing

    service = world.service()
    service.add("where:person=1", "T-1")
    with monkeypatch.context() as patch:

        def broken(*_):
            raise KeyboardInterrupt

        patch.setattr(processing, "judge_candidate", broken)
        with pytest.raises(KeyboardInterrupt):
            service.process()
    service.add("where:person=2", "T-2")
    assert service.state.unfinished.requests == (1,)
    with pytest.raises(UsageError, match="Process 1 of request 1 is not finished"):
        service.process([2])
    done = service.process(seed=7)
    assert (done.requests, done.process, service.state.pending) == ((1,), 1, (2,))
    started = next(entry.body for entry in service.files.ledger.entries() if entry.body.kind == "process")
    assert started.seed == 0


def test_the_same_ticket_is_the_same_request(world):
    service = world.service()
    first = service.add("where:person=1", "T-1")
    assert service.add("where:person=1", "T-1") == first
    with pytest.raises(UsageError, match="Ticket T-1 is request 1 already"):
        service.add("where:person=2", "T-1")
    with pytest.raises(UsageError, match="All 8 samples of this request are part of request 1"):
        service.add("where:person=1", "T-2")
    assert len(service.state.requests) == 1


def test_other_data_is_refused_and_nothing_is_noted(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    for number in range(6, 15):
        world.delete(number)
    entries = service.files.ledger.entries()
    with pytest.raises(DataError, match="is not the data that the service began with"):
        service.process()
    assert service.files.ledger.entries() == entries


def test_samples_that_are_lost_are_said_and_left_out(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    lost = world.of(7)[0]
    lost.unlink()
    done = service.process()
    assert isinstance(done, Released)
    forget = run_of(service, 1).forget()
    assert len(forget.before) == 1
    assert {*forget.before.tolist()} < person(7)


def test_a_service_begins_whole_or_not_at_all(world):
    with pytest.raises(UsageError, match="no_such"):
        world.service(method="no_such")
    assert not (world.folder / "service").exists()
    world.service()
    with pytest.raises(UsageError, match="already holds something"):
        world.service()


def test_a_service_begins_with_an_original(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    service.process()
    with pytest.raises(UsageError):
        Service.create(world.folder / "other", Source(service.files.current.path), data_dir=world.folder / "data")
    assert not (world.folder / "other").exists()


def test_a_policy_that_was_edited_is_noted_before_it_is_used(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    path = service.files.path / "policy.yaml"
    path.write_text(path.read_text().replace("deadline_days: 30", "") + "deadline_days: 10\n")
    service.process()
    kinds = [entry.body.kind for entry in service.files.ledger.entries()]
    assert kinds == ["open", "request", "policy", "process", "release"]
    assert service.state.policy.deadline_days == 10


def test_nothing_to_process(world):
    service = world.service()
    with pytest.raises(UsageError, match="No request is pending"):
        service.process()
    service.add("where:person=1", "T-1")
    with pytest.raises(UsageError, match="There is no request 2"):
        service.process([2])
    with pytest.raises(UsageError, match="named twice"):
        service.process([1, 1])
    assert not isinstance(service.process(), NotMade)
    with pytest.raises(UsageError, match="Release 1 is the current one"):
        service.rollback(1)
    with pytest.raises(UsageError, match="There is no release 9"):
        service.rollback(9)


def test_another_folder_confirms_no_purge(world):
    service = world.service()
    service.add("where:person=1", "T-1")
    service.process()
    world.delete(1)
    other = world.folder / "other"
    other.mkdir()
    with pytest.raises(UsageError, match=r"other holds 0 of 144 files that nobody asked to delete"):
        service.confirm_purge(1, data=str(other))
    assert service.state.requests[1].purged is None
    assert service.confirm_purge(1).files == 144


def test_only_the_owner_enters_the_folder(world):
    assert world.service().files.path.stat().st_mode & 0o077 == 0


def test_several_processes_of_torchrun_are_refused_before_the_lock(world, monkeypatch):
    service = world.service()
    service.add("where:person=1", "T-1")
    monkeypatch.setattr("natmu.requests.releases.processes.count", lambda: 2)
    for verb in (service.process, service.retrain):
        with pytest.raises(UsageError, match="without torchrun"):
            verb()
    assert service.state.unfinished is None
