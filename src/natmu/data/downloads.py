"""Getting the official archives: checksum, resume, progress, and nothing half-written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from filelock import FileLock

from natmu.data.archives import extract
from natmu.data.cifar import CIFAR10_FILES, CIFAR100_FILES
from natmu.data.tiny_imagenet import OFFICIAL_FILES
from natmu.errors import DataError, DownloadError, hint
from natmu.progress import showing, task

_TIMEOUT_S = 30
_CHUNK_BYTES = 2**14


@dataclass(frozen=True)
class Archive:
    """One official archive.

    Attributes:
        server: Address of the folder on the server that holds it.
        file: Its name there.
        md5: Its published checksum.
        folder: The folder that it holds.
        contents: What a complete folder has.
    """

    server: str
    file: str
    md5: str
    folder: str
    contents: tuple[str, ...]


def official_archives() -> dict[str, Archive]:
    """The archive of each data set that can be downloaded; CIFAR-20 is CIFAR-100 with other labels."""
    toronto, stanford = "https://www.cs.toronto.edu/~kriz", "http://cs231n.stanford.edu"
    cifar10 = Archive(
        toronto, "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", "cifar-10-batches-py", CIFAR10_FILES
    )
    cifar100 = Archive(
        toronto, "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", "cifar-100-python", CIFAR100_FILES
    )
    tiny = Archive(
        stanford, "tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de", "tiny-imagenet-200", OFFICIAL_FILES
    )
    return {"cifar10": cifar10, "cifar100": cifar100, "cifar20": cifar100, "tiny-imagenet": tiny}


def download(name: str, data_dir: Path, base_url: str | None = None) -> Path:
    """Get a data set, so that ``load`` finds it; what is there already is not fetched again.

    An interrupted download goes on where it stopped when it is asked for again. Progress is shown on
    standard error: a bar on a terminal, a line now and then elsewhere.

    Args:
        name: ``cifar10``, ``cifar100``, ``cifar20`` or ``tiny-imagenet``.
        data_dir: Where to put it; made if it is not there.
        base_url: Address of a folder that serves the archive in place of the official server.

    Returns:
        The folder that holds the data.

    Raises:
        DataError: Unknown name, wrong checksum (the file is then removed), or an archive that is not what it should be.
        DownloadError: The server cannot be reached, or the disk cannot be written.
    """
    archives = official_archives()
    if name not in archives:
        raise DataError(
            f"{name!r} cannot be downloaded{hint(name, list(archives))}; what can be is {', '.join(archives)}."
        )
    archive = archives[name]
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(data_dir / f".{archive.file}.lock"):
            return _get(archive, data_dir, base_url or archive.server)
    except requests.RequestException as error:
        raise DownloadError(
            f"{archive.file} cannot be downloaded from {base_url or archive.server} ({_reason(error)}); "
            "check the connection and run the same command again, and it will continue where it stopped."
        ) from None
    except OSError as error:
        raise DownloadError(f"{name} cannot be stored in {data_dir}: {error.strerror or error}.") from None


def _get(archive: Archive, data_dir: Path, server: str) -> Path:
    """Download and unpack, unless the folder is there."""
    folder = data_dir / archive.folder
    if all((folder / name).exists() for name in archive.contents):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is there but not complete; move it away and run the same command again.")
    fetched = _fetch(archive, data_dir, f"{server.rstrip('/')}/{archive.file}")
    extract(fetched, archive.folder, data_dir)
    fetched.unlink()
    return folder


def _fetch(archive: Archive, data_dir: Path, url: str) -> Path:
    """The archive with the right checksum."""
    part = data_dir / f"{archive.file}.part"
    try:
        path = pooch.retrieve(
            url, f"md5:{archive.md5}", fname=archive.file, path=data_dir, downloader=ResumingDownloader(part)
        )
    except requests.RequestException:
        raise
    except ValueError:
        raise DataError(
            f"{url} does not have the published checksum (md5 {archive.md5}); the download was removed. Run the same "
            "command again, or use another server with --base-url."
        ) from None
    return Path(path)


class ResumingDownloader:
    """A downloader for pooch that goes on where an interrupted one stopped, if the server can.

    Args:
        part: Where to keep what has come so far.
    """

    def __init__(self, part: Path) -> None:
        self.part = part

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download the file, and move it to ``output_file`` when complete.

        Raises:
            requests.RequestException: The server cannot be reached, refuses, or stops early.
        """
        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            nothing_left = have > 0 and response.status_code == requests.codes.requested_range_not_satisfiable
            if not nothing_left:
                response.raise_for_status()
                self._receive(response, have)
        self.part.replace(output_file)

    def _receive(self, response: requests.Response, have: int) -> None:
        """Append what comes, or start again where the server does not send just the rest."""
        resumes = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumes and response.status_code == requests.codes.partial_content else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        with (
            self.part.open("ab" if have else "wb") as file,
            showing(),
            task(self.part.stem, total, have, "bytes") as advance,
        ):
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                advance(len(chunk))


def _reason(error: requests.RequestException) -> str:
    """The kind of failure, without the addresses of objects that requests' own texts hold."""
    if error.response is not None:
        return f"status {error.response.status_code} {error.response.reason}"
    return type(error).__name__
