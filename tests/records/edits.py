"""Edits of stored files as damage, carelessness and other programs make them, as hypothesis draws them."""

from __future__ import annotations

import copy
import hashlib
import io
import json

import numpy as np
from hypothesis import strategies as st
from safetensors.numpy import load, save

BOMB = "[" * 10_000
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    7,
    2**70,
    0.5,
    1e308,
    "",
    "x",
    "random:10%",
    "0" * 16,
    [],
    ["x"],
    [1, 2],
    {},
    {"a": 1},
)
RAW = (BOMB, '{"a":' * 10_000, "NaN", "-Infinity", "1" * 5000, '"\\ud800"', "1e999", "")
"""What JSON lets somebody write in the place of a value, and what it does not."""


def places(value, outer=()):
    """The path of everything in nested dictionaries and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*outer, key)
        yield from places(held, (*outer, key))


def at(value, place):
    """What is at a place; None where there is no such place."""
    for key in place:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def sealed(content):
    """JSON content with the checksum that it would have if natmu had written it so."""
    plain = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return plain | {"checksum": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}


@st.composite
def edited_json(draw, text, other, seal):
    """A JSON file with one key removed, renamed, retyped, taken from another file, or made no JSON at all.

    Args:
        draw: Of hypothesis.
        text: What the file holds.
        other: What another file of its kind holds.
        seal: Whether its checksum is made to fit again.
    """
    content = json.loads(text)
    *outer, key = draw(st.sampled_from(list(places(content))))
    inner = at(content, outer)
    kind = draw(st.sampled_from(["remove", "rename", "retype", "swap", "swap places", "add", "raw"]))
    if kind == "remove":
        del inner[key]
    elif kind == "rename" and isinstance(inner, dict):
        inner[f"{key}_"] = inner.pop(key)
    elif kind == "add" and isinstance(inner, dict):
        inner["more"] = draw(st.sampled_from(VALUES))
    elif kind == "swap":
        inner[key] = at(json.loads(other), (*outer, key))
    elif kind == "swap places":
        inner[key] = copy.deepcopy(at(content, draw(st.sampled_from(list(places(content))))))
    elif kind == "raw":
        inner[key] = "@here@"
        return json.dumps(content, indent=1).replace('"@here@"', draw(st.sampled_from(RAW))).encode()
    else:
        inner[key] = draw(st.sampled_from(VALUES))
    return json.dumps(sealed(content) if seal else content, indent=1).encode()


@st.composite
def edited_bytes(draw, content):
    """A file that was cut, in which a byte was changed, or that holds something else."""
    kind = draw(st.sampled_from(["cut", "byte", "other", "more"]))
    if kind == "cut":
        return content[: draw(st.integers(0, max(0, len(content) - 1)))]
    if kind == "other":
        return draw(
            st.sampled_from([b"", b"\x00" * 100, b"{}", b"[]", b"\x93NUMPY", b"PK\x03\x04", b"\xff\xfe", BOMB.encode()])
        )
    if kind == "more":
        return content + draw(st.binary(min_size=1, max_size=20))
    place = draw(st.integers(0, len(content) - 1))
    return content[:place] + bytes([content[place] ^ draw(st.integers(1, 255))]) + content[place + 1 :]


@st.composite
def edited_array(draw, array):
    """An array of another type or shape, with values out of range, or fewer of them."""
    kind = draw(
        st.sampled_from(["bool", "float", "text", "negative", "large", "short", "none", "flat", "deep", "same"])
    )
    changed = {
        "bool": lambda: array.astype(bool) if array.dtype.kind != "U" else array == "",
        "float": lambda: np.full(array.shape, np.nan, np.float64),
        "text": lambda: np.full(array.shape, "x"),
        "negative": lambda: np.full(array.shape, -3, array.dtype if array.dtype.kind in "if" else np.int64),
        "large": lambda: np.full(array.shape, 2**31 if array.dtype.kind in "if" else 3, array.dtype),
        "short": lambda: array[: len(array) // 2],
        "none": lambda: array[:0],
        "flat": lambda: array.reshape(-1),
        "deep": lambda: array[None],
        "same": lambda: array[::-1],
    }[kind]
    return np.ascontiguousarray(changed())


@st.composite
def edited_arrays(draw, name, content):
    """A file of arrays of which one was edited, renamed or removed."""
    if name.endswith(".npy"):
        held = io.BytesIO()
        np.save(held, draw(edited_array(np.load(io.BytesIO(content)))))
        return held.getvalue()
    arrays = load(content) if name.endswith(".safetensors") else dict(np.load(io.BytesIO(content)))
    chosen = draw(st.sampled_from(sorted(arrays)))
    kind = draw(st.sampled_from(["remove", "rename", "edit", "edit", "edit"]))
    array = arrays.pop(chosen)
    if kind != "remove":
        arrays[chosen if kind == "edit" else f"{chosen}_"] = draw(edited_array(array)) if kind == "edit" else array
    if name.endswith(".safetensors"):
        return save({key: array for key, array in arrays.items() if array.dtype.kind != "U"})
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


@st.composite
def edited_csv(draw, content):
    """A CSV file with a cell, a row or a column changed."""
    lines = [line.split(",") for line in content.decode().splitlines()]
    row = draw(st.integers(0, len(lines) - 1))
    column = draw(st.integers(0, len(lines[row]) - 1))
    kind = draw(st.sampled_from(["cell", "cell", "row", "less", "more", "quote"]))
    if kind == "row":
        del lines[row]
    elif kind == "less":
        del lines[row][column]
    elif kind == "more":
        lines[row].append("1")
    elif kind == "quote":
        lines[row][column] = '"'
    else:
        lines[row][column] = draw(
            st.sampled_from(["", "x", "-1", "nan", "inf", "1e999", "1.5", "True", "\x00", "retain"])
        )
    return ("\n".join(",".join(cells) for cells in lines) + "\n").encode()
