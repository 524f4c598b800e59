from __future__ import annotations

import json

import pytest
from tests.records.folders import column

from natmu.records.table import Row
from natmu.report.figures import LONGEST, Model, bars, learning
from natmu.safe_text import for_plotly

MODELS = [Model("m0", "original", 0), Model("m1", "retrained", 0), Model("m2", "natmu", 0), Model("m3", "a<b>", 1)]


def row(gap, seconds, accuracy):
    """A row of a table whose columns may be of unlike length."""
    scores = {"avg_gap": gap, "seconds": seconds, "test_acc": accuracy}
    return Row.model_construct(scores=scores)


@pytest.fixture
def rows():
    return {
        "m0": row(column(9.0), None, column(90.0)),
        "m1": row(column(1.0, 3.0), column(5.0, 7.0), column(80.0, 84.0)),
        "m2": row(column(2.0), column(1.0), column(83.0)),
        "m3": row(None, column(1.0), None),
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("natmu lr=0.1", "natmu lr=0.1"),
        ("<b>&amp;</b>", "&lt;b&gt;&amp;amp;&lt;/b&gt;"),
        ("two\nlines", "two lines"),
        ("a\u202eb\x1b", r"a\u202eb\x1b"),
        ("x" * 99, "x" * (LONGEST - 1) + "…"),
    ],
)
def test_plotly_is_given_no_markup(text, shown):
    assert for_plotly(text, LONGEST) == shown


def test_bars_have_a_line_and_a_band_at_the_retrained_models(rows):
    figure = bars(MODELS, rows, "test_acc", "test_acc")
    (trace,) = figure["data"]
    assert dict(zip(trace["text"], trace["x"], strict=True)) == {"original": 90.0, "retrained": 82.0, "natmu": 83.0}
    band, line = figure["layout"]["shapes"]
    assert (line["x0"], line["x1"]) == (82.0, 82.0)
    assert (band["x0"], band["x1"]) == (pytest.approx(82 - 8**0.5), pytest.approx(82 + 8**0.5))


def test_learning_curves_skip_what_is_not_finite_and_thin_what_is_long():
    histories = {"m1": {"loss": [1.0] * 900}, "m2": {"loss": [2.0, float("nan"), None, 0.123456789]}}
    long, short = learning(MODELS[1:3], histories, "loss")["data"]
    assert len(long["x"]) <= 200
    assert (short["x"], short["y"]) == ([1, 2, 3, 4], [2.0, None, None, 0.12346])
    json.dumps(short, allow_nan=False)


def test_colours_are_variables_of_the_page_and_reserved_for_references():
    assert [model.colour for model in MODELS[:3]] == ["var(--original)", "var(--retrained)", "var(--series-0)"]
    assert {Model("k", "x", place).colour + Model("k", "x", place).dash for place in range(32)} == {
        f"var(--series-{colour}){dash}" for colour in range(8) for dash in ("solid", "dash", "dot", "dashdot")
    }
