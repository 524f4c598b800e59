"""Workers of a Ray cluster that begin with PyTorch loaded: they are forked from a server that has loaded it.

Ray runs this file, which imports nothing slow, for each worker that it wants. The file asks the server for one, and
ends with it. Ray itself is imported by each worker, as it reads its settings from the environment at that moment.
"""

import json
import os
import runpy
import signal
import socket
import sys
from argparse import ArgumentParser
from pathlib import Path

SOCKET = "NATMU_TEST_WORKERS"
"""Names the socket of the server."""

SERVER = "from lineage import warm_workers; warm_workers.serve()"


def serve():
    """Fork a worker for each one that asks, until this process is ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.environ[SOCKET])
        server.listen()
        while True:
            asks, _ = server.accept()
            with asks:
                if os.fork() == 0:
                    server.close()
                    _become(asks)


def _become(asks):
    """Be the worker that was asked for; who asks hears when the socket is closed, at the end of this process."""
    with asks.makefile() as lines:
        words, environment, folder = json.loads(lines.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
    sys.exit()


def _ask():
    """Ask for a worker, and wait for its end."""
    parser = ArgumentParser()
    parser.add_argument("--serialized-runtime-env-context")
    parser.add_argument("--language")
    _, words = parser.parse_known_args()
    with socket.socket(socket.AF_UNIX) as asks:
        asks.connect(os.environ[SOCKET])
        asks.sendall(json.dumps([words, dict(os.environ), str(Path.cwd())]).encode() + b"\n")
        asks.recv(1)


if __name__ == "__main__":
    _ask()
