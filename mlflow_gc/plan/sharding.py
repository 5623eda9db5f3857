"""The part of a plan for one of several machines.

The parts depend only on the plan, and together they are the plan.  The rules of the order hold
within and between them: nested trees stay together, so children are deleted before their parents;
an experiment belongs to the shard that has its runs, or, if several have some, is deleted by the
last of them; irreversible deletions are the last in each.  Of a purge plan nested trees may be
divided: what is in the trash is deleted in any order.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    LINK,
    LOGGED_MODEL,
    PURGE,
    REGISTERED_MODEL,
    RUN,
    Kind,
    action_of,
    kinds_of,
)
from mlflow_gc.errors import UsageProblem
from mlflow_gc.plan.document import Entry, Plan, deletions_of
from mlflow_gc.plan.lazy_entries import where
from mlflow_gc.retention.run_trees import connected, nested_order

_MOST = 10_000


@dataclass(frozen=True)
class Shard:
    """The part ``number`` of ``count`` of a plan, from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """Of the name of its journal, before the ending."""
        return f".shard-{self.number}-of-{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard for a text such as ``3/16``.

        Raises:
            UsageProblem: The text is invalid.
        """
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text, re.ASCII)
        if not match or not 1 <= int(match[1]) <= int(match[2]) <= _MOST:
            raise UsageProblem(
                f"The shard {text[:40]!r} is not one of so many, such as 3/16.",
                hint="The first is 1/16, the last 16/16. Kubernetes counts the pods of an Indexed "
                "Job from 0: add 1.",
            )
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True)
class Part:
    """A shard's part of a plan, and its experiments of which other shards have runs or models."""

    plan: Plan
    shared_experiments: frozenset[str] = frozenset()


def part_of(plan: Plan, shard: Shard) -> Part:
    """Return the part of a plan that belongs to one shard."""
    shards_of: dict[tuple[str, str], set[int]] = defaultdict(set)
    units_of_rest = _units_of_purge if action_of(plan) == PURGE else _units_of_runs
    for unit, number in _spread(
        [*units_of_rest(plan, shard.count), *_units_of_models(plan)], shard.count
    ):
        for entity in unit:
            shards_of[entity].add(number)
    for experiment_id, entity in _contents(plan):
        shards_of[EXPERIMENT.name, experiment_id] |= shards_of[entity]
    if plan.get("policy", {}).get("purge", {}).get("keep") == "rows":
        # No shard empties an experiment then: one of them deletes its files.
        for entry in plan["experiments"]:
            shards = shards_of[EXPERIMENT.name, entry["experiment_id"]]
            shards.intersection_update({min(shards)})

    def in_shard(kind: Kind) -> Sequence[Entry]:
        entries = deletions_of(plan, kind.entries)
        return where(entries, lambda entry: shard.number in shards_of[_key(kind, entry)])

    chosen = {field: in_shard(kind) for field, kind in kinds_of(plan).items()}
    part = cast("Plan", {**plan, **chosen})
    experiment_ids = (entry["experiment_id"] for entry in part["experiments"])
    return Part(part, frozenset(e for e in experiment_ids if len(shards_of["experiment", e]) > 1))


def _contents(plan: Plan) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield runs and logged models, each with the id of its experiment."""
    for run in plan["runs"]:
        yield run["experiment_id"], (RUN.name, run["run_id"])
    for model in plan.get("logged_models", ()):
        yield model["experiment_id"], (LOGGED_MODEL.name, model["model_id"])


def _key(kind: Kind, entry: Entry) -> tuple[str, str]:
    # All versions of a model are in the shard of the model.
    is_of_model = kind.belongs_to == REGISTERED_MODEL.name
    return (_MODEL, kind.name_of(entry)) if is_of_model else (kind.name, kind.id_of(entry))


_MODEL = "model"
_Unit = Sequence[tuple[str, str]]
"""(kind, id) pairs that belong to the same shard; its length is the number of their deletions."""


def _units_of_runs(plan: Plan, count: int) -> Iterator[_Unit]:
    """Yield the runs of each experiment (per nested tree if too large), and empty experiments.

    Experiments that share a nested tree are one unit.
    """
    experiment_of = {entry["run_id"]: entry["experiment_id"] for entry in plan["runs"]}
    parents = {entry["run_id"]: entry["parent_run_id"] for entry in plan["runs"]}
    trees = [[run_id for level in tree for run_id in level] for tree in nested_order(parents)]
    groups = connected([experiment_of[run_id] for run_id in tree] for tree in trees)
    trees_of: dict[str, list[list[tuple[str, str]]]] = defaultdict(list)
    for tree in trees:
        trees_of[groups[experiment_of[tree[0]]]].append([("run", run_id) for run_id in tree])
    fair = len(plan["runs"]) / count
    for of_group in trees_of.values():
        if sum(map(len, of_group)) <= fair:
            yield [run for tree in of_group for run in tree]
        else:
            yield from of_group
    with_runs = {*experiment_of.values()}
    for entry in plan["experiments"]:
        if entry["experiment_id"] not in with_runs:
            yield [("experiment", entry["experiment_id"])]


def _units_of_purge(plan: Plan, count: int) -> Iterator[_Unit]:
    """Yield the contents of each experiment (one by one if too many), empty experiments, and the rest."""
    contents: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for experiment_id, entity in _contents(plan):
        contents[experiment_id].append(entity)
    fair = sum(map(len, contents.values())) / count
    for of_experiment in contents.values():
        if len(of_experiment) <= fair:
            yield of_experiment
        else:
            yield from ([entity] for entity in of_experiment)
    for kind in (EXPERIMENT, FILE, LINK):
        for entry in deletions_of(plan, kind.entries):
            if kind.id_of(entry) not in contents:
                yield [_key(kind, entry)]


def _units_of_models(plan: Plan) -> Iterator[_Unit]:
    names = Counter(entry["name"] for entry in plan["model_versions"])
    names.update(entry["name"] for entry in plan["registered_models"])
    for name, versions in sorted(names.items()):
        yield [(_MODEL, name)] * versions


def _spread(units: Iterable[_Unit], count: int) -> list[tuple[_Unit, int]]:
    """Assign each unit to the smallest shard so far, the largest units first."""
    loads = [(0, number) for number in range(1, count + 1)]
    spread = []
    # Independent of the order of the plan.
    for unit in sorted(units, key=lambda unit: (-len(unit), min(unit))):
        load, number = heapq.heappop(loads)
        spread.append((unit, number))
        heapq.heappush(loads, (load + len(unit), number))
    return spread
