"""The documentation site: links of the repository become links of the site, and its pages need no network."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mkdocs.exceptions import PluginError
from tests.docs.hooks import HOOKS
from tests.report.browser import chromium

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("page", "link", "in_site"),
    [
        ("docs/which-kind.md", "../README.md#audits", "overview.md#audits"),
        ("docs/photographs.md", "../benchmarks/results/photographs.md", "benchmarks/results/photographs.md"),
        ("docs/own-training.md", "../examples/own_training", "examples/own_training/README.md"),
        ("docs/tutorials/person.md", "../search.md#trials", "../search.md#trials"),
        ("benchmarks/results/h100.md", "../../docs/decisions/0003-speed.md", "../../decisions/0003-speed.md"),
        ("README.md", "docs/images/report.png", "images/report.png"),
        ("README.md", "docs/decisions/", "decisions/README.md"),
        ("README.md", "https://example.org/docs/data.md", "https://example.org/docs/data.md"),
        ("README.md", "#audits", "#audits"),
        ("README.md", "no-such-file.md", "no-such-file.md"),
    ],
)
def test_links_are_those_of_the_site(page, link, in_site):
    fenced = f"```text\n[x]({link})\n```\n"
    assert HOOKS.with_links(f"[x]({link}) and\n{fenced}", ROOT / page) == f"[x]({in_site}) and\n{fenced}"


def test_what_pages_link_to_is_in_the_site():
    files = {path.relative_to(ROOT).as_posix() for path in HOOKS.files_beyond_docs()}
    assert {"README.md", "CONTRIBUTING.md", "examples/plugin/README.md", "recipes/cpu/cifar10.yaml"} <= files
    assert {path.relative_to(ROOT).as_posix() for path in HOOKS.RESULTS.glob("*.md")} <= files
    assert not any(name.startswith("docs/") for name in files)


def test_blocks_of_lists_stand_where_python_markdown_looks_for_them():
    page = "1. One:\n\n   ```python\n   if x:\n       y\n   ```\n\n- Two\n  goes on.\n\nText\n"
    page += "\n```text\n- no\n  list\n```\n"
    deep = page.replace("   ```", "    ```").replace("   if", "    if").replace("       y", "        y")
    assert HOOKS.with_deep_lists(page) == deep.replace("  goes", "    goes")
    assert HOOKS.with_deep_lists("- One\n\n  goes on\n- Two\n- Three") == "- One\n\n    goes on\n\n- Two\n- Three"


@pytest.mark.parametrize(
    "loading",
    [
        '<script async src="https://example.org/a.js"></script>',
        "<script src=//example.org/a.js></script>",
        '<link rel="stylesheet" href="http://example.org/a.css">',
        '<link href="https://example.org" rel="preconnect">',
        '<img alt="" src="https://example.org/a.png">',
        "body { background: url('https://example.org/a.png') }",
        '@import "https://example.org/a.css";',
        '<pre class="mermaid">',
    ],
)
def test_what_comes_from_another_host_is_found(loading):
    assert len(HOOKS.loaded_from_elsewhere(f"<p>{loading}</p>")) == 1


@pytest.mark.parametrize(
    "harmless",
    [
        '<a href="https://example.org">',
        '<script src="../assets/a.js"></script>',
        '<link rel="canonical" href="https://example.org">',
        "url(data:image/svg+xml;base64,AA)",
    ],
)
def test_links_and_what_is_local_are_no_loading(harmless):
    assert HOOKS.loaded_from_elsewhere(harmless) == []


@pytest.mark.parametrize("folder", ["docs/decisions", "benchmarks/results"])
def test_the_index_of_a_folder_has_all_its_pages(folder):
    pages = {path.name for path in (ROOT / folder).glob("*.md")}
    assert {*HOOKS.links_of((ROOT / folder / "README.md").read_text(encoding="utf-8"))} == pages - {"README.md"}


def test_the_reference_has_a_page_for_each_public_package():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs/reference").glob("*.md")}
    assert pages.keys() == {f"natmu{name.replace('.', '-')}" for name in HOOKS.REFERENCE}
    assert all(re.search(rf"^::: {name.replace('-', '.')}$", text, re.MULTILINE) for name, text in pages.items())
    assert HOOKS.missing_names('<h2 id="natmu.heads.RidgeHead">', "natmu.heads") == [
        "BudgetSpent",
        "LogisticHead",
        "RefitNeeded",
        "load_head",
        "rows_of",
    ]


def test_a_site_without_a_page_of_the_reference_is_refused(tmp_path):
    with pytest.raises(PluginError, match=r"lacks reference/natmu\.html, the reference of natmu\."):
        HOOKS.on_post_build(SimpleNamespace(site_dir=str(tmp_path)))


@pytest.fixture
def site(tmp_path):
    """A site of two small pages with the settings of ours."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    pages = tmp_path / "pages"
    (pages / "scripts").mkdir(parents=True)
    (pages / "scripts/iframe-worker.js").write_bytes((ROOT / "docs/scripts/iframe-worker.js").read_bytes())
    (pages / "index.md").write_text("# Start\n\n```python\nprint(1)\n```\n")
    (pages / "more.md").write_text("# More\n\nA zebra.\n")
    folder = tmp_path / "site"
    changes = {"docs_dir": str(pages), "site_dir": str(folder), "nav": ["index.md", "more.md"], "hooks": []}
    build(load_config(str(ROOT / "mkdocs.yml"), **changes))
    return folder


def test_a_page_from_a_folder_is_searched_and_loads_nothing_from_elsewhere(site):
    texts = {path: path.read_text(encoding="utf-8") for path in site.rglob("*") if path.suffix in (".html", ".css")}
    assert len(texts) > 4
    assert {path: loaded for path, text in texts.items() if (loaded := HOOKS.loaded_from_elsewhere(text))} == {}
    with chromium() as browser:
        page, asked = browser.new_page(), []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.click("[data-md-component=search-query]")
        page.keyboard.type("zebra")
        page.wait_for_selector(".md-search-result__item a[href*='more.html']")
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:"))] == []
