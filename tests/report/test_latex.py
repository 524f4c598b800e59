from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile import seen

from natmu.report import latex
from natmu.safe_text import for_latex

from .folders import changed_row, row, table

NASTY = r"""\input{x} {a}$b&c#d%e_f^g~h<i>j|k"l`m[n]o*p"""

COMMANDS = {
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    r"\symbol{34}": '"',
    r"\symbol{96}": "`",
    r"$\pm$": "±",
    "{[}": "[",
    "{]}": "]",
    "{*}": "*",
    **{f"\\{sign}": sign for sign in "{}$&#%_"},
}
TOKEN = re.compile("|".join(map(re.escape, sorted(COMMANDS, key=len, reverse=True))) + r"|[^\\{}$&#%_^~<>|\"`\[\]*±]")


def typeset(text):
    """What TeX prints: only known commands and plain letters are let through."""
    end, letters = 0, []
    while end < len(text):
        token = TOKEN.match(text, end)
        assert token, f"TeX would act on {text[end:]!r}"
        letters.append(COMMANDS.get(token.group(), token.group()))
        end = token.end()
    return "".join(letters)


def body(text):
    return [line for line in text.splitlines() if not line.startswith("%")]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60) | st.text(NASTY, max_size=60))
def test_any_text_is_printed_as_it_stands(text):
    shown = "".join(map(seen, " ".join(text.split())))
    assert typeset(for_latex(text)) == shown
    assert "\n" not in for_latex(text)


def test_there_is_a_booktabs_table_per_scenario_with_numbers_in_mathematical_mode(repeated):
    text = latex(repeated)
    lines = body(text)
    assert lines[0] == r"\begin{table}"
    assert r"\begin{tabular}{lrrrrrrr}" in lines
    assert lines.count(r"\toprule") == lines.count(r"\midrule") == lines.count(r"\bottomrule") == 1
    heads = r"method & \shortstack[r]{test\\acc} & \shortstack[r]{retain\\acc} & \shortstack[r]{forget\\acc}"
    heads += (
        r" & \shortstack[r]{mia\\entropy} & \shortstack[r]{avg\\gap} & seconds & \shortstack[r]{retrain\\fraction \%}"
    )
    assert heads + r" \\" in lines
    (natmu,) = (line for line in lines if line.startswith("natmu"))
    assert r"& $\mathbf{0.9 \pm 0.3}$ & $2.1 \pm 0.1$ & -- \\" in natmu
    (retrained,) = (line for line in lines if line.startswith("retrained"))
    assert "mathbf" not in retrained
    assert text.endswith("\\end{table}\n")


def test_the_caption_has_seeds_baseline_and_what_bold_means(repeated):
    (caption,) = (line for line in body(latex(repeated)) if line.startswith(r"\caption"))
    assert caption.startswith(
        r"\caption{example, random:10\%, 2 to 3 seeds; retraining baseline $0.4 \pm 0.1$. Mean $\pm$ sample"
    )
    assert "5 \\% after Holm's correction" in caption
    assert caption.count("{") - caption.count(r"\{") == caption.count("}") - caption.count(r"\}")
    alone = latex(table(row("a", "x", 1, avg_gap=[1.0])))
    assert "; retraining baseline not known. " in alone
    assert r"$\mathbf{1.0}$" in alone


def test_failures_are_words_in_the_table_and_sentences_in_comments(study):
    text = latex(study)
    assert r"salun\textbar{}wide & failed & -- & -- & -- & -- & -- & -- \\" in body(text)
    assert r"unsir & not run & -- & -- & -- & -- & -- & -- \\" in body(text)
    assert "% unsir was not run: It needs whole classes." in text.splitlines()
    assert all(line.startswith("%") for line in text.splitlines() if "partners" in line)
    broken = changed_row(study, 2, failed="a\rb\nc")
    assert "% salun|wide failed: a b c (logs/s.log)" in latex(broken).splitlines()


def test_names_do_nothing_but_appear():
    study = table(row(f"class:{NASTY}", NASTY, 1, avg_gap=[1.0], log="x", failed="\\end{table}"))
    lines = body(latex(study))
    _, line = (line for line in lines if line.endswith(r"\\"))
    assert typeset(line.split(" & ")[0]) == NASTY
    assert sum(line.count(r"\end{table}") for line in lines) == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("fonts", ["", r"\usepackage[T1]{fontenc}"])
def test_it_compiles(study, repeated, tmp_path, fonts):
    scenario = f"class:{NASTY}"
    gaps = {NASTY: [1.0, 2.0], "[x": [3.0, 5.0], "*": [9.0, 8.0], "é": [9.0, 8.0]}
    nasty = table(*(row(scenario, label, 2, avg_gap=values) for label, values in gaps.items()))
    tables = "\n".join(map(latex, (study, repeated, nasty)))
    head = rf"\documentclass{{article}}{fonts}\usepackage{{booktabs,graphicx}}\begin{{document}}"
    (tmp_path / "paper.tex").write_text(f"{head}\n{tables}\n\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_bytes()
    assert b"Missing character" not in log
    assert b"Overfull" not in log
