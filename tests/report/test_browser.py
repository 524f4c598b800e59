"""The page in a real browser: silent, sortable, readable by everybody, and harmless whatever the names are."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from natmu.report import write_report
from natmu.report.digits import rounded

from . import folders
from .browser import Visit, chromium

HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    "<!--<b>bold</b>&lt;i&gt; \"quoted\" 'so' {{7*7}} ${7*7} %{x}",
    '"><b>failed</b>',
)
SCENARIO = "class:</title><svg onload=window.hacked=1>"
NAME = '"><img src=x onerror=window.hacked=1>'
INK = "getComputedStyle(document.querySelector(\"[data-plot='f0-bar-test_acc'] .xtick text\")).fill"
READ = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (colour) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = rgb(colour).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
  };
  const said = (node) => [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  const shown = [...document.querySelectorAll("body *")].filter((node) => node.checkVisibility() && said(node));
  return shown.map((node) => {
    const style = getComputedStyle(node);
    const ink = node instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(node))].sort((x, y) => y - x);
    return { text: node.textContent.trim().slice(0, 40), contrast: (a + 0.05) / (b + 0.05) };
  });
}"""


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, study = folders.make_study(tmp_path_factory.mktemp("runs"))
    folders.add_hybrids(folder)
    folders.add_audit(folder.parent / "run20")
    study = folders.add_statistics(folder, study)
    return write_report(folder), study


@pytest.fixture(scope="module")
def visit(browser, made):
    return Visit(browser, made[0])


@pytest.fixture
def page(visit):
    return visit.page


@pytest.fixture
def dark(page):
    """The page while the reader asks for dark colours."""
    before = page.evaluate(INK)
    page.emulate_media(color_scheme="dark")
    wait_until(page, f"{INK} !== '{before}'")
    yield page
    page.emulate_media(color_scheme="light")
    wait_until(page, f"{INK} === '{before}'")


@pytest.fixture(scope="module")
def hostile(browser, tmp_path_factory):
    folder, _ = folders.make_study(tmp_path_factory.mktemp("runs"), HOSTILE, SCENARIO, NAME)
    folders.add_hybrids(folder, NAME)
    folders.add_audit(folder.parent / "run20", NAME)
    return Visit(browser, write_report(folder))


def traces(page, key):
    return page.evaluate("key => document.querySelector(`[data-plot='${key}']`).data", key)


def order(page, body="methods"):
    return page.eval_on_selector_all(f".sortable tbody.{body} tr th", "nodes => nodes.map(node => node.dataset.value)")


def wait_until(page, condition):
    """Wait for a condition; Playwright's own way needs ``eval``, which the page forbids."""
    end = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def test_the_page_says_nothing_and_asks_for_nothing(visit, made):
    assert visit.said == []
    assert [url for url in visit.asked if not url.startswith(("data:", "blob:"))] == [made[0].as_uri()]


def test_nothing_but_the_scripts_of_the_page_may_run(page):
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.more = 1'}))")
    assert page.evaluate("window.more") is None


def test_the_table_has_the_numbers_of_the_records(page, made):
    _, study = made
    for row in study.rows:
        cells = page.locator(".sortable tbody tr", has=page.locator(f"th[data-value='{row.method}']")).locator("td")
        shown = [name for name in folders.COLUMNS if name != "forget_test_acc"]
        assert cells.count() == 1 + len(shown)
        for place, name in enumerate(shown, start=1):
            cell, unit = cells.nth(place), 100 if name == "retrain_fraction" else 1
            column = row.scores[name]
            if column is None:
                assert cell.get_attribute("data-value") == ""
                continue
            assert float(cell.get_attribute("data-value")) == pytest.approx(unit * column.mean, rel=1e-12)
            spread = None if column.std is None else unit * column.std
            text = " ± ".join(filter(None, rounded(unit * column.mean, spread)))
            assert cell.inner_text().removesuffix("●").startswith(text)


