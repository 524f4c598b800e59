"""Models and studies on a real Ray cluster of two machines, which are two nodes on this one."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import socket
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import warm
from natmu.errors import ResourceError, SettingError, UsageError
from natmu.lineage.executors import ray as on_ray
from natmu.lineage.executors.ray import driver_compute, make_on_ray
from natmu.lineage.executors.ray_worker import Shared, packed, unpacked
from natmu.methods import registry
from natmu.records.lineage import AllBut, Everything, Trained
from natmu.records.recipe import ExecutorSettings
from natmu.records.study import StudyFolder
from natmu.studies import run_recipe
from natmu.studies.bench import workspace_of
from natmu.studies.plan import plan_of
from natmu.studies.recipe import MethodEntry
from studies import fakes

from . import cluster_methods, cluster_trainer, warm_workers

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.timeout(120)

AMNESIAC = {"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}}
RAY = {"kind": "ray", "cpus": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The methods of ``cluster_methods`` as an installed package, and the folder of their traces."""
    site, traces = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("traces")
    for module in (cluster_methods, cluster_trainer):
        shutil.copy(module.__file__, site)
    facts = site / "cluster_methods-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: cluster_methods\nVersion: 1\n")
    names = {"witness": "Witness", "held": "Held", "dies": "Dies"}
    entries = "".join(f"{name} = cluster_methods:{where}\n" for name, where in names.items())
    (facts / "entry_points.txt").write_text(f"[natmu.methods]\n{entries}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        patch.setenv("OMP_NUM_THREADS", "1")  # or Ray would set it, to what each job should have
        patch.setenv(cluster_methods.FOLDER, str(traces))
        registry.plug_ins.cache_clear()
        yield traces
    registry.plug_ins.cache_clear()


@pytest.fixture(scope="module")
def workers(folder, tmp_path_factory):
    """Has workers begin with PyTorch loaded; the cluster of the last test has Ray's own."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("workers") / "socket"
        patch.setenv(warm_workers.SOCKET, str(path))
        server = warm.start(warm_workers.SERVER, cwd=Path(__file__).parents[1])
        try:
            cluster_methods.wait_until(path.exists)
            yield {"setup_worker_path": warm_workers.__file__}
        finally:
            server.kill()
            server.join()


@pytest.fixture(scope="module")
def cluster(workers):
    """A node with two CPUs and what it takes for a GPU, where the driver is, and one with one CPU."""
    from ray._private import services
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False, "include_log_monitor": False} | workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node_ip_address", lambda *_: "127.0.0.1")
        patch.setattr(services, "resolve_ip_for_localhost", lambda host: host)
        nodes = Cluster(True, head_node_args={"num_cpus": 2, "num_gpus": 1, **small})
        nodes.add_node(num_cpus=1, **small)
        ray.init(nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@contextmanager
def held(folder):
    """Let the method ``held`` wait meanwhile."""
    (folder / cluster_methods.HOLD).touch()
    try:
        yield
    finally:
        (folder / cluster_methods.HOLD).unlink(missing_ok=True)


def run(recipe, out, progress=False):
    return StudyFolder(run_recipe(recipe, data_dir=out, out=out, progress=progress)).table


def locally(recipe, out):
    return run(recipe.model_copy(update={"executor": recipe.executor.at("local")}), out)


def rows(table):
    """What does not hang on a clock."""
    clocks = ("seconds", "retrain_fraction")
    return [
        (row.model_dump(exclude={"scores"}), {name: row.scores[name] for name in row.scores if name not in clocks})
        for row in table.rows
    ]


def runs(out):
    """The folders of all runs, by the content of their weights and predictions."""
    names = ("model.safetensors", "predictions.safetensors")
    return {
        path.parent.name: [(path.parent / name).read_bytes() for name in names] for path in out.glob("*/record.json")
    }


def test_two_machines_give_what_one_process_gives_and_share_the_images(cluster, folder, tmp_path):
    methods = [{"method": "natmu", "settings": {"epochs": 1, "n": 2}}, AMNESIAC, {"method": "witness"}]
    recipe = fakes.recipe(forget=["hardest:5%", "class:3"], methods=methods, executor=RAY, audit="quick")
    (folder / cluster_methods.WORKERS).write_text("3")
    table = run(recipe, tmp_path / "ray")
    traces = [json.loads(path.read_text()) for path in folder.glob("witness-*.json")]
    (folder / cluster_methods.WORKERS).write_text("1")
    expected = locally(recipe, tmp_path / "local")

    assert rows(table) == rows(expected)
    assert {row.failed for row in table.rows} == {None}
    assert table.hardware == expected.hardware.model_copy(update={"threads": 1})
    assert runs(tmp_path / "ray") == runs(tmp_path / "local")
    audits = [(tmp_path / kind / "tiny" / "audit.json").read_text() for kind in ("ray", "local")]
    assert audits[0] == audits[1]
    assert [path for path in (tmp_path / "ray" / ".work").iterdir() if path.suffix != ".lock"] == []

    places, workers = defaultdict(set), defaultdict(set)
    for trace in traces:
        places[trace["node"]].add((trace["inode"], trace["place"]))
        workers[trace["node"], trace["pid"]].add(trace["address"])
    assert len(places) == 2
    assert len(workers) == 3
    assert all(len(found) == 1 for found in places.values())
    assert all(len(found) == 1 for found in workers.values())
    inodes = {inode for found in places.values() for inode, _ in found}
    assert len(inodes) == 2
    assert 0 not in inodes


def test_the_workers_call_a_training_of_the_user_s_own(cluster, tmp_path):
    training = {"trainer": "cluster_trainer:train", "arguments": {"lr": 0.01}}
    changes = {"training": training, "forget": ["class:3"], "methods": [AMNESIAC], "seeds": {"training": [0]}}
    recipe = fakes.recipe(executor=RAY, **changes)
    table, expected = run(recipe, tmp_path / "ray"), locally(recipe, tmp_path / "local")
    assert {row.failed for row in table.rows} == {None}
    assert rows(table) == rows(expected)
    assert runs(tmp_path / "ray") == runs(tmp_path / "local")
    assert table.recipe.training.source is not None


def test_shards_are_jobs_like_any_other(cluster, tmp_path):
    training = {"epochs": 2, "sharding": {"shards": 2, "slices": 2, "threads": 1}}
    methods = [AMNESIAC, {"method": "sisa"}]
    recipe = fakes.recipe(training=training, forget=["class:3"], methods=methods, seeds={"training": [0]}, executor=RAY)
    table, expected = run(recipe, tmp_path / "ray"), locally(recipe, tmp_path / "local")
    assert {row.failed for row in table.rows} == {None}
    assert rows(table) == rows(expected)
    stages = [path for path in (tmp_path / "ray").glob("*/division.npy") if not (path.parent / "forget.npy").exists()]
    assert len(stages) == 1 + 4 + 4
    assert files_of(tmp_path / "ray") == files_of(tmp_path / "local")


def files_of(out):
    """The weights of all runs, those of stages among them."""
    return {path.parent.name: path.read_bytes() for path in out.glob("*/model.safetensors")}


def test_a_method_that_takes_its_worker_along_is_a_failed_row(cluster, tmp_path, capsys):
    recipe = fakes.recipe(
        forget=["random:10%"],
        methods=[{"method": "dies"}, AMNESIAC],
        seeds={"training": [0]},
        executor=RAY | {"retries": 1, "cpus": 2},
    )
    table = run(recipe, tmp_path, progress=True)
    original, retrained, dies, amnesiac = table.rows
    assert [row.n for row in (original, retrained, dies, amnesiac)] == [1, 2, 0, 1]
    assert table.hardware.threads == 2
    assert dies.failed.startswith("Its worker was lost 2 times")
    assert "WorkerCrashedError" in (tmp_path / "tiny" / dies.log).read_text()
    told = capsys.readouterr()
    assert " ".join(told.err.split()).count("its worker was lost; started again, 1 of 1 times") == 1
    assert re.sub(r".*\(raylet\).*\n", "", told.out) == "", "Ray may say so late, as this cluster stays connected"


def small(**executor):
    return fakes.recipe(forget=["random:10%"], methods=[], seeds={"training": [0]}, executor=RAY | executor)


@pytest.mark.parametrize(
    ("executor", "sentence"),
    [
        ({"cpus": 64}, "No machine .* 64 CPUs and 0 GPUs .* they have 1 and 0 or 2 and 1: lower executor.cpus"),
        ({"cpus": 2, "gpus": 1}, "PyTorch finds no GPU on the machine .* set executor.gpus to 0"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="it has the GPU that the cluster claims")
def test_what_no_machine_has_is_refused(cluster, tmp_path, executor, sentence):
    with pytest.raises(UsageError, match=sentence):
        run(small(**executor), tmp_path)


def test_a_machine_that_does_not_see_the_store_is_refused(cluster, tmp_path, monkeypatch):
    @contextmanager
    def elsewhere(root):
        yield root / "on another machine"

    monkeypatch.setattr(on_ray, "_token", elsewhere)
    monkeypatch.setattr(on_ray, "PATIENCE", 0.2)
    with pytest.raises(UsageError, match=f"does not see {tmp_path}; let --out name"):
        run(small(), tmp_path)


def test_jobs_of_a_study_that_is_left_are_ended(cluster, folder, tmp_path):
    recipe = small().model_copy(update={"methods": (MethodEntry(method="held"),)})
    before = {*folder.glob("held-*")}
    with held(folder):
        place = workspace_of(recipe, tmp_path, tmp_path, "auto")
        outcomes = make_on_ray(plan_of(recipe, place).models, place, tmp_path / "logs", recipe.executor)
        made = []
        while not any(isinstance(model.on, Everything) for model in made):  # what starts from it is then under way
            made.append(next(outcomes)[0])
        assert all(isinstance(model, Trained) and isinstance(model.on, Everything | AllBut) for model in made)
        cluster_methods.wait_until(lambda: {*folder.glob("held-*")} - before)
        outcomes.close()
        cluster_methods.wait_until(lambda: ray.available_resources().get("CPU") == ray.cluster_resources()["CPU"], 20)


def test_jobs_of_a_machine_that_goes_away_are_done_by_another(cluster, folder, tmp_path, capsys):
    node = next(iter(cluster.worker_nodes))
    methods = [{"method": "held"}, AMNESIAC]
    seeds = {"training": [0], "unlearning": [0, 1, 2]}
    recipe = fakes.recipe(forget=["random:10%"], methods=methods, seeds=seeds, executor=RAY)

    before = {*folder.glob("held-*")}

    def at_work():
        return [path for path in {*folder.glob("held-*")} - before if path.read_text() == node.node_id]

    def pull_the_plug():
        cluster_methods.wait_until(at_work)
        cluster.remove_node(node, allow_graceful=False)
        with suppress(ProcessLookupError):  # it ends with its node, but might be done before it does
            os.kill(int(at_work()[0].name.split("-")[2]), signal.SIGKILL)
        (folder / cluster_methods.HOLD).unlink()

    with held(folder):
        plug = threading.Thread(target=pull_the_plug, daemon=True)
        plug.start()
        table = run(recipe, tmp_path / "ray", progress=True)
        plug.join()
    (interrupted,) = at_work()
    assert len({*folder.glob(f"held-{interrupted.name.split('-')[1]}-*")} - before) == 2
    assert rows(table) == rows(locally(recipe, tmp_path / "local"))
    assert runs(tmp_path / "ray") == runs(tmp_path / "local")
    assert "started again, 1 of 3 times" in " ".join(capsys.readouterr().err.split())


def test_torchrun_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(on_ray.processes, "count", lambda: 2)
    with pytest.raises(UsageError, match="leave out torchrun"):
        next(make_on_ray([], None, tmp_path, ExecutorSettings(kind="ray")))


def test_an_address_where_nobody_answers_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(UsageError, match=f"does not answer at {address} .*; start it with ray start"):
        run(small(address=address), tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UsageError, match=f"does not answer at {address} "):
        run(small(), tmp_path)


def test_without_ray_its_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'natmu\[ray\]'"):
        run(small(), tmp_path)


def test_a_device_that_the_jobs_do_not_get_is_refused():
    with pytest.raises(SettingError, match=r"'cuda' does not fit executor\.gpus: 0. Leave --device out"):
        driver_compute(ExecutorSettings(kind="ray"), "cuda")
    with pytest.raises(SettingError, match=r"'cpu' does not fit executor\.gpus: 0\.5"):
        driver_compute(ExecutorSettings(kind="ray", gpus=0.5), "cpu")


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_jobs_on_gpus_are_in_bf16_unless_the_recipe_says_otherwise(device):
    on_gpus = ExecutorSettings(kind="ray", gpus=0.5)
    assert driver_compute(on_gpus, device).precision == "bf16"
    assert driver_compute(on_gpus, device, "fp32").precision == "fp32"
    assert driver_compute(on_gpus, device).device == torch.device("cpu")
    assert driver_compute(ExecutorSettings(kind="ray"), "cpu", "bf16").precision == "bf16"


def test_a_worker_maps_the_files_of_mapped_images_and_reads_no_image_to_begin(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 600), ("test", 20)):
        np.save(tmp_path / f"x_{part}.npy", rng.integers(0, 256, (count, 3, 16, 16), np.uint8))
        np.save(tmp_path / f"y_{part}.npy", np.arange(count) % 10)
    recipe = fakes.recipe(data={"source": str(tmp_path)}, executor=RAY)
    place = workspace_of(recipe, tmp_path, tmp_path, "auto")
    token = tmp_path / "token"
    token.touch()
    sent = pickle.dumps(Shared(packed(place), tmp_path, 1, False, token, 0), protocol=5)
    assert len(sent) < 50_000
    found = unpacked(pickle.loads(sent))
    assert not found.splits.train.resident
    assert found.splits.train.__dict__["digest"] == place.splits.train.digest
    assert found.data == place.data
    assert found.__dict__["data"] == place.data, "it was computed once, for all"
    rows = torch.tensor([599, 3])
    assert torch.equal(found.splits.train.take(rows), place.splits.train.take(rows))


def processes_of(session):
    """Command lines of all processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(path.name)) == session:
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


