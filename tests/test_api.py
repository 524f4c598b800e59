"""The Python interface: methods and scores in any form, every model that an audit can compare, nothing changed."""

from __future__ import annotations

import copy
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import natmu
from natmu.data import load
from natmu.engine.checkpoint import read_weights
from natmu.errors import DataError, ModelError, RunError, SettingError, UsageError
from natmu.methods import FineTune, Method
from natmu.models import build_model
from natmu.records.result import ResultFolder
from natmu.report import write_report
from natmu.scores import LEVELS, accuracy, loss, names_of, score, weight_distance
from natmu.scores.catalogue import SCORES
from natmu.types import Settings

FORGET = list(range(0, 60, 6))
RECIPE = {"epochs": 2, "lr": 0.05, "batch_size": 32, "warmup_epochs": 0}


class Forgetful(Method):
    """Zeroes the last layer; defined here and nowhere else, as in a notebook."""

    name = "forgetful"

    class Config(Settings):
        """Settings of ``forgetful``."""

        factor: float = 0.0

    def run(self, problem):
        """Scale the weights of the last layer."""
        with torch.no_grad():
            problem.model.classifier.weight.mul_(self.config.factor)
        return problem.model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load("digits", tmp_path_factory.mktemp("data"), train_size=150)


@pytest.fixture(scope="module")
def train(data):
    return data.train.images, data.train.labels


@pytest.fixture(scope="module")
def unseen(data):
    return data.test.images[:120], data.test.labels[:120]


def network(data, seed):
    shape = {"num_classes": 10, "image_shape": (1, 8, 8), "mean": data.mean, "std": data.std}
    return build_model("small_cnn", **shape, seed=seed)


@pytest.fixture(scope="module")
def trained(data, train):
    """An original, and models retrained without the forget set."""

    def retrain(seed, forget):
        done = natmu.unlearn(
            network(data, seed), train, forget, "retrain", init="fresh", training=RECIPE, seed=seed, progress=False
        )
        return done.model

    return retrain(0, [149]), [retrain(seed, FORGET) for seed in range(1, 4)]


@pytest.mark.parametrize(
    "method", ["finetune", FineTune, FineTune(epochs=1, lr=1e-3, optimizer="sgd")], ids=["name", "class", "object"]
)
def test_a_method_is_a_name_a_class_or_an_object(train, trained, method):
    original, _ = trained
    settings = {} if isinstance(method, Method) else {"epochs": 1, "lr": 1e-3, "optimizer": "sgd"}
    done = natmu.unlearn(original, train, FORGET, method, progress=False, **settings)
    again = natmu.unlearn(original, train, FORGET, "finetune", epochs=1, lr=1e-3, optimizer="sgd", progress=False)
    assert done.settings == again.settings
    assert done.settings["settings"]["lr"] == 1e-3
    theirs = again.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in done.model.state_dict().items())


@pytest.mark.parametrize("method", [Forgetful, Forgetful(factor=0.0)])
def test_a_method_of_a_notebook_needs_no_entry_point(train, trained, method):
    original, _ = trained
    before = original.classifier.weight.clone()
    done = natmu.unlearn(original, train, FORGET, method, progress=False)
    assert not done.model.classifier.weight.any()
    assert done.settings["method"] == "forgetful"
    assert torch.equal(original.classifier.weight, before)


class Nameless(Method):
    """Has no name."""

    class Config(Settings):
        """None."""

    def run(self, problem):
        """Do nothing."""
        return problem.model


class Unsettled(Method):
    """Has no settings."""

    name = "unsettled"

    def run(self, problem):
        """Do nothing."""
        return problem.model


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (42, "method=42 is not a method"),
        (None, "method=None is not a method"),
        (dict, "method=dict is not a method"),
        (Method, "method=Method is not a method"),
        (Nameless, "method=Nameless has no name"),
        (Unsettled, "method=Unsettled has no settings"),
        ("finetun", "did you mean finetune"),
        (lambda problem: problem.model, "is not a method"),
    ],
)
def test_what_is_no_method_is_one_sentence(train, trained, method, sentence):
    with pytest.raises(SettingError, match=re.escape(sentence)) as refused:
        natmu.unlearn(trained[0], train, FORGET, method, progress=False)
    assert "\n" not in str(refused.value)


