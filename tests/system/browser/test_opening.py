"""The report opens anywhere, and loads, sends and runs nothing but itself."""

from __future__ import annotations

import http.server
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.viewer import count, opened

from mlflow_gc.plan.verification import Applicability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

JENKINS = "sandbox; default-src 'none'; img-src 'self'; style-src 'self';"
"""What Jenkins sends with archived files unless somebody loosened it."""


@contextmanager
def served(directory: Path, **headers: str) -> Iterator[str]:
    """An HTTP server for one directory, with further headers."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Handler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_from_disk(
    browser: Browser, report: Path, plan: dict[str, Any], scheme: str, width: int
) -> None:
    """Nothing is requested, said or refused; everything is there; nothing is wider than the page."""
    with opened(browser, report, width=width, color_scheme=scheme) as page:
        entities = sum(len(plan[f"{k}s"]) for k in ("experiment", "run", "model_version"))
        entities += sum(map(len, plan["protected"].values()))
        assert count(page) == entities
        expect(page.locator("h1")).to_have_text("mlflow.example.com/ml")
        expect(page.locator("#command")).to_contain_text(f"--expect {plan['plan_id']}")
        for heading in (
            "Every entity",
            "Policy",
            "Why are they deleted?",
            "Whose runs are deleted?",
        ):
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        assert page.locator(".banner:visible").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, "the page scrolls sideways"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        is_dark = int(background.removeprefix("rgb(").partition(",")[0]) < 128
        assert is_dark == (scheme == "dark")


def test_without_scripts(browser: Browser, report: Path, plan: dict[str, Any]) -> None:
    """Numbers, charts, policy and the first rows of each list; no control that does nothing."""
    with opened(browser, report, java_script_enabled=False) as page:
        expect(page.locator(".tile").first).to_contain_text(
            f"{plan['summary']['runs']['delete']:,} to delete"
        )
        assert page.locator("svg.ages").count() >= 2
        expect(page.get_by_role("table", name="Whose runs are deleted?")).to_be_visible()
        expect(page.get_by_role("heading", name="Policy")).to_be_visible()
        rows = page.get_by_role("table", name="Runs to delete").locator("tbody tr")
        assert rows.count() == 50
        assert plan["runs"][0]["run_id"] in rows.first.inner_text()
        expect(page.get_by_text("Without scripts this page shows the first 50")).to_be_visible()
        assert page.locator("button:visible, select:visible, input:visible").count() == 0


def test_in_a_viewer_that_allows_neither_styles_nor_scripts(
    browser: Browser, report: Path, plan: dict[str, Any]
) -> None:
    """As Jenkins shows archived files: plain, yet readable, and the shapes keep their colours."""
    with served(report.parent, Content_Security_Policy=JENKINS) as address:
        page = browser.new_page()
        page.goto(f"{address}/{report.name}")
        rows = page.get_by_role("table", name="Runs to delete").locator("tbody tr")
        assert plan["runs"][0]["run_id"] in rows.first.inner_text()
        fill = page.locator("svg rect.deleted").first.evaluate("e => getComputedStyle(e).fill")
        assert fill == "rgb(59, 99, 184)"
        page.context.close()


def test_in_a_viewer_that_allows_scripts_only(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """A sandboxed frame has no storage and no address of its own: the table works all the same."""
    frame = tmp_path / "viewer.html"
    frame.write_text(
        f'<iframe sandbox="allow-scripts" width="1200" height="800" src="{report.as_uri()}"></iframe>'
    )
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(frame.as_uri())
    inner = page.frame_locator("iframe")
    inner.get_by_label("Kind").select_option("model_version")
    expect(inner.locator("#count")).to_contain_text(" of ")
    inner.get_by_role("button", name="Dark theme").click()
    expect(inner.get_by_role("button", name="Light theme")).to_be_visible()
    assert not errors
    page.context.close()


def test_over_http(browser: Browser, report: Path) -> None:
    """As from the pages of a CI system; nothing but the file is fetched from there."""
    with served(report.parent) as address:
        page = browser.new_page()
        urls: list[str] = []
        output: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        page.on("console", lambda message: output.append(message.text))
        page.goto(f"{address}/{report.name}")
        expect(page.locator("#count")).to_contain_text("entities")
        assert urls == [f"{address}/{report.name}"]
        assert not output
        page.context.close()


def test_the_theme_can_be_changed_and_is_remembered(browser: Browser, report: Path) -> None:
    """Until somebody changes it back to what the system says anyway."""
    with opened(browser, report, color_scheme="light") as page:
        background = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(background)
        page.get_by_role("button", name="Dark theme").click()
        dark = page.evaluate(background)
        assert dark != light
        page.reload()
        assert page.evaluate(background) == dark
        page.get_by_role("button", name="Light theme").click()
        assert page.evaluate(background) == light
        assert page.evaluate("localStorage.length") == 0


def test_a_plan_expires_while_it_is_looked_at(browser: Browser, report: Path) -> None:
    """The page says so, loudly, and takes the command away."""
    with opened(browser, report) as page:
        expect(page.locator("#time-left")).to_have_text("(in 6 days)")
        expect(page.locator("#apply")).to_be_visible()
        expect(page.locator("#expired")).to_be_hidden()
    context = browser.new_context()
    page = context.new_page()
    page.clock.install()
    page.goto(report.as_uri())
    page.clock.fast_forward(7 * 86_400_000)
    page.clock.run_for(31_000)
    expect(page.get_by_role("alert")).to_contain_text("This plan cannot be applied: it expired")
    expect(page.locator("#apply")).to_be_hidden()
    context.close()


def test_copying(browser: Browser, report: Path, plan: dict[str, Any]) -> None:
    """The plan id and the whole command, by button; said to those who cannot see it."""
    with opened(browser, report, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy plan id").click()
        expect(page.locator("#said")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == plan["plan_id"]
        page.get_by_role("button", name="Copy command").click()
        expect(page.get_by_role("button", name="Copied").last).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        server = "--tracking-uri https://mlflow.example.com/ml"
        assert copied == f"mlflow-gc prune prune-plan.json --expect {plan['plan_id']} {server}"


def test_an_empty_plan(
    browser: Browser, plan: dict[str, Any], written: Callable[..., Path]
) -> None:
    """Says that there is nothing to do, and offers no command."""
    empty = {**plan, "experiments": [], "runs": [], "model_versions": []}
    empty["protected"] = {kind: [] for kind in plan["protected"]}
    nothing = {"scanned": 0, "stale": 0, "protected": 0, "delete": 0}
    empty["summary"] = {
        kind: nothing if isinstance(counts, dict) else 0 for kind, counts in plan["summary"].items()
    }
    empty.pop("statistics")
    with opened(browser, written(empty, "empty")) as page:
        expect(page.get_by_text("Nothing is to be deleted.").first).to_be_visible()
        expect(page.get_by_text("Nothing is protected.")).to_be_visible()
        expect(page.get_by_text("Nothing matches.")).to_be_visible()
        assert page.locator("#apply").count() == 0
        assert page.locator("svg.ages").count() == 0


EDITED = Applicability(("it was edited",), ("Its digest is another.",), "report", is_genuine=False)


@pytest.mark.parametrize(
    ("changes", "problems", "headline"),
    [
        (
            {"applyable": False, "complete": False},
            (),
            "This plan cannot be applied: the scan is incomplete",
        ),
        ({"applyable": False}, (), "This plan cannot be applied"),
        (
            {"expires_at": "2020-01-01T00:00:00.000Z"},
            (),
            "This plan cannot be applied: it expired at",
        ),
        ({}, (EDITED,), "This plan cannot be applied: it was edited"),
    ],
    ids=["incomplete", "not applyable", "expired", "edited"],
)
def test_a_plan_that_cannot_be_applied(
    browser: Browser,
    plan: dict[str, Any],
    written: Callable[..., Path],
    changes: dict[str, Any],
    problems: tuple[Applicability, ...],
    headline: str,
) -> None:
    """A banner above everything, with what the scan said; no command to copy."""
    output = (
        [{"code": "odd", "message": "page 3 of the runs failed"}] if "applyable" in changes else []
    )
    bad = {**plan, **changes, "diagnostics": output}
    with opened(browser, written(bad, "bad", problems=problems)) as page:
        banner = page.locator(".banner:visible")
        expect(banner).to_contain_text(headline)
        expect(page.locator(".lead")).to_contain_text("Would delete")
        for words in (*(s for d in problems for s in d.details), *(d["message"] for d in output)):
            expect(banner).to_contain_text(words)
        assert page.locator("main > :visible").first.evaluate("e => e.className") == "banner"
        assert page.locator("#apply").count() == 0
