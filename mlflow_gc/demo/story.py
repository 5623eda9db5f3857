"""The fictional history of the demo, told by ``story.yml``.

Ages are relative to now and random numbers are seeded, so that two demos differ only in the ids
that the server assigns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import fields, replace
from importlib.resources import files
from typing import Any

from mlflow_gc.demo.scenario import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    ExperimentSpec,
    MetricPoint,
    PromptSpec,
    RegisteredModelSpec,
    RunSpec,
    Scenario,
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

Entry = dict[str, Any]
"""A mapping of ``story.yml``."""


def tell(now_ms: int) -> Scenario:
    """Create the data of the demo.

    Ages count back from ``now_ms``, milliseconds since the epoch; the same time gives the same
    scenario.
    """
    from ruamel.yaml import YAML

    text = files(__package__).joinpath("story.yml").read_text(encoding="utf-8")
    scenario = Scenario(**{field.name: [] for field in fields(Scenario)})
    for name, chapter in YAML(typ="safe").load(text).items():
        _Chapter(scenario, now_ms, name).add(chapter)
    return scenario


class _Chapter:
    """Adds one chapter to the scenario; its name is the seed of its random numbers."""

    def __init__(self, scenario: Scenario, now_ms: int, name: str) -> None:
        self._scenario = scenario
        self._now_ms = now_ms
        self._random = random.Random(name)

    def add(self, chapter: dict[str, list[Entry]]) -> None:
        scenario = self._scenario
        for entry in chapter.get("runs", ()):
            for run in self._repeated(entry):
                self._add_run(run)
        for entry in chapter.get("experiments", ()):
            scenario.experiments.append(ExperimentSpec(**self._dated(entry)))
        for entry in chapter.get("models", ()):
            scenario.models.append(RegisteredModelSpec(**self._dated(entry)))
        for entry in chapter.get("versions", ()):
            scenario.versions.append(VersionSpec(**self._dated(entry)))
        for entry in chapter.get("prompts", ()):
            scenario.prompts.append(PromptSpec(**self._dated(entry)))
        for entry in chapter.get("traces", ()):
            scenario.traces.append(TraceSpec(**self._dated(entry)))

    def _ago(self, days: float) -> int:
        return self._now_ms - round(days * DAY_MS)

    def _dated(self, entry: Entry) -> Entry:
        """Replace the age by the time."""
        return {key: value for key, value in entry.items() if key != "age"} | {
            "created_ms": self._ago(entry["age"])
        }

    def _repeated(self, entry: Entry) -> Iterator[Entry]:
        """Yield the runs that an entry stands for."""
        if "daily_work" in entry:
            yield from self._daily_work(**entry)
        elif "sweep" in entry:
            yield from _sweep(**entry)
        elif "each" in entry or "names" in entry:
            yield from _numbered(**entry)
        else:
            yield entry

    def _daily_work(
        self, experiment: str, daily_work: str, users: list[str], fresh: int, stale: int
    ) -> Iterator[Entry]:
        """Yield runs of a team at work: of all ages, some failed, some killed."""
        ages = [self._random.uniform(*_FRESH_DAYS) for _ in range(fresh)]
        ages += [self._stale_age() for _ in range(stale)]
        for number, age in enumerate(sorted(ages, reverse=True), start=1):
            dice = self._random.random()
            status = "FINISHED"
            if dice < _FAILED:
                status = "FAILED"
            elif dice < _FAILED + _KILLED:
                status = "KILLED"
            user, name = self._random.choice(users), f"{daily_work}-{number:03}"
            where = {"experiment": experiment, "name": name}
            yield where | {"age": age, "user": user, "status": status}

    def _stale_age(self) -> float:
        """Return an age in days beyond the default TTL; older is rarer."""
        young, old = _STALE_DAYS
        return young + (old - young) * math.pow(self._random.random(), 1.5)

    def _add_run(self, entry: Entry) -> None:
        """Add a run that ended at its age, with what came of it.

        A RUNNING or SCHEDULED run started then and has no end, unless it was resumed.
        """
        entry = {"status": "FINISHED", **entry}
        entry.setdefault("key", f"{entry['experiment']}/{entry['name']}")
        age = entry.pop("age")
        end_ms = self._ago(self._stale_age() if age == "stale" else age)
        took_ms = round((entry.pop("hours", None) or self._random.uniform(0.05, 3.0)) * HOUR_MS)
        start_ms, status = end_ms - took_ms, entry["status"]
        clock, version = entry.pop("clock", None), entry.pop("version", None)
        questions, backtest_age = entry.pop("scores", ()), entry.pop("backtest_age", None)
        is_unfinished = status in {"RUNNING", "SCHEDULED"} and not entry.get("resumed")
        entry["tags"] = {"mlflow.source.name": "train.py", **entry.get("tags", {})}
        params = self._params()
        metrics = [] if status == "SCHEDULED" else self._metrics(start_ms, end_ms, status)
        if backtest_age is not None:
            metrics.append(MetricPoint("backtest_auc", 0.81, self._ago(backtest_age), 99))
        run = RunSpec(
            **entry,
            start_ms=start_ms,
            end_ms=None if is_unfinished else end_ms,
            params=params,
            metrics=metrics,
        )
        if clock == "ahead":
            run = replace(run, end_ms=self._now_ms + 365 * DAY_MS)
        elif clock == "none":
            run = replace(run, start_ms=None, metrics=[])
        elif clock == "seconds":
            run = replace(run, start_ms=end_ms // 1000 - 60, end_ms=end_ms // 1000, metrics=[])
        self._scenario.runs.append(run)
        if version is not None:
            self._scenario.versions.append(VersionSpec(**version, created_ms=end_ms, run=run.key))
        for question in questions:
            self._scenario.traces.append(TraceSpec(run.experiment, end_ms, question, run.key))

    def _params(self) -> dict[str, str]:
        return {
            "learning_rate": f"{10 ** self._random.uniform(-4, -1):.5f}",
            "max_depth": str(self._random.randint(3, 12)),
            "n_estimators": str(self._random.randrange(100, 1000, 50)),
        }

    def _metrics(self, start_ms: int, end_ms: int, status: str) -> list[MetricPoint]:
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
        return points


def _sweep(experiment: str, sweep: str, age: float, children: int) -> Iterator[Entry]:
    """Yield a parent with children of the same age."""
    common = {"experiment": experiment, "age": age, "user": "svc-training"}
    yield common | {"name": sweep, "hours": 9}
    for n in range(1, children + 1):
        parent = f"{experiment}/{sweep}"
        yield common | {"name": f"{sweep}/{n}", "parent": parent, "hours": 0.5}


def _numbered(**entry: Any) -> Iterator[Entry]:
    """Yield a run for each number or name."""
    names, but, step = entry.pop("names", None), entry.pop("but", {}), entry.pop("step", 0)
    first, last = entry.pop("each", None) or (0, len(names) - 1)
    for n in range(first, last + 1) if first < last else range(first, last - 1, -1):
        special = but.get(n, {})
        run = entry | {"name": names[n] if names else entry["name"].format(n=n)} | special
        if run["age"] != "stale":
            run["age"] += n * run.pop("step", step)
        if names:
            run["user"] = run["user"].format(name=names[n])
        if "version" in run:
            run["version"] = entry["version"] | special.get("version", {})
            description = run["version"].get("description", "")
            run["version"]["description"] = description.format(n=n)
        yield run
