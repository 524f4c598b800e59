"""Archives that try to write outside their folder, and archives that are not whole."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from natmu.data.archives import extract
from natmu.errors import DataError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "target"
    path.mkdir(parents=True)
    return path


def _tar(path: Path, members: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 3 if member.isreg() else 0
            tar.addfile(member, io.BytesIO(b"abc") if member.isreg() else None)
    return path


def _link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_a_tar_archive_is_unpacked(tmp_path: Path, target: Path) -> None:
    archive = _tar(tmp_path / "a.tar.gz", [tarfile.TarInfo("data/x"), tarfile.TarInfo("data/sub/y")])
    assert extract(archive, "data", target) == target / "data"
    assert (target / "data" / "sub" / "y").read_bytes() == b"abc"
    assert [path.name for path in target.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../../pwned"),
        tarfile.TarInfo("data/../../../pwned"),
        _link("data/link", "../../../../pwned", tarfile.SYMTYPE),
        _link("data/link", "/etc/passwd", tarfile.SYMTYPE),
        _link("data/link", "../../../../pwned", tarfile.LNKTYPE),
        _link("data/device", "", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member.type!r}-{member.name}-{member.linkname}",
)
def test_tar_members_that_escape_are_refused(tmp_path: Path, target: Path, member: tarfile.TarInfo) -> None:
    archive = _tar(tmp_path / "a.tar.gz", [tarfile.TarInfo("data/x"), member])
    with pytest.raises(DataError, match="outside its folder"):
        extract(archive, "data", target)
    assert not list(target.iterdir())
    assert not list(tmp_path.rglob("pwned"))


def test_absolute_tar_members_stay_inside(tmp_path: Path, target: Path) -> None:
    archive = _tar(tmp_path / "a.tar.gz", [tarfile.TarInfo(str(tmp_path / "pwned"))])
    with pytest.raises(DataError, match="does not hold the folder"):
        extract(archive, "data", target)
    assert not (tmp_path / "pwned").exists()
    assert not list(target.iterdir())


@pytest.mark.parametrize(
    "name", ["../pwned", "data/../../pwned", "/pwned", "C:\\pwned", "..\\pwned", "data\\..\\..\\x"]
)
def test_zip_members_that_escape_are_refused(tmp_path: Path, target: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("data/x", "abc")
        zipped.writestr(name, "abc")
    with pytest.raises(DataError, match="outside its folder"):
        extract(tmp_path / "a.zip", "data", target)
    assert not list(target.iterdir())
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 but broken"])
def test_what_is_no_archive_is_refused(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(tmp_path / "a.zip", "data", target)
    assert not list(target.iterdir())


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_archive_leaves_nothing(tmp_path: Path, target: Path, share: float) -> None:
    archive = _tar(tmp_path / "a.tar.gz", [tarfile.TarInfo(f"data/{row}") for row in range(300)])
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(DataError, match="cannot be unpacked"):
        extract(archive, "data", target)
    assert not list(target.iterdir())
