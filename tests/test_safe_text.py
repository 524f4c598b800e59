"""Text from outside, in each medium."""

from __future__ import annotations

import ast
import csv
import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import hostile
from tests.hostile import NAMES, harm, seen, unseen

import natmu
from natmu.console import Console, Text, lines
from natmu.errors import UsageError, hint, quoted
from natmu.progress import say, showing, task
from natmu.report.html import for_html, templates
from natmu.safe_text import (
    LONGEST_MESSAGE,
    csv_lines,
    for_json,
    for_log,
    for_markdown,
    for_message,
    for_terminal,
    from_csv,
)
from natmu.terminal import echo, echo_document

SOURCES = Path(natmu.__file__).parent


def test_all_of_unicode_that_is_not_seen_is_made_visible_and_nothing_else():
    letters = [*map(chr, range(sys.maxunicode + 1))]
    visible = [letter for letter in letters if for_terminal(letter) != letter]
    assert all(for_terminal(letter) == letter.encode("unicode_escape").decode() for letter in visible)
    assert not {letter for letter in letters if unseen(letter)}.difference(visible)
    assert not [letter for letter in visible if not unseen(letter) and unicodedata.category(letter) != "Cn"]


@given(st.text(st.characters() | st.sampled_from("\n\t\r\x1b\u202e\udcff\\"), max_size=40))
def test_no_medium_is_given_what_is_not_seen(text):
    assert not harm(for_message(text), "")
    assert not harm(for_markdown(text), "")
    assert not harm(for_log(text), "\n\t")
    assert not harm(for_html(text), "\n\t")
    assert json.loads(for_json(json.dumps(text, ensure_ascii=False))) == text


@given(st.lists(st.text(st.sampled_from("=+-@' \t\r\n,;\"1.e\xa0\uff1da\x1b"), max_size=8), min_size=1, max_size=4))
def test_a_spreadsheet_calculates_nothing_and_what_is_read_back_is_what_is_shown(cells):
    (read,) = csv.reader(io.StringIO(csv_lines([cells]), newline=""), strict=True)
    assert [from_csv(cell) for cell in read] == ["".join(map(seen, cell)) for cell in cells]
    for cell in read:
        if cell.strip().startswith(("=", "+", "-", "@", "\uff1d")):
            assert all(part == "" or float(part) is not None for part in cell.strip().split(";"))


@pytest.mark.parametrize("number", [-1.5, 1e-300, "-1.5", "+2", "-1e-05", "-1.0;;2.0", "-.5"])
def test_numbers_are_left_as_they_are(number):
    assert csv_lines([[number, None]]) == f"{number},\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("a_b __c__ d_", r"a_b \_\_c\_\_ d\_"),
        ("*a* ~b~ `c` $d$", r"\*a\* \~b\~ \`c\` \$d\$"),
        ("<img> &lt; a & b", r"\<img> \&lt; a & b"),
        ("[x](y) [x][y] natmu [a=1]", r"[x\](y) [x\][y] natmu [a=1]"),
        ("# a", r"\# a"),
        ("a\nb", "a b"),
        ("\\*", r"\\\*"),
    ],
)
def test_markdown_shows_marks_as_they_stand(text, shown):
    assert for_markdown(text) == shown


def test_a_message_is_one_line_that_quotes_little_and_keeps_its_end():
    long = "no such name " * 1_000
    for name in (hostile.LONG, long, "\x1b" * 3_000_000, long * 100):
        for told in (f"There is no {name}; give another.", f"There is no {name!r}; give another."):
            message = str(UsageError(told))
            assert len(message) <= LONGEST_MESSAGE
            assert message.startswith("There is no ")
            assert message.endswith("; give another.")
            assert not harm(message, "")
    assert hint("x" * 1_000_000, ["x" * 1_000_000]) == ""
    kind = type("Bad\x1b[2J", (Exception,), {})
    assert quoted(kind(f"a\n\x07{hostile.LONG}")).startswith(r"Bad\x1b[2J: a \x07xxx")
    assert len(quoted(kind(hostile.LONG))) < 250


@pytest.mark.parametrize("name", NAMES)
def test_lines_stay_lines_on_standard_output(capsys, name):
    echo("first", name, err=False)
    echo(name, err=True)
    out, err = capsys.readouterr()
    assert out == f"first\n{err}"
    assert err == f"{''.join(map(seen, name))}\n"
    echo_document(f"a\t{name}\r\n")
    assert not harm(capsys.readouterr().out, "\n\r\t")


