"""The suite bites: broken copies of sound methods fail at the very test that is meant for the defect."""

from __future__ import annotations

import re
import time

import pytest

from natmu.testing import CHECKS, Row, conformance, failures, state_of

from .broken_losses import (
    Drifting,
    EvalOfBoth,
    Follow,
    Joint,
    Masked,
    OneObject,
    OtherSign,
    Redrawn,
    Relabel,
    ReverseKL,
    SeedlessLabels,
    TeachersOptimizer,
    TheStudentItself,
    TrainingTeacher,
    following,
    masked,
    relabelling,
)
from .broken_methods import (
    Claiming,
    Climb,
    Emptying,
    Endless,
    Everywhere,
    Fragile,
    Global,
    Greedy,
    InPlace,
    Labelled,
    Lenient,
    Lonely,
    Noise,
    Normalised,
    Optimistic,
    Peeking,
    PeekingFromItsModule,
    Restoring,
    Reteaching,
    Seedless,
    Sharing,
    Straying,
    Stretching,
    Summing,
    Swallowing,
    Undescribed,
    Unfinite,
    Unfreezing,
    Unseeded,
    Variance,
    Waiting,
    climbing,
    noisy,
)

pytest_plugins = ["pytester"]

LONELY = Row(Lonely, {"epochs": 2}, label="lonely", one_process="its author never tried")
SOUND = [following(Follow), relabelling(Relabel), masked(Masked), climbing(Climb), noisy(Noise), LONELY]
BROKEN = [
    (following(TeachersOptimizer), "test_moves_the_weights", "returns the original's parameters"),
    (following(OneObject), "test_keeps_teachers_frozen", "shares storage"),
    (following(TheStudentItself), "test_keeps_teachers_frozen", "follows 0 networks"),
    (following(EvalOfBoth), "test_trains_the_student_in_training_mode", r"in eval mode: \['1'\]"),
    (following(EvalOfBoth), "test_keeps_teachers_frozen", "shares storage"),
    (following(TrainingTeacher), "test_keeps_teachers_frozen", "in training mode"),
    (masked(Drifting), "test_keeps_what_is_frozen", "moves what should be frozen"),
    (following(ReverseKL), "test_follows_the_stated_loss", "the loss at step 2 is another"),
    (following(Joint), "test_passes_over_the_samples_in_the_stated_order", r"show \['both', 'both'\]"),
    (relabelling(SeedlessLabels), "test_draws_labels_by_the_seed", "ignores the seed where it draws labels"),
    (relabelling(Redrawn), "test_draws_labels_by_the_seed", "draws labels anew"),
    (following(OtherSign), "test_raises_the_forget_loss", "takes the loss of the forget set"),
    (climbing(Swallowing), "test_lets_errors_through", "goes on after an error"),
    (climbing(Swallowing), "test_stops_when_it_diverges", "names no step"),
    (noisy(Seedless), "test_follows_the_seed_as_declared", "ignores the seed"),
    (noisy(Unseeded), "test_gives_the_same_weights_for_the_same_seed", "gives other weights when run again"),
    (noisy(Global), "test_leaves_the_world_as_it_was", "NumPy's global generator"),
    (noisy(Variance), "test_adds_noise_of_the_stated_scale", "of its stated variance"),
    (noisy(Labelled), "test_reads_labels_as_declared", "other labels"),
    (climbing(Greedy), "test_reads_retain_samples_as_declared", "other retain samples"),
    (climbing(Restoring), "test_reads_nothing_that_was_forgotten_before", "samples that were forgotten before"),
    (climbing(Restoring), "test_brings_no_class_back_that_was_forgotten_before", "recognises .* not 0%"),
    (climbing(Reteaching), "test_brings_no_class_back_that_was_forgotten_before", "recognises .* not 0%"),
    (climbing(Peeking), "test_cannot_reach_test_data", "359 test images"),
    (climbing(PeekingFromItsModule), "test_cannot_reach_test_data", "359 test images"),
    (climbing(Optimistic), "test_stops_on_a_loss_that_is_not_finite", "gives a model after a loss"),
    (climbing(Unfinite), "test_gives_a_model_for_every_scenario_that_it_claims", "1.running_mean"),
    (climbing(Stretching), "test_gives_a_model_for_every_scenario_that_it_claims", "other parameters or buffers"),
    (noisy(Claiming), "test_gives_a_model_for_every_scenario_that_it_claims", "no classes"),
    (noisy(InPlace), "test_leaves_the_world_as_it_was", "parameter or buffer of the original"),
    (noisy(Sharing), "test_shares_no_storage_with_the_original", "shares 1 tensors"),
    (noisy(Undescribed), "test_says_what_it_is", "no sentence on one line"),
    (noisy(Lenient), "test_refuses_an_unknown_setting", "ignores a setting"),
    (noisy(Unfreezing), "test_brings_modes_and_gradient_flags_back", r"require no gradient: \['0.bias'\]"),
    (noisy(Everywhere), "test_refuses_a_scenario_that_it_does_not_claim", "and takes one"),
    (climbing(Fragile), "test_gives_a_result_or_a_clear_error", "ZeroDivisionError"),
    (climbing(Normalised), "test_works_on_a_foreign_model_without_batch_norm_on_odd_grey_images", "running_mean"),
    (climbing(Straying), "test_gives_the_model_of_one_process_in_two", r"in the second of two processes: \['5.bias'\]"),
    (climbing(Summing), "test_gives_the_model_of_one_process_in_two", "other weights in two processes than in one"),
    (Row(Waiting, {"epochs": 2}, seconds=2), "test_gives_the_model_of_one_process_in_two", "come to an end in both"),
    (climbing(Lonely), "test_gives_the_model_of_one_process_in_two", "fails in process 0 of two: SettingError"),
    (Row(Climb, one_process="it is shy"), "test_gives_the_model_of_one_process_in_two", "are not refused"),
    (climbing(Emptying), "test_never_shows_a_model_an_empty_batch", "an empty batch"),
    (Row(Climb, lowers_retain_loss=True), "test_lowers_the_retain_loss", "takes the loss of the retain set"),
    (Row(Noise, weights=lambda _, problem: state_of(problem.model)), "test_returns_the_stated_weights", "is another"),
]
FITTING = pytest.mark.parametrize("row", SOUND, ids=lambda row: row.name)


