import os
import random
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.deletion_requests.fakes import chained, opening, released, requested, rolled_back, story

from natmu.errors import ResourceError, RunError
from natmu.records.ledger import FIRST, Head, body_text, entry_hash
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger
from natmu.requests.state import fold

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A whole small ledger; no test changes it."""
    return written_in(tmp_path_factory.mktemp("service"), *story())


@pytest.fixture
def ledger(written, tmp_path):
    """A copy of it."""
    shutil.copytree(written.path.parent, tmp_path / "copy")
    return Ledger(tmp_path / "copy" / "ledger.sqlite", written.key)


def written_in(folder, first, *bodies):
    """A ledger of these bodies in a folder, with its key."""
    ledger = Ledger.create(folder / "ledger.sqlite", ServiceKey.create(folder / "service.key"), first)
    for body in bodies:
        ledger.append(lambda state, body=body: body)
    return ledger


def process(what, folder, *arguments):
    """Another process that does something of ``tests.deletion_requests.writing``."""
    command = [sys.executable, "-m", "tests.deletion_requests.writing", what, str(folder), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_what_is_appended_is_read_again(written):
    entries = written.entries()
    assert tuple(entry.body for entry in entries) == story()
    assert [entry.number for entry in entries] == list(range(1, len(story()) + 1))
    assert [entry.previous for entry in entries] == [FIRST, *(entry.hash for entry in entries[:-1])]
    for entry in entries:
        assert entry.hash == entry_hash(entry.number, entry.time, body_text(entry.body), entry.previous)
        assert entry.seal == written.key.seal(entry.hash)
    assert written.problems() == []


def test_the_head_is_the_last_entry(written):
    head, last = Head.read(written.path.with_name("ledger.head")), written.entries()[-1]
    assert (head.number, head.hash) == (last.number, last.hash)


def test_a_ledger_is_never_replaced(ledger):
    before = ledger.entries()
    with pytest.raises(RunError, match="is there already"):
        Ledger.create(ledger.path, ledger.key, opening())
    assert ledger.entries() == before


def test_what_is_no_file_is_no_ledger(ledger):
    ledger.path.unlink()
    os.mkfifo(ledger.path)
    with pytest.raises(RunError, match=r"ledger\.sqlite cannot be used \(it is a named pipe"):
        ledger.entries()


def test_nothing_is_appended_where_nothing_is_decided(ledger):
    seen = []
    assert ledger.append(seen.append) is None
    assert seen == [fold(ledger.entries())]
    assert len(ledger.entries()) == len(story())


@pytest.mark.parametrize("body", [requested(9), released(9, 9, 1), rolled_back(7), requested(4, ticket="T-1")])
def test_what_contradicts_is_not_appended(ledger, body):
    with pytest.raises(RunError, match=r"Entry 15 of the ledger .* contradicts"):
        ledger.append(lambda state: body)
    assert len(ledger.entries()) == len(story())


def test_an_error_while_deciding_leaves_the_ledger_free(ledger):
    with pytest.raises(ZeroDivisionError):
        ledger.append(lambda state: 1 / 0)
    assert ledger.append(lambda state: requested(4)).number == len(story()) + 1


def test_two_processes_append_one_chain_without_a_gap_and_no_ticket_twice(tmp_path):
    ledger = written_in(tmp_path, opening())
    writers = [process("append_many", tmp_path, name, "25") for name in ("one", "other")]
    errors = [writer.communicate()[1] for writer in writers]
    assert errors == ["", ""]
    entries = ledger.entries()
    tickets = [entry.body.ticket for entry in entries[1:]]
    named = [f"{name} {row}" for name in ("one", "other", "shared") for row in range(25)]
    assert sorted(tickets) == sorted(named)
    assert [entry.number for entry in entries] == list(range(1, 77))
    assert ledger.problems() == []
    assert Head.read(tmp_path / "ledger.head").number == 76


def test_killed_writers_leave_a_sound_ledger_and_lose_nothing(tmp_path):
    ledger = written_in(tmp_path, opening())
    out, errors = process("be_killed", tmp_path, "30").communicate()
    assert errors == ""
    assert int(out) == len(ledger.entries()) >= 31
    ledger.append(lambda state: requested(len(state.requests) + 1, ticket="last"))
    assert Head.read(tmp_path / "ledger.head").number == int(out) + 1
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.sqlite", "ledger.head", "service.key"}


def test_a_head_that_is_behind_is_no_problem_and_is_put_right(ledger):
    head = ledger.path.with_name("ledger.head")
    before = head.read_bytes()
    ledger.append(lambda state: requested(4))
    head.write_bytes(before)
    assert ledger.problems() == []
    ledger.append(lambda state: requested(5))
    assert Head.read(head).number == len(story()) + 2


@pytest.mark.parametrize("error", [RunError, ResourceError])
def test_an_entry_stands_though_its_head_cannot_be_written(ledger, monkeypatch, error):
    def fail(self, path):
        raise error("no space")

    monkeypatch.setattr(Head, "write", fail)
    ledger.append(lambda state: requested(4))
    assert len(ledger.entries()) == len(story()) + 1


def forge(ledger, *statements):
    """Change the file as somebody would who has no key but knows SQLite."""
    connection = sqlite3.connect(ledger.path)
    triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.commit()
    connection.close()


def rewrite(ledger, bodies, key):
    """Write the whole chain anew, with another key or none."""
    forge(
        ledger,
        "DELETE FROM entries",
        *(
            (
                "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                (entry.number, entry.time, body_text(entry.body), entry.previous, entry.hash, entry.seal),
            )
            for entry in chained(*bodies, **({} if key is None else {"seal": key.seal}))
        ),
    )


def add_without_key(ledger):
    last = ledger.entries()[-1]
    body, number = body_text(requested(4)), last.number + 1
    own = entry_hash(number, last.time, body, last.hash)
    forge(
        ledger, ("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (number, last.time, body, last.hash, own, "0" * 64))
    )


def other_key(ledger):
    path = ledger.path.with_name("service.key")
    path.unlink()
    return Ledger(ledger.path, ServiceKey.create(path))


def drop(ledger, name):
    connection = sqlite3.connect(ledger.path)
    connection.execute(f"DROP TRIGGER {name}")
    connection.close()


def overwrite(path, content):
    """Write over a file, and leave no log of SQLite's beside it."""
    path.write_bytes(content)


