from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.records.folders import an_audit, samples

from natmu.errors import RunError, UsageError
from natmu.records.audit import Answer, write_audit
from natmu.records.derived import retrained
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, HalfOfPool, Imported, Relearned
from natmu.records.run import RunFolder
from natmu.records.samples import Exposed
from natmu.records.table import Place, Ranks
from natmu.report import write_report
from natmu.report.commands import commands_of
from natmu.report.page import embedded
from natmu.report.relatives import relatives
from natmu.report.tables import legend
from natmu.scores import scores

from . import folders

LARGEST = 6_000_000
HOSTILE = "</script><script>window.hacked=1</script><!-- <b>&amp;\"'"


@pytest.fixture
def made(tmp_path):
    folder, study = folders.make_study(tmp_path)
    folders.add_hybrids(folder)
    return folder, study


def figures_of(page):
    (text,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_the_page_of_a_study_lies_in_its_folder_and_is_not_too_large(made):
    folder, _ = made
    before = set(folder.iterdir())
    path = write_report(folder)
    assert path == folder / "report.html"
    assert set(folder.iterdir()) - before == {path}
    assert path.stat().st_size < LARGEST


def test_another_file_can_be_named(made, tmp_path):
    folder, _ = made
    assert write_report(folder, tmp_path / "new" / "page.html") == tmp_path / "new" / "page.html"
    assert not (folder / "report.html").exists()


def test_a_folder_that_is_neither_a_study_nor_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="name the folder of a study or of a run"):
        write_report(tmp_path)


def test_a_damaged_run_leaves_the_former_page_as_it_was(made):
    folder, _ = made
    (folder / "report.html").write_text("former")
    (folder.parent / "run20" / "predictions.safetensors").write_bytes(b"cut")
    with pytest.raises(RunError, match=r"predictions\.safetensors is not what this run wrote"):
        write_report(folder)
    assert (folder / "report.html").read_text() == "former"
    assert not list(folder.glob(".*"))


def test_predictions_of_another_run_are_refused(made):
    folder, _ = made
    shutil.copy(folder.parent / "run30" / "predictions.safetensors", folder.parent / "run20")
    with pytest.raises(RunError, match=r"run20/predictions\.safetensors is not what this run wrote"):
        write_report(folder)


def test_the_folder_of_a_search_says_how_to_make_it_a_study(tmp_path):
    (tmp_path / "search.json").write_text("{}")
    with pytest.raises(UsageError, match=r"run natmu bench .*best\.yaml"):
        write_report(tmp_path)


def test_a_page_that_cannot_be_written_is_reported(made):
    folder, _ = made
    (folder / "report.html").mkdir()
    with pytest.raises(RunError, match="choose a folder"):
        write_report(folder)


def test_without_its_runs_a_study_still_has_its_table(made):
    folder, _ = made
    for path in folder.parent.glob("run*"):
        shutil.rmtree(path)
    page = write_report(folder).read_text()
    assert "run folders do not lie beside" in page
    assert not [key for key in figures_of(page) if "margin" in key]


def test_where_nothing_was_measured_the_page_and_the_legend_say_so(made):
    folder, study = made
    nothing = dict.fromkeys(study.columns)
    failed = {"n": 0, "replicates": (), "failed": "It diverged.", "log": "logs/a.log"}
    study = folders.changed(study, rows=tuple(folders.changed(row, scores=nothing, **failed) for row in study.rows))
    folders.rewrite(folder, study)
    page = write_report(folder).read_text()
    assert "<caption>Nothing was measured.</caption>" in page
    assert "over seeds; ." not in page
    assert "do not lie beside" not in page
    assert legend(study, "±", bold=True) == "Nothing was measured."


def test_ranks_need_two_methods_and_count_their_seeds(made):
    folder, study = made
    place = Place(mean=1.0, best=1.0, worst=1.0, first=1.0)
    shown = {"scenario": study.rows[0].scenario, "score": "avg_gap", "n": 1, "agreement": None}
    folders.rewrite(folder, folders.changed(study, ranks=(Ranks(**shown, methods={"natmu": place}),)))
    assert "Ranks by" not in write_report(folder).read_text()
    both = Ranks(**shown, methods={"natmu": place, "amnesiac": place})
    folders.rewrite(folder, folders.changed(study, ranks=(both,)))
    assert "Ranks by avg_gap over 1 seed<" in write_report(folder).read_text()


def test_sentences_of_a_caption_are_parted(made):
    folder, study = made
    study = folders.add_statistics(folder, study)
    undecided = folders.changed(study.comparisons[0], score="test_acc", within_noise=None, interval=None)
    folders.rewrite(folder, folders.changed(study, comparisons=(*study.comparisons, undecided)))
    assert re.search(r"correction\)\.\s+Where no two seeds", write_report(folder).read_text())


def test_a_table_of_an_earlier_version_is_refused(made):
    folder, study = made
    (folder / "table.json").write_text(json.dumps({"format": 1, "name": study.name, "rows": []}))
    with pytest.raises(RunError, match="has format 1, and this version of natmu reads format"):
        write_report(folder)


