"""Examples of packages, built and installed as a user would, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import warm

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
    env = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def run(*words, cwd=built):
        kind, what, *others = words
        code = what if kind == "-c" else f"import runpy; runpy.run_module({what!r}, {{}}, '__main__', True)"
        done = warm.start(code, *others, cwd=cwd, **env).join()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    install = [sys.executable, *PIP, "--no-build-isolation", "--target", site, copied]
    done = subprocess.run(install, cwd=built, env=os.environ | env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return run
