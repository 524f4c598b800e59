"""Examples of packages, built and installed as a user would, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PIP = ("-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "install", "--quiet", "--no-index", "--no-deps")

COMMANDS = """
import json, sys
from natmu.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["natmu", *map(str, words)]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    print(end="\\0")
"""
"""Several commands in one process, since each would load PyTorch anew."""


def installed(example, tmp_path_factory):
    """Installs an example into a folder; gives what runs Python there and gives what it printed."""
    built, site = tmp_path_factory.mktemp("example"), tmp_path_factory.mktemp("site")
    copied = shutil.copytree(example, built / example.name, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    paths = [str(site), *(str(Path(entry).absolute()) for entry in given)]  # commands run in other folders
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def run(*words, cwd=built):
        done = subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(*PIP, "--no-build-isolation", "--target", site, copied)
    return run
