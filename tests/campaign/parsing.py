"""Many small inputs at once to the readers of what users write: index files, lists, recipes, requests, ``--set``.

Each is called in one process, some hundred times, and what it accepts is compared with a second reader.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.campaign import hostile, mutations, readers
from tests.campaign.cases import Case
from tests.campaign.judging import LONGEST, Finding, brief
from tests.campaign.sandbox import run
from tests.campaign.world import NAMES, POLICY, POSITIONS, RECIPE, SEARCH

INPUTS = 200
"""Inputs of a case."""

PATIENCE_S = 5
"""Seconds of work for one input; an input that waits is found by the sandbox."""

TOTAL = 32
CLASSES: tuple[tuple[str, ...], ...] = (
    ("ant", "bee", "cow", "dog"),
    ("1", "2", "10"),
    ("sea, deep", "rock_pool", "Rock", "#1"),
    ("class-1", "class-2", "-1", "_3"),
)


def play(seed: int, number: int, folder: Path, inputs: int = INPUTS) -> Case:
    """A case of many inputs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ended = run(lambda: _all(seed, number, inputs), folder, seconds=PATIENCE_S * 12, memory_mb=2048)
    told = [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
    begun = [one["begin"] for one in told if "begin" in one]
    found = [Finding(one["kind"], one["what"]) for one in told if "kind" in one]
    rows = sorted({one["row"] for one in told if "kind" in one})
    if ended.status is None:
        found.append(Finding("hang", begun[-1]))
    elif ended.killed:
        found.append(Finding("crash", f"signal {ended.status - 1000}: {begun[-1]}"))
    elif ended.status:
        found.append(Finding("traceback", brief(ended.err)))
    found += [Finding("executed", "the canary was obeyed")] if ended.executed else []
    how = f"{len(begun)} inputs" + (f", found in {', '.join(map(str, rows))}" if rows else "")
    return Case("parsing", number, "parsing", how, ended.status, ended.seconds, tuple(found), len(begun))


def _all(seed: int, number: int, inputs: int) -> None:
    """Try all inputs, and say what is wrong with each."""
    from natmu.errors import NatmuError

    signal.signal(signal.SIGPROF, _late)
    for row in range(inputs):
        rng = random.Random(f"{seed}/parsing/{number}/{row}")
        reader = rng.choice(READERS)
        print(json.dumps({"begin": f"{reader.__name__.strip('_')}, input {row}"}), flush=True)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE_S)
        try:
            for finding in reader(rng):
                _tell(row, finding)
        except NatmuError as error:
            for finding in _message(str(error)):
                _tell(row, finding)
        except TimeoutError:
            _tell(row, Finding("hang", f"{reader.__name__.strip('_')}, input {row}"))
        except Exception:  # noqa: BLE001  # any other error would reach the user as a bug
            _tell(row, Finding("traceback", f"{reader.__name__.strip('_')}: {brief(traceback.format_exc())}"))
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _late(*_: object) -> None:
    raise TimeoutError


def _tell(row: int, finding: Finding) -> None:
    sys.stdout.write(json.dumps({"row": row, "kind": finding.kind, "what": finding.what}) + "\n")


def _message(text: str) -> list[Finding]:
    """What is wrong with a refusal."""
    return [Finding("message", f"a message of {len(text)} characters: {text[:80]}")] if len(text) > LONGEST else []


def _accepted(what: str, seen: object, expected: object, shown: str) -> list[Finding]:
    """What is wrong with a reading that was not refused."""
    if seen == expected:
        return []
    meant = "nothing" if expected is readers.UNCLEAR else str(expected)[:60]
    return [Finding("silent", f"{what} {shown[:80]!a} is read as {str(seen)[:60]} and means {meant}")]


def _spoilt(name: str, content: bytes, rng: random.Random) -> tuple[Path, str]:
    """A spoilt file, and what to show of it."""
    path = Path(name)
    path.unlink(missing_ok=True)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.3:
            content, _ = mutations.bytes_spoilt(content, rng)
        else:
            content, _ = mutations.meaning_spoilt(content, path.suffix, rng)
    path.write_bytes(content)
    return path, content[:80].decode("latin-1")


def _positions(rng: random.Random) -> list[Finding]:
    from natmu.samples.indices import read_index_file

    suffix = rng.choice((".csv", ".csv", ".txt", ".json", ".npy"))
    if suffix == ".npy":
        import io

        held = io.BytesIO()
        np.save(held, np.array(POSITIONS))
        content = held.getvalue()
    elif suffix == ".json":
        content = json.dumps([*POSITIONS]).encode()
    else:
        head = rng.choice(("", "index\n", "name,index\n", "# mine\n")) if suffix == ".csv" else ""
        extra = "a," if "," in head else ""
        content = (head + "".join(f"{extra}{row}\n" for row in POSITIONS)).encode()
    path, shown = _spoilt(f"positions{suffix}", content, rng)
    seen = tuple(read_index_file(path, TOTAL).tolist())
    return _accepted(f"the {suffix} of positions", seen, readers.positions(path, TOTAL), shown)


def _names(rng: random.Random) -> list[Finding]:
    from natmu.samples.listed import read_names

    suffix = rng.choice((".csv", ".txt", ".json"))
    content = (
        json.dumps(NAMES) if suffix == ".json" else "\n".join([*(["file"] if suffix == ".csv" else []), *NAMES, ""])
    )
    path, shown = _spoilt(f"names{suffix}", content.encode(), rng)
    seen = tuple(name.strip() for name in read_names(path))
    expected = readers.names(path)
    return _accepted(
        f"the {suffix} of names", seen, None if expected is None else tuple(map(str.strip, expected)), shown
    )


