"""Ways to spoil binary files as far as their kind allows: arrays, tensors, checkpoints, pictures, databases."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import sqlite3
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tests.campaign.hostile import VALUES
from tests.campaign.mutations import bytes_spoilt, tree_spoilt


class Executed:
    """What a pickle makes that is obeyed: a file that says so."""

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return os.system, ('touch "$NATMU_CANARY"',)


def npy_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """An array of another type, shape or content, a header that lies, or objects."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    way = rng.randrange(5)
    if way == 0:
        texts = ("'|O'", "'<M8[ns]'", "'<c16'", "'<f2'", "'|b1'", "'<U9'", "[('a', '<i8')]", "'>i8'", "'|V8'", "'<i99'")
        old = repr(array.dtype.str).encode()
        new = rng.choice(texts)
        return content.replace(old, new.encode(), 1), f"type {new}"
    if way == 1:
        shape = rng.choice(((10**12,), (2**62, 4), (-1,), (0,), (), (1, array.size), (3.5,)))
        return content.replace(str(array.shape).encode(), str(shape).encode(), 1), f"shape {shape}"
    if way == 2:
        return _npy(np.array([Executed()], object)), "objects"
    if way == 3:
        kinds: tuple[Any, ...] = (np.float64, np.complex128, bool, np.uint64, np.int8, "U5", "S5", ">i4")
        kind = rng.choice(kinds)
        return _npy(array.astype(kind)), f"as {kind}"
    flat = array.copy().reshape(-1)
    if not flat.size:
        return bytes_spoilt(content, rng)
    with np.errstate(all="ignore"):
        value = rng.choice((0, 1, -1, 10**6, float("nan"), float("inf")))
        try:
            flat[rng.randrange(flat.size)] = value
        except (ValueError, OverflowError):
            flat = flat[::-1].copy()
    return _npy(flat.reshape(array.shape)), f"an element {value}"


def _npy(array: np.ndarray) -> bytes:
    held = io.BytesIO()
    np.save(held, array, allow_pickle=True)
    return held.getvalue()


