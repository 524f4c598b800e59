"""A service of eight photographs and a few models that nobody trained, for what deletes and what verifies."""

import hmac
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tests.deletion_requests import fakes
from tests.records.folders import HARDWARE, a_retrained, an_original, an_unlearned

from natmu.records.census import Census, CensusPart
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.derived import forget_of
from natmu.records.forgotten import Forgotten, write_forget
from natmu.records.ledger import DeployedModel
from natmu.records.lineage import Architecture, Arithmetic
from natmu.records.names import SampleNames
from natmu.records.run import WEIGHTS, RunRecord, write_run
from natmu.records.service import CENSUS, MODELS, ServiceRecord
from natmu.requests.keys import ServiceKey
from natmu.requests.state import fold
from natmu.types import ForgetSet

KEY = ServiceKey(b"k" * 32)
SIDE = 8
NAMES = tuple(f"train/{'ab'[row % 2]}/{row}.png" for row in range(6))
UNSEEN = ("test/a/0.png", "test/b/1.png")
FORGOTTEN = (1, 4)
"""Rows of the request that all of this is about."""


def digest(content):
    return hmac.digest(KEY.secret, content, "sha256")[:16]


def picture(row):
    return np.random.default_rng(row).integers(0, 256, (3, SIDE, SIDE), np.uint8)


def png(pixels, level=6, kind="PNG"):
    content = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(content, kind, compress_level=level)
    return content.getvalue()


def part(names, first):
    images = [picture(first + row) for row in range(len(names))]
    rows = {
        "pixels": [digest(f"uint8{(3, SIDE, SIDE)}".encode() + image.tobytes()) for image in images],
        "files": [digest(png(image)) for image in images],
    }
    arrays = {what: np.frombuffer(b"".join(own), np.uint8).reshape(-1, 16) for what, own in rows.items()}
    return CensusPart(SampleNames.of_source(len(names), names), np.arange(len(names)) % 2, **arrays)


def census():
    return Census(("a", "b"), (3, SIDE, SIDE), "uint8", part(NAMES, 0), part(UNSEEN, 100))


def write_run_of(models, lineage, left_out=FORGOTTEN):
    """A run with weights, but no predictions."""
    folder = models / lineage.digest
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(b"weights")
    forgotten = None
    if forget_of(lineage) is not None:
        forget = ForgetSet(np.array(left_out), "random:10%", "random")
        write_forget(forget, folder)
        forgotten = Forgotten.of(forget)
    about = {"lineage": lineage, "digest": lineage.digest, "forgotten": forgotten, "scores": {}, "seconds": 1.0}
    machine = {"peak_memory_mb": 1.0, "versions": {}, "hardware": HARDWARE, "finished": "2026-01-01T00:00:00+00:00"}
    write_run(folder, lambda files: RunRecord(**about, **machine, files=files))
    return folder


@dataclass
class Small:
    """The service, and where its data lie.

    Attributes:
        folder: The service.
        photos: The photographs; those of the request are gone.
        data_dir: Holds decoded images.
        record: What the service is about.
        bodies: Entries of its ledger.
    """

    folder: Path
    photos: Path
    data_dir: Path
    record: ServiceRecord
    bodies: list

    @property
    def state(self):
        return fold(fakes.chained(*self.bodies))


def deployed(lineage):
    return DeployedModel(run=lineage.digest, weights="ab")


def small_service(tmp_path):
    """The original, a release that honours request 1, one retrained model that saw its samples and one that did not."""
    folder, photos, data_dir = tmp_path / "service", tmp_path / "photos", tmp_path / "data"
    for first, names in ((0, NAMES), (100, UNSEEN)):
        for row, name in enumerate(names):
            (photos / name).parent.mkdir(parents=True, exist_ok=True)
            if first or row not in FORGOTTEN:
                (photos / name).write_bytes(png(picture(first + row)))
    data = DataLineage(
        source=str(photos), image_size=None, train_size=None, holdout=False, digests=DataDigests(train="a", test="b")
    )
    original, released = an_original(), an_unlearned()
    record = ServiceRecord(
        original=original.digest,
        data=data,
        source=str(photos),
        data_dir=str(data_dir),
        architecture=Architecture(name="small_cnn"),
        arithmetic=Arithmetic(precision="fp32"),
        recipe=None,
        mean=(0.5,),
        std=(0.5,),
    )
    listed = census()
    folder.mkdir()
    listed.write(folder / CENSUS, KEY.seal)
    for lineage in (original, released):
        write_run_of(folder / MODELS, lineage)
    write_run_of(folder / MODELS, a_retrained(seed=1))
    write_run_of(folder / MODELS, a_retrained(seed=2), left_out=(0, 1))
    asked = np.array(FORGOTTEN)
    request = fakes.requested(1, samples=2).model_copy(
        update={"samples": listed.pixel_digests(asked), "files": listed.file_digests(asked)}
    )
    answer = fakes.released(1, 1, 1).model_copy(update={"source": deployed(original), "result": deployed(released)})
    started = fakes.started(1, 1).model_copy(update={"source": deployed(original)})
    bodies = [fakes.opening(original=deployed(original), census=listed.digest), request, started, answer]
    return Small(folder, photos, data_dir, record, bodies)
