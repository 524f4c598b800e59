"""``natmu report`` on folders that ``natmu`` itself wrote."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

RECIPE = """\
name: tiny
data: {source: digits, train_size: 150}
model: small_cnn
training: {epochs: 2, lr: 0.05, schedule: cosine, batch_size: 32, warmup_epochs: 0}
forget: ["random:10%"]
methods: [{method: natmu, settings: {epochs: 1, n: 2}}, {method: amnesiac, settings: {epochs: 1}}]
precision: fp32
"""


@pytest.fixture
def study(natmu, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    outcome = natmu("bench", "recipe.yaml")
    assert outcome.status == 0, outcome.err
    return outcome


def test_bench_ends_with_a_report_and_so_does_the_verb(natmu, study, tmp_path):
    written = tmp_path / "runs/tiny/report.html"
    assert study.out.splitlines()[-1] == "runs/tiny/report.html"
    page = written.read_text()
    assert "natmu" in page
    assert "amnesiac" in page
    assert '"f0-margin-forget"' in page
    written.unlink()
    outcome = natmu("report", "runs/tiny")
    assert (outcome.status, outcome.out) == (0, "runs/tiny/report.html\n")
    assert written.exists()
    table = json.loads((tmp_path / "runs/tiny/table.json").read_text())
    run = table["rows"][2]["replicates"][0]["run"]
    outcome = natmu("report", f"runs/{run}", "--out", "pages/run.html")
    assert (outcome.status, outcome.out) == (0, "pages/run.html\n")
    assert "was not audited" in (tmp_path / "pages/run.html").read_text()

    code = (
        "import sys\nfrom pathlib import Path\nfrom natmu.report import write_report\n"
        "write_report(Path('runs/tiny'))\n"
        "unwanted = {'torch', 'sklearn', 'scipy.stats', 'pandas', 'natmu.studies', 'natmu.lineage'}\n"
        "assert not unwanted & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_tables_are_printed_or_written_as_text(natmu, study, tmp_path):
    outcome = natmu("report", "runs/tiny", "--format", "markdown")
    assert outcome.out == (tmp_path / "runs/tiny/table.md").read_text()
    assert natmu("report", "runs/tiny", "--format", "markdown", "--out", "table.md").out == "table.md\n"
    assert (tmp_path / "table.md").read_text() == outcome.out
    assert natmu("report", "runs/tiny", "--format", "csv").out.startswith("scenario,method,")
    assert r"\begin{tabular}" in natmu("report", "runs/tiny", "--format", "latex").out


@pytest.mark.parametrize("form", ["html", "markdown", "csv", "latex"])
def test_no_recipe_is_replaced_by_a_report(natmu, study, tmp_path, form):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    outcome = natmu("report", "runs/tiny", "--format", form, "--out", "mine.yaml")
    assert outcome.status == 2
    assert "mine.yaml is there, and its name does not end in" in outcome.err
    assert (tmp_path / "mine.yaml").read_text() == "name: mine\n"


def test_what_is_no_result_is_refused(natmu):
    outcome = natmu("report", "nowhere")
    assert outcome.status == 2
    assert "name the folder of a study or of a run" in outcome.err