@FITTING
def test_a_sound_method_passes_all_of_it(row):
    assert failures(row) == {}


@pytest.mark.parametrize(("row", "name", "reason"), BROKEN, ids=[row.method.__name__ for row, *_ in BROKEN])
def test_a_broken_copy_fails_at_the_test_that_is_meant_for_it(row, name, reason):
    messages = failures(row, name).values()
    assert messages
    assert all(re.search(reason, message) for message in messages), messages


def test_a_method_that_no_other_process_can_import_is_told_so():
    class Local(Noise):
        """Add noise."""

    (message,) = failures(noisy(Local), "test_gives_the_model_of_one_process_in_two").values()
    assert "define its class at the top of a module" in message


def test_every_check_has_a_broken_copy_that_fails_it():
    assert {name for _, name, _ in BROKEN} == {check.name for check in CHECKS}


def test_the_loss_tells_a_reversed_divergence_and_nothing_else_is_wrong_with_it():
    assert {name.partition("[")[0] for name in failures(following(ReverseKL))} == {"test_follows_the_stated_loss"}


def test_an_endless_run_is_stopped():
    row = Row(Endless, {"epochs": 2}, seconds=0.2)
    start = time.perf_counter()
    (message,) = failures(row, "test_moves_the_weights").values()
    assert "not come to an end after 0.2 seconds" in message
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"needs_labels": True}, "test_reads_labels_as_declared"),
        ({"needs_retain": True}, "test_reads_retain_samples_as_declared"),
        ({"stochastic": False}, "test_follows_the_seed_as_declared"),
    ],
)
def test_a_false_declaration_fails(changes, name):
    """Every declaration, in the direction that the broken copies above leave out."""

    class Liar(Noise):
        """Declare something else than is so."""

    for attribute, value in changes.items():
        setattr(Liar, attribute, value)
    assert failures(noisy(Liar), name)


def test_every_check_that_a_row_switches_on_is_a_test_with_a_name_of_its_own():
    tests = vars(conformance(*SOUND))
    assert {check.name for check in CHECKS} - tests.keys() == {
        "test_lowers_the_retain_loss",
        "test_returns_the_stated_weights",
        "test_refuses_a_scenario_that_it_does_not_claim",
    }
    assert tests["test_moves_the_weights"].__doc__


def test_two_rows_of_one_name_are_an_error():
    with pytest.raises(ValueError, match="label"):
        conformance(noisy(Noise), noisy(Seedless))


ONE_ROW = '''
from pydantic import Field
import torch
from natmu.methods import Method
from natmu.testing import Row, conformance
from natmu.types import Settings

class Tiny(Method):
    """Shrink every weight."""

    name = "tiny"
    needs_labels = needs_retain = stochastic = False

    class Config(Settings):
        """Settings of tiny."""

        factor: float = Field(0.5, gt=0, lt=1, description="what each weight is multiplied by")

    def run(self, problem):
        with torch.no_grad():
            for weight in problem.model.parameters():
                if weight.requires_grad:
                    weight *= self.config.factor
        return problem.model

TestConformance = conformance(Row(Tiny, settings={"factor": 0.9}))
'''


def test_one_import_and_one_row_are_enough(pytester, monkeypatch):
    pytester.makepyfile(ONE_ROW)
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()
    assert outcomes.keys() == {"passed"}
    assert outcomes["passed"] > 40
