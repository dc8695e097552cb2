"""A headless Chromium for the tests of pages; they are left out where there is none."""

import contextlib
import shutil
import time
from collections.abc import Iterator

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Chromium as root wants the first. The others keep it from asking for anything by itself, and give
# it a camera that it makes up.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
WIDTHS = (1200, 700, 390)  # of a desk, a tablet and a telephone


@contextlib.contextmanager
def chromium() -> Iterator:
    """Playwright's `Browser`."""
    reason = "left out: no playwright here; `make browser` installs it"
    api = pytest.importorskip("playwright.sync_api", reason=reason)
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("left out: no Chromium here; on Debian `apt-get install chromium` brings it")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page_of(browser, width: int = 1200) -> Iterator:
    """A page in which nothing went wrong in the end: no error of a script, no refused request."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    said = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    try:
        yield page
        assert said == []
    finally:
        page.close()


def until(page, expression: str, seconds: float = 20) -> None:
    """Waits until an expression of JavaScript is true; the policy of a page may forbid `eval`."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"still not: {expression}"
        page.wait_for_timeout(20)


def overflow(page) -> int:
    """By how many pixels a page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - innerWidth")
