"""Pages, commands and trackers of models that were trained in shards, and of heads on features."""

from __future__ import annotations

import json
import shlex

import pytest
from tests.records.folders import DATA, FP32, TRAINING, a_forget, an_original, an_unlearned, make_run

from natmu.records.derived import original, original_of, retrained
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Architecture, Backbone, Forget
from natmu.records.run import RunFolder
from natmu.records.settings import LogisticTraining, RidgeTraining, Sharding, training_of
from natmu.report import write_report
from natmu.report.commands import commands_of
from natmu.report.relatives import relatives
from natmu.report.trackers.tracked import read_tracked_run

SEED = 987654321012345
SHARDED = TRAINING.model_copy(update={"sharding": Sharding(shards=3, slices=2, combine="votes", threads=2)})


def a_sharded():
    return original(DATA, Architecture(name="small_cnn"), FP32, SHARDED, 0)


def a_head(recipe, seed=SEED):
    network = Architecture(name="small_cnn", unit_head=True)
    backbone = Backbone(data=DATA, architecture=network, arithmetic=FP32, weights="ab" * 8, origin="runs/other")
    return original(DATA, network, FP32, recipe, seed, backbone)


def words_of(command):
    return shlex.split(command)


def after(words, flag):
    return words[words.index(flag) + 1]


def test_commands_of_a_sharded_model_say_its_division_with_the_threads(tmp_path):
    first = RunFolder(make_run(tmp_path / "first", a_sharded()))
    run = RunFolder(make_run(tmp_path / "sisa", an_unlearned("sisa", a_sharded(), shards=None)))
    (command,) = commands_of(first, None)
    words = words_of(command)
    assert training_of(json.loads(after(words, "--training"))) == SHARDED
    assert not {"--epochs", "--augment", "--lr"} & {*words}
    assert after(words, "--seed") == "0"
    train, unlearn, _ = commands_of(run, first)
    assert train == command
    assert "unlearn --from runs/first --forget random:10% --split-seed 0 --method sisa --set shards=null" in unlearn
    assert "in 3 shards of 2 slices" in write_report(run.path).read_text()


@pytest.mark.parametrize("recipe", [RidgeTraining(l2=2.0), LogisticTraining(epsilon=0.5)])
def test_commands_of_a_head_name_its_backbone_and_settings(tmp_path, recipe):
    run = RunFolder(make_run(tmp_path / "downdated", an_unlearned("downdate", a_head(recipe))))
    train, unlearn, _ = map(words_of, commands_of(run, None))
    assert after(train, "--features-from") == "BACKBONE"
    flags = {name.replace("-", "_"): after(train, f"--{name}") for name in recipe.model_dump()}
    assert training_of({name: flags[name] if name == "head" else float(flags[name]) for name in flags}) == recipe
    assert {"--epochs", "--augment"}.isdisjoint(train)
    assert after(train, "--seed") == ("SEED" if recipe.head == "logistic" else str(SEED))
    assert after(unlearn, "--method") == "downdate"


def test_nobody_learns_the_seed_of_a_heads_noise_from_a_page_or_a_tracker(tmp_path):
    for recipe, shown in ((RidgeTraining(), True), (LogisticTraining(), False)):
        head = a_head(recipe)
        for number, lineage in enumerate((head, retrained(head, a_forget(), FP32, SEED, fresh=False))):
            folder = make_run(tmp_path / recipe.head / lineage.digest, lineage)
            page, tracked = write_report(folder).read_text(), read_tracked_run(folder)
            assert "runs/other, frozen, weights abab" in page
            assert (str(SEED) in page) == shown, number
            assert (str(SEED) in str(tracked.config) + tracked.name) == shown
            assert ("record.json" in tracked.links) == shown


def test_a_forget_set_that_another_original_decides_has_no_commands_but_its_own_original(tmp_path):
    forget = Forget(request=parse_forget("hardest:20"), by=an_original())
    sisa, again = an_unlearned("sisa", a_sharded(), forget), retrained(a_sharded(), forget, FP32, 0, fresh=False)
    assert original_of(sisa) == original_of(again) == a_sharded()
    runs = {name: make_run(tmp_path / name, model) for name, model in (("sisa", sisa), ("again", again))}
    make_run(tmp_path / "plain", an_original())
    sharded = make_run(tmp_path / "sharded", a_sharded())
    for folder in runs.values():
        run = RunFolder(folder)
        assert commands_of(run, None) == []
        assert relatives(run)["original"].path == sharded
    natmu = RunFolder(make_run(tmp_path / "natmu", an_unlearned("natmu", an_original(), forget)))
    assert len(commands_of(natmu, None)) == 3
    assert relatives(natmu)["original"].path == tmp_path / "plain"
