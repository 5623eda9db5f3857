"""A real Chromium that opens a report and notices everything it should not do."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

# Violations of the page's own policy reach nobody unless someone listens.
_LISTEN = """
window.violations = [];
addEventListener('securitypolicyviolation', (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def chromium_path() -> str:
    """Where Chromium is; the test that asks skips where there is none."""
    named = os.environ.get("CHROMIUM")
    found = named or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if not found:
        pytest.skip("no Chromium is installed (the variable CHROMIUM can name one)")
    return str(found)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The tests may run as root in a container, where Chromium's own sandbox cannot.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Quiet:
    """What a page did that a report must not do."""

    page: Page
    requests: list[str] = field(default_factory=list)
    output: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note requests, messages on the console, errors, dialogs and further windows."""
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.output.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.output.append(f"error: {error}"))
        self.page.on("popup", lambda page: self.output.append(f"window: {page.url}"))
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Any) -> None:
        self.output.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def check(self) -> None:
        """Assert that the page loaded itself and nothing else, and said nothing."""
        elsewhere = [url[:200] for url in self.requests if not url.startswith(("file:", "blob:"))]
        assert not elsewhere
        assert len({url.partition("#")[0] for url in self.requests if url[:5] == "file:"}) == 1
        assert not self.output
        assert not self.page.evaluate("window.violations")


@contextmanager
def opened(
    browser: Browser, path: Path, fragment: str = "", *, width: int = 1280, **options: Any
) -> Iterator[Page]:
    """A page that shows a file from disk; at the end it must have been quiet.

    Args:
        browser: the browser.
        path: the file.
        fragment: what stands behind ``#``, with it.
        width: of the window, in pixels.
        options: of the browser's context: ``color_scheme``, ``java_script_enabled``, ...
    """
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(20_000)
    context.add_init_script(_LISTEN)
    page = context.new_page()
    quiet = Quiet(page)
    quiet.listen()
    try:
        page.goto(path.as_uri() + fragment)
        yield page
        if options.get("java_script_enabled", True):
            quiet.check()
    finally:
        context.close()


def count(page: Page) -> int:
    """How many entities the table says that it shows."""
    words = page.locator("#count").inner_text()
    return int(words.split()[0].replace(",", ""))


def expect_count(page: Page, number: int) -> None:
    """Wait until the table shows so many entities, as soon as the page has come to it."""
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(re.compile(rf"^{number:,}\b"))
