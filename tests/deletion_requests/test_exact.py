"""Services whose models forget exactly, or with a certificate: shards, and heads on the features of a backbone."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tests.deletion_requests.world import CLASSES, PEOPLE, World, make_photos, picture

from natmu.engine.store import Run, Store
from natmu.errors import RunError, SettingError, UsageError
from natmu.head_training import _seed
from natmu.lineage import obtain
from natmu.opening import Place, Source, open_model
from natmu.records.derived import SECRET_BITS, retrained
from natmu.records.evidence import Evidence
from natmu.records.forgetting import parse_forget
from natmu.records.guarantees import CHOSEN_SEED, PROMISES
from natmu.records.heads import FEATURES, HEAD, read_features
from natmu.records.ledger import Released
from natmu.records.lineage import Backbone, Stage
from natmu.records.run import CONFIDENCE, WEIGHTS
from natmu.records.settings import LogisticTraining
from natmu.requests import Service
from natmu.requests.heads import ERASING, finish_erasing
from natmu.verbs import train_run

TRAINING = {"epochs": 4, "batch_size": 16, "lr": 0.05, "augment": False, "warmup_epochs": 1}
RECIPES = {
    "shards": TRAINING | {"sharding": {"shards": 3, "slices": 2}},
    "ridge": {"head": "ridge"},
    "logistic": {"head": "logistic", "l2": 20.0, "noise": 4.0},
    "spent": {"head": "logistic", "l2": 20.0, "noise": 0.05, "epsilon": 0.1},
}
DRAWN = 2**61 + 5
"""As natmu draws the seed of a logistic head, but the same in every run."""

METHODS = {"shards": "sisa"} | dict.fromkeys(("ridge", "logistic", "spent", "guessed"), "downdate")
RUNS = {"shards": "shards", "ridge": "ridge", "logistic": "logistic", "spent": "spent"}


@dataclass(frozen=True)
class Exact(World):
    """Photographs, and originals that can forget exactly."""

    def begun(self, kind: str, **policy: object) -> Service:
        """A service whose original is of a kind, with that kind's own method."""
        path = self.folder / f"{kind}.yaml"
        own = {
            "method": METHODS[kind],
            "audit": {"references": 0},
            "guardrails": {"retain_loss": 90, "holdout_loss": 90},
        }
        path.write_text(yaml.safe_dump(own | policy))
        source = Source(self.folder / "runs" / kind, {"source": str(self.photos)})
        return Service.create(
            self.folder / f"{kind} service", source, path, manifest=self.manifest, data_dir=self.folder / "data"
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    make_photos(folder)
    rng = np.random.default_rng(7)
    for label, name in enumerate(CLASSES):
        for number in range(6):
            path = folder / "others" / ("train" if number < 4 else "test") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(rng, label).save(path)

    def place(name):
        return Place(folder / "data", folder / "runs", name, device="cpu", precision="fp32")

    others = {"source": str(folder / "others")}
    train_run(data=others, model="small_cnn", training=TRAINING, seed=3, place=place("backbone"))
    data = {"source": str(folder / "photos")}
    train_run(data=data, model="small_cnn", training=RECIPES["shards"], seed=0, place=place("shards"))
    for kind in ("ridge", "logistic", "spent"):
        train_run(
            data=data,
            model=None,
            training=RECIPES[kind],
            seed=DRAWN,
            place=place(kind),
            features_from=str(folder / "runs" / "backbone"),
        )
    return Exact(folder)


@pytest.fixture
def world(made, tmp_path):
    shutil.copytree(made.folder, tmp_path / "world")
    return Exact(tmp_path / "world")


def rows(*people):
    """Positions of people's training photographs."""
    per_class = 2 * PEOPLE
    return sorted(
        label * per_class + 2 * one + number for one in people for label in range(len(CLASSES)) for number in range(2)
    )


def run_of(service, release):
    return Run(service.files.run_of(release).path)


def without(made, kind, left_out, folder):
    """The weights of a training that never had some samples, on all photographs and in a store of its own."""
    place = Place(made.folder / "data", folder / "fresh", device="cpu", precision="fp32")
    original, workspace = open_model(made.folder / "runs" / kind, place, str(made.photos))
    for run in Store(made.folder / "runs").all():
        if isinstance(run.record.lineage, Backbone):
            workspace.store.adopt(run)
    listed = folder / "rows.txt"
    listed.write_text("\n".join(map(str, left_out)))
    forget = workspace.forget(parse_forget(f"indices:{listed}"), 0, original)
    fresh = retrained(original, forget, original.arithmetic, original.seed, fresh=False)
    return obtain(fresh, workspace).weights()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["shards", "ridge"])
