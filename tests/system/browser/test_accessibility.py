"""Everybody can use the report: judged by axe, and by what a screen reader would be told."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support import ROOT
from support.viewer import opened

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page

AXE = ROOT / "tests" / "ajv" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page: Page) -> list[str]:
    """What axe finds, in a line each; also contrast, in the theme that is shown."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate(
        "rules => axe.run(document, {runOnly: {type: 'tag', values: rules}})", RULES
    )
    return [
        f"{v['id']}: {node['target']} {node.get('failureSummary', '')}"
        for v in found["violations"]
        for node in v["nodes"]
    ]


@pytest.mark.skipif(not AXE.is_file(), reason="the packages of tests/ajv are not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(browser: Browser, report: Path, scheme: str, width: int) -> None:
    """At rest, with everything unfolded, and with the details of an entity open."""
    options = {"color_scheme": scheme, "width": width, "bypass_csp": True}
    with opened(browser, report, **options) as page:
        page.get_by_label("Kind").select_option("model_version")
        for details in page.locator("main details").all():
            details.locator("summary").first.click()
        # Where the head of the table lies over none of its rows.
        page.evaluate("scrollTo(0, 0)")
        assert violations(page) == []
        page.locator("button.open").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert violations(page) == []


@pytest.mark.skipif(not AXE.is_file(), reason="the packages of tests/ajv are not installed")
def test_axe_finds_something_where_there_is_something(browser: Browser, report: Path) -> None:
    """The judge above can say no."""
    with opened(browser, report, bypass_csp=True) as page:
        page.evaluate("document.querySelector('label[for=kind]').remove()")
        page.evaluate("document.querySelector('.note').style.color = '#bbb'")
        found = "\n".join(violations(page))
        assert "select-name" in found
        assert "color-contrast" in found


def test_landmarks_headings_and_names(browser: Browser, report: Path) -> None:
    """One main part, one first heading, no level left out; tables, charts and controls have names."""
    with opened(browser, report) as page:
        for role in ("banner", "main", "contentinfo", "search"):
            assert page.get_by_role(role).count() == 1, role
        levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(h => +h.tagName[1])")
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels) if b > a)
        nameless = page.evaluate(
            """[...document.querySelectorAll('table, svg[role], dialog, nav, form')]
               .filter(e => !e.querySelector('caption') && !e.getAttribute('aria-label')
                            && !e.getAttribute('aria-labelledby')).length"""
        )
        assert nameless == 0
        # Whoever does not see the columns reads the same numbers.
        figure = page.locator("figure").first
        figure.locator("summary").click()
        table = figure.get_by_role("table", name="Runs by age")
        assert table.get_by_role("row").count() >= 8


def test_counts_are_announced(browser: Browser, report: Path) -> None:
    """In a polite live region that is there from the beginning."""
    with opened(browser, report) as page:
        region = page.get_by_role("status").filter(has_text="entities")
        expect(region).to_have_count(1)
        page.get_by_label("Kind").select_option("run")
        expect(region).to_contain_text(" of ")


def test_zoomed_in_and_with_forced_colours(browser: Browser, report: Path) -> None:
    """At 400 % nothing is cut off sideways; Windows' high contrast keeps bars apart by outline."""
    with opened(browser, report, width=320, forced_colors="active") as page:
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        stroke = page.locator("rect.deleted").first.evaluate("e => getComputedStyle(e).stroke")
        assert stroke != "none"
