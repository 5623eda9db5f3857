"""Printed: in light colours, with the filtered rows up to a number that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect
from support.viewer import opened
from unit.busy_server import busy_plan

from mlflow_gc.domain.timestamps import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser


def test_all_filtered_rows_are_printed(
    browser: Browser, report: Path, plan: dict[str, Any]
) -> None:
    with opened(browser, report, "#kind=run&fate=deleted", color_scheme="dark") as page:
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        to_delete = plan["summary"]["runs"]["delete"]
        expect(page.locator("#printed")).to_have_text(
            f"All {to_delete:,} entities that match are printed."
        )
        assert page.locator("table.entities tbody tr").count() == to_delete
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(255, 255, 255)"
        for hidden in ("#filters", "#theme", ".pager", ".copy", ".without-script"):
            expect(page.locator(hidden).first).to_be_hidden()
        for seen in ("h1", ".tile", "#command", "svg.ages", ".policy"):
            expect(page.locator(seen).first).to_be_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("table.entities tbody tr").count() == 100


def test_many_rows_are_cut_and_it_says_so(browser: Browser, written: Callable[..., Path]) -> None:
    path = written(busy_plan(1_800, now_ms()), "many")
    with opened(browser, path) as page:
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        expect(page.locator("#printed")).to_have_text(
            re.compile(r"^The first 1,000 of the 1,\d\d\d entities that match are printed\.")
        )
        assert page.locator("table.entities tbody tr").count() == 1_000


def test_as_a_pdf(browser: Browser, report: Path) -> None:
    """The browser's own printing asks for all rows, too: more pages than without them."""
    with opened(browser, report) as page:
        everything = page.pdf(format="A4")
        page.get_by_label("Kind").select_option("experiment")
        fewer = page.pdf(format="A4")
    pages = [len(re.findall(rb"/Type\s*/Page\b", pdf)) for pdf in (everything, fewer)]
    assert everything.startswith(b"%PDF-")
    assert pages[0] > pages[1] + 10
