"""The table that ``make compat`` writes into docs/compatibility.md."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from compat import environments, table
from compat.environments import number, pins, wanted
from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PAGE = f"before\n{table.BEGIN}\n\n{table.END}\nafter\n"


def a_result(version: str, date: str = "2026-11-29", **columns: str) -> dict[str, object]:
    return {"version": version, "date": date, "columns": columns}


def rows(page: str) -> list[list[str]]:
    """The cells of each row."""
    lines = [line for line in page.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_one_row_for_each_version_the_oldest_first():
    page = table.update(PAGE, [a_result("3.10.1"), a_result("2.9.2"), a_result("3.6.0")], {})
    assert [cells[0] for cells in rows(page)] == ["2.9.2", "3.6.0", "3.10.1"]
    assert page.startswith("before\n")
    assert page.endswith("after\n")


def test_what_passed_what_failed_what_is_not_there_and_what_was_not_tried():
    result = a_result("3.6.0", report="passed", prune="failed", workspaces="missing")
    (cells,) = rows(table.update(PAGE, [result], {}))
    by_name = dict(zip(table.COLUMNS, cells[1:-1], strict=True))
    assert (by_name["report"], by_name["prune"]) == ("yes", "**no**")
    assert (by_name["workspaces"], by_name["check"]) == ("–", "not tried")


def test_rows_of_other_versions_stay():
    first = table.update(PAGE, [a_result("2.9.2", "2026-01-01"), a_result("3.6.0")], {})
    second = table.update(first, [a_result("3.6.0", "2026-12-01")], {"3.6.0": "assembled: why"})
    old, new = rows(second)
    assert old == rows(first)[0]
    assert new[0] == "3.6.0 (assembled)"
    assert new[-1].startswith("2026-12-01")
    assert rows(table.update(second, [a_result("3.6.0")], {}))[0] == old


def test_a_server_on_another_database_has_a_row_of_its_own_below():
    results = [a_result("2.14.3+postgresql", report="passed"), a_result("3.6.0")]
    page = table.update(PAGE, [*results, a_result("2.14.3")], {"3.6.0": "assembled: why"})
    names = ["2.14.3", "3.6.0 (assembled)", "2.14.3 on PostgreSQL"]
    assert [cells[0] for cells in rows(page)] == names
    assert table.update(page, [results[0]], {}) == page


def test_a_server_tried_with_other_clients_has_a_row_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the version of MLflow that is beside the program there."""
    site = tmp_path / "client-lowest" / "lib" / "python3.11" / "site-packages"
    (site / "mlflow-3.10.0.dist-info").mkdir(parents=True)
    (site / "mlflow-3.10.0.dist-info" / "METADATA").write_text("Name: mlflow\nVersion: 3.10.0\n")
    monkeypatch.setattr(environments, "CACHE", tmp_path)
    results = [a_result("2.14.3@lowest"), a_result("2.14.3")]
    page = table.update(PAGE, results, {})
    assert [cells[0] for cells in rows(page)] == ["2.14.3", "2.14.3, lowest client"]
    assert rows(page)[1][-1] == "2026-11-29, 3.10.0"
    assert table.update(page, results[:1], {}) == page


def test_the_page_has_the_table():
    page = table.PAGE.read_text(encoding="utf-8")
    assert page.count(table.BEGIN) == page.count(table.END) == 1
    assert table.update(page, [], {}) == page


def test_versions_compare_by_number():
    assert number("3.10.1") > number("3.9") > number("2.22.5")
    assert pins("2.3.2") == ["flask<3", "werkzeug<3", "setuptools<81", "sqlalchemy<2.1"]
    assert pins("3.6.0") == ["sqlalchemy<2.1"]
    assert pins("3.17.2") == []


def test_the_newest_server_is_named_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest client keeps its name: it is a set of packages."""
    monkeypatch.setattr(environments, "newest", lambda: "3.99.0")
    words = ["newest", "newest+mariadb", "2.14.3@newest", "3.99.0"]
    assert wanted(words) == ["3.99.0", "3.99.0+mariadb", "2.14.3@newest"]


def test_the_comparison_names_the_servers_of_the_table() -> None:
    """From the oldest to the newest that passed: the first row is of prune, the second of purge."""
    compared = (ROOT / "docs" / "explanation" / "compared.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| Servers \| MLflow ([\d.]+) to ([\d.]+)", compared, re.MULTILINE)
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    written = page.partition(table.BEGIN)[2].partition(table.END)[0]
    found = rows(written)
    for column, servers in zip(("prune", "purge"), named, strict=True):
        place = 1 + [*table.COLUMNS].index(column)
        passed = {number(row[0].split()[0].strip(",")) for row in found if row[place] == "yes"}
        assert tuple(number(each)[:2] for each in servers) == (min(passed)[:2], max(passed)[:2])
