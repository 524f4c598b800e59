"""Calls shared out among real processes: results, shared memory, errors, and processes that die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from functools import partial
from pathlib import Path

import pytest
import torch

import warm
from natmu.engine import processes, together
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.together import WORTH_STARTING, processes_for, run_together
from natmu.errors import DataError, SharedMemoryError, TrainingError
from natmu.models import build_model
from natmu.progress import say, showing, task

from . import fakes


@pytest.fixture
def two_threads():
    """As many threads in this process as the tests share out."""
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def warm_workers(monkeypatch):
    """Workers that do not have to import PyTorch, for what does not depend on how they start."""
    warm.start_workers(monkeypatch)


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def train(data, weights, number):
    """Train one small model and leave its weights in shared memory."""
    model, meter = fakes.model(seed=number), Meter(len(data), fakes.CPU.device)
    fit(model, fakes.batches(data, seed=number), meter.cross_entropy, fakes.settings(), fakes.CPU, Watch("train"))
    weights[number] = flat(model)


def look(seen, images, number):
    """What a worker can see of how it was started."""
    seen[number, 0] = images.is_shared()
    seen[number, 1] = torch.get_num_threads()
    seen[number, 2] = os.getpid()
    seen[number, 3] = images[number]
    time.sleep(0.2)  # so that no worker makes all of the calls


def fail(begun, number):
    """Call 0 fails once call 1 is at work; call 1 would take for ever."""
    begun[number] = 1
    while number or not begun[1]:
        time.sleep(0.01)
    raise DataError("The sentence.")


def break_down(_number):
    raise ZeroDivisionError("a bug")


def die(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def tell(threads, number):
    threads[number] = torch.get_num_threads()
    with task(f"work {number}", 2) as advance:
        advance()
        say(f"half of {number} [bold]")
        advance()


def chosen(compute=fakes.CPU, batch_size=64, steps=1000, count=4):
    model = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.5], std=[0.5], seed=0)
    return processes_for(model, (1, 8, 8), batch_size, steps, compute, count=count)


def test_small_models_are_trained_together_and_large_ones_in_turn(two_threads):
    assert chosen() == 2
    assert chosen(batch_size=100_000) == 1
    assert chosen(Compute(fakes.CPU.device, "bf16")) == 2


def test_so_many_processes_as_there_are_models_and_threads(two_threads):
    assert [chosen(steps=3000, count=count) for count in (1, 2, 3)] == [1, 2, 2]
    torch.set_num_threads(1)
    assert chosen() == 1


def test_little_work_does_not_repay_the_start_of_processes(two_threads):
    assert [chosen(steps=steps) for steps in (WORTH_STARTING // 4 - 1, WORTH_STARTING // 4)] == [1, 2]


def test_one_process_for_what_is_not_measured(two_threads, monkeypatch):
    assert chosen(Compute(torch.device("cuda"), "fp32")) == 1
    monkeypatch.setattr(processes, "count", lambda: 2)
    assert chosen() == 1


def test_the_threshold_is_on_the_work_of_a_step(two_threads, monkeypatch):
    """A step of 64 images: three convolutions over 8 x 8, 4 x 4 and 2 x 2 pixels, and one product."""
    products = 64 * 9 * 1 * 32 + 16 * 9 * 32 * 64 + 4 * 9 * 64 * 128 + 128 * 10
    for limit, answer in ((64 * 2 * products, 1), (64 * 2 * products + 1, 2)):
        monkeypatch.setattr(together, "FASTER_BELOW", limit)
        assert chosen() == answer


def test_weights_are_those_of_one_thread_here_to_the_bit_and_those_of_all_threads_to_tolerance(two_threads):
    data, numbers = fakes.image_data(), range(3)
    together, all_threads, one_thread = (torch.zeros(len(numbers), len(flat(fakes.model()))) for _ in range(3))
    run_together(partial(train, data, together), [(number,) for number in numbers], 2, "models")
    for number in numbers:
        train(data, all_threads, number)
    torch.set_num_threads(1)
    for number in numbers:
        train(data, one_thread, number)
    assert torch.equal(together, one_thread)
    torch.testing.assert_close(together, all_threads)
    assert len(together.unique(dim=0)) == len(numbers)


def test_workers_share_tensors_and_have_a_share_of_the_threads(two_threads, warm_workers):
    seen, images = torch.zeros(4, 4), torch.arange(4)
    run_together(partial(look, seen, images), [(number,) for number in range(4)], 2, "models")
    assert images.is_shared()
    assert seen[:, 0].tolist() == [1, 1, 1, 1]
    assert seen[:, 1].tolist() == [1, 1, 1, 1]
    assert len({*seen[:, 2].tolist(), os.getpid()}) == 3
    assert seen[:, 3].tolist() == [0, 1, 2, 3]


def test_an_error_arrives_as_itself_and_ends_the_others(warm_workers):
    begun = torch.zeros(3)
    with pytest.raises(DataError) as caught:
        run_together(partial(fail, begun), [(number,) for number in range(3)], 2, "models")
    assert str(caught.value) == "The sentence."
    assert begun.tolist() == [1, 1, 0]


def test_a_bug_arrives_with_its_traceback(warm_workers):
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        run_together(break_down, [(0,)], 2, "models")
    assert "in break_down" in caught.value.__notes__[0]


def test_a_killed_process_ends_in_one_sentence(warm_workers, capfd):
    with pytest.raises(TrainingError, match=r"exit status -9.*OMP_NUM_THREADS=1") as caught:
        run_together(die, [(0,), (1,)], 2, "models")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class TooLarge:
    def __reduce__(self):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def test_too_little_shared_memory_is_said_in_one_sentence():
    with pytest.raises(SharedMemoryError, match=r"unable to allocate shared memory.*docker run --shm-size=4g\.$"):
        run_together(partial(print, TooLarge()), [(0,), (1,)], 2, "models")


def test_a_single_call_has_the_threads_that_it_would_have_among_several_and_its_progress_is_shown(
    two_threads, warm_workers, capsys
):
    threads = torch.zeros(1)
    with showing():
        run_together(partial(tell, threads), [(0,)], 2, "models")
        run_together(partial(tell, threads), [], 2, "models")
    assert threads == 1
    assert "half of 0 [bold]" in capsys.readouterr().err.splitlines()


SCRIPT = textwrap.dedent("""
    import time
    print("run", flush=True)
    from natmu.engine.together import run_together
    run_together(time.sleep, [(600,), (600,)], 2, "naps")
""")
"""A script without the usual guard, which workers must not run again."""


def workers_of(pid):
    """Processes that a process has started to make calls."""
    return [child for child in children_of(pid) if "spawn_main" in command_of(child)]


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid):
    return Path(f"/proc/{pid}/cmdline").read_text()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("sent", "words"), [(signal.SIGINT, ["KeyboardInterrupt"]), (signal.SIGKILL, [])])
def test_no_worker_runs_the_script_again_or_outlives_the_process_that_started_it(tmp_path, sent, words):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: len(workers_of(process.pid)) == 2)
    workers = workers_of(process.pid)
    until(lambda: all("torch" in Path(f"/proc/{worker}/maps").read_text() for worker in workers))
    (os.killpg if sent == signal.SIGINT else os.kill)(process.pid, sent)  # Ctrl-C reaches the workers too
    output, errors = process.communicate(timeout=60)
    assert output == "run\n"
    assert errors.splitlines()[-1:] == words
    assert errors.count("Traceback") == len(words)
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
