"""The conclusion of a page, its replicates and its folded tables in a real browser."""

from __future__ import annotations

import pytest

from natmu.report import write_report

from . import folders
from .browser import Visit, chromium
from .many_methods import many_methods
from .test_browser import traces, wait_until

OVERLAPS = """() => [...document.querySelectorAll(".strip, [data-plot]")].flatMap((plot) => {
  const texts = [...plot.querySelectorAll("text")].filter((text) => text.textContent.trim() && text.checkVisibility());
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, a], place) => boxes.slice(0, place).filter(([, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2
  ).map(([other]) => [name, other]));
})"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def many(browser, tmp_path_factory):
    """The page of thirty methods, some of which are audited."""
    folder = tmp_path_factory.mktemp("runs") / "example"
    many_methods(folder, audits=5)
    return Visit(browser, write_report(folder)).page


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """The page of a study whose two replicates have their runs beside it."""
    folder, study = folders.make_study(tmp_path_factory.mktemp("runs"))
    forget = folders.a_forget()
    unlearned = {"method": "method0", "forget": forget, "seed": 1}
    lineages = [folders.an_original(1), folders.a_retrained(), folders.an_unlearned(**unlearned)]
    for place, lineage in enumerate(lineages):
        own = lineage if place != 1 else lineage.model_copy(update={"seed": 1})
        folders.make_run(folder.parent / f"run{place}1", own, 3.0, 2.0, 7 + place)
        first, second = study.rows[place].replicates
        replicates = (first, folders.changed(second, digest=own.digest))
        study = folders.changed_row(study, place, replicates=replicates)
    folders.rewrite(folder, study)
    return write_report(folder)


@pytest.mark.parametrize("width", [390, 1280])
def test_names_of_thirty_methods_do_not_overlap(many, width):
    many.set_viewport_size({"width": width, "height": 900})
    edges = "[...document.querySelectorAll('[data-plot]')].map(one => one.getBoundingClientRect().width)"
    drawn = "[...document.querySelectorAll('[data-plot] .main-svg')].map(one => one.getBoundingClientRect().width)"
    wait_until(many, f"Math.abs(Math.max(...{drawn}) - Math.max(...{edges})) < 2")
    assert many.evaluate(OVERLAPS) == []
    assert many.evaluate("document.documentElement.scrollWidth") == width


def test_the_picture_can_be_read_on_a_phone_and_is_beside_the_words_on_a_screen(many):
    box = "document.querySelector('.strip').getBoundingClientRect()"
    lead = "document.querySelector('.lead').getBoundingClientRect()"
    many.set_viewport_size({"width": 390, "height": 900})
    smallest = (
        "Math.min(...[...document.querySelectorAll('.strip text')].map(one => one.getBoundingClientRect().height))"
    )
    assert many.evaluate(f"{box}.top > {lead}.bottom && {box}.right < 390")
    assert many.evaluate(smallest) >= 11
    many.set_viewport_size({"width": 1280, "height": 900})
    assert many.evaluate(f"{box}.left > {lead}.right")


def test_the_conclusion_comes_first(many):
    assert many.locator("main section").first.get_attribute("id") == "conclusion"
    assert many.locator("nav a").first.inner_text() == "Conclusion"
    assert many.locator("#conclusion .lead").inner_text().startswith("natmu comes closest to retraining")


def test_long_tables_are_folded_and_open_on_paper(many):
    folded = many.locator("details.long")
    assert folded.count() == 3  # the verdicts, the methods, their ranks
    assert not many.locator(".sortable").is_visible()
    many.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert many.locator("details.long[open]").count() == 3
    many.evaluate("dispatchEvent(new Event('afterprint'))")
    assert many.locator("details.long[open]").count() == 0


def test_another_replicate_can_be_chosen_and_keeps_what_is_shown(browser, repeated):
    visit = Visit(browser, repeated)
    page, select = visit.page, visit.page.get_by_label("Replicate shown below")
    assert select.locator("option").all_inner_texts() == [
        "split 0, training 0, unlearning 0",
        "split 0, training 1, unlearning 1",
    ]
    first = traces(page, "f0-margin-forget")[0]["y"]
    page.locator("[data-replicate='f0'] input[value='f0m0']").uncheck()
    select.select_option("f0r1")
    wait_until(page, "document.querySelector(\"[data-plot='f0r1-margin-forget'] .main-svg\") !== null")
    shown = {one["name"]: one["visible"] for one in traces(page, "f0r1-margin-forget")}
    assert shown == {"original": False, "retrained": True, "natmu": True}
    assert traces(page, "f0r1-margin-forget")[0]["y"] != first
    assert not page.locator("[data-replicate='f0']").is_visible()
    page.locator("[data-replicate='f0r1'] summary", has_text="Scores of this replicate").click()
    cells = page.locator("[data-replicate='f0r1'] tbody tr", has_text="natmu").first.locator("td").all_inner_texts()
    assert cells[:2] == ["89.5", "99.5"]  # the second values of the row
    assert "unlearning 1" in page.locator("#status").inner_text()
    assert visit.said == []


def test_without_scripts_the_first_replicate_and_the_conclusion_are_shown(browser, repeated):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(repeated.as_uri())
    assert page.locator(".strip").is_visible()
    assert page.locator(".lead").is_visible()
    assert page.locator("[data-replicate='f0'] .models").is_visible()
    assert not page.locator("[data-replicate='f0r1']").is_visible()
    assert not page.locator("[data-replicates]").is_visible()
