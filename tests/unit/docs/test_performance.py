"""The page about speed: its tables have the form of the benchmarks, its ratios follow from them."""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import sys
from typing import TYPE_CHECKING

import pytest
import typer
from support import ROOT
from support.pages import blocks

from mlflow_gc.cli import app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.path.insert(0, str(ROOT / "benchmarks"))

import measure

BENCHMARKS = ROOT / "benchmarks"
PAGE = ROOT / "docs" / "performance.md"
TEXT = PAGE.read_text(encoding="utf-8")
PROSE = " ".join(re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL).split())
CODE = re.findall(r"`([^`]+)`", PROSE)
_ROW = re.compile(
    r"(?P<label>\S.*?) {2,}(?P<wall>[\d.]+) s +(?P<cpu>[\d.]+) s CPU +(?P<mb>\d+) MB"
    r"(?: +(?P<rate>[\d,]+)/s)?"
)
Row = dict[str, str]
READ, GROWTH, OTHER, MLFLOW3, DELETE, USAGE, LOCAL, PROXIED, S3 = TABLES = [
    {found["label"]: found.groupdict(default="") for found in _ROW.finditer(block.text)}
    for block in blocks(PAGE)
    if block.language == "text"
]
ROWS = [row for table in TABLES for row in table.values()]
RUNS = {id(READ): 10_000, id(OTHER): 100_000, id(MLFLOW3): 2_000, id(DELETE): 3_700}
PURGED = 2_000
MORE = PURGED - 250
"""What the large purge has more than the small one."""
SERIAL = 300
"""Runs that the plain script deletes."""


def number(text: str) -> float:
    return float(text.replace(",", ""))


def half(text: str) -> float:
    """Half of the last digit: a number on the page is rounded."""
    return 0.5 * 10 ** -len(text.partition(".")[2])


def runs_of(table: dict[str, Row], row: Row) -> int:
    """How many runs a row is about."""
    if row["label"] == "MlflowClient, one after the other":
        return SERIAL
    if named := re.search(r"([\d,]+) runs$", row["label"]):
        return int(named[1].replace(",", ""))
    return RUNS.get(id(table), PURGED)


