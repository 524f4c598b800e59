"""What trackers were told, read back by their own libraries where these can read."""

from __future__ import annotations

import json
import struct

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto import wandb_internal_pb2


def of_wandb(runs):
    """All off-line runs below a folder, each with its history, summary and configuration."""
    return [_read_wandb(path) for path in sorted((runs / "wandb").glob("offline-run-*/*.wandb"))]


def _read_wandb(path):
    found = {"history": [], "summary": {}, "config": {}}
    for data in _chunks(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"id": record.run.run_id, "name": record.run.display_name, "group": record.run.run_group}
            found |= {"project": record.run.project}
            found["config"] |= _items(record.run.config.update)
        elif kind == "history":
            found["history"].append(_items(record.history.item))
        elif kind == "summary":
            found["summary"] |= _items(record.summary.update)
    return found


def _chunks(data, block=32768):
    """The records of wandb's file, which is a LevelDB log after a header of 7 bytes."""
    place, whole = 7, b""
    while place < len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, or the last of several
            yield whole
            whole = b""


def _items(items):
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def of_tensorboard(folder):
    """The accumulator of one run's folder."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def curves_of(found):
    return {
        (tag.removeprefix("curves/"), event.step): event.value
        for tag in found.Tags()["scalars"]
        if tag.startswith("curves/")
        for event in found.Scalars(tag)
    }


def one_of_mlflow(store, experiment):
    (found,) = store.search_runs([store.get_experiment_by_name(experiment).experiment_id])
    return found


def mlflow_curves(store, run):
    names = [name for name in run.data.metrics if name.startswith("curves/")]
    points = [(name, one) for name in names for one in store.get_metric_history(run.info.run_id, name)]
    assert len({(name, one.step) for name, one in points}) == len(points)
    return {(name.removeprefix("curves/"), one.step): one.value for name, one in points}
