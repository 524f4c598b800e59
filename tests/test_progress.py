"""Progress goes to standard error, and only where it is wanted."""

from __future__ import annotations

from natmu.progress import say, showing, task


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
        say("original, seed 0: test_acc 93.34 [bold]")
        advance()
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "original, seed 0: test_acc 93.34 [bold]\n"


def test_nested_displays_are_one(capsys):
    with showing():
        with showing():
            say("inner")
        say("outer")
    say("after")
    assert capsys.readouterr().err == "inner\nouter\n"
