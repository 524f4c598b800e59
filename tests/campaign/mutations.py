"""Ways to spoil a file, drawn from a generator: as bytes, as what the bytes mean, and as what stands in its place."""

from __future__ import annotations

import json
import os
import random
import socket
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.hostile import ALIASES, NUMBERS, VALUES, YAML_VALUES

UNREADABLE = (
    *(ValueError, LookupError, ArithmeticError, AttributeError, TypeError, SyntaxError, EOFError, MemoryError),
    *(RuntimeError, SystemError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""What libraries raise on files that were spoilt already."""

Tree = Any
"""What JSON and YAML hold."""


def spoil(path: Path, others: list[Path], rng: random.Random) -> str:
    """Spoil a file in place; returns how, in a few words.

    Args:
        path: The file.
        others: Files that may stand in its place.
        rng: Decides.
    """
    kind = rng.random()
    if kind < 0.08:
        return _other_in_place(path, rng)
    if kind < 0.18 and others:
        alike = [other for other in others if other.suffix == path.suffix and other != path] or others
        other = rng.choice(alike)
        path.write_bytes(other.read_bytes())
        return f"content of {other.name}"
    if kind < 0.45:
        content, how = bytes_spoilt(path.read_bytes(), rng)
    else:
        content, how = meaning_spoilt(path.read_bytes(), path.suffix.lower(), rng)
    path.write_bytes(content)
    return how


def meaning_spoilt(content: bytes, suffix: str, rng: random.Random) -> tuple[bytes, str]:
    """The file with something else in it that its kind of file can hold."""
    from tests.campaign import binaries  # which falls back on what is here

    spoilers: dict[str, Callable[[bytes, random.Random], tuple[bytes, str]]] = {
        ".json": json_spoilt,
        ".jsonl": lines_spoilt,
        ".journal": lines_spoilt,
        ".log": lines_spoilt,
        ".yaml": yaml_spoilt,
        ".csv": csv_spoilt,
        ".txt": csv_spoilt,
        ".npy": binaries.npy_spoilt,
        ".npz": binaries.npz_spoilt,
        ".safetensors": binaries.safetensors_spoilt,
        ".pt": binaries.pt_spoilt,
        ".png": binaries.png_spoilt,
        ".sqlite": binaries.sqlite_spoilt,
    }
    try:
        return spoilers.get(suffix, bytes_spoilt)(content, rng)
    except UNREADABLE:  # it was spoilt before
        return bytes_spoilt(content, rng)


def bytes_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """The file as failing disks, transfers and editors leave it."""
    size = len(content)
    at = rng.randrange(size + 1)
    to = min(size, at + rng.choice((1, 2, 8, 64, 512)))
    flipped = bytearray(content or b"\0")
    flipped[min(at, len(flipped) - 1)] ^= 1 << rng.randrange(8)
    ways: dict[str, bytes] = {
        "empty": b"",
        f"cut at {at} of {size}": content[:at],
        f"bit flipped at {at}": bytes(flipped),
        f"{to - at} bytes gone at {at}": content[:at] + content[to:],
        f"{to - at} bytes twice at {at}": content[:to] + content[at:],
        f"zeros at {at}": content[:at] + bytes(to - at) + content[to:],
        f"noise at {at}": content[:at] + rng.randbytes(to - at) + content[to:],
        f"byte 255 at {at}": content[:at] + b"\xff" + content[at:],
        "appended": content + rng.choice((b"\n", b"\0", b" ", b"}", b"x" * 100)),
        "byte-order mark": b"\xef\xbb\xbf" + content,
        "UTF-16": content.decode("latin-1").encode("utf-16"),
        "carriage returns": content.replace(b"\n", rng.choice((b"\r\n", b"\r"))),
        "twice": content + content,
    }
    how = rng.choice([*ways])
    return ways[how], how


def _other_in_place(path: Path, rng: random.Random) -> str:
    """Something in the place of a file that is no file."""
    how = rng.choice(
        ("missing", "folder", "fifo", "socket", "dangling link", "link to itself", "endless device", "link")
    )
    content = path.read_bytes()
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "fifo":
        os.mkfifo(path)
    elif how == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            here = Path.cwd()
            os.chdir(path.parent)
            try:
                server.bind(path.name)
            finally:
                os.chdir(here)
    elif how == "dangling link":
        path.symlink_to("nowhere")
    elif how == "link to itself":
        path.symlink_to(path.name)
    elif how == "endless device":
        try:
            os.mknod(path, 0o644 | 0o020000, os.makedev(1, 5))  # a node of its own: what replaces it harms nobody
        except PermissionError:
            os.mkfifo(path)
    elif how == "link":
        path.with_name(f"{path.name}.real").write_bytes(content)
        path.symlink_to(f"{path.name}.real")
    return how


def places(value: Tree, outer: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything in nested dictionaries and lists."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [outer, *(inner for step, held in steps for inner in places(held, (*outer, step)))]


def tree_spoilt(tree: Tree, rng: random.Random) -> tuple[Tree, str]:
    """Nested values with one of them changed, gone or added; the tree itself may be changed."""
    path = rng.choice(places(tree)[1:] or [()])
    if not path:
        return rng.choice(VALUES), "another value"
    holder = tree
    for step in path[:-1]:
        holder = holder[step]
    shown, way = ".".join(map(str, path))[-60:], rng.random()
    if way < 0.12:
        del holder[path[-1]]
        return tree, f"{shown} gone"
    if way < 0.2 and isinstance(holder, dict):
        holder["unknown"] = 1
        return tree, f"a key beside {shown}"
    old = holder[path[-1]]
    near = (
        [old + 1, -old, old * 1.5, str(old)]
        if isinstance(old, int | float) and not isinstance(old, bool)
        else [f"{old}x"]
    )
    value = rng.choice(near) if way < 0.4 else rng.choice(VALUES)
    holder[path[-1]] = value
    return tree, f"{shown} is {str(value)[:20]!a}"


def json_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """JSON with one value changed, a key twice, or what is no JSON in the place of a value."""
    tree = json.loads(content)
    way = rng.random()
    if way < 0.1 and isinstance(tree, dict) and tree:
        key = rng.choice([*tree])
        return json.dumps(tree)[:-1].encode() + f", {json.dumps(key)}: 1}}".encode(), f"{key} twice"
    if way < 0.25:
        raw = rng.choice(("[" * 100_000, "NaN", "-Infinity", "1" * 5000, '"\\ud800"', "1e999", "", "'x'", "//", "True"))
        path = rng.choice(places(tree)[1:] or [()])
        if not path:
            return raw.encode(), f"{raw[:9]} alone"
        holder = tree
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = "HERE"
        return json.dumps(tree).replace('"HERE"', raw).encode(), f"{'.'.join(map(str, path))[-60:]} is {raw[:9]}"
    spoilt, how = tree_spoilt(tree, rng)
    return json.dumps(spoilt, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass"), how


def lines_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A file of one JSON value a line with one line changed, gone, twice or elsewhere."""
    lines = content.splitlines(keepends=True)
    row, way = rng.randrange(len(lines)), rng.randrange(5)
    if way == 0:
        return b"".join(lines[:row] + lines[row + 1 :]), f"line {row} gone"
    if way == 1:
        return b"".join([*lines[: row + 1], *lines[row:]]), f"line {row} twice"
    if way == 2:
        lines[row], lines[0] = lines[0], lines[row]
        return b"".join(lines), f"lines 0 and {row} exchanged"
    spoiler = json_spoilt if way == 3 else bytes_spoilt
    lines[row], how = spoiler(lines[row], rng)
    return b"".join(lines), f"line {row}: {how}"


def yaml_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """YAML whose lines are keys with values in JSON: one changed, twice, or with what only YAML has."""
    lines = content.decode().splitlines()
    row, way = rng.randrange(len(lines)), rng.random()
    key, _, value = lines[row].partition(": ")
    if way < 0.1:
        return content + f"{key}: {rng.choice(('1', value, '{}'))}\n".encode(), f"{key} twice"
    if way < 0.14:
        return (ALIASES + content.decode()).encode(), "a bomb of aliases"
    if way < 0.35:
        lines[row] = f"{key}: {rng.choice(YAML_VALUES)}"
        return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass"), lines[row][:60]
    if way < 0.5:
        inner = [place for place in places(json.loads(value)) if place]
        if inner:
            path, tag = rng.choice(inner), rng.choice(YAML_VALUES)
            tree = json.loads(value)
            holder = tree
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = "HERE"
            lines[row] = f"{key}: {json.dumps(tree).replace(json.dumps('HERE'), tag)}"
            return "\n".join([*lines, ""]).encode(
                "utf-8", "surrogatepass"
            ), f"{key}.{'.'.join(map(str, path))}: {tag[:30]}"
    tree, how = tree_spoilt({name: json.loads(held) for name, _, held in (line.partition(": ") for line in lines)}, rng)
    if not isinstance(tree, dict):
        return json.dumps(tree).encode(), how
    text = "".join(f"{name}: {json.dumps(held, ensure_ascii=False)}\n" for name, held in tree.items())
    return text.encode("utf-8", "surrogatepass"), how


def csv_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A table or list with a cell or a row changed."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = rng.randrange(len(rows))
    cell = rng.randrange(len(rows[row]))
    text = rng.choice((*NUMBERS, *map(str, VALUES), '"', 'a"b', "#1", "\r", "train/ant/p1-0.png"))
    way = rng.randrange(8)
    if way == 0:
        rows = rows[:row] + rows[row + 1 :]
    elif way == 1:
        rows.insert(row, rows[row])
    elif way == 2:
        rows.insert(rng.randrange(len(rows) + 1), rows[0])
    elif way == 3:
        rows[row] = [*rows[row], text]
    elif way == 4:
        rows[row] = rows[row][:-1]
    elif way == 5:
        rows.insert(row, [text] * rng.choice((1, len(rows[row]))))
    elif way == 6:
        rows = [[*line, "1"] for line in rows]
    else:
        rows[row][cell] = text
    how = ("row gone", "row twice", "header again", "cell more", "cell less", "row more", "column more", "cell")[way]
    text_of = "\n".join(",".join(line) for line in rows) + "\n"
    return text_of.encode("utf-8", "surrogatepass"), f"{how} at {row}: {text[:20]!a}"
