"""The table of checks, and the tests that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from natmu.methods.base import EVERY_SCENARIO
from natmu.testing import contract, edges, processes, updates
from natmu.testing.problems import EDGES
from natmu.testing.row import Row

Case = str | None


@dataclass(frozen=True)
class Check:
    """One property, and the rows and cases that it is looked at for.

    Attributes:
        function: Called with a row, and with the case where there are any; raises AssertionError.
        cases: The cases of a row; none where the property does not apply to it, ``None`` alone where it has no cases.

    Examples:
        >>> from natmu.methods import FineTune
        >>> check = next(check for check in CHECKS if check.function.__name__ == "refuses_an_unknown_setting")
        >>> check.function(Row(FineTune, settings={"epochs": 2}))  # raises AssertionError where a method does not
    """

    function: Callable[..., None]
    cases: Callable[[Any], Iterable[Case]] = lambda _: [None]

    @property
    def name(self) -> str:
        """Name of the test."""
        return f"test_{self.function.__name__}"

    def __call__(self, row: Any, case: Case) -> None:  # noqa: ANN401 - a row of the table that the check is for
        """Look at the property.

        Raises:
            AssertionError: It does not hold.
        """
        self.function(row, *([] if case is None else [case]))


def given(field: str) -> Callable[[Row], Iterable[Case]]:
    """Only rows with this field."""
    return lambda row: [None] if getattr(row, field) else []


def _claimed(row: Row) -> Iterable[Case]:
    return row.method.scenarios


def _unclaimed(row: Row) -> Iterable[Case]:
    return [scenario for scenario in EVERY_SCENARIO if scenario not in row.method.scenarios]


def _samples_and_classes(row: Row) -> Iterable[Case]:
    return [scenario for scenario in ("random", "class") if scenario in row.method.scenarios]


def _augmented(row: Row) -> Iterable[Case]:
    return ["augmented", "plain"] if row.has("augment_retain") else [""]


def _frozen(row: Row) -> Iterable[Case]:
    return updates.optimizers_of(row) if row.frozen is not None else []


def _diverging(row: Row) -> Iterable[Case]:
    return [None] if row.diverging is not None and row.known(row.diverging) else []


CHECKS: tuple[Check, ...] = (
    Check(contract.says_what_it_is),
    Check(contract.refuses_an_unknown_setting),
    Check(contract.gives_a_model_for_every_scenario_that_it_claims, _claimed),
    Check(contract.refuses_a_scenario_that_it_does_not_claim, _unclaimed),
    Check(contract.leaves_the_world_as_it_was, _claimed),
    Check(contract.shares_no_storage_with_the_original, _claimed),
    Check(contract.brings_modes_and_gradient_flags_back, lambda _: ["train", "eval"]),
    Check(contract.gives_the_same_weights_for_the_same_seed),
    Check(contract.follows_the_seed_as_declared),
    Check(contract.reads_labels_as_declared),
    Check(contract.reads_retain_samples_as_declared),
    Check(contract.reads_nothing_that_was_forgotten_before, _claimed),
    Check(contract.brings_no_class_back_that_was_forgotten_before, _samples_and_classes),
    Check(contract.cannot_reach_test_data),
    Check(contract.lets_errors_through),
    Check(processes.gives_the_model_of_one_process_in_two),
    Check(edges.gives_a_result_or_a_clear_error, lambda _: EDGES),
    Check(edges.works_on_a_foreign_model_without_batch_norm_on_odd_grey_images),
    Check(edges.never_shows_a_model_an_empty_batch, _augmented),
    Check(edges.stops_on_a_loss_that_is_not_finite, lambda _: ["first", "last"]),
    Check(edges.stops_when_it_diverges, _diverging),
    Check(updates.moves_the_weights),
    Check(updates.trains_the_student_in_training_mode, lambda row: [] if row.eval_mode else _augmented(row)),
    Check(updates.keeps_teachers_frozen, _augmented),
    Check(updates.keeps_what_is_frozen, _frozen),
    Check(updates.raises_the_forget_loss, given("raises_forget_loss")),
    Check(updates.lowers_the_retain_loss, given("lowers_retain_loss")),
    Check(updates.passes_over_the_samples_in_the_stated_order, given("passes")),
    Check(updates.draws_labels_by_the_seed, given("draws_labels")),
    Check(updates.follows_the_stated_loss, given("loss")),
    Check(updates.returns_the_stated_weights, given("weights")),
    Check(updates.adds_noise_of_the_stated_scale, given("noise")),
)
"""The one list of properties.

Examples:
    >>> [check.function.__name__ for check in CHECKS][:2]
    ['says_what_it_is', 'refuses_an_unknown_setting']
"""


def conformance(*rows: Row) -> type:
    """A class of tests, one for each property that applies to any of the rows, parametrised by row and case.

    Bind it to a name that pytest collects, such as ``TestConformance``.

    Args:
        rows: The methods.

    Raises:
        ValueError: There is no row, or two are of the same name.

    Examples:
        >>> from natmu.methods import FineTune
        >>> TestFineTune = conformance(Row(FineTune, settings={"epochs": 2}))  # pytest collects its tests
        >>> hasattr(TestFineTune, "test_says_what_it_is")
        True
    """
    return tests_of(CHECKS, rows, "method")


def tests_of(checks: Iterable[Check], rows: Sequence[Any], what: str) -> type:
    """The class of tests of a table of checks over a table of rows.

    Args:
        checks: The properties.
        rows: Each with a name.
        what: What a row is of.

    Raises:
        ValueError: There is no row, or two are of the same name.
    """
    names = [row.name for row in rows]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"Give one row for each {what}, each with a label of its own; the names are {names}.")
    tests = {}
    for check in checks:
        params = [
            pytest.param(row, case, id="-".join(filter(None, [row.name, case])))
            for row in rows
            for case in check.cases(row)
        ]
        if params:
            tests[check.name] = pytest.mark.parametrize(("row", "case"), params)(_test(check))
    return type("Conformance", (), {**tests, "__doc__": f"The conformance suite over a table of {what}s."})


def _test(check: Check) -> Callable[[Any, Any, Case], None]:
    def test(self: Any, row: Any, case: Case) -> None:  # noqa: ANN401, ARG001 - pytest's own class
        check(row, case)

    test.__doc__ = check.function.__doc__
    test.__name__ = check.name
    return test


def failures(row: Row, *names: str) -> dict[str, str]:
    """Run the checks of a row without pytest.

    Args:
        row: The method.
        names: Names of the tests to run; all of them if none.

    Returns:
        Of each test and case that fails, by ``name`` or ``name[case]``, the first line of what is wrong.

    Examples:
        >>> from natmu.methods import FineTune
        >>> failures(Row(FineTune, settings={"epochs": 2}), "says_what_it_is")
        {}
    """
    return failures_of(CHECKS, row, names)


def failures_of(checks: Iterable[Check], row: Any, names: Sequence[str] = ()) -> dict[str, str]:  # noqa: ANN401 - see Check
    """Run some checks of a row; the arguments and the result are those of ``failures``."""
    wrong = {}
    for check in checks:
        if names and check.name not in names:
            continue
        for case in check.cases(row):
            try:
                check(row, case)
            except Exception as error:  # noqa: BLE001 - whatever a broken method raises is its failure
                wrong[f"{check.name}[{case}]" if case else check.name] = (
                    f"{type(error).__name__}: {error}".splitlines()[0]
                )
    return wrong