def test_a_study_without_an_audit_says_how_to_ask_for_one(made):
    folder, _ = made
    page = write_report(folder).read_text()
    assert "No audit was asked for" in page
    assert "audit: standard" in page
    folders.add_audit(folder.parent / "run20")
    page = write_report(folder).read_text()
    assert "No audit was asked for" not in page
    assert "Not forgotten:</strong> distinguishable by 1 of 1 scores" in page


def test_a_study_on_the_holdout_does_not_show_audits_which_look_at_the_test_set(made):
    folder, study = made
    folders.add_audit(folder.parent / "run20")
    folders.rewrite(folder, folders.changed(study, score_on="holdout"))
    page = write_report(folder).read_text()
    assert "Not forgotten:</strong> distinguishable by 1 of 1 scores" not in page
    assert "rmia_auc" not in page


def test_the_audits_of_the_study_come_before_those_of_the_runs(made):
    folder, _ = made
    audit = folders.add_audit(folder.parent / "run20")
    own = folders.changed(audit, kept=Answer(outcome="no", sentence="Not kept: as the study has it."))
    folders.rewrite(folder, audits=[folders.study_audit(audit=own)])
    page = write_report(folder).read_text()
    assert "as the study has it." in page
    assert "Kept: retain_acc 99.0 %." not in page


def test_failures_give_their_reason_and_their_log(made):
    folder, _ = made
    page = write_report(folder).read_text()
    assert "It diverged three; use a smaller lr." in page
    assert "<code>logs/three.log</code>" in page


def test_models_of_another_forget_set_are_not_compared(made):
    folder, study = made
    first, *others = study.rows[2].replicates
    replicates = (folders.changed(first, split=7), *others)
    folders.rewrite(folder, folders.changed_row(study, 2, replicates=replicates))
    names = {trace["name"] for trace in figures_of(write_report(folder).read_text())["f0-margin-forget"]["data"]}
    assert names == {"original", "retrained", "amnesiac"}


def test_the_recipe_in_the_page_is_the_recipe(made):
    folder, _ = made
    page = write_report(folder).read_text()
    assert "natmu bench example.yaml" in page
    assert "name: example" in page
    assert "audit: null" not in page


@pytest.mark.parametrize("text", [HOSTILE, "\u2028\u2029", "<!--<script>"])
def test_nothing_in_a_figure_ends_its_element(text):
    written = str(embedded({"key": {"data": [text]}}))
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written) == {"key": {"data": [text]}}


def test_the_page_of_an_original_compares_training_with_test_data(tmp_path):
    run = folders.make_run(tmp_path / "a0", folders.an_original())
    page = write_report(run).read_text()
    assert {"r-margin-train", "r-margin-test", "r-roc-train", "r-curve-loss"} <= figures_of(page).keys()
    assert "natmu train --data digits --model small_cnn" in page
    assert ">91.2<" in page


def test_the_page_of_an_unlearned_model_has_its_original_and_a_retrained_one_beside_it(tmp_path):
    folders.make_run(tmp_path / "a0", folders.an_original())
    folders.make_run(tmp_path / "a1", folders.an_original(seed=1))
    folders.make_run(tmp_path / "b0", folders.a_retrained())
    run = folders.make_run(tmp_path / "c0", folders.an_unlearned("natmu"))
    page = write_report(run).read_text()
    names = [trace["name"] for trace in figures_of(page)["r-margin-forget"]["data"]]
    assert names == ["original", "retrained", "natmu"]
    assert "natmu was not audited" in page
    assert "<li>Audit it: natmu audit runs/c0 --level standard</li>" in page
    assert re.search(
        "natmu predicts the label of .* % of the forget set .the original .* %, a retrained model .* %", page
    )
    assert "% of the retrained model&#39;s time" in page
    (head,) = re.findall(r'id="recorded">.*?<thead>(.*?)</thead>', page, re.DOTALL)
    assert re.findall("<th[^>]*>(.*?)</th>", head) == ["score", "original", "retrained", "natmu"]
    found = scores(RunFolder(tmp_path / "a0").outputs().split(RunFolder(run).forget()))
    assert f'<th scope="row">test_acc</th><td>{found["test_acc"]:.1f}</td>' in page
    assert "natmu unlearn --from runs/a0 --forget random:10% --split-seed 0 --method natmu --set lr=0.002" in page
    folders.add_audit(run)
    page = write_report(run).read_text()
    assert "<strong>Not forgotten:</strong> distinguishable by 1 of 1 scores" in page
    assert "<li>The model is compared with 2 retrained models.</li>" in page
    assert page.count('<img src="data:image/png;base64,') == 8


def test_a_run_whose_predictions_are_not_finite_is_named(tmp_path):
    run = folders.make_run(tmp_path / "a0", folders.an_original(), sure=np.nan)
    with pytest.raises(RunError, match=r"a0/predictions\.safetensors: .* not finite numbers"):
        write_report(run)


