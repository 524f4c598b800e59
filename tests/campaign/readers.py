"""What users' files mean, read a second time: slowly, strictly, from the documents and not from natmu's code.

Each reader gives a value that is equal where two files mean the same, and ``UNCLEAR`` where a file is none of its kind
or may mean several things. natmu may refuse more than these do; what it accepts must be what they read.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

UNCLEAR = None
"""What a file means that is none."""

INTEGER = re.compile(r"[+-]?[0-9]+")


def text_of(path: Path) -> str | None:
    """The text of a file in UTF-8, with or without a mark at its beginning."""
    try:
        return path.read_bytes().decode("utf-8-sig") if path.is_file() else None
    except ValueError:
        return None


def lines_of(text: str) -> list[str]:
    """Lines, each ended as systems do; a separator among the control characters ends none."""
    return re.split(r"\r\n|\r|\n", text)


def _csv(text: str) -> Iterator[list[str]]:
    """Rows of cells between commas, semicolons or tabs, whichever the first line has most of."""
    delimiter = max(",;\t", key=lines_of(text)[0].count)
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)


def positions(path: Path, total: int) -> tuple[int, ...] | None:
    """Positions that an index file lists, sorted: every row one integer in range, none twice."""
    text = text_of(path) if path.suffix != ".npy" else ""
    if text is None:
        return UNCLEAR
    readers: dict[str, Callable[[str], list[Any] | None]] = {
        ".csv": _column_of_positions,
        ".txt": lambda text: [
            line.partition("#")[0].strip() for line in lines_of(text) if line.partition("#")[0].strip()
        ],
        ".json": _list_of,
        ".npy": lambda _: _array(path),
    }
    rows = readers[path.suffix](text)
    if not rows:
        return UNCLEAR
    if all(isinstance(row, bool) for row in rows):
        numbers = [place for place, row in enumerate(rows) if row] if len(rows) == total else []
    else:
        whole = [
            (isinstance(row, int) and not isinstance(row, bool)) or (isinstance(row, str) and INTEGER.fullmatch(row))
            for row in rows
        ]
        numbers = [int(row) for row in rows] if all(whole) else []
    fits = bool(numbers) and len(set(numbers)) == len(numbers) and all(0 <= number < total for number in numbers)
    return tuple(sorted(numbers)) if fits else UNCLEAR


def _column_of_positions(text: str) -> list[str] | None:
    """A column called index, or the only one, which may have a title that is no number and looks like none."""
    try:
        rows = [[cell.strip() for cell in row] for row in _csv(text)]
    except csv.Error:
        return None
    rows = [row for row in rows if any(row)]
    if not rows or len({len(row) for row in rows}) != 1:
        return None
    head = [cell.lower() for cell in rows[0]]
    if head.count("index") == 1:
        return [row[head.index("index")] for row in rows[1:]]
    if len(head) != 1:
        return None
    titled = re.fullmatch(r"#.*|[a-z][a-z_ ]*", head[0]) is not None  # titles and comments
    return [row[0] for row in (rows[1:] if titled else rows)]


def _list_of(text: str) -> list[Any] | None:
    try:
        held = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, list) else None


def _array(path: Path) -> list[Any] | None:
    """An array of integers or of truth values, read by the rules of the format's own document."""
    content = path.read_bytes() if path.is_file() else b""
    try:
        assert content[:6] == b"\x93NUMPY"
        wide = content[6] > 1
        begin = 12 if wide else 10
        size = int.from_bytes(content[8:begin], "little")
        head = ast.literal_eval(content[begin : begin + size].decode("latin-1"))
        array = np.frombuffer(content[begin + size :], np.dtype(head["descr"]))
        assert array.dtype.kind in "iub"
        assert head["shape"] == array.shape
    except (AssertionError, ValueError, SyntaxError, TypeError, KeyError, IndexError, RecursionError, MemoryError):
        return None
    return [value.item() for value in array]


def names(path: Path) -> tuple[str, ...] | None:
    """Names that a list holds, in its order."""
    text = text_of(path)
    if text is None:
        return UNCLEAR
    if path.suffix == ".txt":
        lines = [line.strip() for line in lines_of(text)]
        return tuple(line for line in lines if line and line[0] != "#") or UNCLEAR
    if path.suffix == ".json":
        held = _list_of(text)
        return tuple(held) if held and all(isinstance(one, str) for one in held) else UNCLEAR
    rows = _rows(text)
    if not rows:
        return UNCLEAR
    head = [cell.strip().lower() for cell in rows[0]]
    column = next((head.index(name) for name in ("file", "name", "path") if name in head), None)
    if column is None:
        return tuple(row[0].strip() for row in rows) if len(head) == 1 else UNCLEAR
    return tuple(row[column].strip() for row in rows[1:]) or UNCLEAR