def test_after_three_batches_and_a_purge_the_weights_are_those_of_a_training_without(made, world, tmp_path, kind):
    service = world.begun(kind, guarantee="exact")
    service.add("where:person=3", "T-3")
    world.delete(3)  # neither way reads what it forgets
    first = service.process()
    assert isinstance(first, Released), getattr(first, "reasons", None)
    service.confirm_purge(1, weights=True)
    service.add("where:person=5", "T-5")
    second = service.process()
    assert isinstance(second, Released), getattr(second, "reasons", None)
    service.add("where:person=6", "T-6")  # from a release whose own request no process of today has resolved
    third = service.process()
    assert isinstance(third, Released), getattr(third, "reasons", None)
    assert (first.guarantee, second.guarantee, third.guarantee) == ("exact", "exact", "exact")
    assert same(run_of(service, 3).weights(), without(made, kind, rows(3, 5, 6), tmp_path))

    status = service.status()
    assert status.deployed.trained == 3, "it is as good as retrained, so that nothing has added up"
    assert not status.advice.due
    assert status.deployed.requests_since == 0

    promise = PROMISES["sisa" if kind == "shards" else "ridge"]
    folder = service.evidence(1)
    evidence = Evidence.read(folder / "evidence.json")
    given = evidence.answer.made
    assert (given.promise, given.assumptions) == (promise.promise, promise.assumptions)
    page = (folder / "evidence.html").read_text("utf-8")
    assert all(sentence in page for sentence in (promise.promise, *promise.assumptions))
    assert service.verify().ok


def test_a_purge_deletes_the_stages_that_saw_the_samples_and_no_others(world):
    service = world.begun("shards")
    assert run_of(service, 0).has(CONFIDENCE)
    stages = {run.record.digest for run in Store(service.files.models).all() if isinstance(run.record.lineage, Stage)}
    assert len(stages) == 6
    service.add("where:person=3", "T-3")
    service.process()
    world.delete(3)
    purged = service.confirm_purge(1, weights=True)
    gone, asked = set(), rows(3)
    division = run_of(service, 1).division()
    for digest in stages:
        path = service.files.models / digest
        if not path.exists():
            gone.add(digest)
            continue
        stage = Run(path).record.lineage
        assert not any(shard == stage.shard and slices < stage.slices for shard, slices in division[asked].tolist()), (
            "it saw a photograph"
        )
    assert gone
    assert gone <= {*purged.weights}
    original = run_of(service, 0)
    assert original.record.digest in purged.weights
    assert not (original.path / CONFIDENCE).exists(), "what it noted of each sample during training"
    assert not original.has(CONFIDENCE)
    assert service.verify().ok
    left = {
        run.record.lineage.left_out
        for run in Store(service.files.models).all()
        if isinstance(run.record.lineage, Stage)
    }
    assert left - {None}, "what was trained again without the photographs is kept"


def test_a_purge_erases_the_rows_of_features_and_nobody_reads_them_again(made, world, tmp_path):
    service = world.begun("ridge")
    (backbone,) = [run for run in Store(service.files.models).all() if isinstance(run.record.lineage, Backbone)]
    before = read_features(backbone.path / FEATURES)
    service.add("where:person=3", "T-3")
    service.process()
    world.delete(3)
    purged = service.confirm_purge(1)
    after = read_features(Run(backbone.path).verified(FEATURES))
    kept = np.setdiff1d(np.arange(len(before.train)), rows(3))
    assert not after.train[rows(3)].any()
    assert np.array_equal(after.train[kept], before.train[kept])
    assert purged.features == len(rows(3)) + 4  # and their photographs among the test samples
    service.rollback(0)
    service.add("where:person=5", "T-5")
    again = service.process([2])  # the original's head holds what was erased, and that is pending too
    assert isinstance(again, Released)
    assert any("fitted again" in sentence for sentence in again.decisions)
    assert same(run_of(service, 2).weights(), without(made, "ridge", rows(3, 5), tmp_path))
    service.process([1])
    former = run_of(service, 0).path
    assert (former / HEAD).exists()
    service.confirm_purge(1, weights=True)
    assert not (former / HEAD).exists()
    assert not (former / WEIGHTS).exists()


