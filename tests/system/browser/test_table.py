"""The table of all entities: search, filters, order, pages, links, details, a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import expect
from support.viewer import count, expect_count, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report of the plan, quiet from beginning to end."""
    with opened(browser, report) as shown:
        yield shown


def rows(page: Page) -> list[list[str]]:
    """The words of each cell of the page that is shown."""
    script = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText))"
    found: list[list[str]] = page.locator("table.entities tbody tr").evaluate_all(script)
    return found


def state(page: Page) -> dict[str, str]:
    """What the address says."""
    return {name: values[0] for name, values in parse_qs(page.url.partition("#")[2]).items()}


def test_what_cannot_be_undone_comes_first(page: Page, plan: dict[str, Any]) -> None:
    lost = plan["summary"]["irreversible"]
    assert lost
    fates = [row[0] for row in rows(page)]
    assert fates == ["Deleted permanently"] * min(lost, 100) + ["Deleted"] * max(100 - lost, 0)


def test_search_finds_ids_names_owners_reasons_and_what_the_details_say(
    page: Page, plan: dict[str, Any]
) -> None:
    run = plan["runs"][7]
    words = (run["run_id"], run["run_id"][:12].upper(), run["expect"]["tags_digest"][:20])
    for text in words:
        page.get_by_label("Search").fill(text)
        expect(page.locator("#count")).to_contain_text(" of ")
    page.get_by_label("Search").fill(run["run_id"])
    expect(page.locator("#count")).to_have_text(re.compile(r"^1 of "))
    assert run["run_name"] in rows(page)[0][1]
    page.get_by_label("Search").fill("  ANA failed ")
    expect(page.locator("#count")).not_to_have_text(re.compile(r"^1 of "))
    assert all(row[3] == "ana" and "FAILED" in row[5] for row in rows(page))
    page.get_by_label("Search").fill("no such thing")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_label("Search")).to_be_focused()
    assert " of " not in page.locator("#count").inner_text()


def test_filters_count_what_the_plan_holds(page: Page, plan: dict[str, Any]) -> None:
    page.get_by_label("Kind").select_option("run")
    assert count(page) == plan["summary"]["runs"]["stale"]
    page.get_by_label("What happens").select_option("protected")
    assert count(page) == plan["summary"]["runs"]["protected"]
    page.get_by_label("Kind").select_option("")
    page.get_by_label("What happens").select_option("irreversible")
    assert count(page) == plan["summary"]["irreversible"]
    page.get_by_role("button", name="Clear filters").click()
    retained = [e for entries in plan["protected"].values() for e in entries]
    page.get_by_label("Reason").select_option("keep_tag")
    assert count(page) == sum(e["reason"] == "keep_tag" for e in retained)
    page.get_by_label("Reason").select_option("")
    page.get_by_label("Owner").select_option("ana")
    assert count(page) == sum(run["user_id"] == "ana" for run in plan["runs"])


def test_every_bar_leads_to_exactly_what_it_counts(page: Page) -> None:
    """All charts; a bar is a link, and the table then shows as many entities."""
    bars = page.locator("table.bars tbody tr")
    assert bars.count() >= 20
    for bar in bars.all():
        number = int(bar.locator(".number").inner_text().replace(",", ""))
        bar.get_by_role("link").click()
        expect(page.locator("#entities-title")).to_be_focused()
        expect_count(page, number)
    for column in page.locator("svg.ages a").all():
        label = column.get_attribute("aria-label") or ""
        column.click()
        expect(page.locator("#entities-title")).to_be_focused()
        expect_count(page, int(label.split()[0].replace(",", "")))
    for tile in page.locator(".tile a").all():
        tile.click()
        expect_count(page, int(tile.inner_text().split()[0].replace(",", "")))


@pytest.mark.parametrize(
    ("column", "cell"), [("Entity", 1), ("Owner", 3), ("Last activity", 4), ("Why", 5)]
)
def test_each_column_sorts_both_ways(page: Page, column: str, cell: int) -> None:
    page.get_by_label("What happens").select_option("deleted")
    page.get_by_label("Kind").select_option("run")
    header = page.locator("table.entities").get_by_role("columnheader", name=column)
    button = header.get_by_role("button")
    button.click()
    expect(header).to_have_attribute("aria-sort", "ascending")
    up = [row[cell].split("\n")[0] for row in rows(page)]
    button.click()
    expect(header).to_have_attribute("aria-sort", "descending")
    down = [row[cell].split("\n")[0] for row in rows(page)]
    assert up != down
    if cell != 5:  # reasons sort by the numbers in them

        def by_numbers(words: str) -> list[object]:
            return [int(w) if w.isdigit() else w for w in re.split(r"(\d+)", words)]

        assert up == sorted(up, key=by_numbers)
        assert down == sorted(down, key=by_numbers, reverse=True)
    button.click()
    assert header.get_attribute("aria-sort") is None


def test_pages(page: Page) -> None:
    first = rows(page)
    assert len(first) == 100
    page.get_by_role("button", name="Next").click()
    second = rows(page)
    assert not {row[1] for row in first} & {row[1] for row in second}
    assert state(page) == {"page": "2"}
    page.get_by_role("spinbutton", name="Page").fill("3")
    page.get_by_role("spinbutton", name="Page").press("Enter")
    assert state(page) == {"page": "3"}
    page.get_by_role("spinbutton", name="Page").fill("99999")
    page.get_by_role("spinbutton", name="Page").press("Enter")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    assert 0 < len(rows(page)) <= 100
    page.get_by_label("Kind").select_option("experiment")
    assert "page" not in state(page), "another selection begins at its first page"


