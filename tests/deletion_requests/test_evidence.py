"""Evidence says what the ledger says, no more; it is signed, written whole, and names no sample unasked."""

import numpy as np
import pytest
from tests.deletion_requests.evidence_stories import EXACT, STORIES, evidence, long_story
from tests.deletion_requests.fakes import (
    chained,
    opening,
    policy_changed,
    released,
    requested,
    retrained,
    rolled_back,
    started,
)

from natmu.errors import UsageError
from natmu.records.census import Census, CensusPart
from natmu.records.evidence import Evidence, EvidenceSample
from natmu.records.names import SampleNames
from natmu.records.policy import Policy
from natmu.requests import exposure
from natmu.requests.evidence import write_evidence
from natmu.requests.evidence_limits import ALWAYS, ELSEWHERE, PROMISED, TESTED, UNSIGNED
from natmu.requests.exposure import samples_of_request
from natmu.requests.keys import create_signing_key
from natmu.requests.state import fold
from natmu.requests.verifying import verify_evidence
from natmu.types import Outputs, Part, Rows

SECRET = EvidenceSample(name="anna-at-the-lake.png", label="bee", before=0.98765, after=None)


@pytest.mark.parametrize("story", STORIES)
def test_what_no_evidence_shows_is_always_said(story):
    told = evidence(chained(*STORIES[story])).not_shown
    assert {*ALWAYS, UNSIGNED} <= {*told}
    words = " ".join(told)
    for limit in ("anonymous", "law", "other copies", "backups"):
        assert limit in words


def test_what_is_promised_is_not_said_to_rest_on_tests():
    """Those sentences are for models that were only tested, and for originals from elsewhere."""
    tested, promised = (evidence(long_story(0, **how)).not_shown for how in ({}, EXACT))
    assert (TESTED in tested, PROMISED in tested) == (True, False)
    assert (TESTED in promised, PROMISED in promised) == (False, True)
    back = chained(opening(), requested(1), started(1, 1), released(1, 1, 1, **EXACT), rolled_back(0, 1))
    assert TESTED in evidence(back).not_shown, "what is deployed now promises nothing"
    for here in (True, False):
        entries = chained(opening(trained_here=here), requested(1), started(1, 1), released(1, 1, 1))
        assert (ELSEWHERE in evidence(entries).not_shown) is not here


@pytest.mark.parametrize(("retraining", "fraction"), [(9.9, None), (10.0, 0.25), (None, None)])
def test_no_fraction_is_told_of_seconds_that_starting_up_decides(retraining, fraction):
    entries = long_story(0, seconds=2.5, retraining_seconds=retraining)
    assert evidence(entries).answer.made.retrain_fraction == fraction


def test_a_request_that_waits_has_no_answer_and_one_that_was_refused_has_the_reasons():
    waiting, refused = (evidence(chained(*STORIES[story])) for story in ("pending", "refused"))
    assert (waiting.request.answered, waiting.request.in_time, waiting.answer) == (None, None, None)
    (attempt,) = refused.attempts
    assert (attempt.outcome, attempt.reasons) == ("refused", ("Retain accuracy fell by 3 points.",))
    assert not refused.deployed.honours


def test_a_rollback_reopens_the_request():
    told = evidence(chained(*STORIES["rolled back"]))
    assert (told.request.status, told.deployed.honours, told.rollbacks[0].reopened) == ("pending", False, True)
    assert any("does not, because" in sentence for sentence in told.not_shown)


@pytest.mark.parametrize(
    ("due", "in_time"), [("2026-01-02T00:05:00+00:00", True), ("2026-01-02T00:03:59+00:00", False)]
)
def test_in_time_is_whether_the_first_answer_came_by_the_due_date(due, in_time):
    told = evidence(chained(opening(), requested(1, due=due), started(1, 1), released(1, 1, 1), rolled_back(0, 1)))
    assert told.request.in_time is in_time


def test_exact_is_said_of_retraining_alone_and_of_what_rests_on_it():
    approximate, exact = evidence(long_story()), evidence(chained(*STORIES["retrained"]))
    assert not any("exact" in sentence for sentence in (*approximate.shown, *approximate.not_shown))
    (sentence,) = (sentence for sentence in exact.shown if "exact" in sentence)
    assert "architecture" in sentence
    on_top = chained(
        opening(), requested(1), retrained(1, 1), requested(2), started(1, 2, source=1), released(2, 1, 2, source=1)
    )
    assert [evidence(on_top, number).deployed.trained_without for number in (1, 2)] == [1, None]


