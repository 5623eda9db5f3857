"""The second look: is this entity still what the plan saw, and still nobody's?

Fresh evidence goes through the same decision that made the plan, with the plan's policy and
moment.  What it decides and what the plan expects must both say yes.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from mlflow_gc.apply.recheck.live_registry import RegistryView
from mlflow_gc.backend.interface import Failure, Gateway, ModelDetails, ServerError, pages
from mlflow_gc.domain.entities import (
    UNPROBED,
    Experiment,
    Inventory,
    LoggedModel,
    ModelVersion,
    Run,
)
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.domain.source_references import possible_runs_behind
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.domain.timestamps import now_ms, parse_time
from mlflow_gc.domain.traces import Traces
from mlflow_gc.errors import ExitCode
from mlflow_gc.inventory.lookup import (
    EXPERIMENTS_A_CALL,
    IDS_A_CALL,
    chunks,
    parents_above,
    read_contents,
    read_histories,
    runs_by_id,
)
from mlflow_gc.inventory.probe import probe
from mlflow_gc.inventory.registry import is_refused
from mlflow_gc.inventory.scan import read_experiments
from mlflow_gc.inventory.traces import read_traces
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.plan.preconditions import (
    differences,
    drift,
    expect_experiment,
    expect_model_version,
    expect_registered_model,
    expect_run,
    text_differences,
)
from mlflow_gc.retention.decision import Decision, Decisions, Reason, Verdict, protect
from mlflow_gc.retention.engine import decide, decide_after_look, experiments_to_probe, trash_since
from mlflow_gc.retention.explain import explain
from mlflow_gc.retention.model_versions import refused_name
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.runs import is_evaluation, place_holders, runs_behind_registry

LOOK_IS_GOOD_FOR_S = 5.0
"""Seconds between the look at an entity and its deletion, at most."""

_GROUP_IS_GOOD_FOR_S = 60.0
_EVIDENCE_IS_GOOD_FOR_S = LOOK_IS_GOOD_FOR_S / 2
_TRACES_SHARE = 10
_LOSES_MORE = "assessments would be lost for good, which the plan does not say"
# Start and creation times are stamped by other machines.
_MARGIN_MS = 10 * 60 * 1000
_RENAMED_WITHIN_MS = 5 * 60 * 1000
_PARENT = "tags.`mlflow.parentRunId`"
# Up to so many planned runs, asking for the children of each is cheaper than reading all nested
# runs of the server.
_FEW_RUNS = 50
# Asking for one experiment takes a server as long as so many on a page of them.
_EXPERIMENTS_FOR_ONE = 50

_Group = TypeVar("_Group")
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Finding:
    """What the second look found for one entity.

    Attributes:
        code: None when it may go; else why not: ``changed``, ``gone``, ``already_deleted`` or
            ``protected``.
        detail: the same in words.
        looked_at: ``time.monotonic()`` of the look, in seconds.
        undo: what ``restore`` will need.
        changes: what is not as planned, ``{"field", "planned", "current"}`` each.
        protection: ``{"reason", "via"}`` of what protects it now, or None.
    """

    code: str | None = None
    detail: str = ""
    looked_at: float = field(default_factory=time.monotonic)
    undo: Document | None = None
    changes: tuple[Document, ...] = ()
    protection: Document | None = None


class PartialView(ServerError):
    """The server may hide evidence from this account."""

    exit_code = ExitCode.REFUSED

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            Failure.UNAUTHORIZED,
            hint="Use the account of an administrator of the server. A plan made with "
            "--accept-partial-view can be applied as it is, at your own risk.",
        )


class Recheck:
    """Looks at planned entities again, before and after they are deleted.

    Args:
        gateway: where to look.
        plan: a verified plan; with a policy only ``runs`` and ``server`` of one.
        policy: judges in place of the plan's.

    Raises:
        ServerError: the evidence that protects (registry, nested runs) cannot be read; then
            nothing may be deleted.
    """

    def __init__(self, gateway: Gateway, plan: Document, policy: Policy | None = None) -> None:
        self._gateway = gateway
        # Of what is read from here on: a large registry takes its time.
        self._refreshed_at = time.monotonic()
        self.policy = policy or Policy.from_document(plan["policy"], as_of=plan["as_of"])
        self.registry = RegistryView(gateway, gateway.other_workspaces())
        self._planned_runs = {entry["run_id"] for entry in plan["runs"]}
        self._listed_runs = {e["run_id"] for e in plan["protected"]["runs"]} | self._planned_runs
        self.experiment_ids: list[str] = []
        # What planned runs made.  While there is none, nobody is asked what it reads.
        self._made: dict[str, LoggedModel] = {}
        self._known_models: set[str] = set()
        # Active runs that may need a planned one: nested in it, or with a model that it may have
        # made.  Planned ones are among them only after a look that keeps them, with that decision.
        self._dependents: dict[str, Run] = {}
        self._retained: dict[str, Decision] = {}
        self._parents_in_trash: dict[str, str] = {}
        self._asked: set[str] = set()
        self._refreshing = threading.Lock()
        self._grouping = threading.Lock()
        self._groups: dict[str, tuple[float, dict[str, Run]]] = {}
        self._reading_traces = threading.Lock()
        self._traces: Traces | None = None
        self._traces_read_at = 0.0
        self._traces_took_s = 0.0
        self._workspace: str | None = plan["server"]["workspace"]
        self._renames: dict[str, list[tuple[str, int]]] = {}
        self._seen_until_ms = min(self.policy.as_of_ms, now_ms())
        self._planned_at_ms = self._seen_until_ms
        self._read_new_experiments("")
        if self._planned_runs:
            self._read_made_models(self.experiment_ids)
            self._keep(self._nested_runs(plan["runs"]))
            self._read_new_runs()
            self._read_users()

    def refresh(self, *, older_than_s: float = 0.0) -> None:
        """Bring what protects up to date.

        Args:
            older_than_s: do nothing when it was done within so many seconds.
        """
        with self._refreshing:
            began = time.monotonic()
            if began - self._refreshed_at < older_than_s:
                return
            refuse_partial_view(self._gateway, self.policy)
            self.registry = self.registry.refreshed()
            if self._planned_runs:
                self._read_new_experiments(f"creation_time >= {self._seen_until_ms - _MARGIN_MS}")
                self._read_new_runs()
            self._refreshed_at = began

    def read_again(self) -> None:
        """Read the registry and the list of experiments again, whatever their time stamps say.

        :meth:`refresh` finds what is new by its stamp, and a server whose clock is behind stamps what
        it makes as if it were old.
        """
        with self._refreshing:
            self.registry = self.registry.reread()
            self._read_new_experiments("")

    def _fresh(self) -> float:
        """Return the ``time.monotonic()`` that what protects is known of, at most seconds ago."""
        self.refresh(older_than_s=_EVIDENCE_IS_GOOD_FOR_S)
        return self._refreshed_at

    def look_at_runs(self, entries: Sequence[Document]) -> dict[str, Finding]:
        """Look at planned runs; whole nested trees should come together.

        Args:
            entries: entries of the plan's ``runs``.

        Returns:
            A finding for each run id.
        """
        return self._judge_runs(entries, deleted_by_us=(), kept={})

    def regret_runs(
        self, entries: Sequence[Document], deleted_by_us: Collection[str], kept: Mapping[str, str]
    ) -> dict[str, Finding]:
        """Look at runs that were just deleted as if they were not: would they still go?

        MLflow has no conditional delete, so between the look and the deletion someone may have
        come to need a run.  Whole nested trees should come together.

        Args:
            entries: entries of the plan's ``runs``.
            deleted_by_us: which of them this prune deleted.
            kept: which of them stay, with words why; what is nested with them stays, too.

        Returns:
            A finding for each run that has to be put back.
        """
        if not deleted_by_us:
            return {}
        findings = self._judge_runs(entries, deleted_by_us=deleted_by_us, kept=kept)
        return {i: f for i, f in findings.items() if i in deleted_by_us and f.code in _REGRETS}

    @property
    def makers(self) -> set[str]:
        """Planned runs that made logged models which are still there."""
        return {model.source_run_id for model in self._made.values()}

    def active_again(self, run_ids: Collection[str]) -> set[str]:
        """Return which of some deleted runs somebody has restored."""
        active = self._by_id(sorted(run_ids), self.experiment_ids, view="ACTIVE_ONLY")
        return {run.run_id for run in active}

    def needed_after_all(self, deleted_by_us: Collection[str], kept: Mapping[str, str]) -> set[str]:
        """Return deleted runs that something may need now that is there, whatever its times say.

        A look at the whole registry and at all nested runs of the server: it also finds a child whose
        start time was set back, and an older run that was made a child.  And one at what uses the
        models that deleted runs made.

        Args:
            deleted_by_us: runs that this prune deleted.
            kept: planned runs that it did not delete, with words why.
        """
        self.read_again()
        registry = self.registry
        versions = [*registry.versions.values(), *registry.foreign_versions]
        behind = possible_runs_behind(registry.models.values(), versions, registry.logged_models)
        children = self._search_everywhere(f"{_PARENT} LIKE '%'")
        gone = self._planned_runs - kept.keys()
        found = {run.run_id: run for run in children if run.run_id not in gone}
        for run_id, run in found.items():
            # A search leaves out what it reads.
            known = self._dependents.get(run_id, run)
            model_ids = tuple(sorted({*run.model_ids, *known.model_ids}))
            self._dependents[run_id] = replace(run, model_ids=model_ids)
        parents = {run.parent_run_id for run in found.values() if run.parent_run_id}
        return (parents | behind | self._makers_in_use(deleted_by_us, kept)) & {*deleted_by_us}

    def _makers_in_use(self, deleted_by_us: Collection[str], kept: Mapping[str, str]) -> set[str]:
        """Return which deleted runs made a model that a run uses that is there."""
        if not self.makers & {*deleted_by_us}:
            return set()
        self._read_made_models_of(deleted_by_us)
        self._read_users()
        unknown = [run_id for run_id in kept if run_id not in self._retained]
        for run in self._with_inputs_of(unknown):
            self._retain(run, protect(Reason.CHANGED, kept[run.run_id]))
        users = self._dependents
        named = {model_id for run in users.values() for model_id in run.model_ids}
        return {
            model.source_run_id
            for model_id, model in self._made.items()
            if model_id in named or not users.keys().isdisjoint(model.metric_run_ids)
        }

    def _judge_runs(
        self,
        entries: Sequence[Document],
        *,
        deleted_by_us: Collection[str],
        kept: Mapping[str, str],
    ) -> dict[str, Finding]:
        looked_at, registry = self._fresh(), self.registry
        self._read_made_models_of({entry["run_id"] for entry in entries})
        # What came between a look and the deletion is only seen by what is read after that.
        good_for_s = 0.0 if deleted_by_us else _EVIDENCE_IS_GOOD_FOR_S
        traces = self._traces_now(older_than_s=good_for_s)
        found = self._runs_of(entries)
        for run_id in deleted_by_us:
            if run_id in found:
                found[run_id] = replace(found[run_id], lifecycle_stage="active")
        active = {i: run for i, run in found.items() if run.lifecycle_stage == "active"}
        active = read_histories(self._gateway, active.values())
        if self._there_are_models():
            active = read_contents(self._gateway, active.values(), with_inputs=True)
        active = {i: traces.of(run) for i, run in active.items()}
        experiments = self._experiments({run.experiment_id for run in active.values()})
        relatives, above = self._relatives(found, experiments)
        if deleted_by_us:
            # That the experiment went as well, by this plan or by somebody's hand, is no need.
            experiments = {i: replace(e, lifecycle_stage="active") for i, e in experiments.items()}
        # What is not in the plan stays, however old it looks.
        not_planned = protect(Reason.CHANGED, "it is not in the plan")
        held = {i: self._retained.get(i, not_planned) for i in relatives}
        held.update((i, protect(Reason.CHANGED, words)) for i, words in kept.items())
        changes: dict[str, tuple[Document, ...]] = {}
        for entry in entries:
            run = active.get(entry["run_id"])
            if run is None:
                continue
            now = expect_run(run, experiments.get(run.experiment_id))
            expected = entry["expect"]
            if run.run_id in deleted_by_us:
                # The deletion took them along.
                expected = _without_assessments(expected)
            changed = drift(expected, now)
            if is_evaluation(run) and entry.get("reversible") is True:
                changed.append(_LOSES_MORE)
            if changed:
                held[run.run_id] = protect(Reason.CHANGED, *changed)
                # The name is part of what tags_digest is over, and the plan knows it.
                named = differences({"run_name": entry["run_name"]}, {"run_name": run.run_name})
                changes[run.run_id] = (*named, *differences(expected, now))
        inventory = Inventory(
            experiments=experiments,
            runs={**relatives, **active},
            registered_models=registry.models,
            model_versions=registry.versions,
            foreign_versions=registry.foreign_versions,
            logged_models={**registry.logged_models, **self._made},
            parents_in_trash={**self._parents_in_trash, **above},
            workspace=self._workspace,
        )
        inventory, decisions = self._decide_with_inputs(inventory, {*active}, held)
        findings: dict[str, Finding] = {}
        for run_id in (entry["run_id"] for entry in entries):
            run, decision = found.get(run_id), None
            if run and run_id in decisions.runs:
                decision = self._with_owner(inventory, decisions, "run", run_id)
            finding = _finding(run, decision, looked_at)
            findings[run_id] = replace(finding, changes=changes.get(run_id, ()))
        return findings

    def _traces_now(self, *, older_than_s: float = 0.0, at_any_cost: bool = False) -> Traces:
        """Return what traces say about runs, as of a moment ago.

        Nothing tells which assessments are new, so all traces are read each time.  Where that takes
        long, it is done less often: for a tenth of the time at most.

        Args:
            older_than_s: do not read them again when it was done within so many seconds.
            at_any_cost: read them again, however long it takes.
        """
        with self._reading_traces:
            began = time.monotonic()
            good_for_s = max(older_than_s, _TRACES_SHARE * self._traces_took_s)
            traces = self._traces
            if traces is None or at_any_cost or began - self._traces_read_at > good_for_s:
                self._traces = traces = read_traces(self._gateway, self.experiment_ids)
                self._traces_read_at, self._traces_took_s = began, time.monotonic() - began
            return traces

    def _there_are_models(self) -> bool:
        """Tell whether the server holds logged models, which runs may have read."""
        groups = chunks(self.experiment_ids, EXPERIMENTS_A_CALL)
        search = partial(self._gateway.search_logged_models, max_results=1)
        return bool(self._known_models) or any(search(ids)[0] for ids in groups)

    def _decide_with_inputs(
        self, inventory: Inventory, planned: Collection[str], held: Mapping[str, Decision]
    ) -> tuple[Inventory, Decisions]:
        """Decide, with what those planned runs read that are kept: its makers stay as well.

        Which of them are kept only a decision can tell, and what a run reads only ``runs/get``.

        Args:
            inventory: what is known of the planned runs and of what matters to them.
            planned: the planned runs in it.
            held: see :func:`decide`.
        """
        asked: set[str] = set()
        while True:
            decisions = decide(inventory, self.policy, held)
            kept = {i for i in planned if decisions.runs[i].verdict is not Verdict.DELETE}
            runs = dict(inventory.runs)
            for run in self._with_inputs_of(kept - asked):
                self._retain(run, decisions.runs[run.run_id])
                known = runs[run.run_id]
                # All else about it stays as it was when this decision was made.
                named = tuple(sorted({*known.model_ids, *run.model_ids}))
                runs[run.run_id] = replace(known, model_ids=named)
            asked |= kept
            if runs == inventory.runs:
                break
            inventory = replace(inventory, runs=runs)
        for run_id in {*planned} - kept:
            if self._retained.pop(run_id, None):
                self._dependents.pop(run_id, None)
        return inventory, decisions

    def _retain(self, run: Run, decision: Decision) -> None:
        """Take note of a planned run that is kept, as something that may need other planned ones."""
        self._retained[run.run_id] = decision
        # Also one that was just deleted: it is about to be put back.
        self._dependents[run.run_id] = replace(run, lifecycle_stage="active")

    def _with_inputs_of(self, run_ids: Iterable[str]) -> list[Run]:
        """Return planned runs as they are, with what they read; none while none made a model."""
        if not self._made:
            return []
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            get_run = partial(self._gateway.get_run, wanted=self.policy.wanted)
            return [run for run in pool.map(get_run, sorted(run_ids)) if run]

    def _with_owner(
        self, inventory: Inventory, decisions: Decisions, kind: str, key: Any
    ) -> Decision:
        """Return a decision; where a TTL tag makes something not stale, with that tag."""
        decision: Decision = getattr(decisions, BY_NAME[kind].entries)[key]
        if decision.verdict is Verdict.FRESH:
            by = explain(inventory, decisions, self.policy, kind, key).age.by
            return replace(decision, via=(by,)) if by.startswith("tag ") else decision
        return decision

    def look_at_experiments(self, entries: Sequence[Document]) -> dict[str, Finding]:
        """Look at planned experiments; their planned runs have been dealt with before.

        Args:
            entries: entries of the plan's ``experiments``.

        Returns:
            A finding for each experiment id.
        """
        return self._judge_experiments(entries, None)

    def expect_rename(self, experiment_id: str, name: str, moment_ms: int) -> None:
        """Take note that whoever applies this plan renames an experiment, or renames it back.

        Args:
            experiment_id: of a planned experiment.
            name: what it is called from then on, if nobody else renames it.
            moment_ms: when, by the server's clock, ms since the epoch.
        """
        self._renames.setdefault(experiment_id, []).append((name, moment_ms))

    def _before_rename(
        self, experiment: Experiment, entry: Document, *, is_deleted: bool
    ) -> Experiment:
        """Return an experiment as it was before this plan renamed it, if that is all that happened.

        Renaming it, and renaming it back, sets the time of its last update.  Another name, or a name
        from another time, is somebody else's doing.  The deletion sets that time, too.
        """
        renames = self._renames.get(experiment.experiment_id, ())
        updated_ms = experiment.last_update_time or 0
        is_ours = any(
            experiment.name == name
            and (is_deleted or abs(updated_ms - moment_ms) <= _RENAMED_WITHIN_MS)
            for name, moment_ms in renames
        )
        if not is_ours and not (is_deleted and experiment.name == entry["name"]):
            return experiment
        return replace(
            experiment, name=entry["name"], last_update_time=_time(entry["last_update_time"])
        )

    def has_planned_runs(self, experiment_id: str) -> bool:
        """Tell whether an experiment holds active runs that the plan (all of it) deletes."""
        found, _ = self._gateway.search_runs([experiment_id], max_results=IDS_A_CALL)
        return any(run.run_id in self._planned_runs for run in found)

    def regret_experiments(
        self, entries: Sequence[Document], trash_before: Mapping[str, Collection[str]]
    ) -> dict[str, Finding]:
        """Look at experiments that were just deleted as if they were not.

        Args:
            entries: entries of the plan's ``experiments``.
            trash_before: for each of them the runs that were in its trash right before.

        Returns:
            A finding for each that has to be put back.
        """
        findings = self._judge_experiments(entries, trash_before)
        return {i: finding for i, finding in findings.items() if finding.code in _REGRETS}

    def _judge_experiments(
        self, entries: Sequence[Document], deleted_with: Mapping[str, Collection[str]] | None
    ) -> dict[str, Finding]:
        looked_at, registry = self._fresh(), self.registry
        if deleted_with is not None:
            # The deletion took them along.
            entries = [e | {"expect": _without_assessments(e["expect"])} for e in entries]
        planned = {entry["experiment_id"]: entry for entry in entries}
        found = self._experiments({*planned})
        is_deleted = deleted_with is not None
        found = {
            i: self._before_rename(experiment, planned[i], is_deleted=is_deleted)
            for i, experiment in found.items()
        }
        if deleted_with is not None:
            # Deleting sets the time of the last update: only the plan knows the one before.
            found = {
                i: replace(
                    experiment,
                    lifecycle_stage="active",
                    last_update_time=_time(planned[i]["last_update_time"]),
                )
                for i, experiment in found.items()
            }
        active = {i: e for i, e in found.items() if e.lifecycle_stage == "active"}
        runs = {run.run_id: run for run in self._runs_in(sorted(active), deleted_with)}
        inventory = Inventory(
            experiments=active,
            runs=runs,
            registered_models=registry.models,
            model_versions=registry.versions,
            foreign_versions=registry.foreign_versions,
            logged_models={m.model_id: m for m in self._newest_logged_models(sorted(active))},
            workspace=self._workspace,
        )
        decisions = decide(inventory, self.policy)
        waiting = experiments_to_probe(decisions)
        if deleted_with is None and waiting:
            traces = self._traces_now(older_than_s=_EVIDENCE_IS_GOOD_FOR_S)
            if traces.would_be_lost() & self._planned_runs:
                # Of runs that this prune deleted they are gone by now.
                traces = self._traces_now(at_any_cost=True)
            inventory = replace(inventory, traces=traces)
        inventory = probe(
            self._gateway,
            inventory,
            waiting,
            since_ms=trash_since(self.policy, inventory),
            deleted=deleted_with is not None,
        )
        if inventory.diagnostics:
            raise ServerError(inventory.diagnostics[0].message, Failure.AMBIGUOUS)
        decisions = decide_after_look(inventory, self.policy, decisions)
        counts = Counter(run.experiment_id for run in runs.values())
        findings: dict[str, Finding] = {}
        for experiment_id, entry in planned.items():
            experiment, decision = found.get(experiment_id), None
            if experiment and experiment_id in active:
                decision = self._with_owner(inventory, decisions, "experiment", experiment_id)
            assessed = inventory.probes.get(experiment_id, UNPROBED).assessed_runs
            findings[experiment_id] = _finding_of_experiment(
                entry, experiment, assessed, decision, counts[experiment_id], looked_at
            )
        return findings

    def _runs_in(
        self, experiment_ids: Sequence[str], deleted_with: Mapping[str, Collection[str]] | None
    ) -> Iterator[Run]:
        """Yield active runs; in deleted experiments those that were not in their trash before."""
        if deleted_with is None:
            yield from self._search_in(experiment_ids)
            return
        for run in self._search_in(experiment_ids, view="ALL"):
            if run.run_id not in deleted_with[run.experiment_id]:
                yield replace(run, lifecycle_stage="active")

    def _newest_logged_models(self, experiment_ids: Sequence[str]) -> Iterator[LoggedModel]:
        """Yield the newest logged model of each experiment that holds some; few do."""
        newest = partial(self._gateway.search_logged_models, newest_first=True, max_results=1)
        if experiment_ids and newest(experiment_ids)[0]:
            for experiment_id in experiment_ids:
                yield from newest([experiment_id])[0]

    def trash_of(self, experiment_ids: Sequence[str]) -> dict[str, Document]:
        """Return what ``restore`` needs for experiments: the runs in their trash right now.

        Restoring an experiment brings back every run in it, whenever that was deleted
        (docs/explanation/mlflow-facts.md#trash-restores-all); these have to go back into the trash.
        ``registered`` says by which version some of them are named today, in spite of which
        somebody deleted them.
        """
        trash: dict[str, dict[str, Run]] = {experiment_id: {} for experiment_id in experiment_ids}
        for run in self._search_in(experiment_ids, view="DELETED_ONLY"):
            trash[run.experiment_id][run.run_id] = run
        registry = self.registry
        undo: dict[str, Document] = {}
        for experiment_id, runs in trash.items():
            undo[experiment_id] = {"deleted_runs": sorted(runs)}
            others = {i: run for i, run in runs.items() if i not in self._planned_runs}
            behind = (
                runs_behind_registry(
                    Inventory(
                        experiments={},
                        runs=others,
                        registered_models=registry.models,
                        model_versions=registry.versions,
                        foreign_versions=registry.foreign_versions,
                        logged_models={**registry.logged_models, **self._made},
                    )
                )
                if others
                else {}
            )
            if behind:
                undo[experiment_id]["registered"] = {i: list(behind[i].via) for i in sorted(behind)}
        return undo

    def look_at_version(self, entry: Document) -> Finding:
        """Look at a planned model version."""
        looked_at, registry = self._fresh(), self.registry
        name, number = entry["name"], entry["version"]
        try:
            model = self._gateway.get_registered_model(name)
        except ServerError as error:
            return _refused(error, name, looked_at)
        found = self._gateway.get_model_version(name, number) if model is not None else None
        if model is None or found is None:
            return Finding("gone", "it does not exist any more", looked_at)
        version, aliases = found
        versions = {
            **self._versions_of(model),
            **registry.copies_of(name, number),
            (name, number): version,
        }
        inventory = Inventory(
            experiments={},
            runs={},
            registered_models={**registry.models, name: model.model},
            model_versions=versions,
            logged_models={},
            workspace=self._workspace,
        )
        decisions = decide(inventory, self.policy)
        decision = self._with_owner(inventory, decisions, "model_version", (name, number))
        expected = expect_model_version(version, aliases)
        if changed := drift(entry["expect"], expected):
            finding = _kept_or(decision, "changed", "; ".join(changed), looked_at)
            texts = text_differences(entry, version.tags, version.description)
            return replace(finding, changes=(*differences(entry["expect"], expected), *texts))
        return _judged(decision, looked_at)

    def look_at_registered_model(self, entry: Document) -> Finding:
        """Look at a planned registered model; deleting it would take any version along."""
        looked_at = self._fresh()
        name = entry["name"]
        try:
            found = self._gateway.get_registered_model(name)
        except ServerError as error:
            return _refused(error, name, looked_at)
        if found is None:
            return Finding("gone", "it does not exist any more", looked_at)
        model = found.model
        if versions := self._versions_of(found):
            return Finding("protected", f"it has {len(versions)} versions now", looked_at)
        inventory = Inventory(
            experiments={},
            runs={},
            registered_models={name: model},
            model_versions={},
            logged_models={},
            workspace=self._workspace,
        )
        decisions = decide(inventory, self.policy)
        decision = self._with_owner(inventory, decisions, "registered_model", name)
        expected = expect_registered_model(model)
        if changed := drift(entry["expect"], expected):
            finding = _kept_or(decision, "changed", "; ".join(changed), looked_at)
            texts = text_differences(entry, model.tags, model.description)
            return replace(finding, changes=(*differences(entry["expect"], expected), *texts))
        return _judged(decision, looked_at)

    def _versions_of(self, found: ModelDetails) -> Mapping[tuple[str, str], ModelVersion]:
        """Return the versions of a registered model, as far as they matter to one of them.

        The registry was read some seconds ago; the answer about the model is of now, and names the
        highest version of each stage (2.3.0 to 3.18.0).  A higher one was deleted meanwhile, and
        outranks nothing.

        Args:
            found: the model, read by itself.
        """
        now, registry = found.model, self.registry
        known: Mapping[tuple[str, str], ModelVersion] = registry.of_model(now.name)
        if self.policy.ranks_versions and now != registry.models.get(now.name):
            # Which of the lower ones are left decides how many there are above one.
            read = registry.read_versions_of(now)
            known = known if read is None else read
        newest = {v.current_stage: v for v in found.latest_versions}
        if newest:
            known = {
                key: version
                for key, version in known.items()
                if version.current_stage in newest
                and version.number <= newest[version.current_stage].number
            }
        return {**known, **{(v.name, v.version): v for v in newest.values()}}

    def _runs_of(self, entries: Sequence[Document]) -> dict[str, Run]:
        """Read runs of any lifecycle stage by id."""
        by_id = partial(self._by_id, wanted=replace(self.policy.wanted, contents=True))

        def read(group: Sequence[Document]) -> Iterator[Run]:
            experiment_ids = sorted({entry["experiment_id"] for entry in group})
            return by_id([entry["run_id"] for entry in group], experiment_ids)

        groups = list(chunks(entries, IDS_A_CALL))
        found = {run.run_id: run for run in self._in_parallel(read, groups)}
        # What is not where the plan saw it may have been moved: that is a change, it is not gone.
        lost = [entry["run_id"] for entry in entries if entry["run_id"] not in found]
        elsewhere = by_id(lost, self.experiment_ids)
        return {**found, **{run.run_id: run for run in elsewhere}}

    def _in_parallel(
        self, read: Callable[[_Group], Iterable[_Found]], groups: Sequence[_Group]
    ) -> Iterator[_Found]:
        """Yield what is found in groups, several of which are read at once."""
        if self._gateway.max_parallel == 1 or len(groups) == 1:
            for group in groups:
                yield from read(group)
            return
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            for found in pool.map(lambda group: list(read(group)), groups):
                yield from found

    def _by_id(
        self,
        run_ids: Sequence[str],
        experiment_ids: Sequence[str],
        *,
        view: str = "ALL",
        wanted: Wanted | None = None,
    ) -> Iterator[Run]:
        wanted = wanted or self.policy.wanted
        return runs_by_id(self._gateway, run_ids, experiment_ids, view=view, wanted=wanted)

    def _relatives(
        self, found: Mapping[str, Run], experiments: Mapping[str, Experiment]
    ) -> tuple[dict[str, Run], dict[str, str]]:
        """Return active runs outside the plan that matter to these, and the parents in the trash.

        Those nested with them, those that use what they made, and all runs of their experiments
        where the policy keeps some.  Of runs in the trash that these are nested in: what each is
        nested in itself.
        """
        relatives = dict(self._dependents)
        # What is above them was in the trash when the plan was made, or it would be in the plan, or
        # protect them.
        known = found.keys() | self._planned_runs
        above = parents_above(found.values(), known, partial(self._trash_above, relatives))
        if self.policy.needs_groups:
            for _, experiment in sorted(experiments.items()):
                # What is known of a relative is more: a search leaves out what it reads.
                relatives = {**self._group(experiment), **relatives}
        return {i: run for i, run in relatives.items() if i not in found}, above

    def _trash_above(
        self, active: dict[str, Run], run_ids: Sequence[str]
    ) -> Iterator[tuple[str, str | None]]:
        """Yield runs in the trash, with what they are nested in; active ones grow the mapping."""
        for run in self._by_id(run_ids, self.experiment_ids):
            if run.lifecycle_stage == "active":
                active.setdefault(run.run_id, run)
            else:
                yield run.run_id, run.parent_run_id

    def _group(self, experiment: Experiment) -> dict[str, Run]:
        """Return all active runs of an experiment: keep rules rank a run among them.

        All are read once a minute at most, for the plan lists the runs of an experiment one after
        the other.  Those that hold the places are read anew each time: only when one of them goes
        or changes can a planned run move up.
        """
        experiment_id = experiment.experiment_id
        with self._grouping:
            known = self._groups.get(experiment_id)
            if known is None or time.monotonic() - known[0] > _GROUP_IS_GOOD_FOR_S:
                read_at = time.monotonic()
                known = read_at, {run.run_id: run for run in self._search([experiment_id])}
            else:
                known = known[0], self._with_place_holders(experiment, known[1])
            # Only the one at hand is worth its memory.
            self._groups = {experiment_id: known}
            return known[1]

    def _with_place_holders(
        self, experiment: Experiment, known: Mapping[str, Run]
    ) -> dict[str, Run]:
        """Return runs with those that hold places, and those that move up for them, as of now."""
        runs = dict(known)
        read: set[str] = set()
        context = Inventory({}, {}, {}, {}, {}, workspace=self._workspace)
        while holders := place_holders(runs.values(), experiment, self.policy, context) - read:
            ids = sorted(holders)
            now = [*self._by_id(ids, [experiment.experiment_id], view="ACTIVE_ONLY")]
            for run_id in ids:
                runs.pop(run_id)
            runs.update((run.run_id, run) for run in now)
            read |= holders
        return runs

    def _search(self, experiment_ids: Sequence[str], **kwargs: Any) -> Iterator[Run]:
        """Yield runs with what a decision needs of them."""
        wanted = self.policy.wanted
        return pages(partial(self._gateway.search_runs, experiment_ids, wanted=wanted, **kwargs))

    def _nested_runs(self, entries: Sequence[Document]) -> Iterator[Run]:
        """Yield active runs that are nested in planned ones, and maybe others."""
        filters = [f"{_PARENT} LIKE '%'"]
        if len(entries) <= _FEW_RUNS:
            filters = [f"{_PARENT} = '{entry['run_id']}'" for entry in entries]
        for filter_string in filters:
            yield from self._search_everywhere(filter_string)

    def _read_new_runs(self) -> None:
        """Take note of runs that began since the last call (or since the plan)."""
        since, self._seen_until_ms = self._seen_until_ms - _MARGIN_MS, now_ms()
        self._keep(self._search_everywhere(f"attributes.start_time >= {max(since, 0)}"))

    def _read_new_experiments(self, filter_string: str) -> set[str]:
        """Take note of experiments and return their ids."""
        search = partial(self._gateway.search_experiments, view="ALL", filter_string=filter_string)
        found = {experiment.experiment_id for experiment in pages(search)}
        self.experiment_ids = sorted(found.union(self.experiment_ids))
        return found

    def _search_everywhere(self, filter_string: str) -> Iterator[Run]:
        """Yield active runs of all experiments."""
        return self._search_in(self.experiment_ids, filter_string=filter_string)

    def _search_in(
        self, experiment_ids: Sequence[str], *, filter_string: str = "", view: str = "ACTIVE_ONLY"
    ) -> Iterator[Run]:
        """Yield runs of experiments."""
        search = partial(self._search, filter_string=filter_string, view=view)
        return self._in_parallel(search, list(chunks(experiment_ids, EXPERIMENTS_A_CALL)))

    def _read_made_models(self, experiment_ids: Sequence[str]) -> None:
        """Take note of the logged models of some experiments that planned runs made."""
        for ids in chunks(experiment_ids, EXPERIMENTS_A_CALL):
            for model in pages(partial(self._gateway.search_logged_models, ids)):
                self._take_note_of(model)

    def _take_note_of(self, model: LoggedModel) -> None:
        self._known_models.add(model.model_id)
        if model.source_run_id in self._planned_runs:
            self._made[model.model_id] = model

    def _read_made_models_of(self, run_ids: Collection[str]) -> None:
        """Read again what runs made, with the runs that logged metrics for it meanwhile."""
        made = self._made_by(run_ids)
        if not made:
            return
        self._read_made_models(sorted({model.experiment_id for model in made}))
        users = {i for model in self._made_by(run_ids) for i in model.metric_run_ids}
        unknown = sorted(users - self._planned_runs - self._dependents.keys())
        found = self._by_id(unknown, self.experiment_ids, view="ACTIVE_ONLY")
        self._dependents.update((run.run_id, run) for run in found)

    def _made_by(self, run_ids: Collection[str]) -> list[LoggedModel]:
        return [model for model in self._made.values() if model.source_run_id in run_ids]

    def _read_users(self) -> None:
        """Take note of runs outside the plan that may have read a model since the plan was made.

        Those in progress, those that ended since, those in experiments that were made since, and those
        that look as if the plan would list them.  What a run reads is stamped nowhere.
        """
        self._keep(self._search_everywhere("attributes.status = 'RUNNING'"))
        if self._made:
            since = max(self._planned_at_ms - _MARGIN_MS, 0)
            self._keep(self._search_everywhere(f"attributes.end_time >= {since}"))
            new = self._read_new_experiments(f"creation_time >= {since}")
            self._keep(self._search_in(sorted(new)))
            self._keep(self._unlisted_runs())

    def _unlisted_runs(self) -> list[Run]:
        """Return stale runs that the plan neither deletes nor protects.

        They were brought in since it was made, with the times of long ago, or back from the trash.
        """
        ages = [
            ms
            for rule in self.policy.all_rules()
            for ms in (rule.ttl_ms, rule.failed_ttl_ms, rule.zombies_ms)
            if ms is not None
        ]
        if not ages:
            return []
        before = max(self.policy.as_of_ms - min(ages), 0)
        found = self._search_everywhere(f"attributes.start_time < {before}")
        runs = {run.run_id: run for run in found if run.run_id not in self._listed_runs}
        experiments = self._experiments({run.experiment_id for run in runs.values()})
        context = Inventory(experiments, runs, {}, {}, {}, workspace=self._workspace)
        decisions = decide(context, self.policy).runs
        return [
            runs[i] for i, decision in decisions.items() if decision.verdict is not Verdict.FRESH
        ]

    def _with_inputs(self, runs: Iterable[Run]) -> Iterator[Run]:
        """Yield runs outside the plan, with the logged models that they read.

        A search lists only what a run put out (runs/search of 3.0 to 3.17).
        """
        others = [run for run in runs if run.run_id not in self._planned_runs]
        # A run that is under way may read one more.
        asked = {run.run_id for run in others if self._made and run.run_id not in self._asked}
        self._asked |= {run.run_id for run in others if run.status != "RUNNING"} & asked
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            found = [run for run in pool.map(self._gateway.get_run, sorted(asked)) if run]
        return iter({**{r.run_id: r for r in others}, **{r.run_id: r for r in found}}.values())

    def _keep(self, runs: Iterable[Run]) -> None:
        """Take note of runs outside the plan that may need a planned one."""
        seen_runs = [*self._with_inputs(runs)]
        self._parents_in_trash = {**self._parents_in_trash, **self._trash_between(seen_runs)}
        for seen in seen_runs:
            known = self._dependents.get(seen.run_id, seen)
            run = replace(seen, model_ids=tuple(sorted({*seen.model_ids, *known.model_ids})))
            if self._is_nested_in_planned(run) or run.model_ids:
                self._dependents[run.run_id] = run
            for model_id in set(run.model_ids) - self._known_models:
                self._known_models.add(model_id)
                found = self._gateway.get_logged_model(model_id)
                if found is not None:
                    self._take_note_of(found)

    def _trash_between(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return what runs in the trash are nested in that may stand between planned runs and these."""

        def read(run_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
            for run in self._by_id(run_ids, self.experiment_ids, view="DELETED_ONLY"):
                yield run.run_id, run.parent_run_id

        known = {*self._planned_runs, *(run.run_id for run in runs)}
        return parents_above(runs, known, read)

    def _is_nested_in_planned(self, run: Run) -> bool:
        """Tell whether a run is nested in a planned one, directly or by way of the trash."""
        seen: set[str] = set()
        parent = run.parent_run_id
        while parent and parent not in self._planned_runs and parent not in seen:
            seen.add(parent)
            parent = self._parents_in_trash.get(parent)
        return parent in self._planned_runs

    def _experiments(self, experiment_ids: set[str]) -> dict[str, Experiment]:
        """Read experiments of any lifecycle stage: a few by one, many among all there are."""
        found: dict[str, Experiment] = {}
        if len(experiment_ids) * _EXPERIMENTS_FOR_ONE >= len(self.experiment_ids):
            every = read_experiments(self._gateway)
            found = {i: experiment for i, experiment in every.items() if i in experiment_ids}
        # Pages may miss one while others go for good; what is not there is not there by its id.
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            rest = pool.map(self._gateway.get_experiment, sorted(experiment_ids - found.keys()))
            found.update((e.experiment_id, e) for e in rest if e)
        return found


def _time(planned: str | None) -> int | None:
    return None if planned is None else parse_time(planned)


def _finding(run: Run | None, decision: Decision | None, looked_at: float) -> Finding:
    if run is None:
        return Finding("gone", "it does not exist any more", looked_at)
    if run.lifecycle_stage != "active" or decision is None:
        return Finding("already_deleted", "it is in the trash already", looked_at)
    return _judged(decision, looked_at)


def _without_assessments(expected: Document) -> Document:
    digests = {"assessments_digest", "trash_assessments_digest"}
    return {key: value for key, value in expected.items() if key not in digests}


def _finding_of_experiment(
    entry: Document,
    experiment: Experiment | None,
    assessed_runs: Mapping[str, str],
    decision: Decision | None,
    run_count: int,
    looked_at: float,
) -> Finding:
    if experiment is None:
        return Finding("gone", "it does not exist any more", looked_at)
    if decision is None:
        return Finding("already_deleted", "it is in the trash already", looked_at)
    expected = expect_experiment(experiment, assessed_runs)
    if run_count:
        # Whatever is in it now was not deleted by this plan, so the experiment stays.
        finding = _kept_or(decision, "changed", f"{run_count} active runs in it", looked_at)
    elif decision.verdict is Verdict.DELETE and not decision.reversible and entry["reversible"]:
        finding = Finding("changed", _LOSES_MORE, looked_at)
    elif changed := drift(entry["expect"], expected):
        finding = _kept_or(decision, "changed", "; ".join(changed), looked_at)
    else:
        finding = _judged(decision, looked_at)
    return replace(finding, changes=tuple(differences(entry["expect"], expected)))


def _refused(error: ServerError, name: str, looked_at: float) -> Finding:
    """Return what it means that a registered model cannot be read: its name may be refused.

    Raises:
        ServerError: it is about something else.
    """
    if not is_refused(error, name):
        raise error
    return _kept_or(refused_name(name), "protected", error.message, looked_at)


def _judged(decision: Decision, looked_at: float) -> Finding:
    """Return what a decision means for something that is as the plan saw it."""
    if decision.verdict is Verdict.DELETE:
        return Finding(looked_at=looked_at)
    if decision.verdict is Verdict.FRESH and decision.via:
        return Finding("protected", decision.via[0], looked_at)
    return _kept_or(decision, "changed", "it was active again", looked_at)


def refuse_partial_view(gateway: Gateway, policy: Policy) -> None:
    """Refuse to go on when the server may hide from this account what protects something.

    Rights can be taken away in the middle of a prune.

    Raises:
        PartialView: and the plan does not accept that.
    """
    hidden = gateway.partial_view()
    if hidden and not policy.evidence.accept_partial_view:
        raise PartialView(hidden)


_REGRETS = {"changed", "protected"}

# Reasons that mean "it is not what the plan saw", not "somebody protects it".
_CHANGES = {
    None,
    Reason.CHANGED,
    Reason.NOT_TERMINAL,
    Reason.UNKNOWN_TIME,
    Reason.NOT_SEEN,
    Reason.EXPERIMENT_DELETED,
    Reason.RECENT_TRASH,
}


def _kept_or(decision: Decision, code: str, detail: str, looked_at: float) -> Finding:
    """Return ``protected`` with the protection's chain, or else the given code and words."""
    if decision.reason in _CHANGES:
        words = "; ".join(decision.via) if decision.reason is Reason.CHANGED else detail
        return Finding(code, words, looked_at)
    reason = decision.reason.value if decision.reason else ""
    words = ", ".join([*([reason] if reason else []), *decision.via])
    protection = {"reason": reason, "via": list(decision.via)}
    return Finding("protected", words, looked_at, protection=protection)
