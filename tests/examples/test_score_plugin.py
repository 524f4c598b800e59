"""The example of a score of one's own, built and installed as a user would, and used from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .installed import COMMANDS, installed

RECIPE = """\
name: tiny
data: {source: digits, train_size: 200}
model: small_cnn
training: {epochs: 2, lr: 0.05, schedule: cosine, batch_size: 32, warmup_epochs: 0}
forget: ["random:20%"]
methods: [{method: finetune, settings: {epochs: 1}}]
scores: [kl_forget, exposed_tail]
audit: quick
references: 3
precision: fp32
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Runs Python where the example is installed; gives what it printed."""
    return installed(Path(__file__).parents[2] / "examples/score", tmp_path_factory)


@pytest.fixture(scope="module")
def used(python, tmp_path_factory):
    """What the commands of a user say, and where they ran."""
    folder = tmp_path_factory.mktemp("used")
    (folder / "recipe.yaml").write_text(RECIPE)
    commands = {
        "list": ["scores"],
        "rows": ["scores", "--json"],
        "one": ["scores", "exposed_tail"],
        "bench": ["bench", "recipe.yaml"],
        "csv": ["report", "runs/tiny", "--format", "csv"],
        "latex": ["report", "runs/tiny", "--format", "latex"],
        "markdown": ["report", "runs/tiny", "--format", "markdown"],
    }
    said = python("-c", COMMANDS, json.dumps(list(commands.values())), cwd=folder).split("\0")
    return dict(zip(commands, said, strict=False)), folder


@pytest.fixture(scope="module")
def table(used):
    """The table of the study."""
    return json.loads((used[1] / "runs/tiny/table.json").read_text())


def test_natmu_scores_lists_it_and_tells_all_about_it(used):
    said, _ = used
    assert "\nrmia_auc " in said["list"]
    assert "\nexposed_tail " in said["list"]
    row = json.loads(said["rows"])[-1]
    assert (row["name"], row["package"], row["unit"], row["identical"]) == (
        "exposed_tail",
        "natmu-exposed-tail",
        "nats",
        0,
    )
    assert "Package:\n    natmu-exposed-tail" in said["one"]
    assert "A mean over all forget samples can hide a few" in " ".join(said["one"].split())


def test_an_audit_has_it_with_retrained_models_original_and_verdict(python, used, table):
    run = f"runs/{table['rows'][2]['replicates'][0]['run']}"
    command = ["audit", run, "--offline", "--references", "3"]
    said = python("-c", COMMANDS, json.dumps([command]), cwd=used[1])
    audit = json.loads((used[1] / run / "audit/audit.json").read_text())
    score = audit["scores"]["exposed_tail"]
    assert len(score["retrained"]) == 3
    assert score["original"] > 0
    assert score["verdict"]["p_value"] is not None
    assert score["verdict"]["sentence"].startswith("exposed_tail ")
    assert list(audit["scores"])[-1] == "exposed_tail"
    assert "\nexposed_tail " in said


def test_a_study_has_it_as_a_column_with_its_unit_in_every_form(used, table):
    said, _ = used
    assert "exposed_tail" in table["columns"]
    rows = {row["method"]: row for row in table["rows"]}
    assert rows["original"]["scores"]["exposed_tail"]["mean"] > rows["retrained"]["scores"]["exposed_tail"]["mean"]
    assert rows["finetune"]["scores"]["exposed_tail"]["values"] != [None]
    assert "exposed_tail" in said["bench"]
    assert "in nats: kl_forget, exposed_tail" in " ".join(said["bench"].split())
    assert "in nats: kl_forget, exposed_tail" in said["markdown"]
    (line,) = [line for line in said["csv"].splitlines() if ",finetune,exposed_tail," in line]
    assert ",nats," in line
    assert r"exposed\_tail" in said["latex"]


def test_the_page_shows_it_with_its_unit(used):
    _, folder = used
    page = (folder / "runs/tiny/report.html").read_text()
    assert "in nats: kl_forget, exposed_tail" in " ".join(page.split())
    assert ">exposed_tail<" in page


def test_its_own_tests_pass(python):
    said = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "score/tests")
    assert " passed" in said
    assert "exposed_tail" not in said
