"""Policy tests written by users: example entities and the expected decisions.

Each case is a small inventory, decided on by the same engine that makes plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from mlflow_gc.domain.entities import (
    Experiment,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import KINDS, PRUNED
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.tag_selection import PARENT_TAG
from mlflow_gc.domain.timestamps import DAY_MS, parse_duration, parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.policy.lint import warnings
from mlflow_gc.policy.loader import Mistakes, apply_policy, mistakes, read_policy_file
from mlflow_gc.policy.yaml_loader import KeyPath, YamlFile, read_yaml
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.explain import Explanation, explain
from mlflow_gc.retention.owner_tags import DELETE_AFTER
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import NEVER, Rule

_OLD_MS = 5 * 365 * DAY_MS
_FIRST_MS = parse_time("2015-01-02")
_CODES = {"fresh", NEVER, *(reason.value for reason in Reason)}

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Failure:
    """A failed expectation as text, and the line of its entity in the file, counted from 1."""

    line: int
    entity: str
    expected: str
    found: str


@dataclass(frozen=True)
class CaseResult:
    """The result of one case: the number of its expectations, and those that failed.

    ``rules`` are the names of the rules that apply to its checked entities.
    """

    name: str
    checked: int
    failures: tuple[Failure, ...]
    rules: frozenset[str]


@dataclass(frozen=True)
class Suite:
    """A file of policy tests, ready to run; warnings are about the file of the tested policy."""

    file: YamlFile
    policy: Policy
    warnings: tuple[str, ...] = ()


def read_policy_tests(path: Path, *, policy_file: Path | None = None) -> Suite:
    """Read a file of policy tests and the policy it names.

    Args:
        path: the file.
        policy_file: the policy to test instead of the one that the file names.

    Raises:
        GcError: a file cannot be read.
        UsageProblem: with the line of each mistake.
    """
    file = read_yaml(path, "file of policy tests")
    if found := list(mistakes(file, "policy-tests")):
        raise Mistakes(found, "policy-tests")
    document = file.document
    as_of_ms = _time(file, ("as_of",), document["as_of"])
    named = policy_file or path.parent / document["policy"]
    base = Policy(as_of_ms=as_of_ms, default=Rule.of_days(document.get("ttl_days", 30)))
    given = read_policy_file(named)
    idle = tuple(f"{named}: {label}" for label in warnings(given))
    return Suite(file, apply_policy(given, base), idle)


def run_policy_tests(suite: Suite) -> Iterator[CaseResult]:
    """Run the cases in order.

    Raises:
        UsageProblem: a case contradicts itself, with its line.
    """
    for number, case in enumerate(suite.file.document["cases"]):
        yield _Case(suite, case, ("cases", number)).run()


def untested_rules(policy: Policy, results: list[CaseResult]) -> list[str]:
    """Return the rules that apply to no checked entity."""
    tested = {name for result in results for name in result.rules}
    return [rule.name for rule in policy.rules if rule.name not in tested]


class _Case:
    """One case: an inventory built from a short description."""

    def __init__(self, suite: Suite, document: Json, key_path: KeyPath) -> None:
        self._file = suite.file
        self._document = document
        self._key_path = key_path
        self._experiments: dict[str, Experiment] = {}
        self._probes: dict[str, Probe] = {}
        self._runs: dict[str, Run] = {}
        self._models: dict[str, RegisteredModel] = {}
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._checks: list[tuple[str, Any, Json, int, str]] = []
        has_announcements = any(
            DELETE_AFTER in entity.get("tags", {})
            for kind in PRUNED
            for entity in document.get(kind.entries, ())
        )
        # A case without announcements tests the policy without the grace period.
        self._policy = replace(suite.policy, checks_announcements=has_announcements)
        self._read()
        self._refuse_unknown_names()

    def run(self) -> CaseResult:
        inventory = Inventory(
            experiments=self._experiments,
            runs=self._runs,
            registered_models=self._models,
            model_versions=self._versions,
            logged_models={},
            probes=self._probes,
            workspace=self._document.get("workspace"),
        )
        decisions = decide(inventory, self._policy)
        failures = []
        rules = set()
        for kind, key, wanted, line, label in self._checks:
            found = explain(inventory, decisions, self._policy, kind, key)
            rules.add(found.rule.name)
            if not _holds(wanted, found):
                failures.append(Failure(line, label, _wanted(wanted), _found(found)))
        return CaseResult(
            str(self._document["name"]), len(self._checks), tuple(failures), frozenset(rules)
        )

    def _read(self) -> None:
        readers = {
            "experiments": self._experiment,
            "registered_models": self._model,
            "runs": self._run,
            "model_versions": self._version,
        }
        # Referenced entities are read first.
        for name, reader in readers.items():
            for key_path, entity in self._given(name):
                if {"reason", "rule"} & set(entity) and "expect" not in entity:
                    raise self._problem(key_path, "reason and rule need an expect")
                if {"count", "id"} <= set(entity):
                    raise self._problem(key_path, "count and id cannot be combined")
                for _ in range(entity.get("count", 1)):
                    key, label = reader(entity, key_path)
                    if "expect" in entity:
                        line = self._file.line(key_path)
                        self._checks.append((KINDS[name].name, key, entity, line, label))

    def _given(self, name: str) -> Iterator[tuple[KeyPath, Json]]:
        """Yield the entities of one kind in the file, each with its key path."""
        for number, entity in enumerate(self._document.get(name, ())):
            yield (*self._key_path, name, number), entity

    def _refuse_unknown_names(self) -> None:
        """Refuse a name that does not exist in the case, which would make its test meaningless.

        Raises:
            UsageProblem: with the line.
        """
        for name, field in (("runs", "parent"), ("model_versions", "run")):
            for key_path, entity in self._given(name):
                if field in entity and entity[field] not in self._runs:
                    label = f"{field}: this case has no run {entity[field]!r}"
                    raise self._problem((*key_path, field), label)
        # An alias may dangle if the model has no versions; that is worth a test.
        populated = {name for name, _ in self._versions}
        for key_path, model in self._given("registered_models"):
            name = model["name"]
            for alias, version in model.get("aliases", {}).items():
                if name in populated and (name, str(version)) not in self._versions:
                    label = f"{alias}: this case has no version {version} of {name!r}"
                    raise self._problem((*key_path, "aliases", alias), label)
        rules = {rule.name for rule in self._policy.all_rules()}
        for kind in PRUNED:
            for key_path, entity in self._given(kind.entries):
                if "rule" in entity and entity["rule"] not in rules:
                    label = f"rule: the policy has no rule {entity['rule']!r}"
                    raise self._problem((*key_path, "rule"), label)

    def _experiment(self, given: Json, key_path: KeyPath) -> tuple[str, str]:
        name = given["name"]
        if any(e.name == name for e in self._experiments.values()):
            raise self._problem(key_path, f"a second experiment is named {name!r}")
        at = self._ago(given, key_path)
        experiment_id = "0" if name == "Default" else str(len(self._experiments) + 1)
        self._experiments[experiment_id] = Experiment(
            experiment_id=experiment_id,
            name=name,
            lifecycle_stage="active",
            artifact_location=f"mlflow-artifacts:/{experiment_id}",
            # No run is older than its experiment: without an age it is as old as possible.
            creation_time=at if "age" in given else _FIRST_MS,
            last_update_time=at,
            tags=given.get("tags", {}),
        )
        self._probes[experiment_id] = Probe(has_traces=bool(given.get("has_traces")))
        return experiment_id, f"experiment {name}"

    def _run(self, given: Json, key_path: KeyPath) -> tuple[str, str]:
        name = given.get("experiment", "experiment")
        experiment_id = next((i for i, e in self._experiments.items() if e.name == name), None)
        if experiment_id is None:
            experiment_id, _ = self._experiment({"name": name}, key_path)
        run_id = given.get("id") or self._free_id()
        if run_id in self._runs:
            raise self._problem(key_path, f"a second run has the id {run_id!r}")
        at = self._ago(given, key_path)
        status = given.get("status", "FINISHED")
        times: dict[str, int | None] = {
            "start_time": at,
            "end_time": None if status in {"RUNNING", "SCHEDULED"} else at,
            "last_metric_time": None,
        }
        for field in times:
            if field in given:
                times[field] = _time(self._file, (*key_path, field), given[field])
        tags = dict(given.get("tags", {}))
        if "parent" in given:
            tags[PARENT_TAG] = given["parent"]
        self._runs[run_id] = Run(
            run_id=run_id,
            run_name=given.get("run_name", ""),
            experiment_id=experiment_id,
            user_id=given.get("user", ""),
            status=status,
            lifecycle_stage="active",
            start_time=times["start_time"],
            end_time=times["end_time"],
            newest_metric_time=times["last_metric_time"],
            oldest_metric_time=times["last_metric_time"],
            artifact_root=f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts",
            tags=tags,
            metrics=tuple((k, _number(v)) for k, v in given.get("metrics", {}).items()),
        )
        return run_id, f"run {given.get('run_name') or run_id} of experiment {name}"

    def _free_id(self) -> str:
        """Return an id that no run of the case has."""
        taken = {str(run["id"]) for run in self._document.get("runs", ()) if "id" in run}
        return next(
            name
            for number in count(len(self._runs) + 1)
            if (name := f"run-{number}") not in taken and name not in self._runs
        )

    def _model(self, given: Json, key_path: KeyPath) -> tuple[str, str]:
        name = given["name"]
        if name in self._models:
            raise self._problem(key_path, f"a second registered model is named {name!r}")
        at = self._ago(given, key_path)
        aliases: dict[str, list[str]] = {}
        for alias, version in given.get("aliases", {}).items():
            aliases.setdefault(str(version), []).append(alias)
        self._models[name] = RegisteredModel(
            name=name,
            tags=given.get("tags", {}),
            aliases={version: tuple(sorted(names)) for version, names in aliases.items()},
            last_updated_timestamp=at,
            creation_timestamp=at,
        )
        return name, f"registered model {name}"

    def _version(self, given: Json, key_path: KeyPath) -> tuple[tuple[str, str], str]:
        name, number = given["model"], str(given["version"])
        if name not in self._models:
            self._model({"name": name}, key_path)
        if (name, number) in self._versions:
            raise self._problem(key_path, f"version {number} of {name!r} is there twice")
        at = self._ago(given, key_path)
        self._versions[name, number] = ModelVersion(
            name=name,
            version=number,
            creation_timestamp=at,
            last_updated_timestamp=at,
            current_stage=given.get("stage", "None"),
            description="",
            source="",
            run_id=given.get("run", ""),
            run_link="",
            model_id="",
            tags=given.get("tags", {}),
        )
        return (name, number), f"version {number} of {name}"

    def _ago(self, given: Json, key_path: KeyPath) -> int:
        if "age" not in given:
            return max(self._policy.as_of_ms - _OLD_MS, _FIRST_MS)
        at = self._policy.as_of_ms - parse_duration(given["age"])
        if at < _FIRST_MS:
            raise self._problem(key_path, f"age {given['age']} reaches behind 2015")
        return at

    def _problem(self, key_path: KeyPath, label: str) -> UsageProblem:
        return UsageProblem(f"{self._file.where(key_path)}: {label}.")


def _time(file: YamlFile, key_path: KeyPath, text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageProblem(f"{file.where(key_path)}: {key_path[-1]}: {error}.") from error


def _number(value: Any) -> float:
    # YAML writes .nan and .inf, Python does not.
    return float(str(value).lower().replace(".nan", "nan").replace(".inf", "inf"))


def _holds(wanted: Json, found: Explanation) -> bool:
    if found.is_deleted != (wanted["expect"] == "delete"):
        return False
    if "rule" in wanted and wanted["rule"] != found.rule.name:
        return False
    reason = wanted.get("reason")
    if reason is None or reason in _CODES:
        return reason in {None, found.code, *found.decision.also}
    return any(reason in each for each in (*found.decision.why, *found.via))


def _wanted(wanted: Json) -> str:
    label = [str(wanted["expect"])]
    if "reason" in wanted:
        label.append(f"for {wanted['reason']}")
    if "rule" in wanted:
        label.append(f"by rule {wanted['rule']}")
    return " ".join(label)


def _found(found: Explanation) -> str:
    why = "; ".join(found.decision.why) if found.is_deleted else ", ".join([found.code, *found.via])
    return f"{'delete' if found.is_deleted else 'keep'} ({why}) by rule {found.rule.name}"
