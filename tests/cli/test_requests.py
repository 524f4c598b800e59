"""``natmu requests`` with a service that does nothing but remember what it was asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.deletion_requests.fakes import (
    chained,
    opening,
    rejected,
    released,
    requested,
    retrained,
    rolled_back,
    started,
    story,
)

import natmu.requests
from natmu.errors import UsageError
from natmu.records.audit import Answer
from natmu.records.ledger import Purged
from natmu.records.measurement import Measurement, Remeasured
from natmu.records.policy import Policy
from natmu.requests.state import fold
from natmu.requests.status import status_of

NOW = datetime(2026, 2, 2, 9, tzinfo=UTC)
"""A day after the requests of the fakes are due."""

COMMANDS = ("add", "list", "status", "process", "retrain", "rollback", "confirm-purge", "evidence", "export")


def scored(value, original, *retrained):
    return {"value": value, "original": original, "retrained": retrained}


MEASURED = Measurement(
    samples=3,
    level="quick",
    references=1,
    scores={
        "forget_acc": scored(33.3, 100.0, 66.7),
        "retain_acc": scored(99.0, 100.0, 100.0),
        "test_acc": scored(96.0, 97.5, 97.0),
        "kl_retain": scored(0.123, None),
    },
    forgotten=Answer(outcome="cannot be said", sentence="Too few retrained models."),
    kept=Answer(outcome="yes", sentence="Less than 1 point below the original."),
)


class FakeService:
    """A service over a ledger in memory."""

    def __init__(self, *bodies, outcome=None, folder=Path("service")):
        self.entries = chained(*bodies)
        self.outcome = outcome
        self.asked = []
        ledger = SimpleNamespace(entries=lambda: self.entries)
        self.files = SimpleNamespace(policy=Policy(fallbacks=({"method": "retrain"},)), ledger=ledger, path=folder)

    @property
    def state(self):
        return fold(self.entries)

    def status(self):
        return status_of(self.entries, self.state, NOW)

    def __getattr__(self, verb):
        def done(*words, **named):
            self.asked.append((verb, *words, named))
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return self.outcome

        return done


@pytest.fixture
def service(monkeypatch):
    """Let every command find a service with these entries."""

    def opened(*bodies, outcome=None):
        fake = FakeService(*(bodies or story()), outcome=outcome)
        ways = {"open": lambda _: fake, "create": lambda *words, **named: fake.create(*words, **named) or fake}
        monkeypatch.setattr(natmu.requests, "Service", SimpleNamespace(**ways))
        return fake

    return opened


def test_a_request_is_handed_on_with_its_ticket(natmu, service):
    fake = service(opening(), outcome=requested(1, 5, copies=2, unseen=("ab" * 16,)))
    done = natmu("requests", "add", "service", "--where", "person=17", "--manifest", "p.csv", "--ticket", "T-1")
    assert done.status == 0, done.err
    assert fake.asked == [("add", "where:person=17", "T-1", {"manifest": Path("p.csv"), "received": None})]
    assert "Request 1 (ticket T-1): 5 training samples, 2 of them as byte-identical copies." in done.out
    assert "Received 2026-01-02, to be answered by 2026-02-01." in done.out
    assert "also names 1 sample of parts that the service never trains on" in done.out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--files", "list.txt"), "files:list.txt"),
        (("--indices", "rows.npy"), "indices:rows.npy"),
        (("--class", "boat"), "class:boat"),
    ],
)
def test_each_way_to_name_samples(natmu, service, words, text):
    fake = service(opening(), outcome=requested(1))
    assert natmu("requests", "add", "service", *words, "--ticket", "T", "--received", "2026-01-02").status == 0
    assert fake.asked == [("add", text, "T", {"manifest": None, "received": "2026-01-02"})]


def test_a_ticket_that_is_there_already_is_said_to_be(natmu, service):
    service(opening(), requested(1), outcome=requested(1))
    done = natmu("requests", "add", "service", "--files", "list.txt", "--ticket", "T-1")
    assert done.out.startswith("Already recorded: request 1 (ticket T-1)")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Say which samples"),
        (("--files", "a", "--where", "person=1"), "in one way, once"),
        (("--where", "person=1", "--where", "person=2"), "in one way, once"),
        (("--files", "a", "--files", "a"), "in one way, once"),
        (("--files", "a", "--manifest", "p.csv"), "--manifest is the table"),
    ],
)
def test_a_request_names_its_samples_in_one_way(refused, service, words, sentence):
    fake = service(opening())
    assert sentence in refused("requests", "add", "service", "--ticket", "T", *words)
    assert fake.asked == []


def test_what_the_service_refuses_is_one_sentence(refused, service):
    for verb, words in {
        "add": ("--files", "a", "--ticket", "T"),
        "process": ("7",),
        "retrain": (),
        "rollback": ("9",),
        "confirm-purge": ("9",),
        "evidence": ("9",),
        "export": ("--out", "a.pt"),
    }.items():
        service(opening(), outcome=UsageError("There is no such thing; name another."))
        assert refused("requests", verb, "service", *words) == "There is no such thing; name another.\n"


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_folder_that_is_no_service_is_refused_by_every_verb(refused, verb):
    words = {
        "add": ("--files", "a", "--ticket", "T"),
        "rollback": ("1",),
        "confirm-purge": ("1",),
        "evidence": ("1",),
        "export": ("--out", "a.pt"),
    }
    assert "is not a service" in refused("requests", verb, "here", *words.get(verb, ()))
    assert not any(Path().iterdir())


def test_the_list_says_what_became_of_each_request(natmu, service):
    service()
    lines = natmu("requests", "list", "service").out.splitlines()
    assert [re.split(r" {2,}", line.strip()) for line in lines] == [
        ["request", "ticket", "samples", "received", "state", "purged"],
        ["1", "T-1", "3", "2026-01-02", "honoured by release 1 (exact)", "2026-01-02"],
        ["2", "T-2", "3", "2026-01-02", "honoured by release 3 (exact)"],
        ["3", "T-3", "3", "2026-01-02", "honoured by release 3 (exact)"],
    ]


def test_the_list_for_machines(natmu, service):
    service(opening(), requested(1), requested(2), started(1, 1), released(1, 1, 1))
    listed = natmu("requests", "list", "service", "--json").json
    assert [(one["request"], one["status"], one["release"], one["guarantee"]) for one in listed] == [
        (1, "honoured", 1, "approximate"),
        (2, "pending", None, None),
    ]


@pytest.mark.parametrize(
    ("due", "words"),
    [
        ("2026-02-01T08:00:00+00:00", "overdue by 1 day"),
        ("2026-02-02T08:00:00+00:00", "overdue by less than a day"),
        ("2026-01-30T08:59:00+00:00", "overdue by 3 days"),
        ("2026-02-02T10:00:00+00:00", "due in less than a day"),
        ("2026-02-03T10:00:00+00:00", "due in 1 day"),
        ("2026-02-05T09:00:00+00:00", "due in 3 days"),
    ],
)
def test_when_a_request_is_due_in_words(natmu, service, due, words):
    service(opening(), requested(1, due=due))
    assert f"{words}: request 1 (T-1), 3 samples" in natmu("requests", "status", "service").out
    assert words in natmu("requests", "list", "service").out


def test_the_status_of_a_busy_service_fits_on_a_screen(natmu, service, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    requests = [requested(number, ticket=f"{number} {'ticket ' * 20}".strip()) for number in range(1, 30)]
    answered = tuple(range(1, 13))
    service(
        opening(samples=300),
        *requests,
        started(1, *answered),
        rejected(1, *answered, final=False),
        released(1, 1, *answered, forgotten=36, measured=MEASURED, audit_seconds=400.0),
        started(2, 13, 14, source=1),
    )
    out = natmu("requests", "status", "service").out
    assert len(out.splitlines()) <= 23, out  # and the prompt
    assert all(len(line) <= 80 for line in out.splitlines()), out
    assert "\x1b" not in out
    for said in (
        "17 requests pending, 17 overdue",
        "overdue by 1 day, in process: request 13",
        "and 12 more",
        "release 1, by natmu (approximate), since 2026-01-02",
        "honours 12 of 29 requests",
        "retain 99.0 % (original 100.0), test 96.0 % (original 97.5)",
        "36 training samples, 12 % of the original's",
        "5.0 s of unlearning, 7 min of audits; 1 candidate refused",
        "retraining for each of 1 answer: 60 s",
        "retraining  now",
        "not confirmed for requests 1, 2, 3",
        "Process 2 of requests 13, 14 has not ended. If it does not run, continue it:",
        "Next: natmu requests process service",
    ):
        assert said in out, f"{said}\n{out}"


@pytest.mark.parametrize(
    ("bodies", "command"),
    [
        ((opening(),), "nothing to do"),
        ((opening(), requested(1)), "natmu requests process 'my service'"),
        ((opening(), requested(1), started(1, 1), released(1, 1, 1)), "natmu requests confirm-purge 'my service' 1"),
        (
            (opening(samples=10), requested(1), requested(2), started(1, 1), released(1, 1, 1)),
            "natmu requests retrain 'my service'",
        ),
        (
            (
                opening(samples=10),
                requested(1),
                requested(2),
                started(1, 1),
                released(1, 1, 1),
                started(2, 2, source=1),
            ),
            "natmu requests process 'my service'",
        ),
        (story(), "natmu requests confirm-purge 'my service' 2"),
    ],
)
def test_the_status_ends_with_what_to_do_next(natmu, service, bodies, command):
    service(*bodies)
    assert natmu("requests", "status", "my service").out.splitlines()[-1] == f"Next: {command}"


def test_the_status_for_machines_is_the_whole_status(natmu, service):
    fake = service()
    assert natmu("requests", "status", "service", "--json").json == json.loads(json.dumps(fake.status().plain()))


def test_a_process_says_what_it_will_do_and_what_is_deployed_then(natmu, service):
    done = released(
        2,
        2,
        2,
        3,
        source=1,
        measured=MEASURED,
        remeasured=(Remeasured(request=1, samples=3, came_back=False),),
    )
    fake = service(opening(), requested(1), requested(2), requested(3), started(1, 1), released(1, 1, 1), outcome=done)
    seen = natmu("requests", "process", "service", "--data", "photos", "--device", "cpu", "--seed", "4")
    assert fake.asked == [("process", None, {"data": "photos", "device": "cpu", "seed": 4, "force": False})]
    assert seen.err.splitlines() == [
        "process 2: requests 2, 3, 6 training samples",
        "from release 1, which honours 1 request; tries natmu, then retrain; compares with 1 retrained model",
    ]
    lines = seen.out.splitlines()
    assert lines[0] == "Release 2 is deployed: natmu (approximate), for requests 2, 3."
    assert [line.split() for line in lines[1:5]] == [
        ["in", "%", "now", "original", "retrained"],
        ["forget_acc", "33.3", "100.0", "66.7"],
        ["retain_acc", "99.0", "100.0", "100.0"],
        ["test_acc", "96.0", "97.5", "97.0"],
    ]
    assert "Forgotten? Too few retrained models." in seen.out
    assert "Kept? Less than 1 point below the original." in seen.out
    assert "Measured again: request 1, which did not come back." in seen.out
    assert lines[-1] == "Next: natmu requests evidence service 2"


def test_some_requests_are_processed_by_number(natmu, service):
    fake = service(opening(), requested(1), requested(2), outcome=released(1, 1, 2))
    seen = natmu("requests", "process", "service", "2", "--json")
    assert fake.asked[0][1] == [2]
    assert seen.json["release"] == 1
    assert "process 1: request 2, 3 training samples" in seen.err


def test_a_process_that_was_interrupted_is_announced_as_it_began(natmu, service):
    held = Policy(fallbacks=({"method": "retrain"},))
    begun = (opening(policy=held), requested(1), requested(2), started(1, 1, references=3, policy=held))
    service(*begun, outcome=released(1, 1, 1))
    seen = natmu("requests", "process", "service")
    assert "process 1, which was interrupted: request 1, 3 training samples" in seen.err
    assert "compares with 3 retrained models" in seen.err


def test_a_process_whose_policy_was_edited_since_follows_the_new_one(natmu, service):
    service(opening(), requested(1), started(1, 1, references=3), outcome=released(1, 1, 1))
    seen = natmu("requests", "process", "service")
    assert "process 1, which was interrupted: request 1, 3 training samples" in seen.err
    assert "compares with 1 retrained model" in seen.err


def test_nothing_is_announced_that_will_be_refused(refused, service):
    for numbers in (("1", "9"), ("1", "1"), ()):
        bodies = (opening(), requested(1)) if numbers else (opening(),)
        service(*bodies, outcome=UsageError("No; name others."))
        refused("requests", "process", "service", *numbers)


def test_all_and_numbers_do_not_go_together(refused, service):
    service(opening(), requested(1))
    assert "Both --all and numbers" in refused("requests", "process", "service", "1", "--all")


def test_a_final_refusal_has_status_1_and_says_what_to_do(natmu, service):
    last = rejected(1, 1, final=True, method="scrub")
    bodies = (opening(), requested(1), started(1, 1), rejected(1, 1, final=False), last)
    service(*bodies, outcome=last)
    seen = natmu("requests", "process", "service")
    assert seen.status == 1
    assert seen.out == ""
    assert seen.err.splitlines()[-1] == (
        "natmu: No candidate was accepted: release 0 stays deployed, and request 1 is pending still; add a fallback to "
        "service/policy.yaml or change its guardrails, or run natmu requests retrain service."
    )
    assert natmu("requests", "process", "service", "--json").json["reasons"] == list(last.reasons)


def test_a_retrained_model_is_shown_as_a_release(natmu, service):
    fake = service(opening(), requested(1), outcome=retrained(1, 1))
    seen = natmu("requests", "retrain", "service", "--seed", "3")
    assert fake.asked == [("retrain", {"data": None, "device": "auto", "seed": 3, "force": False})]
    assert seen.out.startswith("Release 1 is deployed: retrain (exact), for request 1.")
    assert "retrain without 3 training samples of request 1" in seen.err


def test_a_rollback_says_what_is_pending_again(natmu, service):
    fake = service(outcome=rolled_back(1, 2, 3))
    lines = natmu("requests", "rollback", "service", "1").out.splitlines()
    assert fake.asked == [("rollback", 1, {})]
    assert lines == [
        "Release 1 is deployed again.",
        "Pending again: requests 2, 3.",
        "Next: natmu requests process service",
    ]


def test_a_purge_says_what_was_looked_through_and_what_was_not(natmu, service):
    fake = service(outcome=Purged(request=2, files=1204, caches=1, census="ab" * 8, weights=("cd" * 8,)))
    out = natmu("requests", "confirm-purge", "service", "2", "--weights", "--data", "photos").out
    assert fake.asked == [("confirm_purge", 2, {"data": "photos", "weights": True})]
    for said in ("1,204 files looked through", "Deleted 1 file with decoded copies", "weights of 1 model", "Backups"):
        assert said in out


def test_evidence_names_its_files_and_warns_of_samples(natmu, service, tmp_path):
    (tmp_path / "0002").mkdir()
    (tmp_path / "0002" / "evidence.json").touch()
    fake = service(outcome=tmp_path / "0002")
    out = natmu("requests", "evidence", "service", "2", "--with-samples").out
    assert fake.asked == [("evidence", 2, {"with_samples": True})]
    assert str(tmp_path / "0002" / "evidence.json") in out
    assert "personal data" in out
    assert "personal data" not in natmu("requests", "evidence", "service", "2").out


def test_the_deployed_weights_are_exported(natmu, service):
    fake = service()
    out = natmu("requests", "export", "service", "--out", "served.pt", "--like", "original.pt", "--force").out
    assert fake.asked == [("export", Path("served.pt"), {"like": Path("original.pt"), "force": True})]
    assert out == "wrote served.pt, release 3\n"


def test_a_service_begins_with_all_that_the_original_needs(natmu, service):
    fake = service(opening())
    Path("people.csv").touch()
    words = ("--from", "original.pt", "--model", "small_cnn", "--data", "photos", "--image-size", "24", "--holdout")
    more = ("--trainer", "mine:train", "--trainer-set", "epochs=3", "--manifest", "people.csv", "--data-dir", "sets")
    done = natmu("requests", "init", *words, *more, "--device", "cpu", "--out", "service")
    assert done.status == 0, done.err
    ((verb, out, source, policy, named),) = fake.asked
    assert (verb, out, policy) == ("create", Path("service"), None)
    assert (source.path, source.model) == (Path("original.pt"), "small_cnn")
    wanted = {"source": "photos", "image_size": 24, "holdout": True, "test": None, "classes": None}
    assert wanted.items() <= source.data.items()
    assert source.training == {"trainer": "mine:train", "arguments": {"epochs": 3}}
    assert named == {
        "manifest": Path("people.csv"),
        "data_dir": Path("sets"),
        "device": "cpu",
        "precision": "auto",
        "force": False,
    }
    assert "with 1,000 training samples" in done.out


@pytest.mark.parametrize("flag", ["--manifest", "--policy"])
def test_a_file_that_is_not_there_is_refused_before_anything_is_read(refused, service, flag):
    fake = service(opening())
    sentence = refused("requests", "init", "--from", "original.pt", "--out", "service", flag, "no.csv")
    assert sentence == f"{flag} no.csv is not a file; give the path of one.\n"
    assert fake.asked == []


def test_the_verbs_that_only_look_do_not_load_torch():
    names = "init", "recorded", "status", "process", "deployed", "proof", "verify", "output"
    code = (
        "import sys\nimport natmu.cli.app\nassert 'natmu.requests' not in sys.modules\n"
        f"import natmu.requests, {', '.join(f'natmu.cli.requests.{name}' for name in names)}\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_verb_of_the_group_has_a_help_that_fits(natmu, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = natmu("requests", "--help")
    verbs = re.findall(r"^  ([a-z-]+) {2,}\S", done.out.partition("Commands:")[2], re.MULTILINE)
    assert verbs == ["init", *COMMANDS[:-1], "verify", "export"]
    assert "..." not in done.out.partition("Commands:")[2]