def test_an_object_has_its_settings_already(train, trained):
    with pytest.raises(SettingError, match=r"finetune has its settings already; give lr where it is made"):
        natmu.unlearn(trained[0], train, FORGET, FineTune(epochs=1), lr=0.1, progress=False)


def test_what_is_no_model_is_one_sentence(train, unseen, trained):
    with pytest.raises(SettingError, match=r"model must be a torch\.nn\.Module, not dict"):
        natmu.unlearn({}, train, FORGET, progress=False)
    with pytest.raises(SettingError, match=r"originals must be a torch\.nn\.Module, not str"):
        natmu.audit(trained[0], train, unseen, FORGET, originals=["runs/original"], progress=False)


def test_a_model_without_a_linear_head_is_refused_and_stays_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images, labels = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 10
    with pytest.raises(ModelError, match="linear"):
        natmu.unlearn(model, (images, labels), [3], method="boundary_expand", progress=False, force=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@score(
    unit="nats", low=0, high=None, formula="largest -log p_y over D_f", baseline="that of retraining", original="small"
)
def largest_forget_loss(panel):
    """The loss of the forget sample that the model is least sure of."""
    return float(loss(panel.model.forget).max())


def shadow_models(data, unseen, count):
    """Untrained networks in the place of shadow models; what they know decides nothing here."""
    non_members = np.arange(len(FORGET)) + 7
    member = np.random.default_rng(0).random((count, 2 * len(FORGET))) < 0.5
    member[0], member[1] = ~member[2], member[2]
    networks = [network(data, 100 + seed) for seed in range(2 * count)]
    return natmu.ShadowModels(networks[:count], member, non_members, networks[count:])


def test_every_model_that_a_score_lacks_can_be_given(data, train, unseen, trained):
    """With all of them, no score of any level is missing but those that need more models or samples."""
    original, retrained = trained
    unlearned = [network(data, seed) for seed in (20, 21)]
    found = natmu.audit(
        network(data, 9),
        train,
        unseen,
        FORGET,
        retrained=retrained,
        original=original,
        initial_model=network(data, 5),
        unlearned=unlearned,
        originals=[network(data, seed) for seed in (30, 31)],
        again=[network(data, 40)],
        shadows=shadow_models(data, unseen, 8),
        scores=[largest_forget_loss],
        level="full",
        progress=False,
    )
    assert set(names_of("full")) | {"largest_forget_loss"} == {*found.scores, *found.missing}
    assert {"zrf", "relearn_time", "weight_distance", "lira_auc", "ulira_auc", "rmia_auc"} <= found.scores.keys()
    few = {name for name, reason in found.missing.items() if re.search(r"needs? at least \d+", reason)}
    others = {
        "holdout_acc",
        "forget_test_acc",
        "before_acc",
        "corrected_acc",
    }  # of a holdout, forgotten classes, an earlier request, right labels
    assert few == found.missing.keys() - others, found.missing
    assert found.verdicts["largest_forget_loss"].references == 3
    assert "retrained models" in str(found.forgotten)


@pytest.fixture(scope="module")
def both(train, unseen, trained):
    """A result of unlearning and its audit, at the level quick."""
    original, retrained = trained
    holdout = (train[0][:40], train[1][:40])
    done = natmu.unlearn(original, train, FORGET, "finetune", epochs=1, holdout=holdout, progress=False)
    given = {"retrained": retrained, "original": original, "level": "quick", "progress": False}
    return done, natmu.audit(done.model, train, unseen, done.forget, **given)


def test_a_result_is_judged_by_what_it_forgot_and_nothing_else(train, unseen, both):
    with pytest.raises(SettingError, match="The result forgot other samples than forget says"):
        natmu.audit(both[0], train, unseen, FORGET[1:], progress=False)
    assert natmu.audit(both[0], train, unseen, FORGET, progress=False).scores


def test_the_summary_has_the_accuracies_of_the_original_beside_those_of_the_result(train, trained, both):
    """Against a slow loop over samples; asked for twice, it is computed once."""
    done, audited = both
    for name, model in (("original", trained[0]), ("result", done.model)):
        with torch.no_grad():
            hits = [
                bool(model.eval()(one[None].float() / 255).argmax() == label) for one, label in zip(*train, strict=True)
            ]
        kept = [hit for place, hit in enumerate(hits) if place not in FORGET]
        found = done.summary[name]
        assert found["retain_acc"] == pytest.approx(100 * np.mean(kept), abs=1)
        assert found["forget_acc"] == pytest.approx(100 * np.mean([hits[place] for place in FORGET]), abs=10)
        assert found["holdout_acc"] == pytest.approx(100 * np.mean(hits[:40]), abs=3)
    assert done.summary is done.summary
    assert done.summary["result"]["retain_acc"] == audited.scores["retain_acc"]
    assert done.summary["original"]["forget_acc"] == audited.original["forget_acc"]


def test_a_result_is_saved_with_its_audit_and_reported_as_it_is(both, tmp_path):
    done, audited = both
    folder = done.save(tmp_path / "results" / "one")
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors", "forget.npy", "history.csv", "result.json"
    }  # fmt: skip
    weights = done.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in read_weights(folder / "model.safetensors").items())
    saved = ResultFolder(audited.save(folder))
    assert saved.positions().tolist() == FORGET
    assert saved.history() == done.history
    assert saved.record.settings == done.settings
    assert saved.record.scores == done.summary
    assert saved.record.forget.request is None, "the samples were listed"
    assert saved.audit == audited.record.model_copy(update={"files": saved.audit.files})
    assert saved.audit.forgotten.sentence == str(audited.forgotten)
    assert len(saved.samples()) == len(audited.samples)
    page = write_report(folder).read_text()
    for text in ("finetune, 10 samples", "Kept?", "result</th>", ", ".join(map(str, FORGET)), "r-curve-loss"):
        assert text in page
    assert done.report(tmp_path / "page.html").read_text().count("This model was not audited") == 1
    alone = audited.report(tmp_path / "audit.html").read_text()
    assert "the audited model, 10 samples" in alone
    assert "<strong>" + str(audited.kept).partition(":")[0] in alone


