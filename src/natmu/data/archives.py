"""Unpacking archives without letting one write outside its place."""

from __future__ import annotations

import secrets
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

from natmu.errors import DataError
from natmu.records.disk import partial_of, publish, sweep
from natmu.user_files import require_file

_FAULTS = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def extract(archive: Path, folder: str, target_dir: Path) -> Path:
    """Unpack one folder of an archive so that it is there complete or not at all.

    Args:
        archive: A tar archive, compressed or not, or a zip archive.
        folder: The folder at the archive's top that is wanted.
        target_dir: Where to put it.

    Returns:
        ``target_dir / folder``.

    Raises:
        DataError: The archive is damaged, lacks the folder, or has a member that would be written elsewhere.
        OSError: The disk is full, or the place cannot be written.
    """
    sweep(target_dir)
    temporary = partial_of(target_dir / f"{folder}-{secrets.token_hex(4)}")
    temporary.mkdir(mode=0o700)
    try:
        _unpack(archive, temporary)
        if not (temporary / folder).is_dir():
            raise DataError(f"{archive.name} does not hold the folder {folder}; get the official archive.")
        publish(temporary / folder, target_dir / folder)
        return target_dir / folder
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack(archive: Path, target: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DataError(f"This Python cannot unpack {archive.name} safely; use 3.11.4 or newer.")
    try:
        require_file(archive)
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked: {error.strerror or error}.") from None
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _refuse_escapes(zipped)
                zipped.extractall(target)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
    except tarfile.FilterError as error:
        raise DataError(f"{archive.name} was refused, because it would write outside its folder: {error}.") from None
    except _FAULTS as error:
        raise DataError(f"{archive.name} cannot be unpacked ({error}); remove it and get it again.") from None


def _refuse_escapes(archive: zipfile.ZipFile) -> None:
    """Refuse members with an absolute path, a drive, or a step upwards, in either system's writing."""
    for name in archive.namelist():
        windows = PureWindowsPath(name)
        if windows.anchor or ".." in windows.parts or PurePosixPath(name).is_absolute():
            raise DataError(f"{archive.filename} was refused, because its member {name!r} points outside its folder.")
