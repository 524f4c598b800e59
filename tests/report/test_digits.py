from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from natmu.report.digits import rounded
from natmu.report.units import decimals_of

MEANS = st.floats(-1e6, 1e6)
SPREADS = st.floats(1e-9, 1e6)


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (93.3417, 0.24, ("93.3", "0.2")),
        (93.3417, 0.096, ("93.34", "0.10")),
        (93.3417, 0.96, ("93.3", "1.0")),
        (93.3417, 1.0, ("93", "1")),
        (93.3417, 28.6, ("90", "30")),
        (4.0, 13.0, ("0", "10")),
        (99.9417, 0.0003, ("99.94", "0.00")),
        (0.0, 0.0, ("0.00", "0.00")),
        (1234.56, 100.0, ("1200", "100")),
        (-0.04, 0.2, ("0.0", "0.2")),
    ],
)
def test_a_mean_ends_at_the_first_significant_digit_of_its_spread(mean, std, expected):
    assert rounded(mean, std) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.042, "0.04"), (-0.5, "-0.50"), (93.3417, "93.3"), (1234.56, "1235")]
)
def test_a_single_value_has_few_digits_and_no_spread(value, text):
    assert rounded(value, None) == (text, "")


@pytest.mark.parametrize(("value", "text"), [(0.5341, "0.53"), (0.0342, "0.034"), (0.00017, "0.0002"), (2.345, "2.3")])
def test_a_small_unit_has_two_significant_digits(value, text):
    assert rounded(value, None, most=4) == (text, "")


def last_digit_shown(text):
    """Power of ten of the last place that is not a filling zero before the decimal point; None for a plain zero."""
    if "." in text:
        return Decimal(text).as_tuple().exponent
    digits = text.lstrip("-")
    return len(digits) - len(digits.rstrip("0")) if digits.strip("0") else None


@given(MEANS, SPREADS, st.integers(0, 6))
def test_no_digit_is_shown_below_the_first_significant_one_of_the_spread(mean, std, most):
    place = Decimal(std).adjusted()
    for text in rounded(mean, std, most):
        shown = last_digit_shown(text)
        assert shown is None or shown >= place
        assert "." not in text or len(text.partition(".")[2]) <= most
        assert not text.startswith("-") or Decimal(text) != 0


@given(MEANS, SPREADS)
def test_rounding_moves_neither_number_by_more_than_half_a_place(mean, std):
    half = max(Decimal(10) ** Decimal(std).adjusted(), Decimal("0.01")) / 2
    for value, text in zip((mean, std), rounded(mean, std), strict=True):
        assert abs(Decimal(text) - Decimal(value)) <= half * Decimal("1.000001")


def test_passes_that_all_seeds_share_have_three_decimals():
    assert rounded(1.98052851, 0.0, decimals_of("passes")) == ("1.981", "0.000")
    assert rounded(0.99026, None, decimals_of("passes")) == ("0.99", "")