def test_the_plots_have_the_numbers_of_the_records(page, made):
    rows = {row.method: row.scores for row in made[1].rows}
    (bars,) = traces(page, "f0-bar-test_acc")
    assert dict(zip(bars["text"], bars["x"], strict=True)) == {
        name: scores["test_acc"].mean for name, scores in rows.items() if scores["test_acc"]
    }
    points = {trace["name"]: trace for trace in traces(page, "f0-cost") if trace.get("meta")}
    assert points.keys() == {"retrained", "natmu", "amnesiac"}
    for name, point in points.items():
        assert point["y"][0] == pytest.approx(rows[name]["avg_gap"].mean, rel=1e-4)  # drawn with five digits
        assert point["x"][0] == pytest.approx(rows[name]["passes"].mean, rel=1e-4)
    half = 12.706 * rows["natmu"]["avg_gap"].std / 2**0.5  # Student's t for two seeds
    assert points["natmu"]["error_y"]["array"] == [pytest.approx(half, rel=1e-3)]


@pytest.mark.parametrize(
    ("place", "column", "ascending", "last"),
    [
        (0, "method", ["amnesiac", "natmu", "salun"], []),
        (1, "seeds", ["salun", "amnesiac", "natmu"], []),
        (6, "avg_gap", ["natmu", "amnesiac"], ["salun"]),
        (7, "seconds", ["natmu", "amnesiac"], ["salun"]),
        (8, "retrain_fraction %", ["natmu", "amnesiac"], ["salun"]),
    ],
)
def test_every_kind_of_column_sorts_both_ways_with_what_has_no_value_last(page, place, column, ascending, last):
    header = page.locator(".sortable thead th").nth(place)
    assert header.text_content() == column
    for direction, names in (("ascending", ascending), ("descending", ascending[::-1])):
        header.locator("button").click()
        assert order(page) == names + last
        assert header.get_attribute("aria-sort") == direction
    assert order(page, "references") == ["original", "retrained"]
    assert page.locator(".sortable th[aria-sort=descending]").count() == 1


def test_what_is_best_within_noise_is_marked_and_said(page):
    cells = page.locator(".sortable tbody tr td:nth-child(7)")
    found = dict(zip(order(page, "references") + order(page), cells.all_text_contents(), strict=True))
    assert found["natmu"].endswith("● (best of the column)")
    assert found["amnesiac"].endswith("○ (within noise of the best)")
    assert found["retrained"] == "4 ± 3"
    ranks = page.locator("table", has_text="Kendall").locator("tbody tr").first
    assert ranks.locator("th, td").all_text_contents() == ["natmu", "1.50", "1", "2", "50 %"]


def test_sorting_works_by_keyboard_and_is_announced(page):
    button = page.locator(".sortable thead button").first
    button.focus()
    page.keyboard.press("Enter")
    assert "Sorted by method" in page.locator("#status").inner_text()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_models_are_shown_and_hidden_in_all_plots_of_their_comparison(page):
    keys = ("f0-margin-forget", "f0-roc-forget", "f0-curve-loss")

    def shown():
        return [{one["name"] for one in traces(page, key) if one.get("name") and one["visible"]} for key in keys]

    box = page.get_by_label("natmu", exact=True)
    lines = page.locator("[data-plot='f0-margin-forget'] .scatterlayer .trace")
    assert shown() == [{"original", "retrained", "natmu", "amnesiac"}] * 3
    assert lines.count() == 4
    box.focus()
    page.keyboard.press("Space")
    assert shown() == [{"original", "retrained", "amnesiac"}] * 3
    assert lines.count() == 3
    page.get_by_role("button", name="None").click()
    assert shown() == [set()] * 3
    page.get_by_role("button", name="All").click()
    assert shown() == [{"original", "retrained", "natmu", "amnesiac"}] * 3


def test_roc_curves_have_logarithmic_axes_too(page):
    button = page.get_by_role("button", name="Logarithmic axes")
    kind = "document.querySelector(\"[data-plot='f0-roc-forget']\").layout.xaxis.type"
    button.click()
    assert (page.evaluate(kind), button.get_attribute("aria-pressed")) == ("log", "true")
    button.click()
    assert (page.evaluate(kind), button.get_attribute("aria-pressed")) == ("linear", "false")


