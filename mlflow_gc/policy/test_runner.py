"""Tests that users write beside their policy: made-up entities, and what must become of them.

Each case is a small server of its own, decided over by the same engine that makes plans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from mlflow_gc.domain.entities import (
    Experiment,
    Inventory,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.kinds import KINDS
from mlflow_gc.domain.timestamps import DAY_MS, parse_duration, parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.policy.lint import warnings
from mlflow_gc.policy.loader import Mistakes, apply_policy, mistakes, read_policy_file
from mlflow_gc.policy.yaml_loader import YamlFile, read_yaml
from mlflow_gc.retention.decision import Reason
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
    """An expectation that does not hold.

    Attributes:
        line: of the entity in the file, counted from 1.
        entity: which, for people.
        expected: in words.
        found: in words.
    """

    line: int
    entity: str
    expected: str
    found: str


@dataclass(frozen=True)
class CaseResult:
    """How one case went.

    Attributes:
        name: of the case.
        checked: how many expectations it has.
        failures: those that do not hold.
        rules: names of the rules that its checked entities are about.
    """

    name: str
    checked: int
    failures: tuple[Failure, ...]
    rules: frozenset[str]


@dataclass(frozen=True)
class Suite:
    """A file of policy tests, ready to run.

    Attributes:
        file: the parsed file.
        policy: what is tested.
        warnings: what it says without effect, with its path.
    """

    file: YamlFile
    policy: Policy
    warnings: tuple[str, ...] = ()


def read_policy_tests(path: Path, *, policy_file: Path | None = None) -> Suite:
    """Read a file of policy tests and the policy it names.

    Args:
        path: the file.
        policy_file: a policy to test in place of the one that the file names.

    Raises:
        GcError: a file cannot be read.
        UsageProblem: with the line of each mistake.
    """
    file = check_policy_tests(path)
    document = file.document
    as_of_ms = _time(file, ("as_of",), document["as_of"])
    named = policy_file or path.parent / document["policy"]
    base = Policy(as_of_ms=as_of_ms, default=Rule.of_days(document.get("ttl_days", 30)))
    said = read_policy_file(named)
    idle = tuple(f"{named}: {words}" for words in warnings(said))
    return Suite(file, apply_policy(said, base), idle)


def check_policy_tests(path: Path) -> YamlFile:
    """Read a file of policy tests and check its form.

    Raises:
        GcError: it cannot be read.
        UsageProblem: with the line of each mistake.
    """
    file = read_yaml(path, "file of policy tests")
    found = list(mistakes(file, "policy-tests"))
    if found:
        raise Mistakes(found, "policy-tests")
    return file


def run_policy_tests(suite: Suite) -> Iterator[CaseResult]:
    """Run the cases in their order.

    Raises:
        UsageProblem: a case contradicts itself, with its line.
    """
    for number, case in enumerate(suite.file.document["cases"]):
        yield _Case(suite, case, ("cases", number)).run()


def untested_rules(policy: Policy, results: list[CaseResult]) -> list[str]:
    """Return the rules that no checked entity is about."""
    tested = {name for result in results for name in result.rules}
    return [rule.name for rule in policy.rules if rule.name not in tested]


class _Case:
    """One case: an inventory made of few words."""

    def __init__(self, suite: Suite, document: Json, place: tuple[Any, ...]) -> None:
        self._file = suite.file
        self._document = document
        self._place = place
        self._as_of_ms = suite.policy.as_of_ms
        self._rules = tuple(suite.policy.all_rules())
        self._experiments: dict[str, Experiment] = {}
        self._probes: dict[str, Probe] = {}
        self._runs: dict[str, Run] = {}
        self._models: dict[str, RegisteredModel] = {}
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._checks: list[tuple[str, Any, Json, int, str]] = []
        self._read()
        self._refuse_unknown_names()
        has_marks = any(
            DELETE_AFTER in entity.get("tags", {})
            for name in KINDS
            for entity in document.get(name, ())
        )
        # What must go has been announced, where a case says nothing of marks.
        self._policy = replace(suite.policy, checks_announcements=has_marks)

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
        for kind, key, wanted, line, words in self._checks:
            found = explain(inventory, decisions, self._policy, kind, key)
            rules.add(found.rule.name)
            if not _holds(wanted, found):
                failures.append(Failure(line, words, _wanted(wanted), _found(found)))
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
        # What is named by others is read first, so that they find it.
        for name, reader in readers.items():
            for number, entity in enumerate(self._document.get(name, ())):
                place = (*self._place, name, number)
                if {"reason", "rule"} & set(entity) and "expect" not in entity:
                    raise self._problem(place, "reason and rule need an expect")
                if {"count", "id"} <= set(entity):
                    raise self._problem(place, "count and id cannot be combined")
                for _ in range(entity.get("count", 1)):
                    key, words = reader(entity, place)
                    if "expect" in entity:
                        line = self._file.line(place)
                        self._checks.append((KINDS[name].name, key, entity, line, words))

    def _refuse_unknown_names(self) -> None:
        """Refuse a name that nothing in the case has: what hangs on it would be tested in vain.

        Raises:
            UsageProblem: with the line.
        """
        named: list[tuple[tuple[Any, ...], str, bool]] = []
        for number, run in enumerate(self._document.get("runs", ())):
            if "parent" in run:
                place = (*self._place, "runs", number, "parent")
                named.append((place, f"run {run['parent']!r}", run["parent"] in self._runs))
        for number, version in enumerate(self._document.get("model_versions", ())):
            if "run" in version:
                place = (*self._place, "model_versions", number, "run")
                named.append((place, f"run {version['run']!r}", version["run"] in self._runs))
        # An alias of a model without any version dangles, which is worth a test.
        populated = {name for name, _ in self._versions}
        for number, model in enumerate(self._document.get("registered_models", ())):
            if model["name"] not in populated:
                continue
            for alias, version in model.get("aliases", {}).items():
                key = (model["name"], str(version))
                place = (*self._place, "registered_models", number, "aliases", alias)
                words = f"version {version} of {model['name']!r}"
                named.append((place, words, key in self._versions))
        rules = {rule.name for rule in self._rules}
        for name in KINDS:
            for number, entity in enumerate(self._document.get(name, ())):
                if "rule" in entity:
                    place = (*self._place, name, number, "rule")
                    named.append((place, f"rule {entity['rule']!r}", entity["rule"] in rules))
        for place, words, is_there in named:
            if not is_there:
                where = "the policy" if place[-1] == "rule" else "this case"
                raise self._problem(place, f"{place[-1]}: {where} has no {words}")

    def _experiment(self, said: Json, place: tuple[Any, ...]) -> tuple[str, str]:
        name = said["name"]
        if any(e.name == name for e in self._experiments.values()):
            raise self._problem(place, f"a second experiment is named {name!r}")
        at = self._ago(said, place)
        experiment_id = "0" if name == "Default" else str(len(self._experiments) + 1)
        self._experiments[experiment_id] = Experiment(
            experiment_id=experiment_id,
            name=name,
            lifecycle_stage="active",
            artifact_location=f"mlflow-artifacts:/{experiment_id}",
            # No run is older than its experiment: one that is only there is as old as can be.
            creation_time=at if "age" in said else _FIRST_MS,
            last_update_time=at,
            tags=said.get("tags", {}),
        )
        self._probes[experiment_id] = Probe(has_traces=bool(said.get("has_traces")))
        return experiment_id, f"experiment {name}"

    def _run(self, said: Json, place: tuple[Any, ...]) -> tuple[str, str]:
        name = said.get("experiment", "experiment")
        experiment_id = next((i for i, e in self._experiments.items() if e.name == name), None)
        if experiment_id is None:
            experiment_id, _ = self._experiment({"name": name}, place)
        run_id = said.get("id") or self._free_id()
        if run_id in self._runs:
            raise self._problem(place, f"a second run has the id {run_id!r}")
        at = self._ago(said, place)
        status = said.get("status", "FINISHED")
        times = {
            field: _time(self._file, (*place, field), said[field]) if field in said else default
            for field, default in (
                ("start_time", at),
                ("end_time", None if status in {"RUNNING", "SCHEDULED"} else at),
                ("last_metric_time", None),
            )
        }
        tags = dict(said.get("tags", {}))
        if "parent" in said:
            tags["mlflow.parentRunId"] = said["parent"]
        self._runs[run_id] = Run(
            run_id=run_id,
            run_name=said.get("run_name", ""),
            experiment_id=experiment_id,
            user_id=said.get("user", ""),
            status=status,
            lifecycle_stage="active",
            start_time=times["start_time"],
            end_time=times["end_time"],
            newest_metric_time=times["last_metric_time"],
            oldest_metric_time=times["last_metric_time"],
            artifact_root=f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts",
            tags=tags,
            metrics=tuple((k, _number(v)) for k, v in said.get("metrics", {}).items()),
        )
        return run_id, f"run {said.get('run_name') or run_id} of experiment {name}"

    def _free_id(self) -> str:
        """Return an id that no run has, or is going to have."""
        taken = {str(run["id"]) for run in self._document.get("runs", ()) if "id" in run}
        return next(
            name
            for number in count(len(self._runs) + 1)
            if (name := f"run-{number}") not in taken and name not in self._runs
        )

    def _model(self, said: Json, place: tuple[Any, ...]) -> tuple[str, str]:
        name = said["name"]
        if name in self._models:
            raise self._problem(place, f"a second registered model is named {name!r}")
        at = self._ago(said, place)
        aliases: dict[str, list[str]] = {}
        for alias, version in said.get("aliases", {}).items():
            aliases.setdefault(str(version), []).append(alias)
        self._models[name] = RegisteredModel(
            name=name,
            tags=said.get("tags", {}),
            aliases={version: tuple(sorted(names)) for version, names in aliases.items()},
            last_updated_timestamp=at,
            creation_timestamp=at,
        )
        return name, f"registered model {name}"

    def _version(self, said: Json, place: tuple[Any, ...]) -> tuple[tuple[str, str], str]:
        name, number = said["model"], str(said["version"])
        if name not in self._models:
            self._model({"name": name}, place)
        if (name, number) in self._versions:
            raise self._problem(place, f"version {number} of {name!r} is there twice")
        at = self._ago(said, place)
        self._versions[name, number] = ModelVersion(
            name=name,
            version=number,
            creation_timestamp=at,
            last_updated_timestamp=at,
            current_stage=said.get("stage", "None"),
            description="",
            source="",
            run_id=said.get("run", ""),
            run_link="",
            model_id="",
            tags=said.get("tags", {}),
        )
        return (name, number), f"version {number} of {name}"

    def _ago(self, said: Json, place: tuple[Any, ...]) -> int:
        if "age" not in said:
            return max(self._as_of_ms - _OLD_MS, _FIRST_MS)
        at = self._as_of_ms - parse_duration(said["age"])
        if at < _FIRST_MS:
            raise self._problem(place, f"age {said['age']} reaches behind 2015")
        return at

    def _problem(self, place: tuple[Any, ...], words: str) -> UsageProblem:
        return UsageProblem(f"{self._file.where(place)}: {words}.")


def _time(file: YamlFile, place: tuple[Any, ...], text: str) -> int:
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageProblem(f"{file.where(place)}: {place[-1]}: {error}.") from error


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
    words = [str(wanted["expect"])]
    if "reason" in wanted:
        words.append(f"for {wanted['reason']}")
    if "rule" in wanted:
        words.append(f"by rule {wanted['rule']}")
    return " ".join(words)


def _found(found: Explanation) -> str:
    why = "; ".join(found.decision.why) if found.is_deleted else ", ".join([found.code, *found.via])
    return f"{'delete' if found.is_deleted else 'keep'} ({why}) by rule {found.rule.name}"
