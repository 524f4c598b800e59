"""The table of checks of scores, and the tests that are made of it."""

from __future__ import annotations

from collections.abc import Iterable

from natmu.testing import panels, score_contract
from natmu.testing.score_contract import ScoreRow
from natmu.testing.suite import Case, Check, failures_of, tests_of


def _unless_drawn(row: ScoreRow) -> Iterable[Case]:
    return [] if row.draws_samples else [None]


def _fixed(row: ScoreRow) -> Iterable[Case]:
    return [] if row.score.row.identical is None else [None]


SCORE_CHECKS: tuple[Check, ...] = (
    Check(score_contract.says_how_it_is_read),
    Check(score_contract.gives_a_plain_number),
    Check(score_contract.stays_in_its_range),
    Check(score_contract.is_not_the_same_for_all_models),
    Check(score_contract.gives_the_same_value_again),
    Check(score_contract.gives_the_same_value_under_every_seed, _unless_drawn),
    Check(score_contract.leaves_the_world_as_it_was),
    Check(score_contract.ignores_the_order_of_samples, _unless_drawn),
    Check(score_contract.ignores_the_order_of_retrained_models),
    Check(score_contract.ignores_what_is_added_to_all_logits),
    Check(score_contract.ignores_the_names_of_classes, _unless_drawn),
    Check(score_contract.is_finite_on_extreme_logits, lambda _: panels.EXTREMES),
    Check(score_contract.gives_a_value_or_a_reason, lambda _: panels.EDGES),
    Check(score_contract.needs_what_it_declares),
    Check(score_contract.has_its_value_on_identical_models, _fixed),
    Check(score_contract.is_judged_beside_retrained_models),
)
"""The one list of what a score owes.

Examples:
    >>> all(isinstance(check, Check) for check in SCORE_CHECKS)
    True
"""


def score_conformance(*rows: ScoreRow) -> type:
    """A class of tests, one for each property that applies to any of the rows, parametrised by row and case.

    Bind it to a name that pytest collects, such as ``TestConformance``.

    Args:
        rows: The scores.

    Raises:
        ValueError: There is no row, or two are of the same name.

    Examples:
        >>> from natmu.scores import score_named
        >>> TestForgetAcc = score_conformance(ScoreRow(score_named("forget_acc")))  # pytest collects its tests
        >>> any(name.startswith("test_") for name in vars(TestForgetAcc))
        True
    """
    return tests_of(SCORE_CHECKS, rows, "score")


def score_failures(row: ScoreRow, *names: str) -> dict[str, str]:
    """Run the checks of a score without pytest.

    Args:
        row: The score.
        names: Names of the tests to run; all of them if none.

    Returns:
        Of each test and case that fails, by ``name`` or ``name[case]``, the first line of what is wrong.

    Examples:
        >>> from natmu.scores import score_named
        >>> score_failures(ScoreRow(score_named("forget_acc")))
        {}
    """
    return failures_of(SCORE_CHECKS, row, names)
