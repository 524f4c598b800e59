"""What other processes do to a ledger in tests; imports no PyTorch."""

import os
import random
import signal
import sys
import time
from pathlib import Path

from tests.deletion_requests.fakes import requested

from natmu.errors import NatmuError
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger


def opened(folder):
    """The ledger in a folder."""
    return Ledger(Path(folder) / "ledger.sqlite", ServiceKey.read(Path(folder) / "service.key"))


def append_many(folder, name, count):
    """Append requests of its own, each beside a try at one whose ticket all processes share."""
    ledger = opened(folder)
    for row in range(int(count)):
        shared = f"shared {row}"
        ledger.append(lambda state: request(state, shared) if state.ticket(shared) is None else None)  # noqa: B023
        ledger.append(lambda state: request(state, f"{name} {row}"))  # noqa: B023


def request(state, ticket):
    """A request with the next number."""
    return requested(len(state.requests) + 1, ticket=ticket)


def be_killed(folder, times):
    """Kill writers at random moments, and say what became of the ledger."""
    ledger, draw = opened(folder), random.Random(0)
    for _ in range(int(times)):
        reading, writing = os.pipe()
        writer = os.fork()
        if writer == 0:
            while True:
                entry = ledger.append(lambda state: request(state, str(len(state.requests))))
                os.write(writing, f"{entry.number}\n".encode())
        os.close(writing)
        with os.fdopen(reading) as reports:
            first = reports.readline()
            time.sleep(draw.random() * 0.03)
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
            committed = int([first, *reports.read().splitlines()][-1])
        assert not ledger.problems(), ledger.problems()
        assert len(ledger.entries()) - committed in (0, 1)
    print(len(ledger.entries()))


def without_rights(folder):
    """Read and append where nothing may be written."""
    ledger = opened(folder)
    if os.geteuid() == 0:
        os.setuid(65534)
    print(len(ledger.entries()), ledger.problems())
    try:
        ledger.append(lambda state: request(state, "new"))
    except NatmuError as error:
        print(error)
    print(len(ledger.entries()))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
