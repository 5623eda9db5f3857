"""Nested runs: stale sweeps, and sweeps that one of their runs protects."""

from __future__ import annotations

from mlflow_gc.demo.scenario import KEEP_TAGS, RunSpec
from mlflow_gc.demo.story.diary import Chapter, Diary
from mlflow_gc.demo.story.teams import SANDBOX_BO

SWEEPS = "hyperparameter-search"
SWEEP_TRIALS = "hyperparameter-trials"


def sweeps(diary: Diary) -> Chapter:
    """Return the sweeps: each one a parent and its children."""
    chapter = Chapter(
        experiments=[
            diary.experiment(SWEEPS, 270, team="platform"),
            diary.experiment(SWEEP_TRIALS, 270, team="platform"),
        ]
    )
    _sweep(chapter, diary, "optuna-old", 95, children=8)
    _sweep(chapter, diary, "optuna-older", 160, children=6)

    # Started weeks ago and still sampling: one trial of yesterday protects the whole sweep.
    parent = _sweep(chapter, diary, "optuna-slow", 48, children=5)
    chapter.runs.append(_trial(diary, parent, "optuna-slow", 6, 1.0))

    # An owner tagged the best trial; its siblings and the parent are protected, too.
    parent = _sweep(chapter, diary, "optuna-best-kept", 110, children=4)
    chapter.runs.append(
        diary.run(
            SWEEPS, 110, name="optuna-best-kept/5", user="dmitri", parent=parent, tags=KEEP_TAGS
        )
    )

    # Trials in another experiment: stale ones are deleted with their parent, a fresh one protects
    # it.
    parent = _sweep(chapter, diary, "ray-elsewhere", 130, children=2)
    chapter.runs += [
        _trial(diary, parent, "ray-elsewhere", n, 130, experiment=SWEEP_TRIALS) for n in (3, 4)
    ]
    parent = _sweep(chapter, diary, "ray-borrowed", 85, children=2)
    chapter.runs.append(_trial(diary, parent, "ray-borrowed", 3, 9, experiment=SANDBOX_BO))

    # Three levels: a sweep of sweeps.
    parent = _sweep(chapter, diary, "grid-of-grids", 175, children=2)
    for child in [run for run in chapter.runs if run.parent == parent]:
        chapter.runs += [_trial(diary, child.key, child.name, n, 175) for n in (1, 2)]
    return chapter


def _sweep(chapter: Chapter, diary: Diary, name: str, days: float, *, children: int) -> str:
    """Add a parent with children of the same age; return the parent's key."""
    parent = diary.run(SWEEPS, days, name=name, user="svc-training", key=name, hours=9)
    chapter.runs.append(parent)
    chapter.runs += [_trial(diary, name, name, n, days) for n in range(1, children + 1)]
    return parent.key


def _trial(
    diary: Diary, parent: str, name: str, number: int, days: float, experiment: str = SWEEPS
) -> RunSpec:
    return diary.run(
        experiment,
        days,
        name=f"{name}/{number}",
        user="svc-training",
        key=f"{parent}/{number}",
        parent=parent,
        hours=0.5,
    )
