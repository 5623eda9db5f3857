"""Creates experiments and runs of a given age with realistic parameters and metrics."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_gc.demo.scenario import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    ExperimentSpec,
    MetricPoint,
    PromptSpec,
    RegisteredModelSpec,
    RunSpec,
    TraceSpec,
    VersionSpec,
)

# No age is within two days of the default TTL of 30 days: a demo that starts at midnight or runs
# slowly decides the same.
_FRESH_DAYS = (0.2, 28.0)
_STALE_DAYS = (32.0, 240.0)
_EPOCHS = 4
# Shares of a team's runs that failed or were killed.
_FAILED = 0.10
_KILLED = 0.05


@dataclass
class Chapter:
    """One part of the story, built step by step."""

    experiments: list[ExperimentSpec] = field(default_factory=list)
    runs: list[RunSpec] = field(default_factory=list)
    models: list[RegisteredModelSpec] = field(default_factory=list)
    versions: list[VersionSpec] = field(default_factory=list)
    prompts: list[PromptSpec] = field(default_factory=list)
    traces: list[TraceSpec] = field(default_factory=list)


class Diary:
    """Creates the data of one chapter.

    Args:
        now_ms: the time that ages count from.
        seed: the same seed gives the same data.
    """

    def __init__(self, now_ms: int, *, seed: str) -> None:
        self.now_ms = now_ms
        self._random = random.Random(seed)
        self._runs = 0
        self._seed = seed

    def ago(self, days: float) -> int:
        """Return the time ``days`` ago in milliseconds since the epoch."""
        return self.now_ms - round(days * DAY_MS)

    def fresh_age(self) -> float:
        """Return an age in days that is fresh for any reasonable TTL."""
        return self._random.uniform(*_FRESH_DAYS)

    def stale_age(self) -> float:
        """Return an age in days beyond the default TTL; older is rarer."""
        young, old = _STALE_DAYS
        return young + (old - young) * math.pow(self._random.random(), 1.5)

    def experiment(
        self,
        name: str,
        days: float,
        *,
        team: str | None = None,
        note: str | None = None,
        tags: Mapping[str, str] | None = None,
        deleted: bool = False,
    ) -> ExperimentSpec:
        """Return an experiment created ``days`` ago."""
        all_tags = dict(tags or {})
        if team is not None:
            all_tags["team"] = team
        if note is not None:
            all_tags["mlflow.note.content"] = note
        return ExperimentSpec(name, self.ago(days), all_tags, deleted)

    def run(
        self,
        experiment: str,
        days: float,
        *,
        name: str,
        user: str,
        key: str | None = None,
        status: str = "FINISHED",
        hours: float | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
        logged_model: bool = False,
        resumed: bool = False,
        deleted: bool = False,
    ) -> RunSpec:
        """Return a run that ended ``days`` ago after ``hours`` of work.

        A RUNNING or SCHEDULED run started then and has no end, unless it was resumed.
        """
        self._runs += 1
        took_ms = round((hours or self._random.uniform(0.05, 3.0)) * HOUR_MS)
        end_ms = self.ago(days)
        start_ms = end_ms - took_ms
        unfinished = status in {"RUNNING", "SCHEDULED"} and not resumed
        return RunSpec(
            key=key or f"{self._seed}-{self._runs}",
            experiment=experiment,
            name=name,
            user=user,
            start_ms=start_ms,
            end_ms=None if unfinished else end_ms,
            status=status,
            params=self._params(),
            metrics=() if status == "SCHEDULED" else self._metrics(start_ms, end_ms, status),
            tags={"mlflow.source.name": "train.py", **(tags or {})},
            parent=parent,
            logged_model=logged_model,
            resumed=resumed,
            deleted=deleted,
        )

    def daily_work(
        self, experiment: str, users: tuple[str, ...], *, fresh: int, stale: int, name: str
    ) -> list[RunSpec]:
        """Return runs of a team at work: of all ages, some failed, some killed."""
        ages = [self.fresh_age() for _ in range(fresh)] + [self.stale_age() for _ in range(stale)]
        runs = []
        for number, days in enumerate(sorted(ages, reverse=True), start=1):
            dice = self._random.random()
            status = "FINISHED"
            if dice < _FAILED:
                status = "FAILED"
            elif dice < _FAILED + _KILLED:
                status = "KILLED"
            user = self._random.choice(users)
            runs.append(
                self.run(experiment, days, name=f"{name}-{number:03d}", user=user, status=status)
            )
        return runs

    def late_metric(self, days: float) -> MetricPoint:
        """Return a metric logged ``days`` ago, whenever the run ended (a backtest, say)."""
        return MetricPoint("backtest_auc", 0.81, self.ago(days), 99)

    def _params(self) -> dict[str, str]:
        return {
            "learning_rate": f"{10 ** self._random.uniform(-4, -1):.5f}",
            "max_depth": str(self._random.randint(3, 12)),
            "n_estimators": str(self._random.randrange(100, 1000, 50)),
        }

    def _metrics(self, start_ms: int, end_ms: int, status: str) -> tuple[MetricPoint, ...]:
        # A failed or killed run stopped logging midway.
        epochs = _EPOCHS if status == "FINISHED" else _EPOCHS // 2
        level = self._random.uniform(0.70, 0.95)
        room_ms = max(end_ms - start_ms - MINUTE_MS, 0)
        points = []
        for epoch in range(epochs):
            time_ms = start_ms + room_ms * (epoch + 1) // _EPOCHS
            auc = level * (1 - 0.5 ** (epoch + 2))
            points.append(MetricPoint("val_auc", round(auc, 4), time_ms, epoch))
            points.append(MetricPoint("loss", round(1 - auc, 4), time_ms, epoch))
        return tuple(points)