def test_thresholds_are_those_that_held_when_the_process_began():
    strict = Policy.from_values({"guardrails": {"retain_loss": 0.5}})
    entries = chained(
        *(opening(), requested(1), started(1, 1), policy_changed(strict), released(1, 1, 1)),
        *(requested(2), started(2, 2, source=1, policy=strict), released(2, 2, 2, source=1)),
    )
    fixed = [evidence(entries, number).answer.thresholds for number in (1, 2)]
    assert [(one.policy_entry, one.guardrails.retain_loss) for one in fixed] == [(1, 2.0), (4, 0.5)]


def test_later_releases_and_their_entries_are_whole():
    entries = long_story(later=3)
    told = evidence(entries)
    assert [one.release for one in told.later] == [2, 3, 4]
    assert all(one in entries for one in told.entries)
    assert [one.number for one in told.entries] == [1, 2, 3, 4, 5, 8, 11, 14]
    assert (told.head_number, told.head_hash) == (14, entries[-1].hash)


def test_it_reads_back_and_its_signature_holds(tmp_path):
    create_signing_key(tmp_path)
    folder = write_evidence(tmp_path, evidence(long_story()))
    assert {path.name for path in folder.iterdir()} == {"evidence.json", "evidence.html", "evidence.sig", "signing.pub"}
    assert folder == tmp_path / "evidence" / "0001"
    found = verify_evidence(folder, tmp_path / "signing.pub")
    assert found.ok, found.problems
    assert UNSIGNED not in Evidence.read(folder / "evidence.json").not_shown
    path = folder / "evidence.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert not verify_evidence(folder, tmp_path / "signing.pub").ok


def test_later_evidence_takes_the_place_of_all_files_of_an_earlier_one(tmp_path):
    write_evidence(tmp_path, evidence(long_story(1)))
    (tmp_path / "evidence" / "0001" / "old").touch()
    (tmp_path / ".evidence-0007.new").mkdir()  # as a killed process leaves it
    folder = write_evidence(tmp_path, evidence(long_story(2)))
    assert {path.name for path in folder.iterdir()} == {"evidence.json", "evidence.html"}
    assert UNSIGNED in Evidence.read(folder / "evidence.json").not_shown
    assert not (tmp_path / ".evidence-0007.new").exists()


def test_no_name_and_no_score_of_a_sample_leaves_the_service_unasked(tmp_path):
    said = {}
    for asked, samples in ((True, (SECRET,)), (False, None)):
        folder = write_evidence(tmp_path, evidence(long_story(), samples=samples))
        said[asked] = [b"anna" in (folder / name).read_bytes() for name in ("evidence.json", "evidence.html")]
        said[asked].append(b"0.98765" in (folder / "evidence.json").read_bytes())
    assert said == {True: [True] * 3, False: [False] * 3}


def test_samples_have_the_confidence_of_stored_predictions_and_none_where_they_are_gone(tmp_path, monkeypatch):
    names = ("a.png", "b.png", "c.png")
    pixels = np.arange(48, dtype=np.uint8).reshape(3, 16)
    part = CensusPart(SampleNames.of_source(3, names), np.array([0, 1, 1]), pixels, np.zeros((0, 16), np.uint8))
    empty = CensusPart(SampleNames.of_source(0), np.zeros(0, np.int64), pixels[:0], pixels[:0])
    census = Census(("ant", "bee"), (3, 2, 2), "uint8", part, empty)
    state = fold(
        chained(
            opening(),
            requested(1, samples=2).model_copy(update={"samples": census.pixel_digests(np.array([1, 2]))}),
            started(1, 1),
            released(1, 1, 1),
        )
    )
    none = Part(np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    logits = np.log(np.array([[0.5, 0.5], [0.1, 0.9], [0.75, 0.25]], np.float32))
    whole = Outputs(Part(logits, part.labels), none)
    rest = Outputs(whole.train.take(np.array([0, 2])), none, rows=Rows(np.array([0, 2]), np.zeros(0, np.int64)))

    class Stored:
        def __init__(self, path):
            self.path = path

        def has(self, name):
            return name == "predictions.safetensors"

        def outputs(self):
            return whole if self.path.name == state.opening.original.run else rest

    monkeypatch.setattr(exposure, "RunFolder", Stored)
    found = samples_of_request(tmp_path, census, state, 1)
    assert [(one.name, one.label) for one in found] == [("b.png", "bee"), ("c.png", "bee")]
    assert [one.before for one in found] == pytest.approx([0.9, 0.25], abs=1e-6)
    assert found[0].after is None
    assert found[1].after == pytest.approx(0.25, abs=1e-6)


def test_there_must_be_such_a_request():
    with pytest.raises(UsageError, match="There is no request 2"):
        evidence(chained(opening(), requested(1)), 2)
