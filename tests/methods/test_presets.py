"""Presets: published settings by the name of their source, and what wins over what."""

from typing import ClassVar

import pytest

from natmu.errors import SettingError
from natmu.methods import METHODS, FineTuneSettings, Method, Preset, method_named


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
    assert preset.settings.items() <= given.items()