def test_an_erasing_that_was_interrupted_is_finished(world):
    service = world.begun("ridge")
    (backbone,) = [run for run in Store(service.files.models).all() if isinstance(run.record.lineage, Backbone)]
    record = (backbone.path / "record.json").read_bytes()
    service.add("where:person=3", "T-3")
    service.process()
    world.delete(3)
    service.confirm_purge(1)
    named = Run(backbone.path).record.files[FEATURES]
    (backbone.path / "record.json").write_bytes(record)  # as if it was killed before it wrote that
    with pytest.raises(RunError):
        Run(backbone.path).verified(FEATURES)
    (backbone.path / ERASING).write_text(named)
    finish_erasing(service.files.models)
    assert Run(backbone.path).verified(FEATURES)
    assert not (backbone.path / ERASING).exists()


def test_no_row_is_taken_out_of_a_head_twice(made, world, tmp_path):
    """A retrained head leaves out what is pending too, so the next process finds it gone already."""
    service = world.begun("ridge", method="retrain")
    service.add("where:person=3", "T-3")
    service.add("where:person=5", "T-5")
    assert isinstance(service.process([1]), Released)
    path = service.files.path / "policy.yaml"
    path.write_text(path.read_text().replace("method: retrain", "method: downdate"))
    assert isinstance(service.process(), Released)
    assert same(run_of(service, 2).weights(), without(made, "ridge", rows(3, 5), tmp_path))


def test_a_certified_head_says_what_it_has_spent(world):
    service = world.begun("logistic", guarantee="certified")
    service.add("where:person=3", "T-3")
    released = service.process()
    assert isinstance(released, Released), getattr(released, "reasons", None)
    head = released.head
    assert released.guarantee == "certified"
    assert released.seed is None, "the seed of the noise is secret"
    assert (head.epsilon, head.delta, head.removed) == (1.0, 1e-5, len(rows(3)))
    assert 0 < head.spent <= head.budget
    folder = service.evidence(1)
    text = (folder / "evidence.html").read_text("utf-8")
    assert text.count("(epsilon, delta) = (1, 1e-05)") == 1
    assert f"of the budget are spent by {head.removed} removals" in text
    assert head.backbone in text
    assert PROMISES["logistic"].promise in text
    assert "secret seed" in text
    assert str(DRAWN) not in (folder / "evidence.json").read_text("utf-8")


def test_a_head_whose_noise_can_be_guessed_is_not_certified(made, world, tmp_path):
    place = Place(world.folder / "data", world.folder / "runs", "guessed", device="cpu", precision="fp32")
    data, backbone = {"source": str(world.photos)}, str(world.folder / "runs" / "backbone")
    train_run(data=data, model=None, training=RECIPES["logistic"], seed=3, place=place, features_from=backbone)
    with pytest.raises(SettingError, match=r"seed of the head's noise was given by hand.*without --seed"):
        world.begun("guessed", guarantee="certified")
    service = world.begun("guessed")
    service.add("where:person=3", "T-3")
    assert service.process().head.secret is False
    page = (service.evidence(1) / "evidence.html").read_text("utf-8")
    assert "secret seed" not in page
    assert page.count(CHOSEN_SEED) == 1
    path = service.files.path / "policy.yaml"
    path.write_text(path.read_text() + "guarantee: certified\n")
    service.add("where:person=5", "T-5")
    with pytest.raises(SettingError, match="given by hand"):
        service.process()


