"""What a store knows of the samples that its shards were trained on: read as written, and every change is found."""

from __future__ import annotations

import hashlib

import pytest
from tests.records.lineages import trained

from natmu.errors import RunError
from natmu.records.files import read_arrays, write_arrays
from natmu.records.shard_samples import ShardSamples, digests_of_contents, digests_of_names

NAMES = ["a.png", "b.png", "caf\u00e9.png"]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "samples.npz"
    ShardSamples(trained(), digests_of_names(NAMES), digests_of_contents([b"1", b"2", b"3"])).write(path)
    return path


def test_what_is_read_is_what_was_written(path):
    known = ShardSamples.read(path)
    assert known.model == trained()
    assert len(known) == 3
    assert [row.tobytes() for row in known.contents] == [
        hashlib.blake2b(content, digest_size=16).digest() for content in (b"1", b"2", b"3")
    ]
    asked = digests_of_names(["cafe\u0301.png", "a", "a.png", "b.png"])
    assert known.positions(asked).tolist() == [2, -1, 0, 1]
    assert b"png" not in path.read_bytes()


@pytest.mark.parametrize("name", ["names", "contents", "model", "format", "checksum"])
def test_every_change_is_found(path, name):
    arrays = read_arrays(path)
    changed = arrays[name].copy()
    changed.reshape(-1)[-1:] ^= 1
    write_arrays(path, arrays | {name: changed})
    with pytest.raises(RunError, match="cannot be read"):
        ShardSamples.read(path)
    write_arrays(path, {key: array for key, array in arrays.items() if key != name})
    with pytest.raises(RunError, match="cannot be read"):
        ShardSamples.read(path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(RunError, match="cannot be read"):
        ShardSamples.read(path)