@contextmanager
def command(recipe, tmp_path, *options):
    """``natmu bench``, which starts a cluster of its own, in a session of its own."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["bench", "recipe.yaml", "--data-dir", ".", "--out", "runs", *options]
    code = "import os; os.setsid(); from natmu.cli import main; main()"
    process = warm.start(code, *words, cwd=tmp_path, RAY_ADDRESS="local", OMP_NUM_THREADS="1")
    try:
        yield process
    finally:
        process.kill()


def test_interrupted_it_ends_the_cluster_that_it_started(folder, tmp_path):
    """The models that ``held`` is compared with are there before, so that it is the only job."""
    values = small().model_copy(update={"methods": (MethodEntry(method="held"),)})
    locally(small(), tmp_path / "runs")
    recipe = values.model_dump(mode="json", exclude={"retrain"}) | {"executor": {"cpus": 1}}
    with held(folder), command(recipe, tmp_path, "--executor", "ray") as process:
        before = {*folder.glob("held-*")}
        cluster_methods.wait_until(lambda: {*folder.glob("held-*")} - before or process.poll() is not None)
        os.kill(process.pid, signal.SIGINT)
        done = process.join(60)
        assert (done.returncode, done.stdout) == (130, ""), done.stderr
        assert done.stderr.splitlines()[-1].startswith("natmu: Interrupted")
        cluster_methods.wait_until(lambda: not processes_of(process.pid), 10)  # what was killed takes a moment to go
    assert list((tmp_path / "runs" / ".work").glob("*.token")) == []


def test_a_worker_that_cannot_begin_for_want_of_room_says_so(monkeypatch):
    full = ray.exceptions.RayTaskError("work", "trace", OSError(28, "No space left on device", "runs/a"))

    def get(reference):
        raise full

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(ResourceError, match="No room is left for runs/a"):
        on_ray._outcome(None)