def test_the_seed_that_is_drawn_is_one_that_nobody_gives():
    place = Place(Path("data"), Path("runs"), None)
    seeds = {_seed(LogisticTraining(), None, place) for _ in range(20)}
    assert len(seeds) == 20
    assert {seed.bit_length() for seed in seeds} == {SECRET_BITS}


@pytest.mark.parametrize("kind", ["shards", "ridge"])
def test_photographs_may_be_deleted_and_confirmed_to_be_gone_before_the_process(made, world, tmp_path, kind):
    service = world.begun(kind)
    service.add("where:person=3", "T-3")
    world.delete(3)
    with pytest.raises(UsageError, match=r"in use\. Run natmu requests process first, or confirm without --weights"):
        service.confirm_purge(1, weights=True)
    service.confirm_purge(1)
    released = service.process()
    assert isinstance(released, Released), getattr(released, "reasons", None)
    assert same(run_of(service, 1).weights(), without(made, kind, rows(3), tmp_path))


def test_a_spent_budget_is_a_refit_and_evidence_says_so(world):
    service = world.begun("spent", guarantee="certified")
    service.add("where:person=3", "T-3")
    released = service.process()
    assert isinstance(released, Released), getattr(released, "reasons", None)
    assert released.head.removed == 0
    assert any("fitted again" in sentence for sentence in released.decisions)
    folder = service.evidence(1)
    assert "fitted again" in (folder / "evidence.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("kind", "policy", "sentence"),
    [
        ("logistic", {"guarantee": "exact"}, "downdate of a logistic head is certified, and guarantee is exact"),
        ("ridge", {"method": "sisa"}, "the original was not trained in shards. Begin a service with"),
        ("shards", {"method": "downdate"}, "the original has none. Begin a service with"),
    ],
)
def test_what_the_original_cannot_give_is_refused_at_init(world, kind, policy, sentence):
    with pytest.raises(SettingError, match=sentence):
        world.begun(kind, **policy)
    assert not (world.folder / f"{kind} service").exists()


def test_an_edited_policy_is_held_against_the_original_too(world):
    service = world.begun("logistic", guarantee="certified")
    service.add("where:person=3", "T-3")
    path = Path(service.files.path) / "policy.yaml"
    path.write_text(path.read_text().replace("certified", "exact"))
    with pytest.raises(SettingError, match="guarantee is exact"):
        service.process()


def test_a_purge_deletes_what_a_certified_head_kept_of_its_fit_and_the_next_one_is_fitted_anew(world):
    """The state holds the weights of the fit, and the removed samples had a part in them."""
    service = world.begun("logistic", guarantee="certified")
    service.add("where:person=3", "T-3")
    first = service.process()
    before = run_of(service, 1)
    state, weights = before.path / HEAD, before.weights()
    kept = state.read_bytes()
    world.delete(3)
    assert service.confirm_purge(1).heads == ()
    assert state.exists(), "nobody asked to delete weights"
    purged = service.confirm_purge(1, weights=True)
    assert purged.heads == (first.result.run,)
    after = run_of(service, 1)
    assert not state.exists()
    assert HEAD not in after.record.files
    assert same(after.weights(), weights)
    assert not any((service.files.models / run / HEAD).exists() for run in (*purged.heads, *purged.weights))

    record = before.record.write  # as if it was killed before it wrote the record, or deleted the file
    record(before.path / "record.json")
    state.write_bytes(kept)
    assert any("the ledger says that it was deleted" in problem for problem in service.verify(record=False).problems)
    again = Service.open(service.files.path)
    assert not state.exists()
    assert HEAD not in Run(before.path).record.files
    found = again.verify()
    assert found.ok
    assert any("The state of 1 logistic head" in sentence for sentence in found.shown)
    evidence = Evidence.read(again.evidence(1) / "evidence.json")
    assert any("the state of 1 logistic head" in sentence for sentence in evidence.shown)

    again.add("where:person=5", "T-5")
    second = again.process()
    assert isinstance(second, Released), getattr(second, "reasons", None)
    assert any("fitted again on what is left. A purge deleted its state." in line for line in second.decisions)
    assert second.head.removed == 0
    assert second.guarantee == "certified"
    again.add("where:person=6", "T-6")
    assert again.process().head.removed == len(rows(6)), "from there on samples are taken out as before"