# ---------------------------------------------------------------------------- tables


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["label"])
def test_a_row_is_what_the_benchmarks_print(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    """Same columns, same widths; a benchmark may print more behind them."""
    cost = measure.Cost(number(row["wall"]), number(row["cpu"]), number(row["mb"]), 0, "")
    measure.row(row["label"], cost, 1)
    printed = capsys.readouterr().out.partition(" MB")[0] + " MB"
    assert printed in TEXT


@pytest.mark.parametrize("table", TABLES, ids=lambda table: next(iter(table)))
def test_a_rate_is_that_of_its_time(table: dict[str, Row]) -> None:
    """As far as the digits of the time say."""
    for row in table.values():
        if row["rate"] and not row["label"].startswith("import"):
            runs, wall, error = runs_of(table, row), number(row["wall"]), half(row["wall"])
            rate = number(row["rate"])
            assert runs / (wall + error) - 1 <= rate <= runs / (wall - error) + 1, row


def printed_labels() -> Iterator[re.Pattern[str]]:
    """The strings of the benchmarks; a value in one of them may be anything."""
    for file in BENCHMARKS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.compile(re.escape(node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [
                    re.escape(str(part.value)) if isinstance(part, ast.Constant) else r"[\w,.]+"
                    for part in node.values
                ]
                yield re.compile("".join(parts))


def test_labels_are_those_of_the_benchmarks() -> None:
    """But for the other data: a row for each of the shapes, in the order that the page names."""
    patterns = list(printed_labels())
    labels = [row["label"] for table in TABLES if table is not OTHER for row in table.values()]
    assert not [label for label in labels if not any(p.fullmatch(label) for p in patterns)]
    (command,) = [code for code in CODE if code.startswith("benchmarks/read.py 100000")]
    assert command.endswith(" SHAPE")
    listed = PROSE.partition(f"`{command}`")[2].partition(":")[0]
    shapes = re.findall(r"`([\w-]+)`", listed)
    known = runpy.run_path(str(BENCHMARKS / "seeding.py"))["SHAPES"]
    assert set(shapes) == {*known} - {"spread", "mlflow3"}
    assert len(OTHER) == 2 * len(shapes)


def test_other_lines_are_printed_in_this_form() -> None:
    """Those of the benchmark of usage that are no rows."""
    source = (BENCHMARKS / "usage.py").read_text(encoding="utf-8")
    (block,) = [b.text for b in blocks(PAGE) if b.text.startswith("usage ")]
    for line in block.splitlines()[1:]:
        pattern = re.sub(r"\\?\d[\d.\\]*", r"\\{[^}]*\\}", re.escape(line))
        assert re.search(pattern, source), line


# ---------------------------------------------------------------------------- ratios

WORDS = {"a sixth": 6.0, "Half": 2.0}


def get(table: dict[str, Row], label: str, what: str = "wall") -> str:
    return table[label][what]


REST, DB = "report over REST", "report from the database"
START_S = "1.7"
CLAIMS: list[tuple[str, Callable[..., float], list[str]]] = [
    (
        r"has ([\d.]+) of the rate of a load generator that fetches the same pages",
        lambda load, rest, start: load / (rest - start),
        [get(READ, "load generator, 4 threads"), get(READ, REST), START_S],
    ),
    (
        r"5 to (\d+) % faster on this machine",
        lambda load, graphql: 100 * (load / graphql - 1),
        [get(READ, "load generator, 4 threads"), get(READ, "GraphQL, 4 threads")],
    ),
    (
        r"million runs is (\d+) times as fast as over REST",
        lambda rest, direct: rest / direct,
        [get(GROWTH, "REST, 1,000,000 runs"), get(GROWTH, "database, 1,000,000 runs")],
    ),
    (
        r"takes (a sixth) of that CPU time",
        lambda ours, start: 490 / (ours - start),
        [get(GROWTH, f"REST, {runs} runs", "cpu") for runs in ("1,000,000", "100")],
    ),
    *(
        (
            pattern,
            lambda cost, start, runs=runs: (cost - start) / runs * 1e6,
            [
                get(GROWTH, f"{reader}, {runs:,} runs", "cpu"),
                get(GROWTH, f"{reader}, 100 runs", "cpu"),
            ],
        )
        for pattern, reader, runs in (
            (r"mlflow-gc takes (\d+) to \d+ µs for each run in the table", "REST", 100_000),
            (r"mlflow-gc takes \d+ to (\d+) µs for each run in the table", "REST", 1_000_000),
            (r"the columns take (\d+) to \d+ µs for each run", "database", 100_000),
            (r"the columns take \d+ to (\d+) µs for each run", "database", 1_000_000),
        )
    ),
    (
        r"`prune` is ([\d.]+) times as fast as the plain script \(which deleted 300\)",
        lambda ours, script: (3_700 / ours) / (SERIAL / script),
        [get(DELETE, "prune"), get(DELETE, "MlflowClient, one after the other")],
    ),
    (
        r"and ([\d.]+) times as fast as a load generator that re-checks nothing",
        lambda ours, load: load / ours,
        [get(DELETE, "prune"), get(DELETE, "load generator, 8 threads")],
    ),
    (
        r"of the ([\d.]+) ms that the two cores had",
        lambda ours: 2 * ours / 3_700 * 1_000,
        [get(DELETE, "prune")],
    ),
    (r"The parts add up to ([\d.]+) ms", lambda *parts: sum(parts), []),
    (r"would have ([\d.]+) of the load generator's rate", lambda a, b, *_: a / (a + b), []),
    (
        r"(Half) of the time of `purge` is its start",
        lambda ours, few: ours / (ours - (ours - few) * PURGED / MORE),
        [get(LOCAL, "purge PLAN"), get(LOCAL, "purge PLAN, 250 runs")],
    ),
]
for place, table in (("local files", LOCAL), ("behind the server", PROXIED), ("S3", S3)):
    cells = [
        get(table, label)
        for label in ("purge PLAN", "purge PLAN, 250 runs", "mlflow gc", "mlflow gc, 250 runs")
    ]
    bulk = get(table, "bulk deletes, without MLflow")
    row = rf"\| {place} \| "
    gc, start = get(table, "mlflow gc"), get(table, "import mlflow")
    CLAIMS += [
        (
            row + r"([\d.]+) times as fast as `mlflow gc`",
            lambda gc, ours: gc / ours,
            [gc, get(table, "purge PLAN")],
        ),
        (
            row + r"[^|]*`mlflow gc` \| ([\d.]+) times",
            lambda gc, *parts: gc / sum(parts),
            [gc, start, bulk],
        ),
        (row + r"([\d,]+) runs a second", lambda ours, few: MORE / (ours - few), cells[:2]),
        (row + r"[\d,]+ runs a second \| (\d+)", lambda gc, few: MORE / (gc - few), cells[2:]),
        (
            row + r"[^|]*\| \d+ \| ([\d.]+) times",
            lambda ours, few, gc, few_gc: (gc - few_gc) / (ours - few),
            cells,
        ),
        (
            row + r"[^|]*\| \d+ \| [^|]*\| ([\d.]+) times",
            lambda ours, few, bare: (ours - few) / MORE * PURGED / bare,
            [*cells[:2], bulk],
        ),
    ]
for pattern, table in ((r"memory is (\d+) MB above the import", LOCAL), (r"with S3 (\d+) MB", S3)):
    used = [get(table, label, "mb") for label in ("purge PLAN", "import mlflow")]
    CLAIMS.append((pattern, lambda peak, start: peak - start, used))

PARTS = re.findall(r"^\| .* \| ([\d.]+) \|$", TEXT.partition("| ms, about |")[2], re.MULTILINE)[:5]
CLAIMS = [(pattern, of, cells or PARTS) for pattern, of, cells in CLAIMS]


@pytest.mark.parametrize(("pattern", "of", "cells"), CLAIMS, ids=[claim[0] for claim in CLAIMS])
def test_a_ratio_follows_from_the_tables(
    pattern: str, of: Callable[..., float], cells: list[str]
) -> None:
    """Within what the rounding of the numbers allows."""
    (stated,) = re.findall(pattern, PROSE)
    corners = [(number(cell) - half(cell), number(cell) + half(cell)) for cell in cells]
    values = [of(*corner) for corner in itertools.product(*corners)]
    value = WORDS.get(stated) or number(stated)
    assert min(values) - half(stated) <= value <= max(values) + half(stated), (stated, values)


def test_exponents_follow_from_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``growth.py`` fits them."""
    monkeypatch.setattr(sys, "argv", ["growth.py"])
    exponent = runpy.run_path(str(BENCHMARKS / "growth.py"), run_name="growth")["exponent"]
    found = re.search(
        r"power ([\d.]+) of their number over REST and ([\d.]+) from the database, CPU with "
        r"([\d.]+) and ([\d.]+), memory with ([\d.]+) and ([\d.]+)",
        PROSE,
    )
    assert found
    stated = iter(found.groups())
    for what in ("wall", "cpu", "mb"):
        for reader in ("REST", "database"):
            start = number(get(GROWTH, f"{reader}, 100 runs", what))
            points = [
                (runs, number(get(GROWTH, f"{reader}, {runs:,} runs", what)) - start)
                for runs in (10_000, 100_000, 1_000_000)
            ]
            # The start is taken off numbers that are rounded.
            assert exponent(points) == pytest.approx(number(next(stated)), abs=0.025), (
                what,
                reader,
            )


def test_no_ratio_escapes() -> None:
    """Each in running text is computed above, or was measured beside the tables."""
    computed = [found.span() for pattern, *_ in CLAIMS for found in re.finditer(pattern, PROSE)]
    measured = [
        found.span()
        for words in (
            r"several times as long",
            r"takes six times its size",
            r"had 6\.7 and 7\.7 times, and 0\.39 and 0\.42 times",
        )
        for found in re.finditer(words, PROSE)
    ]
    ratio = r"[\d.]+ times|[\d.]+ of the (?:rate|load)|several times|times its"
    escaped = [
        PROSE[found.start() - 40 : found.end()]
        for found in re.finditer(ratio, PROSE)
        if not any(a <= found.start() and found.end() <= b for a, b in [*computed, *measured])
    ]
    assert not escaped


# ---------------------------------------------------------------------------- commands


def test_commands_and_options_exist() -> None:
    """In running text, where the name of the program is left out."""
    known = typer.main.get_command(app).commands
    context = typer.Context(typer.main.get_command(app))
    named = [code.split() for code in CODE if code.split()[0] in known]
    assert len(named) > 8
    for name, *words in named:
        command = known[name]
        options = {
            option
            for each in (command, *getattr(command, "commands", {}).values())
            for parameter in each.get_params(context)
            for option in parameter.opts
        }
        assert {word for word in words if word.startswith("--")} <= options, (name, words)
    every = {
        option
        for command in known.values()
        for parameter in command.get_params(context)
        for option in parameter.opts
    }
    assert {code for code in CODE if code.startswith("--")} <= every


def test_benchmarks_exist() -> None:
    """Files, the name of one of them for ``make bench``, and its target."""
    for code in CODE:
        if code.startswith("benchmarks/"):
            assert (ROOT / code.split()[0]).exists(), code
    names = runpy.run_path(str(BENCHMARKS / "all.py"), run_name="all")["BENCHMARKS"]
    assert {code for code in CODE if code.startswith("read-")} <= names.keys()
    assert {script for script, *_ in names.values()} <= {f.name for f in BENCHMARKS.glob("*.py")}
    assert "\nbench:" in (ROOT / "Makefile").read_text(encoding="utf-8")
