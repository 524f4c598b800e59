"""Downloads from a server on this machine: checksum, resume, and nothing half-written."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from natmu.data import downloads, load
from natmu.data.downloads import Archive, download, official_archives
from natmu.errors import DataError, DownloadError, UsageError
from natmu.progress import shown_on

from .fakes import tar_of, write_cifar10, write_cifar100, write_tiny_imagenet, zip_of


class Server(ThreadingHTTPServer):
    """Serves files from memory; may ignore ranges, or hang up early."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.honours_ranges = True
        self.stops_after: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.lstrip("/"))
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if content is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.honours_ranges else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.stops_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def serve(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bytes]:
    """Serves a tiny stand-in of an official archive, whose checksum takes the place of the published one."""

    def start(name: str) -> bytes:
        archive = official_archives()[name]
        folder = tmp_path / "made"
        write = {"cifar-10": write_cifar10, "cifar-100": write_cifar100, "tiny-imagenet": write_tiny_imagenet}
        write[archive.folder.removesuffix("-200").removesuffix("-batches-py").removesuffix("-python")](folder)
        pack = zip_of if archive.file.endswith(".zip") else tar_of
        content = server.files[archive.file] = pack(folder, archive.folder)
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        fake = Archive(archive.server, archive.file, md5, archive.folder, archive.contents)
        monkeypatch.setattr(downloads, "official_archives", lambda: {name: fake})
        return content

    return start


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "cifar20", "tiny-imagenet"])
def test_what_is_downloaded_can_be_loaded(
    server: Server, serve: Callable[[str], bytes], tmp_path: Path, name: str
) -> None:
    serve(name)
    data_dir = tmp_path / "new" / "data"
    folder = download(name, data_dir, server.url + "/")
    assert folder == data_dir / official_archives()[name].folder
    assert len(load(name, data_dir).train) > 0
    assert download(name, data_dir, server.url) == folder
    assert len(server.ranges) == 1
    assert _left(data_dir) == {folder.name}


def test_a_download_is_shown_in_bytes_from_where_it_resumes(
    server: Server, serve: Callable[[str], bytes], tmp_path: Path
) -> None:
    content = serve("cifar10")
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(content[:100])
    bars, steps = [], []

    class Display:
        @contextmanager
        def bar(self, *bar: object) -> Iterator[Callable[[int], None]]:
            bars.append(bar)
            yield steps.append

        def say(self, line: str) -> None:
            pass

    with shown_on(Display()):
        download("cifar10", tmp_path, server.url)
    assert bars == [("cifar-10-python.tar.gz", len(content), 100, "bytes")]
    assert sum(steps) == len(content) - 100


def test_an_interrupted_download_is_resumed(server: Server, serve: Callable[[str], bytes], tmp_path: Path) -> None:
    content = serve("cifar10")
    server.stops_after = len(content) // 2
    with pytest.raises(DownloadError, match="run the same command again"):
        download("cifar10", tmp_path / "data", server.url)
    part = tmp_path / "data" / "cifar-10-python.tar.gz.part"
    have = part.read_bytes()
    assert 0 < len(have) < len(content)
    assert content.startswith(have)
    server.stops_after = None
    folder = download("cifar10", tmp_path / "data", server.url)
    assert server.ranges == [None, f"bytes={len(have)}-"]
    assert _left(tmp_path / "data") == {folder.name}


@pytest.mark.parametrize("have", [0.3, 1.0])
@pytest.mark.parametrize("honours", [True, False])
def test_what_has_come_so_far_is_used_if_the_server_can(
    server: Server, serve: Callable[[str], bytes], tmp_path: Path, have: float, honours: bool
) -> None:
    content = serve("cifar10")
    server.honours_ranges = honours
    start = int(len(content) * have)
    (tmp_path / "cifar-10-python.tar.gz.part").write_bytes(content[:start])
    assert download("cifar10", tmp_path, server.url).is_dir()
    assert server.ranges == [f"bytes={start}-"]


def test_a_wrong_checksum_is_refused_and_the_file_removed(
    server: Server, serve: Callable[[str], bytes], tmp_path: Path
) -> None:
    content = serve("cifar10")
    server.files["cifar-10-python.tar.gz"] = content[:-1] + b"x"
    with pytest.raises(DataError, match="published checksum"):
        download("cifar10", tmp_path / "data", server.url)
    assert _left(tmp_path / "data") == set()


def test_a_folder_that_is_not_complete_is_not_touched(
    server: Server, serve: Callable[[str], bytes], tmp_path: Path
) -> None:
    serve("cifar10")
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "mine").write_text("x")
    with pytest.raises(DataError, match="move it away"):
        download("cifar10", tmp_path, server.url)
    assert server.ranges == []


def test_a_file_that_is_not_there_fails_with_status_1(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="status 404") as error:
        download("cifar10", tmp_path, server.url)
    assert error.value.exit_status == 1
    assert not isinstance(error.value, UsageError)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "ftp://127.0.0.1:9"])
def test_an_unreachable_server_fails_in_one_sentence(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="cannot be downloaded from") as error:
        download("cifar10", tmp_path, url)
    assert "\n" not in str(error.value)


def test_a_place_that_cannot_be_written_fails_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DownloadError, match="cannot be stored"):
        download("cifar10", tmp_path / "file" / "data", "http://127.0.0.1:9")


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean cifar10"):
        download("cifar1O", tmp_path)


def test_the_official_checksums() -> None:
    checksums = {name: archive.md5 for name, archive in official_archives().items()}
    assert checksums["cifar10"] == "c58f30108f718f92721af3b95e74349a"
    assert checksums["cifar100"] == checksums["cifar20"] == "eb9058c3a382ffc7106e4002c42a8d85"
    assert checksums["tiny-imagenet"] == "90528d7ca1a48142e341f4ef8d21d0de"
    urls = [f"{archive.server}/{archive.file}" for archive in official_archives().values()]
    assert urls[0] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert urls[3] == "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
