"""What pip installs: a wheel and a source archive, built here and installed away from the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from datetime import date
from pathlib import Path

import pytest
import yaml

import natmu

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILD = "import sys\nfrom setuptools import build_meta\n"
"""Builds without an environment of its own, which would have to be downloaded."""


def python(*words, cwd, **environment):
    """Run Python and return what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_in(wheel):
    """Names of what a wheel installs, without what pip needs to know about it."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel of the tree, the source archive, and the wheel of that."""
    folder = tmp_path_factory.mktemp("built")
    tree = folder / "tree"
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tree)
    python("-c", BUILD + "build_meta.build_sdist('..')\nbuild_meta.build_wheel('../of-tree')", cwd=tree)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    python("-c", BUILD + "build_meta.build_wheel('../../of-archive')", cwd=unpacked)
    return folder


def test_both_wheels_hold_every_file_of_the_package_and_nothing_else(built):
    (of_tree,), (of_archive,) = (list((built / name).glob("*.whl")) for name in ("of-tree", "of-archive"))
    paths = (path for path in (ROOT / "src").rglob("*") if path.is_file())
    ours = {path.relative_to(ROOT / "src").as_posix() for path in paths}
    ours = {name for name in ours if "__pycache__" not in name and ".egg-info/" not in name}
    assert {"natmu/py.typed", "natmu/methods/catalogue.json", "natmu/report/templates/base.html"} <= ours
    assert files_in(of_tree) == ours
    assert files_in(of_archive) == ours
    assert of_tree.name == of_archive.name == f"natmu-{natmu.__version__}-py3-none-any.whl"


def test_the_source_archive_says_how_it_is_cited_and_what_changed(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert {"CITATION.cff", "CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml"} <= names


def test_what_pip_installs_works_away_from_the_source_tree(built, tmp_path):
    (wheel,) = (built / "of-archive").glob("*.whl")
    quiet = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    python("-m", "pip", "install", *quiet, "--target", tmp_path / "site", wheel, cwd=tmp_path)
    installed = {"PYTHONPATH": str(tmp_path / "site")}
    (command,) = (tmp_path / "site" / "bin").iterdir()
    assert python(command, "--version", cwd=tmp_path, **installed) == f"natmu {natmu.__version__}\n"
    asked = (
        "import natmu, natmu.report.html\n"
        "from importlib.metadata import version\n"
        "natmu.report.html.templates().get_template('base.html')\n"
        "print(version('natmu'), natmu.__file__)"
    )
    number, file = python("-c", asked, cwd=tmp_path, **installed).split()
    assert number == natmu.__version__
    assert Path(file).is_relative_to(tmp_path)


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "natmu.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", natmu.__version__)


def test_the_versions_of_python_that_are_named_agree():
    named = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if ":: Python :: 3." in line}
    assert named == {"3.11", "3.12", "3.13"}
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"


KEYS = {
    "software": {
        *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
        *("license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact"),
        *("repository-code", "title", "type", "url", "version"),
    },
    "person": {"address", "affiliation", "alias", "city", "country", "email", "family-names", "given-names", "orcid"},
    "entity": {"address", "alias", "city", "country", "date-end", "date-start", "email", "location", "name", "orcid"},
}
"""Keys of the Citation File Format 1.2.0, https://github.com/citation-file-format/citation-file-format."""

REQUIRED = {"authors", "cff-version", "message", "title"}


def test_the_citation_file_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert REQUIRED <= citation.keys() <= KEYS["software"]
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] in ("software", "dataset")
    assert isinstance(citation.get("date-released", date.min), date)
    works = [citation, *citation["references"]]
    for work in works:
        assert {"authors", "title", "type"} <= work.keys()
        for author in work["authors"]:
            assert author.keys() <= KEYS["entity" if "name" in author else "person"]
            assert author
        for identifier in work.get("identifiers", []):
            assert identifier["type"] in ("doi", "url", "swh", "other")
            assert identifier["value"]
        assert re.fullmatch(r"10\.\d{4,9}(\.\d+)?/\S+", work.get("doi", "10.1234/x"))
        assert work.get("url", "https://").startswith(("https://", "http://", "ftp://", "sftp://"))
    assert len(set(citation["keywords"])) == len(citation["keywords"])
