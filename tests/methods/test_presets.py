"""Presets: published settings by the name of their source, and what wins over what."""

import re
from typing import ClassVar

import pytest

from natmu.errors import SettingError
from natmu.methods import METHODS, FineTuneSettings, Method, Preset, method_named, natmu_table


class Published(Method):
    """Has published settings."""

    name = "published"
    presets: ClassVar = {"paper": Preset({"lr": 0.5, "weight_decay": 0.25, "batch_size": 7}, "Table 1")}

    class Config(FineTuneSettings):
        """Settings."""

        lr: float = 0.1
        weight_decay: float = 0.0

    def run(self, problem):
        """Leave it as it is."""
        return problem.model


def test_a_preset_is_what_was_published_and_what_is_given_beside_it_wins():
    config = Published(preset="paper", weight_decay=0.125).config
    assert (config.lr, config.weight_decay, config.batch_size) == (0.5, 0.125, 7)
    assert Published(preset="paper").config == Published(lr=0.5, weight_decay=0.25, batch_size=7).config
    assert (Published().config.lr, Published(preset=None).config.lr) == (0.1, 0.1)


@pytest.mark.parametrize(
    ("method", "preset", "sentence"),
    [
        (Published, "papers", "published: there is no preset 'papers' (did you mean paper?); choose one of paper."),
        (Published, 3, "published: there is no preset 3; choose one of paper."),
        (Published, ["paper"], "published: there is no preset ['paper']; choose one of paper."),
        (
            method_named("retrain"),
            "paper",
            "retrain: there is no preset 'paper'; the method has none, so leave it out.",
        ),
    ],
)
def test_an_unknown_preset_is_refused_in_a_sentence(method, preset, sentence):
    with pytest.raises(SettingError) as error:
        method(preset=preset)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method in METHODS for name in method.presets], ids=lambda value: str(value)
)
def test_every_preset_gives_the_settings_that_it_names(method, name):
    preset = method.presets[name]
    given = method(preset=name).config.model_dump(mode="json")
    nested = {key for key in preset.settings if key.endswith("_settings")}  # RUM's, which are made complete
    assert {key: value for key, value in preset.settings.items() if key not in nested}.items() <= given.items()
    for key in nested:
        chosen = method_named(given[key.removesuffix("_settings")])
        assert given[key] == chosen.configured(preset.settings[key]).model_dump(mode="json")


SOURCES = ["paper", "natmu", "salun", "unlearn-sparse", "rum", "ssd", "sfron", "scrub", "dual-optim", "torchunlearn"]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_preset_is_named_after_its_source_and_says_where_it_stands(method):
    for name, preset in method.presets.items():
        assert re.fullmatch(
            r"(paper|natmu|salun|unlearn-sparse|rum|ssd|sfron|scrub|dual-optim|torchunlearn)(-[a-z0-9-]+)?", name
        )
        project, _, rest = preset.source.partition(", ")
        if project == "Appendix B.2 of the paper":  # whose code is not published
            continue
        assert re.fullmatch(r"[\w-]+/[\w-]+", project)
        assert re.match(r"[^,;]*\.(py|sh|md|MD|ipynb|yaml)\b", rest.partition("; ")[0].replace("Classification/", ""))
        assert preset.settings


@pytest.mark.parametrize(
    ("method", "preset", "published"),
    [
        # Unlearn-Saliency, Classification/README.md, line 34: --unlearn RL --unlearn_epochs 10 --unlearn_lr 0.013 and
        # the mask with_0.5.pt; arg_parser.py, lines 69-72: batches of 256, momentum 0.9, weight decay 5e-4
        ("salun", "paper", {"epochs": 10, "lr": 0.013, "threshold": 0.5, "batch_size": 256, "weight_decay": 5e-4}),
        # Unlearn-Sparse, README.MD: --unlearn GA --unlearn_lr 0.0001 --unlearn_epochs 5
        ("grad_ascent", "unlearn-sparse", {"lr": 1e-4, "epochs": 5, "momentum": 0.9, "weight_decay": 5e-4}),
        # bad-teaching-unlearning, CIFARSuper20_Rocket_Unlearn.ipynb, cell 15
        ("bad_teacher", "paper", {"lr": 1e-4, "optimizer": "adam", "epochs": 1, "batch_size": 256, "temperature": 1}),
        # NatMU, sample-wise/scripts/cifar100/badteacher.sh: --lr=0.00028 --wd=0.0009 --temp=2.4
        ("bad_teacher", "natmu-cifar100", {"lr": 2.8e-4, "weight_decay": 9e-4, "temperature": 2.4, "batch_size": 128}),
        # NatMU, class-wise/scripts/sub-class/amnesiac.sh: --lr=0.000018 --wd=0.00037 -i
        ("amnesiac", "natmu-subclass", {"lr": 1.8e-5, "weight_decay": 3.7e-4, "reset_head": True}),
        # DELETE, config/cifar10_vgg16.yaml: unlearn_rate 5e-5, unlearn_epoch 20, batch_size 128
        ("delete", "paper-vgg16", {"lr": 5e-5, "epochs": 20, "batch_size": 128}),
        # selective-synaptic-dampening, src/forget_full_class_main.py, lines 58 and 176-177
        ("ssd", "paper-class", {"alpha": 10, "dampening": 1, "importance_batch": 64}),
        # Unified-Unlearning-w-Remain-Geometry, Classification/unlearn/sfron.py, lines 102-121
        ("sfron", "paper", {"steps": 1500, "forget_every": 5, "forget_scale": 25, "max_grad_norm": 7}),
        # SCRUB, large_scale_unlearning.ipynb: args.gamma, alpha, msteps, kd_T, sgda_epochs, sgda_learning_rate
        ("scrub", "paper", {"gamma": 0.99, "alpha": 0.001, "max_steps": 2, "temperature": 4, "epochs": 3, "lr": 5e-4}),
        # RUM, main_rum.py, lines 50-51: FT with 10 epochs at 0.1 on the medium part, RL with 5 at 0.1 on the high one
        ("rum", "paper", {"low": "none", "medium": "finetune", "high": "salun"}),
    ],
)
def test_presets_are_the_numbers_of_their_sources(method, preset, published):
    assert published.items() <= method_named(method)(preset=preset).config.model_dump().items()


def test_the_parts_of_rum_have_its_settings():
    parts = {part: method.config for part, method in method_named("rum")(preset="paper")._methods() if method}
    assert (parts["medium"].lr, parts["medium"].epochs, parts["medium"].augment_retain) == (0.1, 10, False)
    assert (parts["high"].lr, parts["high"].epochs, parts["high"].relabel) == (0.1, 5, "any")


def test_the_settings_of_natmu_are_those_of_its_scripts():
    """NatMU, sample-wise/scripts and class-wise/scripts, natmu.sh of each."""
    published = {
        "natmu-cifar10": (1e-3, 2e-3, -0.19, False, 128),
        "natmu-cifar100": (1.1e-3, 5e-4, -0.03, False, 128),
        "natmu-tiny-imagenet": (8.3e-4, 7e-5, 0.045, False, 256),
        "natmu-class": (2.8e-4, 0, -0.053, True, 128),
        "natmu-subclass": (9e-4, 3.7e-4, -0.053, False, 128),
    }
    for name, (lr, decay, delta, reset, size) in published.items():
        config = method_named("natmu")(**natmu_table.NATMU[name].settings).config
        assert (config.lr, config.weight_decay, config.delta, config.reset_head, config.batch_size) == (
            lr, decay, delta, reset, size,
        )  # fmt: skip
    assert published.keys() == natmu_table.NATMU.keys()
