"""Every verb with names that would act on a terminal, a spreadsheet or a page."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image
from tests.deletion_requests.fakes import opening, released, requested, started
from tests.hostile import BIDI, ESCAPES, FORMULAS, LONG, MARKUP, NAMES, NO_UTF_8, RETURNS, TEX, UNSEEN, harm

from natmu.report.html import for_html
from natmu.safe_text import csv_lines, for_markdown, for_terminal

from .test_requests import COMMANDS, service

__all__ = ["service"]

CLASSES = tuple(name.replace("/", "") for name in (f"{ESCAPES}{RETURNS}", f"{MARKUP}{BIDI}", f"{FORMULAS[0]}{UNSEEN}"))
LABELS = (f"{RETURNS}{ESCAPES}", f"{MARKUP}{TEX}{BIDI}", *FORMULAS[:2])
REFUSED = (f"{ESCAPES}{RETURNS}", f"{BIDI}{UNSEEN}", f"{MARKUP}{TEX}", FORMULAS[0], NO_UTF_8, LONG)
MOST_SAID = 2_500
"""Characters of all that a refusal says."""


def harmless(outcome):
    """Check that nothing unseen was printed, and no traceback."""
    assert not harm(outcome.out), outcome
    assert not harm(outcome.err), outcome
    assert "Traceback" not in outcome.err, outcome
    assert "a bug" not in outcome.err, outcome
    return outcome


WORDS = [
    ("train", "--data", None, "--model", "small_cnn"),
    ("train", "--data", "digits", "--model", None),
    ("train", "--data", "digits", "--model", "small_cnn", "--optimizer", None),
    ("unlearn", "--from", None, "--forget", "random:1"),
    ("plan", "--from", None, "--forget", "random:1"),
    ("audit", None),
    ("bench", None),
    ("search", None),
    ("report", None),
    ("export", None, "--out", "x.pt"),
    ("data", "download", None),
    ("models", None),
    ("methods", None),
    ("scores", None),
    (None,),
    ("requests", None),
    ("requests", "init", "--from", None, "--out", "x"),
    ("requests", "add", None, "--files", "x", "--ticket", "x"),
    ("requests", "verify", None),
    *(("requests", verb, None) for verb in ("list", "status", "process", "retrain")),
    *(("requests", verb, None, "1") for verb in ("rollback", "confirm-purge", "evidence")),
    ("requests", "export", None, "--out", "x.pt"),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(word or "NAME" for word in words))
def test_a_name_that_is_refused_is_shown_as_it_stands_and_shortened(natmu, tmp_path, words):
    for name in REFUSED:
        outcome = harmless(natmu(*(name if word is None else word for word in words)))
        assert outcome.status in (1, 2), (outcome, name)
        assert outcome.out == ""
        assert [line.startswith("natmu: ") for line in outcome.err.splitlines()].count(True) == 1
        assert outcome.err.splitlines()[-1].startswith("natmu: ")
        assert len(outcome.err) < MOST_SAID
    assert not [*tmp_path.rglob("record.json")]


@pytest.fixture
def photos(tmp_path):
    """Folders of four images each, called by hostile classes, whose images are called so too."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(4):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / f"{number}{BIDI}.png")
    return ("--data", "photos", "--test-fraction", "25%")


def test_from_training_to_a_page_and_a_file(natmu, tmp_path, photos):
    def done(*words):
        outcome = harmless(natmu(*words))
        assert outcome.status == 0, outcome
        return outcome

    original, unlearned = f"runs/{BIDI}[red]a\x1b[2J", f"runs/=1\r{UNSEEN}b"
    done("train", *photos, "--model", "small_cnn", "--precision", "fp32", "--epochs", 1, "--out", original)
    asked = ("--from", original, "--forget", f"class:{CLASSES[0]}")
    assert done("plan", *asked).out
    done("unlearn", *asked, "--method", "finetune", "--set", "epochs=1", "--out", unlearned)
    assert "Forgotten?" in done("audit", unlearned).out
    done("report", unlearned, "--out", f"{ESCAPES}.html".replace("/", ""))
    (page,) = tmp_path.glob("*.html")
    text = page.read_text(encoding="utf-8")
    written = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not harm(written, "\n\t")
    assert str(for_html(CLASSES[0])) in written
    done("export", unlearned, "--out", f"{BIDI}\x1b[2J.safetensors")
    assert done("unlearn", *asked, "--method", "finetune", "--set", "epochs=1", "--json").json["run"]
    refused = harmless(natmu("unlearn", "--from", original, "--forget", f"class:{RETURNS}{ESCAPES}"))
    assert refused.status == 2
    for record in tmp_path.glob("runs/*/record.json"):
        assert not harm(record.read_text(encoding="utf-8"))


