"""Progress goes to standard error, and only where it is wanted."""

from __future__ import annotations

import sys
from contextlib import nullcontext

import pytest
from rich.console import Console

from natmu import progress
from natmu.progress import decide, decided, deciding, say, showing, shown_on, task, without_lines


def test_nothing_is_shown_unless_asked_for(capsys):
    with showing(False), task("train", 3) as advance:
        advance()
        say("a line")
    with task("train", 3) as advance:
        advance()
        say("a line")
    assert capsys.readouterr() == ("", "")


def test_off_a_terminal_only_lines_are_left(capsys):
    with showing(), task("train", 2) as advance:
        advance()
        say("original, seed 0: test_acc 93.34 [bold] by training:train: 3 s")
        advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "original, seed 0: test_acc 93.34 [bold] by training:train: 3 s\n"


def test_nested_displays_are_one(capsys):
    with showing():
        with showing():
            say("inner")
        say("outer")
    say("after")
    assert capsys.readouterr().err == "inner\nouter\n"


@pytest.mark.parametrize(
    ("work", "lines"),
    [
        ((10, 2), "job: 5 of 10\njob: 10 of 10\n"),
        ((4_000_000, 1_000_000, "bytes"), "job: 1.0 MB of 4.0 MB\njob: 1.0 MB of 4.0 MB\n"),
        ((None, 0), "job: 3\njob: 8\n"),
    ],
)
def test_off_a_terminal_long_work_leaves_a_line_now_and_then(capsys, monkeypatch, work, lines):
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1)
    with showing(), task("job", *work) as advance:
        advance(3)
        advance(5)
    assert capsys.readouterr().err == lines


@pytest.mark.parametrize(
    ("work", "shown"), [((4, 1), "1/4"), ((4_000_000, 1_000_000, "bytes"), "1.0 MB/4.0 MB"), ((None, 7), "m7\x1b")]
)
def test_a_terminal_has_a_bar_in_the_unit_of_the_work_and_is_left_clean(capsys, monkeypatch, work, shown):
    def terminal(**options):
        return Console(**options, force_terminal=True, width=100, file=sys.stderr)

    monkeypatch.setattr(progress, "Console", terminal)
    with showing():
        with task("job", *work) as advance:
            advance(2)
            say("a line")
        written = capsys.readouterr().err
    assert "job" in written
    assert shown in written
    assert "a line\n" in written
    assert "job" not in capsys.readouterr().err


def test_a_decision_is_said_once_and_kept_by_all_who_collect():
    shown = Shown()
    with shown_on(shown), deciding() as outer:
        decide("A fifth is the test set.")
        with deciding() as inner:
            decide("A fifth is the test set.")
            decide("The rate is 0.1.")
        assert inner == ["A fifth is the test set.", "The rate is 0.1."]
        assert decided() == ("A fifth is the test set.", "The rate is 0.1.")
    assert outer == list(inner)
    assert shown.lines == outer
    assert decided() == ()
    decide("Nobody collects this.")
    assert decided() == ()


def test_a_display_shows_a_decision_once_and_every_record_keeps_it(capsys):
    kept = []
    with showing():
        for _ in range(2):
            with deciding() as noted:
                decide("A fifth is the test set.")
            kept += noted
        with without_lines(), deciding():
            decide("Hidden.")
        decide("Hidden.")
    assert kept == ["A fifth is the test set."] * 2
    assert capsys.readouterr().err == "A fifth is the test set.\nHidden.\n"


class Shown:
    """A display that keeps its lines."""

    def __init__(self):
        self.lines = []

    def say(self, line):
        """Keep it."""
        self.lines.append(line)


def test_lines_can_be_left_out_where_they_would_be_untrue():
    class Lines:
        def __init__(self):
            self.lines, self.bars = [], []

        def bar(self, label, total, done, unit):
            self.bars.append(label)
            return nullcontext(lambda steps=1: None)

        def say(self, line):
            self.lines.append(line)

    display = Lines()
    with shown_on(display):
        with without_lines():
            say("untrue")
            with task("work", 1):
                pass
        say("true")
    assert (display.lines, display.bars) == (["true"], ["work"])
    with without_lines():
        say("nobody looks")