def test_a_part_of_an_audit_has_no_page(tmp_path):
    curve = Relearned(source=folders.an_original(), forget=folders.a_forget(), settings={}, shown=20)
    shadow = folders.an_original().but(on=HalfOfPool(forget=folders.a_forget(), number=0))
    for number, lineage in enumerate((curve, shadow, folders.an_unlearned(source=shadow))):
        run = folders.make_run(tmp_path / f"a{number}", lineage)
        with pytest.raises(UsageError, match="name the run of an original, a retrained or an unlearned model"):
            write_report(run)


def test_a_model_from_elsewhere_has_a_page(tmp_path):
    original = folders.an_original()
    made = {"architecture": original.architecture, "arithmetic": original.arithmetic, "recipe": original.recipe}
    run = folders.make_run(tmp_path / "a0", Imported(data=original.data, weights="ab", **made))
    assert "This model was made elsewhere" in write_report(run).read_text()


def test_a_model_retrained_without_what_weights_from_elsewhere_found_hardest_is_made_from_them(tmp_path):
    trained = folders.an_original()
    made = {"architecture": trained.architecture, "arithmetic": trained.arithmetic, "recipe": trained.recipe}
    weights = Imported(data=trained.data, weights="ab", **made)
    forget = Forget(request=parse_forget("hardest:20:loss"), by=weights)
    lineage = retrained(weights, forget, trained.arithmetic, 0, fresh=True)
    run = RunFolder(folders.make_run(tmp_path / "alone" / "a0", lineage))
    assert commands_of(run, None)[0].startswith("natmu unlearn --from WEIGHTS --data digits --model small_cnn")
    original = folders.make_run(tmp_path / "alone" / "b0", weights)
    assert relatives(run)["original"].path == original


def test_a_study_of_many_methods_stays_small(tmp_path):
    labels = [f"method {place}" for place in range(30)]
    folder, _ = folders.make_study(tmp_path, labels)
    for place in range(2, 31):
        run = RunFolder(tmp_path / f"run{place}0")
        large = np.random.default_rng(place).integers(0, 256, (20, 96, 96, 3), dtype=np.uint8)
        pictures = Exposed(images=large, samples=folders.FORGET, names=np.array(["x"] * 20))
        write_audit(run.path, an_audit(run.record.digest), samples(), pictures)
    page = write_report(folder)
    assert page.stat().st_size < LARGEST
    assert page.read_text().count("data:image/png") > 10


def test_a_wheel_holds_templates_style_and_script(tmp_path):
    source = Path(__file__).parents[2]
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, tmp_path)
    shutil.copytree(source / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    build = "pip wheel --no-build-isolation --no-deps --no-index --quiet --wheel-dir dist ."
    subprocess.run([sys.executable, "-m", *build.split()], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    wanted = {path.name for path in (source / "src/natmu/report/templates").iterdir()}
    held = {name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "report/templates/" in name}
    assert held == wanted
    assert {"base.html", "study.html", "run.html", "report.css", "report.js"} <= wanted


def test_an_audit_that_failed_says_why(made):
    folder, _ = made
    folders.add_audit(folder.parent / "run30")
    failed = folders.study_audit(failed="The retrained models diverged.", log="logs/a.log")
    folders.rewrite(folder, audits=[failed])
    page = write_report(folder).read_text()
    assert "Not audited. The retrained models diverged. Log: logs/a.log." in page
    assert "Every score of <strong>natmu</strong>" not in page


def test_a_study_in_which_no_method_came_nearer_than_the_original_says_so(made):
    folder, study = made
    said = "No method comes closer to retraining than the original"
    assert said not in write_report(folder).read_text()
    original = folders.with_scores(study.rows[0], avg_gap=folders.column(0.01, 0.01))
    folders.rewrite(folder, folders.changed(study, rows=(original, *study.rows[1:])))
    assert said in write_report(folder).read_text()


def test_the_page_of_a_retrained_model_has_its_original_beside_it_and_its_own_command(tmp_path):
    folders.make_run(tmp_path / "a0", folders.an_original())
    page = write_report(folders.make_run(tmp_path / "b0", folders.a_retrained())).read_text()
    assert [trace["name"] for trace in figures_of(page)["r-margin-forget"]["data"]] == ["original", "retrained"]
    asked = "--forget random:10% --split-seed 0 --method retrain --set init=original --seed 0"
    assert f"natmu unlearn --from runs/a0 {asked}" in page
    assert "retraining on the retain set alone" in page


def test_a_run_folder_that_holds_another_run_than_the_study_names_is_refused(made):
    folder, _ = made
    runs = folder.parent
    (runs / "run20").rename(runs / "swapped")
    (runs / "run30").rename(runs / "run20")
    (runs / "swapped").rename(runs / "run30")
    with pytest.raises(RunError, match=r"run20 holds run [0-9a-f]{16}, and the study in .* names [0-9a-f]{16}"):
        write_report(folder)


def test_a_damaged_neighbour_does_not_stand_in_the_way_of_a_run(made):
    folder, _ = made
    neighbour = folder.parent / "neighbour"
    neighbour.mkdir()
    (neighbour / "record.json").write_text('{"kind": "tr')
    assert write_report(folder.parent / "run20").exists()
