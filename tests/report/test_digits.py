from __future__ import annotations

import pytest

from natmu.report.digits import rounded


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        (93.3417, 0.24, ("93.3", "0.2")),
        (93.3417, 0.096, ("93.34", "0.10")),
        (93.3417, 0.96, ("93.3", "1.0")),
        (93.3417, 1.0, ("93", "1")),
        (93.3417, 28.6, ("93", "29")),
        (99.9417, 0.0003, ("99.94", "0.00")),
        (0.0, 0.0, ("0.00", "0.00")),
        (1234.56, 100.0, ("1235", "100")),
    ],
)
def test_a_mean_ends_at_the_first_significant_digit_of_its_spread(mean, std, expected):
    assert rounded(mean, std) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.042, "0.04"), (-0.5, "-0.50"), (93.3417, "93.3"), (1234.56, "1235")]
)
def test_a_single_value_has_few_digits_and_no_spread(value, text):
    assert rounded(value, None) == (text, "")