RECIPE = {
    "name": "tiny",
    "data": {"source": "digits", "train_size": 60, "holdout": True},
    "model": "small_cnn",
    "training": {"epochs": 1, "lr": 0.05, "schedule": "cosine", "batch_size": 32, "warmup_epochs": 0},
    "precision": "fp32",
    "forget": ["random:10%"],
    "methods": [{"method": "finetune", "label": label, "settings": {"epochs": 1, "lr": 1e-3}} for label in LABELS],
}


def test_a_study_in_all_its_forms(natmu, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    folder = tmp_path / "runs/tiny"
    outcome = harmless(natmu("bench", "recipe.yaml"))
    assert outcome.status == 0, outcome
    assert harmless(natmu("bench", "recipe.yaml", "--dry-run")).status == 0
    texts = {
        form: harmless_document(natmu("report", folder, "--format", form)) for form in ("markdown", "csv", "latex")
    }
    assert texts["markdown"] == (folder / "table.md").read_text(encoding="utf-8")
    shown = {row["method"] for row in csv.DictReader(texts["csv"].splitlines())}
    for label in LABELS:
        assert f"| {for_markdown(label)} |" in texts["markdown"]
        (cell,) = next(csv.reader([csv_lines([[label]])]))
        assert cell.startswith("'") == (label in FORMULAS)
        assert cell in shown
    assert not harm(re.sub(r"<script>.*?</script>", "", (folder / "report.html").read_text("utf-8"), flags=re.DOTALL))


def harmless_document(outcome):
    """What a command printed, with its own ends of lines."""
    assert (outcome.status, outcome.err) == (0, ""), outcome
    assert not harm(outcome.out, "\n\r")
    return outcome.out.replace("\r\n", "\n")


def test_a_search_and_its_table_of_trials(natmu, tmp_path):
    methods = [{"method": "finetune", "label": LABELS[2], "settings": {"epochs": 1}, "search": {"lr": [1e-3]}}]
    methods += [{"method": "finetune", "label": LABELS[0], "settings": {"epochs": 1}, "search": {"lr": [1e-3]}}]
    search = {"trials": 1, "objective": "no-retrain"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE | {"methods": methods, "search": search}))
    outcome = harmless(natmu("search", "recipe.yaml"))
    assert outcome.status == 0, outcome
    text = (tmp_path / "runs/tiny/trials.csv").read_text(encoding="utf-8")
    assert not harm(text)
    assert [row["method"] for row in csv.DictReader(text.splitlines())] == [f"'{LABELS[2]}", for_terminal(LABELS[0])]


@pytest.mark.parametrize("name", [name[:200] for name in NAMES if name != NO_UTF_8])
def test_a_service_shows_tickets_and_classes_as_they_stand(natmu, service, tmp_path, name):
    request = requested(1, 5, ticket=name, asked="class", classes=(name,))
    service(opening(), request, outcome=request)
    told = harmless(natmu("requests", "add", "service", "--class", name, "--ticket", name))
    assert f"(ticket {for_terminal(name)})" in told.out
    for verb in ("list", "status"):
        assert harmless(natmu("requests", verb, "service")).status == 0
        assert harmless(natmu("requests", verb, "service", "--json")).status == 0
    made = released(1, 1, 1, method=name, promise=name)
    service(opening(), request, started(1, 1), made, outcome=made)
    for words in (("process", name), ("retrain", name), ("status", name), ("list", name)):
        harmless(natmu("requests", *words))
    assert {"add", "list", "status", "process"} <= {*COMMANDS}