def test_nothing_that_is_there_is_overwritten_and_what_was_changed_is_refused(both, tmp_path):
    done, audited = both
    folder = audited.save(done.save(tmp_path / "one"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="already holds something; name a folder that does not exist"):
        done.save(folder)
    with pytest.raises(UsageError, match="holds an audit already"):
        audited.save(folder)
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        audited.save(tmp_path / "else")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    np.save(folder / "forget.npy", np.arange(3))
    with pytest.raises(RunError, match=r"forget\.npy is not what was saved"):
        write_report(folder)
    assert not list(tmp_path.glob(".*"))


def test_what_an_audit_decides_by_itself_is_kept_with_its_result(train, unseen, trained):
    found = natmu.audit(trained[0], train, unseen, FORGET, original=trained[0], progress=False)
    assert found.decisions == ("The audit has the level quick, the highest that the given models allow.",)
    assert found.record.decisions == found.decisions
    assert found.forgotten.outcome == "cannot be said"
    assert found.kept.outcome in ("yes", "not shown"), "the model is the original"


def test_what_is_measured_on_models_is_what_their_weights_say(data, train, unseen, trained):
    original, retrained = trained
    found = natmu.audit(
        original, train, unseen, FORGET, retrained=retrained, original=original, level="standard", progress=False
    )

    def arrays(model):
        return {name: value.float().numpy() for name, value in model.state_dict().items()}

    assert found.scores["weight_distance"] == weight_distance(arrays(original), arrays(retrained[0])).total
    assert found.scores["relearn_time"] == 0  # the loss of the original is back before the first step


def test_shadow_models_are_asked_on_the_pool_that_is_given(data, train, unseen, trained):
    """Against a slow loop: the margin of each model on each forget sample and on each non-member."""
    from natmu.audits.in_memory import shadow_margins
    from natmu.data import forget_from_indices, from_dataset
    from natmu.engine.compute import Compute

    shadows = shadow_models(data, unseen, 4)
    train_data, test_data = from_dataset(train), from_dataset(unseen)
    forget = forget_from_indices(FORGET, train_data)
    found = shadow_margins(shadows, train_data, test_data, forget, Compute.choose("cpu", "fp32"))
    for row, model in enumerate(shadows.trained):
        for place, (images, labels, index) in enumerate(
            [(*train, index) for index in FORGET] + [(*unseen, index) for index in shadows.non_members]
        ):
            with torch.no_grad():
                logits = model.eval()(images[index : index + 1].float() / 255)[0].double()
            others = torch.cat([logits[: labels[index]], logits[labels[index] + 1 :]])
            expected = float(logits[labels[index]] - others.logsumexp(0))
            assert found.before[row, place] == pytest.approx(expected, abs=1e-4)
    assert found.after.shape == found.before.shape
    assert np.array_equal(found.non_members, shadows.non_members)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"member": np.zeros((2, 3), bool)}, "member must be a bool array of shape"),
        ({"member": np.zeros((4, 20))}, "member must be a bool array"),
        ({"non_members": [500] * 10}, "must be positions of test samples"),
        ({"unlearned": []}, None),
    ],
)
def test_shadow_models_that_do_not_fit_are_one_sentence(data, train, unseen, trained, change, sentence):
    given = shadow_models(data, unseen, 4)
    fields = {name: getattr(given, name) for name in ("trained", "member", "non_members", "unlearned")} | change
    ask = lambda: natmu.audit(  # noqa: E731
        trained[0], train, unseen, FORGET, shadows=natmu.ShadowModels(**fields), progress=False
    )
    if sentence is None:
        assert "ulira_auc" not in ask().scores
        return
    with pytest.raises(DataError, match=sentence):
        ask()