def seal_again(ledger, **changed):
    """A head that somebody without the key has edited."""
    path = ledger.path.with_name("ledger.head")
    Head.read(path).model_copy(update=changed).write(path)


UNKNOWN = "UPDATE entries SET body = json_set(body, '$.kind', 'blessing') WHERE number = 4"

# name -> what is done; what each problem says, in order
FORGERIES = {
    "body edited": (
        lambda one: forge(one, "UPDATE entries SET body = replace(body, 'T-2', 'T-9') WHERE number = 3"),
        ["Entry 3 was changed or moved"],
    ),
    "time edited": (
        lambda one: forge(one, "UPDATE entries SET time = '2020-01-01T00:00:00+00:00' WHERE number = 4"),
        ["Entry 4 was changed or moved"],
    ),
    "hash edited too": (
        lambda one: forge(one, f"UPDATE entries SET hash = '{'a' * 64}' WHERE number = 4"),
        ["Entry 4 was changed or moved", "Entry 5 does not follow entry 4", "Entry 4 was not sealed"],
    ),
    "deleted in the middle": (
        lambda one: forge(one, "DELETE FROM entries WHERE number IN (5, 6, 9)"),
        ["Entries 5 to 6 are missing", "Entry 9 is missing"],
    ),
    "deleted in the middle and renumbered": (
        lambda one: forge(
            one,
            "DELETE FROM entries WHERE number = 13",
            "UPDATE entries SET number = 13 WHERE number = 14",
        ),
        ["Entry 13 does not follow entry 12", "Entry 13 was changed or moved", r"ends with entry 13, but .* entry 14"],
    ),
    "cut": (
        lambda one: forge(one, "DELETE FROM entries WHERE number > 12"),
        [r"ends with entry 12, but ledger\.head is sealed for entry 14: what came after was cut off"],
    ),
    "cut, and the head edited": (
        lambda one: (forge(one, "DELETE FROM entries WHERE number > 12"), seal_again(one, number=12)),
        [r"ledger\.head was not sealed"],
    ),
    "emptied": (
        lambda one: forge(one, "DELETE FROM entries"),
        ["has no entry", "ends with entry 0, but"],
    ),
    "swapped": (
        lambda one: forge(
            one,
            "UPDATE entries SET number = 99 WHERE number = 2",
            "UPDATE entries SET number = 2 WHERE number = 3",
            "UPDATE entries SET number = 3 WHERE number = 99",
        ),
        ["Entry 2 does not", "Entry 2 was", "Entry 3 does not", "Entry 3 was", "Entry 4 does not"],
    ),
    "added without the key": (add_without_key, ["Entry 15 was not sealed with this service's service.key"]),
    "rewritten without the key": (
        lambda one: rewrite(one, story(), None),
        ["No entry was sealed with this", "Entry 14 is not the one that ledger.head is sealed for"],
    ),
    "replaced by another one of its own key": (
        lambda one: rewrite(one, story(), one.key),
        ["Entry 14 is not the one that ledger.head is sealed for"],
    ),
    "another service's key": (other_key, ["No entry was sealed with this", r"ledger\.head was not sealed"]),
    "a trigger dropped": (lambda one: drop(one, "never_delete"), ["The trigger never_delete of .* is gone"]),
    "a trigger changed": (
        lambda one: (
            drop(one, "never_update"),
            forge(one, "CREATE TRIGGER never_update BEFORE UPDATE ON entries BEGIN SELECT 1; END"),
        ),
        ["holds never_update, which natmu did not put there"],
    ),
    "a table added": (lambda one: forge(one, "CREATE TABLE more (x)"), ["holds more, which natmu did not put there"]),
    "a column added": (
        lambda one: forge(one, "ALTER TABLE entries ADD COLUMN note TEXT"),
        ["The table entries of .* is not the one that natmu made"],
    ),
    "no SQLite": (lambda one: overwrite(one.path, b"once upon a time" * 600), ["cannot be used .*not a database"]),
    "empty file": (lambda one: overwrite(one.path, b""), ["is a ledger of format 0, and"]),
    "half a file": (lambda one: overwrite(one.path, one.path.read_bytes()[:9000]), ["malformed"]),
    "no file": (lambda one: one.path.unlink(), [r"ledger\.sqlite is gone"]),
    "another format": (
        lambda one: forge(one, "PRAGMA user_version = 7"),
        ["is a ledger of format 7, and this version of natmu reads format 2"],
    ),
    "an unknown kind": (lambda one: forge(one, UNKNOWN), ["Entry 4 was changed", "Entry 4 cannot be understood"]),
    "a body that is no JSON": (
        lambda one: forge(one, "UPDATE entries SET body = '{' WHERE number = 4"),
        ["Entry 4 was changed", "Entry 4 cannot be understood"],
    ),
    "a body that is no text": (
        lambda one: forge(one, "UPDATE entries SET body = x'00ff' WHERE number = 14"),
        ["Entry 14 holds values of a kind that natmu did not write"],
    ),
    "a text that is no UTF-8": (
        lambda one: forge(one, "UPDATE entries SET body = CAST(x'ff00' AS TEXT) WHERE number = 4"),
        ["Could not decode"],
    ),
    "no head": (lambda one: one.path.with_name("ledger.head").unlink(), [r"ledger\.head cannot be read"]),
    "a head that is no JSON": (
        lambda one: overwrite(one.path.with_name("ledger.head"), b"14"),
        [r"ledger\.head cannot be read"],
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_found_and_named(ledger, name):
    done, expected = FORGERIES[name]
    forged = done(ledger)
    ledger = forged if isinstance(forged, Ledger) else ledger
    problems = ledger.problems()
    assert len(problems) == len(expected), problems
    for problem, part in zip(problems, expected, strict=True):
        assert re.search(part, problem), problem
        assert problem.endswith(".")
        assert "\n" not in problem
    with pytest.raises(RunError):
        ledger.entries()
    with pytest.raises(RunError):
        ledger.append(lambda state: requested(4))


def test_an_entry_that_was_sealed_but_contradicts_is_found(ledger):
    rewrite(ledger, (opening(), rolled_back(3)), ledger.key)
    last = chained(opening(), rolled_back(3), seal=ledger.key.seal)[-1]
    seal_again(ledger, number=2, hash=last.hash, seal=ledger.key.seal(f"head 2 {last.hash}"))
    assert len(ledger.problems()) == 1
    assert "Entry 2 of the ledger (rollback) contradicts" in ledger.problems()[0]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '' WHERE number = 2",
        "DELETE FROM entries WHERE number = 14",
        "INSERT OR REPLACE INTO entries SELECT 2, time, body, previous, hash, seal FROM entries WHERE number = 3",
        "INSERT INTO entries SELECT 16, time, body, previous, hash, seal FROM entries WHERE number = 3",
    ],
)
def test_the_file_itself_refuses_changes(ledger, statement):
    connection = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match="entries are"):
        connection.execute(statement)
    connection.close()
    assert ledger.problems() == []