def npz_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """An archive with a member spoilt, twice, gone, far larger than it looks, or under a name that leads elsewhere."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    row, way = rng.randrange(len(members)), rng.randrange(6)
    name, held = members[row]
    how = name
    if way == 0:
        members[row] = (rng.choice(("../../x.npy", "/tmp/x.npy", "x_trian.npy", "", "a" * 300, "x_train")), held)
        how = f"{name} called {members[row][0][:20]}"
    elif way == 1:
        members.append((name, npy_spoilt(held, rng)[0]))
        how = f"{name} twice"
    elif way == 2:
        del members[row]
        how = f"{name} gone"
    elif way == 3:
        members[row] = (name, _npy(np.zeros(1, np.uint8)).replace(b"(1,)", b"(8000000000,)") + bytes(10**7))
        how = f"{name} is a bomb"
    else:
        spoilt, how = npy_spoilt(held, rng)
        members[row] = (name, spoilt)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        seen = set()
        for member, body in members:
            if member in seen:
                archive._didModify = True
                archive.NameToInfo.pop(member)  # or zipfile warns that the name stands twice
            seen.add(member)
            archive.writestr(member or "x", body)
    return packed.getvalue(), how


def safetensors_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Tensors with a header that lies, or with other numbers."""
    (size,) = struct.unpack("<Q", content[:8])
    head, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    if rng.random() < 0.3:
        spot = rng.randrange(max(1, len(body) // 4)) * 4
        value = rng.choice((float("nan"), float("inf"), 1e38, 0.0, 1.0))
        return content[: 8 + size] + body[:spot] + struct.pack("<f", value) + body[spot + 4 :], f"a number {value}"
    if rng.random() < 0.15:
        return struct.pack("<Q", rng.choice((0, 2**63, size + 1, 10**8))) + content[8:], "length of the header"
    tree, how = tree_spoilt(head, rng)
    text = json.dumps(tree).encode("utf-8", "replace")
    return struct.pack("<Q", len(text)) + text + body, how


def pt_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A checkpoint with other weights, objects that would be executed, or shapes of its own."""
    state = torch.load(io.BytesIO(content), weights_only=True)
    key = rng.choice([*state])
    weight = state[key]
    loop: dict[str, Any] = {**state}
    loop["self"] = loop
    changed: dict[str, Callable[[], Any]] = {
        "canary": lambda: {**state, "x": Executed()},
        "canary alone": Executed,
        "bool": lambda: {**state, key: weight.bool()},
        "complex": lambda: {**state, key: weight.to(torch.complex64)},
        "half": lambda: {name: held.half() for name, held in state.items()},
        "double": lambda: {name: held.double() if held.is_floating_point() else held for name, held in state.items()},
        "one double": lambda: {**state, key: weight.double()},
        "NaN": lambda: {**state, key: torch.full_like(weight.float(), float("nan"))},
        "infinite": lambda: {**state, key: torch.full_like(weight.float(), float("inf"))},
        "sparse": lambda: {**state, key: weight.to_sparse()},
        "meta": lambda: {**state, key: torch.empty_like(weight, device="meta")},
        "quantised": lambda: {**state, key: torch.quantize_per_tensor(weight.float(), 0.1, 0, torch.qint8)},
        "transposed": lambda: {**state, key: weight.reshape(-1)},
        "gone": lambda: {name: held for name, held in state.items() if name != key},
        "more": lambda: {**state, "more": weight},
        "renamed": lambda: {f"module.{name}": held for name, held in state.items()},
        "half renamed": lambda: {
            (f"module.{name}" if row % 2 else name): held for row, (name, held) in enumerate(state.items())
        },
        "nested": lambda: {"state_dict": state, "epoch": 3, "ema": state},
        "list": lambda: [*state.values()],
        "number": lambda: 3,
        "loop": lambda: loop,
        "view": lambda: {**state, key: weight.as_strided((2**20, 2**12), (0, 0))},
        "keys": lambda: {3: weight, None: weight},
        "text": lambda: {**state, key: "x"},
        "requires grad": lambda: {**state, key: torch.nn.Parameter(weight.float())},
    }
    how = rng.choice([*changed])
    held = io.BytesIO()
    if rng.random() < 0.1:
        pickle.dump(Executed(), held)
        return held.getvalue(), "a pickle that is a canary"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # quantised tensors are deprecated; people have them
        torch.save(changed[how](), held, _use_new_zipfile_serialization=rng.random() < 0.7)
    return held.getvalue(), f"{how} ({key})"


def png_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A picture of another size, mode or kind."""
    way = rng.randrange(5)
    if way == 0:
        return content[:16] + struct.pack(">II", 60000, 60000) + content[24:], "60,000 pixels wide"
    if way == 1:
        return rng.choice((b"GIF89a", b"<svg/>", b"BM", b"P6 9 9 255\n", b"\xff\xd8\xff\xe0")), "another kind, cut"
    image, held = Image.open(io.BytesIO(content)), io.BytesIO()
    if way == 2:
        mode = rng.choice(("L", "1", "P", "CMYK", "RGBA", "I;16", "F"))
        kind = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
        (image.convert(mode) if mode != "I;16" else Image.new(mode, image.size)).save(held, kind)
        return held.getvalue(), f"mode {mode}"
    if way == 3:
        size = rng.choice(((1, 1), (9, 8), (300, 1)))
        image.resize(size).save(held, "PNG")
        return held.getvalue(), f"{size} pixels"
    image.point(lambda value: 255 - value).save(held, "PNG")
    return held.getvalue(), "inverted"


def sqlite_spoilt(content: bytes, rng: random.Random) -> tuple[bytes, str]:
    """A database with a row changed, gone or twice, or without a table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.sqlite"
        path.write_bytes(content)
        base = sqlite3.connect(path)
        try:
            tables = [
                name for (name,) in base.execute("select name from sqlite_master where type = 'table' order by name")
            ]
            table, way = rng.choice(tables), rng.randrange(5)
            columns = [row[1] for row in base.execute(f'pragma table_info("{table}")')]
            rows = [row for (row,) in base.execute(f'select rowid from "{table}" order by rowid')]
            column, row = rng.choice(columns), rng.choice(rows or [0])
            how = f"{table}.{column} of row {row}"
            value = rng.choice(
                [one for one in VALUES if isinstance(one, str | float) or one is None or one in (0, 1, -1)]
            )
            if isinstance(value, str):
                value = value.encode("utf-8", "surrogatepass") if rng.random() < 0.3 else value.replace("\ud800", "?")
            if way == 0:
                base.execute(f'delete from "{table}" where rowid = ?', (row,))
                how += " gone"
            elif way == 1:
                base.execute(f'drop table "{table}"')
                how = f"{table} gone"
            elif way == 2:
                base.execute(f'update "{table}" set "{column}" = substr("{column}", 2) where rowid = ?', (row,))
                how += " cut"
            else:
                base.execute(f'update "{table}" set "{column}" = ? where rowid = ?', (value, row))
                how += f" is {str(value)[:20]!a}"
            base.commit()
        except sqlite3.Error:
            return bytes_spoilt(content, rng)
        finally:
            base.close()
        return path.read_bytes(), how
