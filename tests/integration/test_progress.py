"""Progress while a server is slow: a bar on a terminal, lines in a log, nothing of it in a result."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from support.proxy import Fault
from support.world import FRESH

from mlflow_gc.cli import progress_text

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.proxy import Proxy

SLOW = Fault("an answer after more than a tick of the bar", delay=0.4)
LATE = Fault("a late answer", delay=1.5)
UGLY = "evil\x1b]0;title\x07\x1b[2J\u202e[red]x[/red]"


def _seen(shown: str) -> str:
    """What was drawn, colours aside."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def _left_on_screen(shown: str) -> list[str]:
    """What is still there at the end: lines that were not erased."""
    lines = [""]
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\r\n|\r|\n|[^\x1b\r\n]+", _seen(shown)):
        if part == "\x1b[2K":
            lines[-1] = ""
        elif part == "\x1b[1A":
            lines.pop()
        elif part in {"\r\n", "\n"}:
            lines.append("")
        elif part == "\r":
            pass  # what follows erases the line, or nothing is on it
        else:
            assert not part.startswith("\x1b"), f"an unexpected sequence: {part!r}"
            lines[-1] += part
    return lines


def test_bars_of_a_report_come_and_go(bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    """Counts and rates on the terminal; the plan on stdout, and nothing else there."""
    world = bench.world
    home = world.experiment(UGLY, age=FRESH)
    world.bulk_runs(home, 5)
    proxy.fail("POST", "runs/search$", SLOW, times=3)
    out = tmp_path / "plan.json"
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    code, shown = bench.cli.ask(
        "report", "-o", "-", "--as-of", world.as_of, answer="", prompt="\0", env=env, stdout=out
    )
    assert code == 0
    assert len(json.loads(out.read_bytes())["runs"]) == 5
    drawn = _seen(shown)
    assert re.search(r"Reading +━+ +\d+ (experiments|runs|registered models), [\d.]+/s", drawn)
    assert "\x1b[?25" not in shown, "the cursor is never hidden"
    assert "\x1b]0;" not in shown
    assert "".join(_left_on_screen(shown)) == "", "nothing is left"


def test_the_bar_of_a_prune_knows_how_long_it_takes(bench: Bench, proxy: Proxy) -> None:
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 40)
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", SLOW, times=40)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    code, shown = bench.cli.ask("prune", plan.path, answer="", prompt="\0", env=env)
    assert code == 0
    assert re.search(r"Deleting +[━╸╺ ]+ \d+ of 40 runs, [\d.]+/s, about \d+ s left", _seen(shown))
    left = _left_on_screen(shown)
    assert not [line for line in left if "━" in line]
    assert any(line.startswith("Total: 40 deleted") for line in left)


@pytest.mark.parametrize("option", ["-q", "--no-color"])
def test_quiet_and_without_colours(bench: Bench, proxy: Proxy, option: str) -> None:
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", SLOW, times=3)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    code, shown = bench.cli.ask("prune", plan.path, option, answer="", prompt="\0", env=env)
    assert code == 0
    if option == "-q":
        assert shown == ""
    else:
        assert "Deleting" in shown
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]", shown)


def test_an_interrupt_takes_the_bar_away(bench: Bench, proxy: Proxy) -> None:
    """And says what comes, above it."""
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 60)
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", SLOW, times=60)
    env = {"MLFLOW_TRACKING_URI": proxy.uri}
    # Ctrl-C, as the terminal turns it into a signal.
    code, shown = bench.cli.ask("prune", plan.path, answer="\x03", prompt=" of 60 runs", env=env)
    assert code == 128 + signal.SIGINT
    left = _left_on_screen(shown)
    assert "Stopping after the requests in flight. A second signal ends at once." in left
    assert not [line for line in left if "━" in line]
    assert any(line.startswith("Stopped in order. To go on: mlflow-gc prune") for line in left)


def test_a_log_gets_a_line_from_time_to_time(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the server does not answer."""
    assert progress_text.LINE_EVERY_S == 10
    monkeypatch.setattr(progress_text, "LINE_EVERY_S", 1.0)
    world = bench.world
    world.bulk_runs(world.experiment(age=FRESH), 3)
    plan = bench.report()
    proxy.fail("POST", "runs/delete$", LATE, after=2)
    outcome = bench.cli("prune", plan.path, env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(0)
    line = r"Done: (\d) of 3 runs \([\d.]+/s, about \d+ s left\)\n"
    assert re.fullmatch(f"({line})+", outcome.err), outcome.err
    done = [int(count) for count in re.findall(line, outcome.err)]
    assert done == sorted(done)
    assert 2 in done, "a line while the third has no answer"
    assert len(done) <= outcome.seconds / progress_text.LINE_EVERY_S
    assert "━" not in outcome.text