def test_whatever_byte_is_changed_no_traceback_comes(ledger):
    draw, whole = random.Random(1), ledger.path.read_bytes()
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(draw.choice((1, 20))):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        overwrite(ledger.path, bytes(content))
        for rest in ledger.path.parent.glob("ledger.sqlite-*"):
            rest.unlink()
        for problem in ledger.problems():
            assert problem.endswith(".")
            assert "\n" not in problem


def test_a_full_disk_is_said_and_changes_nothing(ledger, monkeypatch):
    connect = sqlite3.connect

    def small(*arguments, **options):
        connection = connect(*arguments, **options)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        return connection

    before = ledger.path.read_bytes()
    monkeypatch.setattr("natmu.requests.ledger.sqlite3.connect", small)
    with pytest.raises(RunError, match=r"disk is full\); free some space and try again; nothing was added"):
        ledger.append(lambda state: requested(4, samples=2000))
    monkeypatch.undo()
    assert ledger.path.read_bytes() == before
    assert ledger.problems() == []


def test_files_that_may_grow_no_more_are_said_to_be_and_change_nothing(ledger):
    before, limits = ledger.path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(RunError, match=r"limits on the size of files, and try again; nothing was added"):
            ledger.append(lambda state: requested(4, samples=2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert ledger.path.read_bytes() == before
    assert ledger.problems() == []


@pytest.mark.parametrize("left", [1, 2])
def test_where_no_more_files_can_be_opened_that_is_said_and_nothing_is_wrong_with_the_ledger(ledger, left):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
        files = []
        with suppress(OSError):  # those that a test-suite has open may have numbers with gaps between them
            while True:
                files.append(held.enter_context(Path(os.devnull).open()))
        for file in files[-left:]:
            file.close()
        for act in (ledger.entries, ledger.problems, lambda: ledger.append(lambda state: requested(4))):
            with pytest.raises(ResourceError, match=r"Too many files are open to open .*ledger\.sqlite"):
                act()
    assert ledger.problems() == []


def test_where_nothing_may_be_written_entries_are_read_and_none_is_added():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written_in(folder, opening(), requested(1))
        (folder / "service.key").chmod(0o644)
        (folder / "ledger.sqlite").chmod(0o444)
        folder.chmod(0o555)
        before = sorted(folder.iterdir())
        out, errors = process("without_rights", folder).communicate()
        assert errors == ""
        first, refusal, last = out.splitlines()
        assert (first, last) == ("2 []", "2")
        assert "nothing was added" in refusal
        assert sorted(folder.iterdir()) == before
        folder.chmod(0o755)


def test_a_ledger_that_somebody_works_on_is_waited_for_and_then_named(ledger, monkeypatch):
    monkeypatch.setattr("natmu.requests.ledger._WAIT", 0.05)
    other = sqlite3.connect(ledger.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RunError, match="another process has worked on it"):
        ledger.append(lambda state: requested(4))
    assert len(ledger.entries()) == len(story())  # readers do not wait
    other.close()