def test_the_level_is_the_highest_that_the_models_allow(data, train, unseen, trained):
    _, retrained = trained
    levels = {row.name: row.level for row in SCORES}

    def asked(**models):
        found = natmu.audit(network(data, 9), train, unseen, FORGET, progress=False, **models)
        return {levels[name] for name in (*found.scores, *found.missing)}

    assert asked(retrained=retrained[:1]) == {"quick"}
    assert asked(retrained=retrained[:2]) == {"quick", "standard"}
    assert asked(retrained=retrained[:2], shadows=shadow_models(data, unseen, 4)) == set(LEVELS)
    assert asked(retrained=retrained[:2], level="quick") == {"quick"}
    with pytest.raises(SettingError, match="choose one of quick, standard, full"):
        asked(level="deep")


def test_a_score_of_another_kind_is_one_sentence(train, unseen, trained):
    with pytest.raises(UsageError, match="is not a score"):
        natmu.audit(trained[0], train, unseen, FORGET, scores=[accuracy], progress=False)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"training": "x"}, "training must be a mapping of settings, not str"),
        ({"initial_model": "x"}, "initial_model must be a torch.nn.Module, not str"),
    ],
)
def test_what_unlearning_cannot_use_is_one_sentence(train, trained, given, sentence):
    with pytest.raises(SettingError, match=sentence):
        natmu.unlearn(trained[0], train, FORGET, "retrain", progress=False, init="fresh", **given)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seed": None}, "seed must be a whole number, not None"),
        ({"retrained": None}, "retrained must be a list of models, not NoneType; leave it out for none"),
        ({"unlearned": None}, "unlearned must be a list of models"),
        ({"retrained": "x.pt"}, "retrained must be a list of models, not str; load weights into a model"),
        ({"retrained": {"weight": 1}}, "retrained must be a list of models, not dict; load weights into a model"),
        ({"retrained": ["x.pt"]}, "retrained must be a torch.nn.Module, not str; load the weights into the model"),
        ({"shadows": "x"}, "shadows must be natmu.ShadowModels, not str"),
        ({"scores": None}, "scores must be a list of scores, not NoneType"),
    ],
)
def test_what_an_audit_cannot_use_is_one_sentence(train, unseen, trained, given, sentence):
    with pytest.raises(SettingError, match=sentence):
        natmu.audit(trained[0], train, unseen, FORGET, progress=False, **given)


def test_numbers_of_numpy_are_plain_in_what_comes_back(train, trained):
    found = natmu.unlearn(trained[0], train, FORGET, FineTune(epochs=1), seed=np.int64(3), progress=False)
    assert type(found.settings["seed"]) is int


def test_an_audit_changes_no_model(data, train, unseen, trained):
    original, retrained = trained
    models = [original, *retrained]
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    natmu.audit(original, train, unseen, FORGET, retrained=retrained, original=original, progress=False)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_the_interface_is_listed_before_it_is_imported():
    assert {"unlearn", "audit", "ShadowModels", "UnlearnResult", "AuditResult"} <= set(dir(natmu))
    assert callable(natmu.audit)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = natmu.nothing


