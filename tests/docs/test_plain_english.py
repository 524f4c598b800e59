"""Pages are written in short sentences, and the counting is right where sentences are hard to tell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests import plain_english
from tests.plain_english import (
    MEAN_LIMIT,
    ROOT,
    SENTENCE_LIMIT,
    blocks,
    mean_words,
    page_sentences,
    pages,
    sentences,
    word_count,
)

PAGE = """\
---
title: A page that has front matter. It does not count.
---

# A heading. It is no sentence.

A first sentence, over
two lines. A second: it goes on
after a colon; and after a semicolon.

- An item without a full stop
- Another, over
  two lines
    1. A numbered item below it. With two sentences.

| a table. | is left. out. |
|---|---|

> A quotation is text.

*References.* A Title. That Is Long (One Author, Another Author, 2024), https://example.org

```python
x = 1  # Code. Is. Not.
```

    - An indented item

      ```console
      $ natmu train. And. More.
      ```

      and what follows its code

<!-- A remark. Nobody reads it. -->
![A picture. Described.](picture.png)
"""


def test_a_page_has_its_running_text_alone():
    assert page_sentences(PAGE) == [
        "A first sentence, over two lines.",
        "A second: it goes on after a colon; and after a semicolon.",
        "An item without a full stop",
        "Another, over two lines",
        "A numbered item below it.",
        "With two sentences.",
        "A quotation is text.",
        "An indented item",
        "and what follows its code",
    ]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Some sets, e.g. CIFAR-10, i.e. Small images, are quick. Others are not.", 2),
        ("He et al. Published it, cf. Kurmanji et al. 2023, as in vs. Others.", 1),
        ("It runs on Python 3.11 and PyTorch 2.13.0. Version 0.2 needs both.", 2),
        ("See README.md and requests.json. natmu.audit reads them.", 2),
        ("By J. Smith and A. B. Jones. In 2024.", 2),
        ("The gap is 0.5. 3 seeds show it.", 2),
        ("See fig. 3 and no. 4. The answer is no. Then it stops.", 3),
        ("Colours, sizes, etc. are kept. Colours, sizes, etc. All are kept.", 3),
        ("Is it forgotten? Yes! And (is the rest kept?) it is asked.", 3),
        ('It says "done." Then it ends. (So it is.) **Bold.** And more', 5),
        ("It waits … then goes on… And ends.", 2),
        ("It waits ... then goes on... And ends.", 2),
        ("`a. b` is code. `natmu` too.", 2),
        ("One thing: The colon ends nothing; Nor does this.", 1),
        ("Nothing ends here", 1),
        ("", 0),
        ("…", 0),
    ],
)
def test_sentences_end_where_a_reader_stops(text, count):
    found = [sentence for block in blocks(text) for sentence in sentences(block)]
    assert len(found) == count, found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One two, three ± four.", 4),
        ("[Two words](https://a.long/address) and `one code span` here", 5),
        ("[One][a reference] and <https://an.address/>", 2),
        ("± 3 of 0.5 %", 3),
        ("a well-kept file's name", 4),
        ("**Bold** and ``code with ` a tick``", 3),
    ],
)
def test_words_are_what_stands_between_spaces(text, count):
    assert sum(word_count(block) for block in blocks(text)) == count


def test_the_mean_is_over_sentences():
    assert mean_words(["One two three.", "Four."]) == 2
    assert mean_words([]) == 0


def test_it_prints_the_hardest_page_and_the_longest_sentence_first(tmp_path, monkeypatch, capsys):
    (tmp_path / "easy.md").write_text("Short. Very short.\n", encoding="utf-8")
    (tmp_path / "hard.md").write_text("This sentence is the longest. This is not.\n", encoding="utf-8")
    files = [str(tmp_path / name) for name in ("easy.md", "hard.md")]
    monkeypatch.setattr(sys, "argv", ["plain_english", *files, "--worst", "1"])
    plain_english.main()
    hard, easy, _, where, sentence = capsys.readouterr().out.splitlines()
    assert (hard.split()[0], hard.split()[-1]) == ("4.0", files[1])
    assert (easy.split()[0], easy.split()[-1]) == ("1.5", files[0])
    assert (where, sentence.strip()) == (f"{files[1]}, 5 words:", "This sentence is the longest.")


def test_a_file_that_is_no_page_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe")
    for name in ("absent.md", "binary.md", "."):
        monkeypatch.setattr(sys, "argv", ["plain_english", str(tmp_path / name)])
        with pytest.raises(SystemExit):
            plain_english.main()
        assert f"error: {tmp_path / name} cannot be read as a page: " in capsys.readouterr().err


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", pages(), ids=named)
def test_a_page_has_short_sentences(page):
    found = page_sentences(page.read_text(encoding="utf-8"))
    assert mean_words(found) <= MEAN_LIMIT
    assert [sentence for sentence in found if word_count(sentence) > SENTENCE_LIMIT] == []
