"""A real headless Chromium, for pages that must work in one."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest

REQUIRED = os.environ.get("NATMU_REQUIRE_BROWSER") == "1"


@contextmanager
def chromium():
    """A browser; the test is skipped where there is none, unless ``NATMU_REQUIRE_BROWSER=1`` asks for one."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed; pip install 'natmu[dev]' brings it")
    program = shutil.which("chromium")
    if program is None:
        absent("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def absent(reason):
    """Skip, or fail where a browser is required."""
    if REQUIRED:
        pytest.fail(f"NATMU_REQUIRE_BROWSER=1, but {reason}")
    pytest.skip(reason)


class Visit:
    """A page with everything that it said, and everything that it asked for."""

    def __init__(self, browser, path, **settings):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=60_000)