def test_a_second_request_retains_nothing_of_the_first(data, train, unseen):
    model = network(data, 0)
    first = natmu.unlearn(model, train, "class:3", FineTune(epochs=1), progress=False, force=True)
    second = natmu.unlearn(
        first.model, train, "class:5", SeesWhatIsThere, already_forgotten=first.forget, progress=False, force=True
    )
    labels = data.train.labels.numpy()
    assert second.forget.before.tolist() == np.flatnonzero(labels == 3).tolist()
    assert SeesWhatIsThere.retained == np.flatnonzero(~np.isin(labels, [3, 5])).tolist()
    assert second.settings["forgotten_before"] == (labels == 3).sum()
    audit = natmu.audit(second.model, train, unseen, second.forget, retrained=[network(data, 1)], progress=False)
    kept = ~np.isin(unseen[1].numpy(), [3, 5])
    assert audit.scores["test_acc"] == pytest.approx(percent_right(second.model, unseen[0][kept], unseen[1][kept]))


@pytest.mark.parametrize("forgotten", ["class:3", [0, 1, 2], np.array([0, 1, 2]), torch.tensor([0, 1, 2])], ids=str)
def test_what_was_forgotten_before_is_named_in_any_form(data, train, forgotten):
    model = network(data, 0)
    natmu.unlearn(model, train, "class:5", SeesWhatIsThere, already_forgotten=forgotten, progress=False, force=True)
    labels = data.train.labels.numpy()
    before = np.flatnonzero(labels == 3) if isinstance(forgotten, str) else np.arange(3)
    assert not np.isin(SeesWhatIsThere.retained, before).any()
    with pytest.raises(UsageError, match="forgotten before, such as that at position"):
        natmu.unlearn(
            model, train, before[:1], SeesWhatIsThere, already_forgotten=forgotten, progress=False, force=True
        )


@pytest.mark.parametrize("text", ["random:10%", "hardest:10%:loss"])
def test_what_was_drawn_before_cannot_be_named_by_its_text(data, train, text):
    with pytest.raises(SettingError, match="would draw other samples than those that were forgotten"):
        natmu.unlearn(network(data, 0), train, "class:5", FineTune, already_forgotten=text, progress=False)


def test_earlier_requests_that_are_told_twice_are_united(data, train):
    model = network(data, 0)
    first = natmu.unlearn(model, train, "class:3", SeesWhatIsThere, progress=False, force=True)
    second = natmu.unlearn(
        model, train, "class:5", SeesWhatIsThere, already_forgotten=first.forget, progress=False, force=True
    )
    other = next(row for row in range(150) if data.train.labels[row] not in (3, 5))
    third = natmu.unlearn(
        model, train, second.forget, SeesWhatIsThere, already_forgotten=[other], progress=False, force=True
    )
    assert third.forget.before.tolist() == sorted([*first.forget.indices.tolist(), other])


def test_an_audit_is_told_what_was_forgotten_before(data, train, unseen):
    models = [network(data, seed) for seed in range(2)]
    told = natmu.audit(models[0], train, unseen, "class:5", already_forgotten="class:3", progress=False)
    assert "before_acc" in told.scores
    kept = ~np.isin(unseen[1].numpy(), [3, 5])
    assert told.scores["test_acc"] == pytest.approx(percent_right(models[0], unseen[0][kept], unseen[1][kept]))


def test_a_batch_size_is_said_once(data, train):
    method = {"method": "amnesiac", "preset": "ssd", "epochs": 1, "progress": False, "force": True}
    with pytest.raises(SettingError, match="The settings of amnesiac give batches of 128, so leave batch_size=8 out"):
        natmu.unlearn(network(data, 0), train, FORGET, **method, batch_size=8)
    assert natmu.unlearn(network(data, 0), train, FORGET, **method).settings["batch_size"] == 128
    plain = natmu.unlearn(
        network(data, 0), train, FORGET, "amnesiac", epochs=1, batch_size=8, progress=False, force=True
    )
    assert plain.settings["batch_size"] == 8


def percent_right(model, images, labels):
    """Accuracy, in percent."""
    with torch.no_grad():
        right = copy.deepcopy(model).eval()(images.float() / 255).argmax(1) == labels
    return 100 * right.float().mean().item()


class SeesWhatIsThere(Method):
    """Notes which samples it is given to retain."""

    name = "sees_what_is_there"
    retained: ClassVar[list[int]] = []

    class Config(Settings):
        """It has none."""

    def run(self, problem):
        """Note them."""
        type(self).retained = problem.retain_positions.tolist()
        return problem.model
