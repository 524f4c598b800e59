"""Tables of any width on a terminal."""

from __future__ import annotations

import pytest

from natmu.cli.output import print_rows

ROW = {
    "model": "bad_teacher",
    "wrong label": "100 %",
    "true label": "0 %",
    "avg_gap": "41.7",
    "retrain fraction": "100 %",
    "forgotten?": "not distinguishable",
}


@pytest.mark.parametrize("width", [76, 80, 100, 300])
def test_no_word_is_cut_where_all_words_fit(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_rows([ROW], list(ROW))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    shown = {word for line in lines for word in line.split()}
    assert {word for text in (*ROW, *ROW.values()) for word in text.split()} <= shown


@pytest.mark.parametrize("width", [40, 80])
def test_where_not_all_words_fit_they_are_folded(monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    print_rows([{"name": "x" * 100, "paper": ""}], ["name", "paper"])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    assert out.count("x") == 100