def _rows(text: str) -> list[list[str]] | None:
    """Rows of as many cells each; empty lines are none."""
    try:
        rows = [row for row in _csv(text) if any(cell.strip() for cell in row)]
    except csv.Error:
        return None
    return rows if rows and len({len(row) for row in rows}) == 1 else None


def table(path: Path) -> Any:
    """Rows of a table as cells without blanks around them."""
    text = text_of(path)
    rows = None if text is None else _rows(text)
    return UNCLEAR if rows is None else tuple(tuple(cell.strip() for cell in row) for row in rows)


class _Strict(yaml.BaseLoader):
    """Plain values by the rules of YAML 1.2, in decimal digits; refuses keys that stand twice, aliases and tags."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias")
        return super().compose_node(parent, index)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if not node.tag.endswith((":str", ":seq", ":map")):
            raise yaml.YAMLError("a tag")
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return super().construct_object(node, deep=deep)
        words = {"": None, "~": None, "null": None, "true": True, "false": False}
        exact, text = ("", node.value.lower(), node.value.capitalize(), node.value.upper()), node.value
        if text.lower() in words and text in exact:
            return words[text.lower()]
        if INTEGER.fullmatch(text):
            return int(text)
        if re.fullmatch(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?", text, re.ASCII):
            return float(text)
        return float(text.replace(".", "")) if re.fullmatch(r"[+-]?[.]inf|[.]nan", text, re.IGNORECASE) else text

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value]
        if len({str(key) for key in keys}) != len(keys):
            raise yaml.YAMLError("a key twice")
        return super().construct_mapping(node, deep=True)


def mapping(path: Path) -> Any:
    """A mapping of YAML, as JSON that tells 1 from 1.0, from true and from the text 1."""
    text = text_of(path)
    try:
        held = yaml.load(text, _Strict) if text is not None else None
        held = {} if held is None and text is not None else held  # an empty file is an empty mapping
        return json.dumps(held, sort_keys=True) if isinstance(held, dict) else UNCLEAR
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError, LookupError):
        return UNCLEAR


def picture(path: Path) -> Any:
    """Pixels, as RGB."""
    try:
        with Image.open(path) as image:
            return image.size, _digest(np.asarray(image.convert("RGB"))) if image.size < (10_000, 0) else UNCLEAR
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return UNCLEAR


def arrays(path: Path) -> Any:
    """Arrays of an archive by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            if len(set(archive.namelist())) != len(archive.namelist()):
                return UNCLEAR
        with np.load(path, allow_pickle=False) as held:
            return tuple(
                (name, held[name].shape, held[name].dtype.kind, _digest(held[name])) for name in sorted(held.files)
            )
    except Exception:  # noqa: BLE001  # whatever NumPy raises, it is no archive of arrays
        return UNCLEAR


def weights(path: Path, of: Callable[[torch.Tensor], Any] | None = None) -> Any:
    """Floating numbers by name, whatever their precision, or something of them; checkpoints keep a state_dict."""
    of = of or (lambda numbers: _digest(numbers.double().numpy(force=True)))
    try:
        held = torch.load(path, weights_only=True)
        held = held.get("state_dict", held)
        if any(not (one.is_floating_point() or one.dtype == torch.int64) or one.is_quantized for one in held.values()):
            return UNCLEAR
        return tuple(sorted((name.removeprefix("module."), of(one)) for name, one in held.items()))
    except Exception:  # noqa: BLE001  # whatever PyTorch raises, it is no checkpoint
        return UNCLEAR


def _digest(array: Any) -> str:
    return f"{array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def meaning_of(root: Path, name: str) -> Any:
    """What a file of the world means to natmu; ``NotImplemented`` for those that have no second reader."""
    path, stem = root / name, name.rpartition("/")[2]
    if path.suffix == ".png" and (path.is_dir() or not os.path.lexists(path)):
        return "gone"  # a data set with one photograph less
    if path.exists() and not path.is_file():
        return UNCLEAR  # a named pipe would be waited for
    if stem.startswith("positions."):
        return positions(path, 32)
    if stem.startswith("names."):
        listed = names(path)
        return UNCLEAR if listed is UNCLEAR else frozenset(listed)  # naming one twice means nothing
    if stem == "people.csv":
        rows = table(path)
        return (
            UNCLEAR if rows is UNCLEAR or len(rows[0]) < 2 else frozenset(row[0] for row in rows[1:] if row[1] == "1")
        )
    if stem in ("table.csv", "relabel.csv"):
        return table(path)
    by_suffix = {".yaml": mapping, ".png": picture, ".npz": arrays, ".pt": weights}
    return by_suffix[path.suffix](path) if path.suffix in by_suffix else NotImplemented


def form_of(root: Path, name: str) -> Any:
    """Names, shapes and types of weights, and whether they are trained."""
    path = root / name
    form = lambda one: f"{tuple(one.shape)} {one.dtype} {one.requires_grad}"  # noqa: E731
    return weights(path, form) if path.is_file() else UNCLEAR