def test_letters_that_an_encoding_lacks_are_written_out(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    echo("93 ± φ")
    Console().print("Σ", Text("é"))
    stream.flush()
    assert stream.buffer.getvalue().decode() == "93 \\xb1 \\u03c6\n\\u03a3 \\xe9\n"


def on_a_terminal(*printed):
    stream = io.StringIO()
    console = Console(file=stream, width=60, force_terminal=True, color_system=None, legacy_windows=False)
    console.print(*printed)
    return stream.getvalue()


@pytest.mark.parametrize("name", NAMES)
def test_a_console_shows_what_it_is_given(name):
    from rich.table import Table

    table = Table(name)
    table.add_row(name)
    table.add_row(Text(name))
    table.add_row(Text("a").append(name))
    assert not harm(on_a_terminal(name, Text(name), lines("a", name, Text(name)), table))
    if len(name) < 50:
        shown = "".join(map(seen, name))
        assert on_a_terminal(name) == on_a_terminal(Text(name)) == f"{shown}\n"
        assert lines("a", name).plain == f"a\n{shown}"


def test_what_was_made_elsewhere_is_found_at_the_last_place():
    import rich.text

    assert on_a_terminal(rich.text.Text(hostile.ESCAPES)) == r"\x1b[2J\x1b]0;title\x9b31m\x7f" + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_progress_is_shown_as_it_stands(capsys, monkeypatch, name):
    with showing(), task(name, 2):
        say(name)
    assert not harm(capsys.readouterr().err)
    monkeypatch.setattr(
        "natmu.progress.Console",
        lambda **more: Console(**more, force_terminal=True, width=100, color_system=None, file=sys.stderr),
    )
    with showing(), task(name, 2) as advance:
        advance()
        say(name)
    written = capsys.readouterr().err
    for control in ("\x1b[2K", "\x1b[1A", "\x1b[?25l", "\x1b[?25h", "\r"):  # of the bars themselves
        written = written.replace(control, "")
    assert not harm(written)


@pytest.mark.parametrize("name", NAMES)
def test_templates_make_safe_what_they_are_given(name):
    page = templates().from_string("{{ name }}<a title='{{ name }}'>{{ [name, name] | join(', ') }}</a>")
    text = page.render(name=name)
    assert not harm(text, "\n\t")
    text.encode()
    assert text.startswith(str(for_html(name)))


DOORS = {"safe_text.py", "terminal.py", "console.py", "report/html.py"}
"""Where what is forbidden elsewhere is done."""

FORBIDDEN = {
    "print",
    "typer.echo",
    "typer.secho",
    "sys.stdout.write",
    "sys.stderr.write",
    "csv.writer",
    "csv.DictWriter",
    "html.escape",
    "rich.print",
    "rich.console.Console",
    "rich.text.Text",
    "jinja2.Environment",
    "markupsafe.escape",
}

CONSTANT = {("cli/interrupts.py", "sys.stderr.write"), ("diagnosis/importing.py", "sys.stdout.write")}
"""What prints nothing but a sentence of its own, or JSON for the process that started it."""


def prints_directly(tree):
    """Names that a module uses, with where they come from, that only the functions for each medium may use."""
    known = {"print": "print"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {one.asname or one.name.partition(".")[0]: one.asname and one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    yield from (name for name in known.values() if name in FORBIDDEN and name != "print")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call | ast.Attribute):
            path = ast.unparse(node.func if isinstance(node, ast.Call) else node)
            first, dot, rest = path.partition(".")
            whole = f"{known.get(first) or first}{dot}{rest}"
            if whole in FORBIDDEN:
                yield whole


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("print(1)", "print"),
        ("import typer as t\nt.echo(1)", "typer.echo"),
        ("from typer import echo", "typer.echo"),
        ("import sys\nsys.stderr.write('a')", "sys.stderr.write"),
        ("from sys import stderr\nstderr.write('a')", "sys.stderr.write"),
        ("import rich.text\nrich.text.Text('a')", "rich.text.Text"),
        ("from rich.console import Console as C", "rich.console.Console"),
        ("import csv\nwriter = csv.writer", "csv.writer"),
    ],
)
def test_what_is_printed_directly_is_found(text, found):
    assert found in prints_directly(ast.parse(text))


def test_nothing_is_printed_directly():
    found = {
        (name, what)
        for path in SOURCES.rglob("*.py")
        if (name := path.relative_to(SOURCES).as_posix()) not in DOORS
        for what in prints_directly(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == CONSTANT


def test_the_list_of_hostile_names_has_every_kind():
    letters = "".join(NAMES)
    assert {0x1B, 0x9B, 0x202E, 0x200B, 0xDCE9} <= {ord(letter) for letter in letters if unseen(letter)}