def test_the_page_has_landmarks_headings_in_order_and_words_for_every_picture(page):
    for mark in ("header", "nav[aria-label]", "main", "footer", "h1", ".skip"):
        assert page.locator(f"body {mark}").count() == 1, mark
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "nodes => nodes.map(node => Number(node.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.locator("img").count() == 16
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.eval_on_selector_all("img", "nodes => nodes.every(node => node.naturalWidth && node.clientHeight > 20)")
    assert page.locator("[data-plot]:not([role=img]), [data-plot]:not([aria-label])").count() == 0
    assert page.locator("table:not(:has(caption))").count() == 0
    links = page.eval_on_selector_all("a", "nodes => nodes.map(node => node.getAttribute('href'))")
    assert all(page.locator(link).count() == 1 for link in links)


def test_every_text_stands_out_in_light(page):
    assert len(page.evaluate(READ)) > 100
    assert not [one for one in page.evaluate(READ) if one["contrast"] < 4.5]


def test_every_text_stands_out_in_the_dark(dark):
    assert not [one for one in dark.evaluate(READ) if one["contrast"] < 4.5]


def test_page_and_plots_follow_the_colours_that_are_asked_for(page, request):
    line = "getComputedStyle(document.querySelector(\"[data-plot='f0-margin-forget'] .js-line\")).stroke"
    ground = "getComputedStyle(document.body).backgroundColor"
    light = [page.evaluate(what) for what in (INK, line, ground)]
    dark = request.getfixturevalue("dark")
    assert not {*light} & {dark.evaluate(what) for what in (INK, line, ground)}


def test_a_phone_never_scrolls_sideways(page):
    widths = "[...document.querySelectorAll('[data-plot] .main-svg')].map(one => one.getBoundingClientRect().right)"
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    wait_until(page, f"{widths}.every(right => right <= 360)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.querySelector('.sortable').parentNode.scrollWidth") > 360
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_long_name_does_not_widen_a_phone(browser, tmp_path):
    long = "it_never_breaks_" * 8
    folder, _ = folders.make_study(tmp_path, ("natmu", long, "salun"))
    folders.add_audit(tmp_path / "run30")
    page = Visit(browser, write_report(folder), viewport={"width": 360, "height": 740}).page
    assert page.evaluate("document.querySelectorAll('#verdict dt').length") == 2
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_it_prints_in_light_colours_with_plots_that_fit(dark, tmp_path):
    dark.evaluate(
        "addEventListener('beforeprint', () => window.printed = {ink: getComputedStyle(document.body).color, "
        "widths: [...document.querySelectorAll('[data-plot]')].map(one => one._fullLayout.width)})"
    )
    content = dark.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 3
    printed = dark.evaluate("window.printed")
    assert printed["ink"] == "rgb(29, 36, 48)"
    assert 100 < max(printed["widths"]) <= 680
    assert not dark.evaluate("document.documentElement.classList.contains('printing')")


def test_hostile_names_do_not_run(hostile):
    assert hostile.page.evaluate("window.hacked") is None
    assert hostile.said == []
    assert hostile.page.locator("img[src=x], body svg[onload], main b:not(caption b)").count() == 0


def test_hostile_names_are_shown_as_they_are(hostile):
    page = hostile.page
    assert sorted(order(page)) == sorted(HOSTILE)
    assert page.locator("h2", has_text=SCENARIO).count() == 1
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.locator("figcaption", has_text=NAME).count() == 10
    assert page.get_attribute(".gallery img", "alt").endswith(NAME)
    ticks = page.locator("[data-plot='f0-bar-test_acc'] .ytick text").all_text_contents()
    assert HOSTILE[0] in ticks
    assert any(tick.startswith("</script><script>window") for tick in ticks)
    assert any(tick.startswith("<!--<b>bold</b>&lt;i&gt;") for tick in ticks)
    assert f"It diverged {NAME}" in page.locator(".failures").inner_text()


def test_the_page_of_a_run_works_as_well(browser, tmp_path):
    folders.make_run(tmp_path / "a0", folders.an_original())
    run = folders.make_run(tmp_path / "c0", folders.an_unlearned("natmu"))
    folders.add_audit(run)
    visit = Visit(browser, write_report(run))
    assert visit.said == []
    assert {one["name"] for one in traces(visit.page, "r-margin-forget")} == {"original", "natmu"}
    assert visit.page.locator("#recorded tbody tr").first.locator("td").last.inner_text() == "91.2"
    assert visit.page.locator(".gallery img").count() == 8
