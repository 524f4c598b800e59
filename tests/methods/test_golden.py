"""Numbers must not move by accident: training and every method give what ``golden.json`` says.

The file was made with PyTorch 2.13 on a Xeon with AVX-512. PyTorch's kernels for AVX2 and for no vector unit at all,
oneDNN held to AVX2 and to SSE 4.1, MKL held to AVX2, and two threads moved losses by at most 1.2e-6 of themselves, or
7e-8 where that is more, and norms by at most 2.4e-6 of themselves. PyTorch 2.11 moved no bit where the initial weights
were the same. The tolerances are some eight times what was seen, and 1 % more weight decay moves norms by fifteen times
the tolerance.
"""

import pytest

from . import golden

LOSS, SMALL_LOSS, NORM = 1e-5, 5e-7, 2e-5
"""Relative, absolute and relative; the absolute one is for losses such as KL, in which large numbers cancel."""


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_numbers_are_those_of_the_golden_file(name):
    expected = golden.stored().get(name)
    assert expected, f"{name} has no golden numbers yet: run make golden"
    found = golden.measure(name)
    renew = f"if this change is meant, run make golden NAMES={name}"
    assert found["losses"] == pytest.approx(expected["losses"], rel=LOSS, abs=SMALL_LOSS), renew
    assert found["norms"] == pytest.approx(expected["norms"], rel=NORM), renew
