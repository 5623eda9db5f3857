"""The map of a usage page answers to clicks, in both themes and on a small screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import viewer
from unit.render.usage_documents import HOSTILE, usage_document

from mlflow_gc.render.html import usage_page

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


@pytest.mark.smoke
def test_clicks_lead_to_what_is_in_a_part_and_back(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "usage.html"
    path.write_text(usage_page.show(usage_document(**{HOSTILE: 800, "b": 200})), encoding="utf-8")
    with viewer.opened(browser, path) as page:
        shown = page.locator(".map:visible")
        for place in ("map", "e0", "e0-run"):
            assert shown.evaluate_all("all => all.map(one => one.id)") == [place]
            links = shown.locator("svg a")
            if links.count():
                # In its middle, where the stages lie under the outline.
                links.first.locator(".box").click()
        page.get_by_role("link", name="Everything").locator("visible=true").click()
        assert shown.evaluate_all("all => all.map(one => one.id)") == ["map"]


def test_letters_do_not_shrink_with_the_map(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "usage.html"
    path.write_text(usage_page.show(usage_document(a=800, b=200)), encoding="utf-8")
    with viewer.opened(browser, path) as page:
        heights = []
        for width in (1200, 420):
            page.set_viewport_size({"width": width, "height": 800})
            text = page.locator("#map svg text:visible").first
            box = text.bounding_box()
            assert box
            heights.append(box["height"])
        assert heights[1] > 0.6 * heights[0]