def _request(rng: random.Random) -> list[Finding]:
    """A class by its name or number, and other requests, of which only the end is judged."""
    from natmu.records.forgetting import parse_forget
    from natmu.samples.classes import ClassLabels, class_members

    known = rng.choice(CLASSES)
    if rng.random() < 0.4:
        parse_forget(rng.choice(hostile.OPTION_TEXTS))
        return []
    name = rng.choice((*known, *(str(row) for row in range(5)), *hostile.NUMBERS))
    edits: Sequence[Callable[[str], str]] = (
        *(
            str.upper,
            lambda text: f"-{text}",
            lambda text: f"{text}-",
            lambda text: f"_{text}",
            lambda text: f"#{text}",
        ),
        *(
            lambda text: f"0{text}",
            lambda text: f"name={text}",
            lambda text: text,
            lambda text: f"{text} ",
            lambda text: f"+{text}",
        ),
        *(
            lambda text: text[1:],
            lambda text: f"{text}.0",
            lambda text: f"\u200b{text}",
            lambda text: text.replace("1", "¹"),
        ),
    )
    asked = rng.choice(edits)(name)
    request = parse_forget(f"class:{asked}")
    labels = np.arange(len(known))
    _, chosen = class_members(request.names, ClassLabels(labels, known))
    expected = {_class_of(one, known) for one in request.names}
    return _accepted(f"class of {known}", {*map(int, chosen)}, expected, asked)


def _class_of(asked: str, known: tuple[str, ...]) -> int | None:
    """The class that a text means: by its exact name, by case and separators between its words, or by number."""
    if asked in known:
        return known.index(asked)
    told = asked.removeprefix("name=")
    alike = [row for row, name in enumerate(known) if _words(name) == _words(told) and _words(told)]
    if len(alike) == 1:
        return alike[0]
    number = asked.removeprefix("#")
    return (
        int(number)
        if not alike and re.fullmatch(r"0*[0-9]{1,9}", number, re.ASCII) and int(number) < len(known)
        else None
    )


def _words(name: str) -> str:
    """A name without case, with the same separator between words; those at its ends are kept."""
    return re.sub(r"(?<=\w)[ _-](?=\w)", " ", name.strip()).casefold()


def _mapping(rng: random.Random) -> list[Finding]:
    """A recipe or a policy; what it holds afterwards must be what was written."""
    from natmu.records.policy import Policy
    from natmu.studies import read_recipe

    content = rng.choice((RECIPE, SEARCH, POLICY))
    text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in content.items()).encode()
    path, shown = _spoilt("mapping.yaml", text, rng)
    read: Callable[[Path], Any] = Policy.read if content is POLICY else read_recipe
    value = read(path)
    written = readers.mapping(path)
    if written is readers.UNCLEAR:
        return _accepted("the mapping", "a value", readers.UNCLEAR, path.read_text("utf-8", "replace")[-80:] or shown)
    return _contained(json.loads(written), json.loads(value.model_dump_json()), "")


def _contained(written: Any, held: Any, where: str) -> list[Finding]:
    """What of a written value is not in the value that was read; a number and its text are two things."""
    if isinstance(written, dict) and isinstance(held, dict):
        return [one for key, value in written.items() for one in _contained(value, held.get(key), f"{where}.{key}")]
    if isinstance(written, list) and isinstance(held, list) and len(written) == len(held):
        return [one for mine, theirs in zip(written, held, strict=True) for one in _contained(mine, theirs, where)]
    if isinstance(written, str) and re.fullmatch(r"[0-9.e+-]+", written) and isinstance(held, int | float):
        written = float(written) if str(held) != written else held  # a number in quotes is that number
    if isinstance(held, bool) and not isinstance(written, dict | list):
        written = {"1": True, "yes": True, "on": True, "true": True, "0": False, "no": False}.get(str(written), written)
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (written, held))
    if (numbers and written == held) or (type(written) is type(held) and written == held) or written is None:
        return []
    short = where.endswith((".executor", ".forget", ".training", ".augment", ".source")) or isinstance(held, dict)
    if short or (isinstance(written, str) and isinstance(held, str) and written.strip() == held.strip()):
        return []
    return [Finding("silent", f"{where[1:]}: {str(written)[:30]!a} is read as {str(held)[:30]!a}")]


def _setting(rng: random.Random) -> list[Finding]:
    """Settings of a method as ``--set`` has them."""
    from natmu.cli.options import parse_settings
    from natmu.methods import method_named

    value = rng.choice((*hostile.NUMBERS, *hostile.YAML_VALUES, *hostile.OPTION_NUMBERS, *hostile.OPTION_TEXTS))
    key = rng.choice(("lr", "epochs", "momentum", "batch_size", "optimizer"))
    text = rng.choice((f"{key}={value}", value))
    settings = parse_settings([text])
    held = method_named("finetune")(**settings).config.model_dump()
    if key not in settings or not isinstance(held.get(key), int | float) or isinstance(held[key], bool):
        return []
    try:
        written: float | None = float(re.sub(r"\s#.*", "", value))  # a comment of YAML
    except ValueError:
        written = None
    written = int(value, 0) if written is None and re.fullmatch(r"0[xo][0-9a-f]+", value) else written
    return _accepted(f"--set {key}=", held[key], written, value)


READERS: tuple[Callable[[random.Random], list[Finding]], ...] = (
    _positions,
    _positions,
    _names,
    _request,
    _mapping,
    _mapping,
    _setting,
)
