"""Fifty thousand entities: the page stays small, and every answer comes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect
from support.viewer import count, opened
from unit.busy_server import busy_plan

from mlflow_gc.domain.timestamps import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser

PATIENCE_MS = 3_000
"""On any machine, however busy; measured are some tens of milliseconds."""


def test_fifty_thousand_entities(browser: Browser, written: Callable[..., Path]) -> None:
    plan = busy_plan(52_000, now_ms())
    entities = sum(len(plan[kind]) for kind in ("experiments", "runs", "model_versions"))
    assert entities + sum(map(len, plan["protected"].values())) >= 50_000
    path = written(plan, "large")
    # 434 with all that a re-check compares (2026-11).
    assert path.stat().st_size < 450 * entities, "a few hundred bytes for an entity"
    with opened(browser, path) as page:
        assert count(page) >= 50_000
        elements = page.evaluate("document.querySelectorAll('*').length")
        assert elements < 20_000, "only what is seen is in the document"
        for control, value in (
            ("kind", "run"),
            ("fate", "protected"),
            ("fate", ""),
            ("sort", "-name"),
        ):
            took = page.evaluate(
                """([id, value]) => {
                  const field = document.getElementById(id);
                  const began = performance.now();
                  field.value = value;
                  field.dispatchEvent(new Event('change'));
                  return performance.now() - began;
                }""",
                [control, value],
            )
            assert took < PATIENCE_MS, (control, value)
        page.get_by_label("Search").fill(plan["runs"][-1]["run_id"])
        expect(page.locator("#count")).to_contain_text("1 of ", timeout=PATIENCE_MS)
