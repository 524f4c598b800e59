"""Requests that overlap, policies that change under a process, and other ways to get wrong numbers without a word."""

import shutil
from pathlib import Path

import pytest
import yaml
from tests.requests.world import POLICY, World, make_world

from natmu.engine.store import Run
from natmu.errors import UsageError
from natmu.records.ledger import Rejected, Released
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

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(processing.Processing, "_tried", broken)
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
    service.add("where:person=1", "T-1")
    service.add("where:person=2", "T-2")
    for _ in range(2):
        done = service.process()
        assert isinstance(done, Rejected)
        assert (done.measured.references, service.state.current) == (1, 0)