def test_after_a_rollback_no_noise_of_a_certified_head_serves_twice(made, world, tmp_path):
    service = world.begun("logistic", guarantee="certified")
    service.add("where:person=3", "T-3")
    assert service.process().head.removed == len(rows(3))
    service.rollback(0)
    service.add("where:person=5", "T-5")
    second = service.process()
    assert second.head.removed == 0
    assert any("Release 1 took samples out of the fit that release 0 has" in line for line in second.decisions)
    assert same(run_of(service, 2).weights(), without(made, "logistic", rows(3, 5), tmp_path))
    service.add("where:person=6", "T-6")
    assert service.process().head.removed == len(rows(6))


def test_a_certified_head_has_nothing_left_to_remove_after_a_retraining(world):
    """A retrained head leaves out what is pending too, so that the next process finds it gone already."""
    service = world.begun("logistic", method="retrain")
    service.add("where:person=3", "T-3")
    service.add("where:person=5", "T-5")
    assert isinstance(service.process([1]), Released)
    path = service.files.path / "policy.yaml"
    path.write_text(path.read_text().replace("method: retrain", "method: downdate"))
    released = service.process()
    assert isinstance(released, Released), getattr(released, "reasons", None)
    assert same(run_of(service, 2).weights(), run_of(service, 1).weights())


def test_a_head_that_another_method_changed_is_fitted_again(made, world, tmp_path):
    service = world.begun("ridge", method="finetune", settings={"epochs": 3, "lr": 1.0})
    service.add("where:person=3", "T-3")
    assert isinstance(service.process(), Released)
    path = service.files.path / "policy.yaml"
    rules = {"retain_loss": 90, "holdout_loss": 90}
    path.write_text(
        yaml.safe_dump({"method": "downdate", "guarantee": "exact", "audit": {"references": 0}, "guardrails": rules})
    )
    service.add("where:person=5", "T-5")
    released = service.process()
    assert isinstance(released, Released), getattr(released, "reasons", None)
    assert any("finetune has changed it since its last fit" in line for line in released.decisions)
    assert same(run_of(service, 2).weights(), without(made, "ridge", rows(3, 5), tmp_path))
    page = (service.evidence(1) / "evidence.html").read_text("utf-8")  # of a request that was answered approximately
    assert service.state.guarantee_of(1) == "exact"
    assert all(sentence in page for sentence in (PROMISES["ridge"].promise, *PROMISES["ridge"].assumptions))


@pytest.mark.parametrize("kind", ["shards", "ridge", "logistic"])
def test_photographs_that_are_missing_for_a_while_are_left_out_for_that_while(made, world, tmp_path, kind):
    """And nothing is taken out of a head twice, once somebody asks for them."""
    service = world.begun(kind)
    lost = world.of(9)[:2]
    hidden = [path.rename(tmp_path / path.name) for path in lost]
    for person, missing in ((3, rows(9)[:2]), (5, []), (9, []))[: 2 if kind == "shards" else 3]:
        if person == 5:
            for path, place in zip(hidden, lost, strict=True):
                path.rename(place)
        service.add(f"where:person={person}", f"T-{person}")
        released = service.process()
        assert isinstance(released, Released), getattr(released, "reasons", None)
        run = run_of(service, released.release)
        left_out = sorted({*rows(*[one for one in (3, 5, 9) if one <= person]), *missing})
        assert run.forget().left_out.tolist() == left_out
        if kind != "logistic":
            folder = tmp_path / str(person)
            folder.mkdir()
            assert same(run.weights(), without(made, kind, left_out, folder))
        elif person == 5:
            assert any("2 samples that were missing are there again" in line for line in released.decisions)
        else:
            assert released.head.removed == len(rows(person)) + len(missing)


def test_of_a_class_that_was_withdrawn_its_test_photographs_may_go_too(world):
    service = world.begun("ridge")
    service.add("class:ant", "T-ant")
    assert isinstance(service.process(), Released)
    for path in world.photos.glob("*/ant/*.png"):  # 8 of them are test photographs, 7 % of what is left
        path.unlink()
    assert service.confirm_purge(1).files == 3 * 38
