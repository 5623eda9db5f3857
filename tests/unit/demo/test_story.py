"""The demo's made-up data: the same every time, and clear of every limit."""

from __future__ import annotations

from dataclasses import fields

from mlflow_gc.demo.scenario import DAY_MS, RunSpec, Scenario
from mlflow_gc.demo.story import tell

NOW = 1_780_000_000_000


def last_activity(run: RunSpec) -> int:
    times = [run.start_ms, run.end_ms, *(m.time_ms for m in run.metrics)]
    return max(t for t in times if t is not None)


def test_two_tellings_at_the_same_moment_are_equal():
    assert tell(NOW) == tell(NOW)


def test_a_later_telling_is_the_same_story_moved_along():
    def ages(now: int) -> list[int]:
        return [now - run.end_ms for run in tell(now).runs if run.end_ms and run.start_ms]

    # Seconds instead of milliseconds are part of the story and do not move at the same pace.
    first, later = ages(NOW), ages(NOW + 3 * DAY_MS)
    assert sum(a == b for a, b in zip(first, later, strict=True)) == len(first) - 1


def test_no_run_is_near_the_default_limit():
    """Otherwise the time a demo takes would decide what it deletes."""
    cutoff = NOW - 30 * DAY_MS
    # The nightly runs come one a day: the limit falls into the middle between two of them.
    for run in tell(NOW).runs:
        assert abs(last_activity(run) - cutoff) > 0.3 * DAY_MS, run


def test_metrics_were_logged_while_their_run_ran():
    for run in tell(NOW).runs:
        if run.start_ms and run.end_ms and run.experiment != "edge-devices":
            late = [m for m in run.metrics if not run.start_ms <= m.time_ms <= run.end_ms]
            assert [m.name for m in late] == (
                ["backtest_auc"] if run.name == "prophet-backtested" else []
            )


def test_every_reference_leads_somewhere():
    scenario = tell(NOW)
    keys = {run.key for run in scenario.runs}
    assert len(keys) == len(scenario.runs)
    experiments = {e.name for e in scenario.experiments} | {"Default"}
    assert {run.experiment for run in scenario.runs} <= experiments
    assert {run.parent for run in scenario.runs} <= keys | {None}
    assert {v.run for v in scenario.versions} <= keys | {None}
    assert {v.model for v in scenario.versions} <= {m.name for m in scenario.models}
    assert {t.experiment for t in scenario.traces} <= experiments
    assert {t.scored_by for t in scenario.traces} <= keys | {None}


def test_the_story_has_some_of_everything():
    scenario = tell(NOW)
    for part in fields(Scenario):
        assert getattr(scenario, part.name), part.name
    assert {run.status for run in scenario.runs} == {
        "FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED",
    }  # fmt: skip
    for attack in ("\x1b[2J", "\n", "\u202e", "[link=", "<script>", "| cell |"):
        assert any(attack in run.name for run in scenario.runs), attack
        assert any(attack in run.user for run in scenario.runs), attack
    assert {v.source for v in scenario.versions} == {
        "runs", "artifacts", "s3", "logged_model", "copy",
    }  # fmt: skip
    assert any(run.resumed for run in scenario.runs)
    assert any(run.deleted for run in scenario.runs)
    assert any(e.deleted for e in scenario.experiments)