def test_the_address_holds_the_selection(page: Page, browser: Browser, report: Path) -> None:
    """A colleague who opens the link sees the same; nonsense in it is ignored."""
    page.get_by_label("Kind").select_option("run")
    page.get_by_label("Owner").select_option("svc-nightly")
    page.get_by_label("Search").fill("sweep")
    page.get_by_role("columnheader", name="Last activity").get_by_role("button").click()
    expect(page.locator("#count")).to_contain_text(" of ")
    page.wait_for_url("**q=sweep**")
    found, fragment = rows(page), "#" + page.url.partition("#")[2]
    with opened(browser, report, fragment) as other:
        assert rows(other) == found
        expect(other.get_by_label("Search")).to_have_value("sweep")
        expect(other.get_by_label("Owner")).to_have_value("svc-nightly")
    everything = count(page)
    with opened(browser, report, "#fate=__proto__&sort=constructor&page=-7&age=x%00&kind=") as odd:
        assert count(odd) == 0
        odd.get_by_role("button", name="Clear filters").click()
        assert count(odd) > everything


def test_back_undoes_a_click_on_a_chart(page: Page) -> None:
    every = count(page)
    page.get_by_role("table", name="Whose runs are deleted?").get_by_role("link").first.click()
    assert count(page) < every
    page.go_back()
    expect(page.locator("#count")).not_to_contain_text(" of ")
    assert count(page) == every


def test_details_of_a_run_that_is_deleted(page: Page, plan: dict[str, Any]) -> None:
    """Every field of the plan's entry, every expectation, and addresses in MLflow's pages."""
    run = plan["runs"][3]
    page.get_by_label("Search").fill(run["run_id"])
    expect(page.locator("#count")).to_have_text(re.compile(r"^1 of "))
    page.get_by_role("button", name=run["run_name"]).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    output = dialog.inner_text()
    fields = {k: v for k, v in run.items() if k not in {"reasons", "expect", "reversible"}}
    for name, value in [*fields.items(), *run["expect"].items()]:
        assert name in output
        assert value is None or value == "" or str(value) in output, name
    assert all(reason in output for reason in run["reasons"])
    links = dialog.get_by_role("link").evaluate_all("links => links.map(link => link.href)")
    base = "https://mlflow.example.com/ml/#/experiments"
    assert links == [
        f"{base}/{run['experiment_id']}/runs/{run['run_id']}",
        f"{base}/{run['experiment_id']}",
    ]
    assert state(page)["open"] == f"run:{run['run_id']}"
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert "open" not in state(page)


def test_details_of_what_is_retained(browser: Browser, report: Path, plan: dict[str, Any]) -> None:
    """Opened by its address; the chain is a list in its order."""
    retained = next(r for r in plan["protected"]["runs"] if len(r["via"]) == 2)
    with opened(browser, report, f"#open=run:{retained['run_id']}") as page:
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading", name="Why it is protected")).to_be_visible()
        assert dialog.locator("ol li").all_inner_texts() == retained["via"]
        assert retained["reason"] in dialog.inner_text()


def test_details_go_from_one_to_the_next(page: Page) -> None:
    page.get_by_label("Kind").select_option("model_version")
    names = page.locator("table.entities tbody button.open").all_inner_texts()
    page.get_by_role("button", name=names[0], exact=True).click()
    title = page.locator("#details-title")
    expect(title).to_have_text(names[0])
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Next").click()
    expect(title).to_have_text(names[1])
    expect(page.locator("#details-place")).to_contain_text("2 of")
    dialog.get_by_role("button", name="Previous").click()
    expect(title).to_have_text(names[0])
    expect(dialog.get_by_role("button", name="Previous")).to_be_disabled()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_the_spreadsheet_holds_what_the_table_shows(page: Page, plan: dict[str, Any]) -> None:
    page.get_by_label("Kind").select_option("run")
    page.get_by_label("What happens").select_option("deleted")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "prune-plan-entities.csv"
    content = download.value.path().read_text(encoding="utf-8-sig")
    lines = list(csv.DictReader(io.StringIO(content, newline="")))
    assert {line["Id"] for line in lines} == {run["run_id"] for run in plan["runs"]}
    by_id = {run["run_id"]: run for run in plan["runs"]}
    for line in lines:
        run = by_id[line["Id"]]
        assert line["Last activity"] == run["last_activity_time"]
        assert line["Why"] == "; ".join(run["reasons"])
        assert line["Experiment or model"] == run["experiment_name"]


def test_with_the_keyboard_alone(page: Page) -> None:
    """Skip to the table, sort it, open and leave the details, follow a bar."""
    keys = page.keyboard
    keys.press("Tab")
    expect(page.get_by_role("link", name="Skip to the table")).to_be_focused()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"
    keys.press("Enter")
    keys.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()
    page.get_by_role("columnheader", name="Entity").get_by_role("button").focus()
    keys.press("Enter")
    assert state(page)["sort"] == "name"
    for _ in range(20):
        keys.press("Tab")
        if page.evaluate("document.activeElement.className") == "open":
            break
    opener = page.evaluate("document.activeElement.innerText")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#details-title")).to_be_focused()
    keys.press("Escape")
    assert page.evaluate("document.activeElement.innerText") == opener
    bar = page.get_by_role("table", name="Whose runs are deleted?").get_by_role("link").first
    bar.focus()
    keys.press("Enter")
    expect(page.locator("#entities-title")).to_be_focused()
    assert state(page)["owner"]
