"""The site as readers get it: it builds without a warning, every link leads somewhere, nothing is
fetched from elsewhere, and it fits a telephone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support import ROOT
from support.site import Site


def tracked_pages() -> list[str]:
    """The Markdown files of docs/, new ones too."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "docs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [p for p in listed.stdout.splitlines() if p.endswith(".md")]


def test_every_page_is_on_the_site(site: Site):
    pages = {p.removeprefix("docs/").removesuffix(".md") for p in tracked_pages()}
    assert {f"{page}.html" for page in pages} <= set(site.names)


def test_every_link_leads_somewhere(site: Site):
    assert not site.broken_links()


def test_a_broken_link_would_be_found(site: Site, tmp_path: Path):
    copy = Site(shutil.copytree(site.folder, tmp_path / "copy"))
    page = copy.folder / "undo.html"
    page.write_text(
        page.read_text(encoding="utf-8").replace("</body>", '<a href="policy.html#gone">x</a>'),
        encoding="utf-8",
    )
    assert copy.broken_links() == ["undo.html: policy.html#gone"]


def test_nothing_is_loaded_from_elsewhere(site: Site):
    elsewhere = {
        (name, address)
        for name in site.names
        for tag, address in site.page(name).addresses
        if tag != "a" and urlsplit(address).netloc
    }
    assert not elsewhere
    for sheet in site.folder.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text("utf-8"))


def test_tests_that_the_pages_name_exist():
    named = {
        path
        for page in tracked_pages()
        for path in re.findall(r"`(tests/[\w./-]+)`", (ROOT / page).read_text(encoding="utf-8"))
    }
    assert named
    assert not {path for path in named if not (ROOT / path).exists()}


def test_pictures_are_small_enough_for_a_repository():
    large = {p.name for p in (ROOT / "docs" / "images").iterdir() if p.stat().st_size > 200_000}
    assert not large


# ---------------------------------------------------------------------------- in a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen_without_an_error(site: Site, browser, width: int, scheme: str):
    context = browser.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url),
    )
    too_wide = {}
    for name in site.names:
        page.goto((site.folder / name).as_uri())
        found = page.evaluate("document.scrollingElement.scrollWidth")
        if found > width:
            too_wide[name] = found
    context.close()
    assert not complaints
    assert not too_wide


def test_the_search_finds_a_field_and_an_option(site: Site, browser):
    page = browser.new_page()
    for words, expected in (("expires_at", "Prune plan"), ("detailed-exitcode", "Commands")):
        page.goto(f"{(site.folder / 'search.html').as_uri()}?q={words}")
        found = page.locator("#search-results li a").filter(has_text=expected)
        found.first.wait_for(timeout=20_000)
    page.close()
