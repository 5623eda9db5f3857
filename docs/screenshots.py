"""Make the pictures of the HTML report for the documentation from a plan file.

    python docs/screenshots.py prune-plan.json docs/_static

Needs Chromium on the machine and the packages for developers (``make venv``).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

WIDTH, HEIGHT = 1280, 900
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}


def main(plan: Path, directory: Path) -> None:
    """Write ``report-*.png`` for a plan into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        report = Path(scratch) / "report.html"
        command = [sys.executable, "-m", "mlflow_gc", "show", str(plan), "--format", "html"]
        report.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, theme, fragment in (
            ("report", "light", ""),
            ("report-dark", "dark", ""),
            ("report-charts", "light", "#charts"),
            ("report-table", "light", "#fate=goes&kind=run"),
        ):
            page = opened(browser, report, fragment, color_scheme=theme)
            page.screenshot(path=directory / f"{name}.png")
        page = opened(browser, report, "#fate=kept")
        page.locator("button.open").first.click()
        page.screenshot(path=directory / "report-details.png")
        page = opened(browser, report, "", **PHONE)
        page.screenshot(path=directory / "report-phone.png")
        page = opened(browser, report, "")
        page.pdf(path=directory / "report.pdf", format="A4")
        browser.close()


def opened(browser: Browser, report: Path, fragment: str, **options: Any) -> Page:
    """Open the report where a fragment leads."""
    settings = {"viewport": {"width": WIDTH, "height": HEIGHT}, "device_scale_factor": 1.5}
    page = browser.new_context(**{**settings, **options}).new_page()
    page.goto(report.as_uri() + fragment)
    if "=" in fragment:
        page.locator("#entities").scroll_into_view_if_needed()
        page.evaluate("document.getElementById('entities').scrollIntoView()")
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
