"""The page of evidence: alone, harmless, legible, and two sheets of paper."""

import re

import pytest
from tests.deletion_requests.evidence_stories import CERTIFIED, EXACT, STORIES, evidence, long_story, measurement, score
from tests.deletion_requests.fakes import chained, released, rolled_back

from natmu.report.evidence_page import _score_cells, _summary, evidence_page

from .browser import chromium
from .test_browser import READ

HOSTILE = '<script>window.hacked=1</script><img src=x onerror=window.hacked=1>"&'


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def show(browser, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")

    def shown(entries, **settings):
        path = folder / "page.html"
        path.write_text(evidence_page(evidence(entries)), encoding="utf-8")
        page = browser.new_context(**settings).new_page()
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri())
        return page

    return shown


@pytest.mark.parametrize(
    ("story", "sentence"),
    [
        ("pending", "It is not answered yet, and is due on 1 February 2026."),
        ("refused", "1 model was refused or could not be made"),
        ("rolled back", "It is not honoured now."),
        ("retrained", "release 1 is deployed, which honours the request."),
    ],
)
def test_every_state_of_a_request_is_told(story, sentence):
    assert sentence in evidence_page(evidence(chained(*STORIES[story])))


def summary(entries):
    return _summary(evidence(entries))


def test_a_promise_is_the_first_sentence_and_tests_only_check_the_software():
    exact = summary(long_story(0, **EXACT))
    assert exact[0].startswith(
        "The request is honoured by release 1, which is exact, by the method sisa. Bit for bit, the"
    )
    assert EXACT["promise"] in exact[0]
    assert "As a check of the software, the model was compared with 2 retrained models. No score" in " ".join(exact)
    alone = measurement().model_copy(update={"references": 0})
    bare = " ".join(summary(long_story(0, **EXACT | {"measured": alone})))
    assert "does not rest on tests" in bare
    assert alone.forgotten.sentence not in bare
    tested = summary(long_story(0))
    assert tested[0].startswith("On ")
    assert measurement().forgotten.sentence in tested
    later = summary(long_story(1, **EXACT))[0]  # by another method, on a model that never had the samples
    assert later.startswith("The request is honoured by release 2, which rests on release 1, which is exact")


def test_a_promise_that_the_deployed_model_does_not_keep_is_not_the_first_sentence():
    entries = chained(*STORIES["rolled back"][:3], released(1, 1, 1, **EXACT), rolled_back(0, 1))
    assert summary(entries)[0].startswith("On ")


def test_words_of_the_tables_are_explained_and_a_guardrail_passes_or_fails():
    page = evidence_page(evidence(long_story(0)))
    assert "no difference was seen" in page
    assert "with a probability of 80 %" in page
    assert "<li>Passed: retain_loss" in page
    assert "Kept" not in page


def test_a_seed_that_was_chosen_by_hand_is_no_secret():
    head = CERTIFIED["head"].model_copy(update={"secret": False})
    page = evidence_page(evidence(long_story(0, **CERTIFIED | {"head": head})))
    assert "secret seed" not in page
    assert "a seed that was chosen by hand" in page


def test_a_difference_beyond_all_percentages_is_none_that_would_be_seen():
    assert "none would be" not in evidence_page(evidence(long_story(1, "T-1")))
    assert _score_cells(score(75.0, 100.0, 70.8, 79.2, detectable=100.1))[3] == "none would be"
    assert _score_cells(score(75.0, 100.0, 70.8, 79.2, detectable=99.9))[3] == "99.9"


@pytest.mark.parametrize(("later", "ticket"), [(8, "T-1"), (60, "x" * 200)])
def test_it_prints_on_two_sheets(show, later, ticket):
    page = show(long_story(later, ticket))
    sheets = re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))
    assert 1 <= len(sheets) <= 2
    assert page.locator("table", has_text="measured again").locator("tbody tr").count() == 8
    assert ("52 more in evidence.json" in page.content()) == (later == 60)


def test_a_promise_stands_beside_what_was_done_and_fits_two_sheets(show):
    page = show(long_story(8, "T-1", **CERTIFIED))
    text = page.locator('section[aria-labelledby="made"]').inner_text()
    head = CERTIFIED["head"]
    for sentence in (*CERTIFIED["assumptions"], *CERTIFIED["decisions"], head.sentence):
        assert sentence in text
    assert page.locator("#main").inner_text().count(CERTIFIED["promise"]) == 1
    assert "(epsilon, delta) = (1, 1e-05); 0.012 of 0.25 of the budget are spent by 24 removals" in text
    assert text.count("of the budget are spent") == 1  # the head says it, and what was decided
    assert "secret seed" in page.content()
    sheets = re.findall(rb"/Type\s*/Page\b", page.pdf(prefer_css_page_size=True))
    assert len(sheets) <= 2


def test_what_comes_from_outside_is_text_alone(show):
    page = show(long_story(1, HOSTILE))
    assert HOSTILE in page.locator("#main").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script, img, link").count() == 0
    assert len(page.asked) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(show, scheme):
    texts = show(long_story(), color_scheme=scheme).evaluate(READ)
    assert len(texts) > 80
    assert not [one for one in texts if one["contrast"] < 4.5]


def test_it_prints_in_light_colours_for_readers_who_like_the_dark(show):
    page = show(long_story(), color_scheme="dark")
    ink = "getComputedStyle(document.body).color"
    assert page.evaluate(ink) == "rgb(232, 235, 240)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(ink) == "rgb(29, 36, 48)"
