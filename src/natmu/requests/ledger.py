"""The ledger of a service: an append-only SQLite file whose entries are chained by hashes and sealed by the key."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from natmu.errors import NatmuError, ResourceError, RunError
from natmu.machine import no_more_files, raise_passing
from natmu.records.files import first_fault
from natmu.records.ledger import FIRST, Body, Entry, Head, Opening, body_text, entry_hash
from natmu.records.service import HEAD, KEY
from natmu.requests.keys import ServiceKey
from natmu.requests.state import State, fold
from natmu.safe_text import one_line
from natmu.user_files import require_file

FORMAT = 2
"""``PRAGMA user_version`` of ledgers that this version of natmu reads."""

_WAIT = 60.0
"""Seconds that a writer waits for another."""

_SCHEMA = {
    "entries": "CREATE TABLE entries (number INTEGER PRIMARY KEY, time TEXT NOT NULL, body TEXT NOT NULL, "
    "previous TEXT NOT NULL, hash TEXT NOT NULL, seal TEXT NOT NULL)",
    "never_update": "CREATE TRIGGER never_update BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END",
    "never_delete": "CREATE TRIGGER never_delete BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END",
    "only_append": "CREATE TRIGGER only_append BEFORE INSERT ON entries "
    "WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM entries) "
    "BEGIN SELECT RAISE(ABORT, 'entries are only appended'); END",
}
"""Everything in the file, by name; ``only_append`` is for ``INSERT OR REPLACE``, which fires no other trigger."""

_COLUMNS = "number, time, body, previous, hash, seal"

_BODY: TypeAdapter[Body] = TypeAdapter(Body)

_RESTORE = "restore the service from a backup"


@dataclass(frozen=True)
class Ledger:
    """The entries of a service.

    Attributes:
        path: The file; ``ledger.head`` lies beside it.
        key: Seals the entries.
    """

    path: Path
    key: ServiceKey

    @classmethod
    def create(cls, path: Path, key: ServiceKey, opening: Opening) -> Ledger:
        """A new ledger with its first entry.

        Raises:
            RunError: It is there already, or cannot be written.
        """
        if path.exists():
            raise RunError(f"{path} is there already, and a ledger is never replaced; choose another folder.")
        ledger = cls(path, key)
        with ledger._connected("rwc") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.values():
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            entry = ledger._entry(opening, 0, FIRST)
            ledger._insert(connection, entry)
            connection.execute("COMMIT")
        ledger._head(entry).write(ledger._head_path)
        return ledger

    def entries(self) -> tuple[Entry, ...]:
        """All entries.

        Raises:
            RunError: The ledger cannot be read, or was not written by natmu with this key as it is.
        """
        head = self._read_head()
        with self._connected(self._reading_mode()) as connection:
            return self._sound(connection, head)

    def append(self, decide: Callable[[State], Body | None]) -> Entry | None:
        """Add an entry, in one transaction that no other process can come between.

        Args:
            decide: Gives what is to be added, once nobody else can add anything, or None for nothing; may be called
                after a minute's wait, and must be quick itself.

        Returns:
            The new entry; None if nothing was added.

        Raises:
            RunError: The ledger cannot be read or written, is not sound, or the entry contradicts it; then nothing was
                added.
        """
        with self._connected("rw") as connection:
            connection.execute("BEGIN IMMEDIATE")
            entries = self._sound(connection, self._read_head())
            body = decide(fold(entries))
            if body is None:
                return None
            entry = self._entry(body, entries[-1].number, entries[-1].hash)
            fold((*entries, entry))
            self._insert(connection, entry)
            connection.execute("COMMIT")
            self._write_head(connection)
        return entry

    def problems(self) -> list[str]:
        """What is wrong with the ledger, a sentence each; nothing if it is what natmu wrote with this key.

        That an older copy of the whole service was put in its place cannot be noticed from inside.
        """
        try:
            head = self._read_head()
            with self._connected(self._reading_mode()) as connection:
                entries, problems = self._examined(connection, head)
            if not problems:
                fold(entries)
        except RunError as error:
            raise_passing(error)
            return [str(error)]
        return problems

    @property
    def _head_path(self) -> Path:
        """Where the sealed end is kept."""
        return self.path.with_name(HEAD)

    def _head(self, entry: Entry) -> Head:
        """The sealed end of a ledger that ends with an entry."""
        return Head(number=entry.number, hash=entry.hash, seal=self.key.seal(f"head {entry.number} {entry.hash}"))

    def _read_head(self) -> Head:
        """The sealed end as it was last written. It is read before the entries, so that it is never ahead of them."""
        return Head.read(self._head_path)

    def _write_head(self, connection: sqlite3.Connection) -> None:
        """Seal the end. Locked, so that of two writers the later one seals last.

        An entry that is in the ledger stands: a head that cannot be written now is put right by the next one.
        """
        with suppress(RunError, ResourceError, sqlite3.Error):
            connection.execute("BEGIN IMMEDIATE")
            row = connection.execute("SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1").fetchone()
            number, last = int(row[0]), str(row[1])
            Head(number=number, hash=last, seal=self.key.seal(f"head {number} {last}")).write(self._head_path)
            connection.execute("ROLLBACK")

    def _entry(self, body: Body, number: int, previous: str) -> Entry:
        """What comes after the entry with a number and a hash."""
        text, time = body_text(body), datetime.now(UTC).isoformat(timespec="seconds")
        own = entry_hash(number + 1, time, text, previous)
        return Entry(number=number + 1, time=time, body=body, previous=previous, hash=own, seal=self.key.seal(own))

    @staticmethod
    def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
        """Write an entry."""
        row = (entry.number, entry.time, body_text(entry.body), entry.previous, entry.hash, entry.seal)
        connection.execute(f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", row)

    def _sound(self, connection: sqlite3.Connection, head: Head) -> tuple[Entry, ...]:
        """All entries, if nothing is wrong with them."""
        entries, problems = self._examined(connection, head)
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise RunError(
                f"{self.path} is not sound: {problems[0].rstrip('.')}{more}; `natmu requests verify` lists all that is "
                "wrong, and only a backup helps."
            )
        return tuple(entries)

    def _examined(self, connection: sqlite3.Connection, head: Head) -> tuple[list[Entry], list[str]]:
        """The entries that can be read, and all that is wrong."""
        problems = self._schema_problems(connection)
        rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY number").fetchall()
        entries, wrong = _examined_rows(rows, self.key)
        return entries, problems + wrong + self._head_problems(head, rows)

    def _schema_problems(self, connection: sqlite3.Connection) -> list[str]:
        """What is not there, or is there beside what natmu made.

        Raises:
            RunError: No entries can be read.
        """
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != FORMAT:
            raise RunError(
                f"{self.path} is a ledger of format {version}, and this version of natmu reads format {FORMAT}; use "
                "the version that made it."
            )
        found = {str(name): sql for name, sql in connection.execute("SELECT name, sql FROM sqlite_master")}
        if found.get("entries") != _SCHEMA["entries"]:
            raise RunError(f"The table entries of {self.path} is not the one that natmu made; {_RESTORE}.")
        lost = [f"The trigger {name} of {self.path} is gone." for name in _SCHEMA if name not in found]
        changed = [name for name, sql in found.items() if _SCHEMA.get(name, sql) != sql or name not in _SCHEMA]
        return lost + [f"{self.path} holds {name}, which natmu did not put there." for name in changed]

    def _head_problems(self, head: Head, rows: list[tuple[object, ...]]) -> list[str]:
        """What does not fit the sealed end."""
        if head.seal != self.key.seal(f"head {head.number} {head.hash}"):
            return [f"{self._head_path} was not sealed with this service's {KEY}."]
        last = rows[-1][0] if rows else 0
        if not isinstance(last, int) or last < head.number:
            return [
                f"The ledger ends with entry {last}, but {HEAD} is sealed for entry {head.number}: what came after was "
                "cut off."
            ]
        if all(row[4] != head.hash for row in rows if row[0] == head.number):
            return [f"Entry {head.number} is not the one that {HEAD} is sealed for: it was replaced or is gone."]
        return []

    @contextmanager
    def _connected(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection; what is not committed when it is closed is gone.

        Raises:
            NatmuError: Anything of SQLite's, or it is no file.
        """
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        if self.path.exists():
            try:
                require_file(self.path)
            except OSError as error:
                raise self._unusable(error) from None
        try:
            with closing(sqlite3.connect(address, timeout=_WAIT, isolation_level=None, uri=True)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of messages that quote a damaged file
            raise self._unusable(error) from None

    def _reading_mode(self) -> str:
        """How to open the file to read it: where nobody may write, SQLite can make no files beside it."""
        log = self.path.with_name(f"{self.path.name}-wal")
        return "rw" if os.access(self.path.parent, os.W_OK) or log.exists() else "ro&immutable=1"

    def _unusable(self, error: Exception) -> NatmuError:
        """What SQLite says, in a sentence with what to do."""
        if not self.path.exists():
            return RunError(f"{self.path} is gone; {_RESTORE}.")
        if "unable to open" in str(error) and (fault := no_more_files(self.path)):
            return fault
        reason = one_line(str(getattr(error, "strerror", None) or error))[:200]
        remedies = {
            "full": "free some space and try again; nothing was added",
            "disk I/O": "see to the disk, its room and limits on the size of files, and try again; nothing was added",
            "locked": f"another process has worked on it for {_WAIT:.0f} s; wait for that and try again",
            "readonly": "allow writing to the folder; nothing was added",
            "unable to open": "allow reading and writing in the folder; nothing was added",
        }
        remedy = next((remedy for word, remedy in remedies.items() if word in reason), _RESTORE)
        return RunError(f"{self.path} cannot be used ({reason}); {remedy}.")


def _examined_rows(rows: list[tuple[object, ...]], key: ServiceKey) -> tuple[list[Entry], list[str]]:
    """The entries that rows hold, and what is wrong with them."""
    entries, problems, unsealed = [], [], []
    number, previous = 0, FIRST
    for row in rows:
        own, *texts = row
        if not isinstance(own, int) or not all(isinstance(text, str) for text in texts):
            problems.append(f"Entry {own} holds values of a kind that natmu did not write.")
            continue
        time, body, before, stated, seal = (str(text) for text in texts)
        if own != number + 1:
            missing = f"Entry {number + 1} is" if own == number + 2 else f"Entries {number + 1} to {own - 1} are"
            problems.append(f"{missing} missing.")
        elif before != previous:
            problems.append(f"Entry {own} does not follow entry {number}: it names another hash of the entry before.")
        if entry_hash(own, time, body, before) != stated:
            problems.append(
                f"Entry {own} was changed or moved after it was written: its hash is not that of its content."
            )
        if key.seal(stated) != seal:
            unsealed.append(own)
        number, previous = own, stated
        try:
            entries.append(_read_entry(own, time, body, before, stated, seal))
        except ValidationError as error:
            problems.append(f"Entry {own} cannot be understood ({first_fault(error)}).")
    if rows and len(unsealed) == len(rows):
        wrong = [
            f"No entry was sealed with this {KEY}: it belongs to another service, or the writer of the ledger had none."
        ]
    else:
        wrong = [f"Entry {own} was not sealed with this service's {KEY}: somebody else wrote it." for own in unsealed]
    return entries, [*([] if rows else ["The ledger has no entry."]), *problems, *wrong]


def _read_entry(number: int, time: str, body: str, previous: str, own: str, seal: str) -> Entry:
    """An entry of its texts."""
    return Entry(number=number, time=time, body=_BODY.validate_json(body), previous=previous, hash=own, seal=seal)
