"""Make all pictures of the documentation from a throw-away server: ``make screenshots``.

Needs Chromium; takes a few minutes.  Each picture shows what the program of this checkout does, on
the data of ``mlflow-gc demo``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from playwright.sync_api import sync_playwright
from recording import PLAN, demo, program

from mlflow_gc.demo.colleague import interfere

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).parents[1] / "images"
_MOST_BYTES = 190_000
# Text needs few; the first number that makes the file small enough is taken.
_COLOURS = (128, 64, 32, 16)

# MLflow's interface as somebody has it who trains models and has closed the assistant.
_TRAINING_VIEW = """
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
"""


def main() -> None:
    """Start a server, fill it, and take the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is needed to take pictures.")
    IMAGES.mkdir(exist_ok=True)
    with demo() as (folder, uri), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        Studio(browser, folder).take_all(uri)
        browser.close()


class Studio:
    """Takes pictures of pages.

    Args:
        browser: draws them.
        folder: where the commands run, and where their plans go.
    """

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def take_all(self, tracking_uri: str) -> None:
        """Take the pictures in the order in which things happen."""
        program("report", "-o", PLAN, "-q", folder=self._folder)
        self._report_page()
        plan = json.loads((self._folder / PLAN).read_text(encoding="utf-8"))
        interfere(tracking_uri, plan)
        program("report", "-o", "later-plan.json", "-q", folder=self._folder)
        self._tagged_run(tracking_uri)

    def _report_page(self) -> None:
        report = self._folder / "report.html"
        page_text = program("show", PLAN, "--format", "html", folder=self._folder)
        report.write_text(page_text, encoding="utf-8")
        for scheme in ("light", "dark"):
            name = f"html-report-{scheme}"
            page = self._page(width=1200, height=860, scheme=scheme)
            page.goto(report.as_uri())
            self._save(page.screenshot(path=self._raw(name)), name)
            page.close()

    def _tagged_run(self, tracking_uri: str) -> None:
        """Take a picture of a run in MLflow's own interface, with the tag that keeps it."""
        plan = json.loads((self._folder / "later-plan.json").read_text(encoding="utf-8"))
        run_id = next(
            entry["run_id"]
            for entry in plan["protected"]["runs"]
            if entry["reason"] == "keep_tag" and entry["run_name"].startswith("xgb-0")
        )
        experiment = next(
            e["experiment_id"] for e in plan["protected"]["runs"] if e["run_id"] == run_id
        )
        page = self._page(width=1200, height=720, scheme="light")
        page.add_init_script(_TRAINING_VIEW)
        page.goto(f"{tracking_uri}/#/experiments/{experiment}/runs/{run_id}")
        page.get_by_text("mlflow_gc.keep").first.wait_for()
        # It never stops asking the server, so there is no moment at which all is loaded.
        page.wait_for_timeout(5_000)
        self._save(page.screenshot(path=self._raw("mlflow-tag")), "mlflow-tag")
        page.close()

    def _page(self, *, width: int, height: int, scheme: Any) -> Page:
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            device_scale_factor=1.5,
        )
        page = context.new_page()
        page.set_default_timeout(120_000)
        return page

    def _raw(self, name: str) -> Path:
        return self._folder / f"{name}.png"

    def _save(self, _taken: bytes, name: str) -> None:
        """Keep the picture with few colours, which is all that text needs."""
        target = IMAGES / f"{name}.png"
        with Image.open(self._raw(name)) as picture:
            for colours in _COLOURS:
                few = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
                few.save(target, optimize=True)
                size = target.stat().st_size
                if size <= _MOST_BYTES:
                    break
            else:
                sys.exit(f"{target} has {size:,} bytes: too many for a repository.")
        sys.stderr.write(f"{target.relative_to(IMAGES.parents[1])}: {size:,} bytes\n")


if __name__ == "__main__":
    main()
