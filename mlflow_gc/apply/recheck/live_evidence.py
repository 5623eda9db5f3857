"""The current state of planned entities and of what may protect them.

All reads of a re-check happen here and are passed on as frozen data to ``checker.py``.  Protectors
(registry, new and nested runs, traces) are read once and then updated; planned entities are read
each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mlflow_gc.apply.recheck.checker import (
    RECHECK_VALID_S,
    ExperimentEvidence,
    RegistryEvidence,
    RunEvidence,
    without_own_changes,
)
from mlflow_gc.apply.recheck.live_dependents import Dependents
from mlflow_gc.apply.recheck.live_reader import LiveGroups, LiveReader
from mlflow_gc.apply.recheck.live_registry import RegistryView
from mlflow_gc.backend.interface import Failure, Gateway, ModelDetails, ServerError
from mlflow_gc.domain.entities import Experiment, ModelVersion, Run, artifact_root
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.source_references import by_location, folders_of, possible_runs_behind
from mlflow_gc.domain.traces import Traces
from mlflow_gc.errors import ExitCode
from mlflow_gc.inventory.lookup import (
    IDS_A_CALL,
    parents_above,
    read_content_digests,
    read_histories,
)
from mlflow_gc.inventory.probe import probe
from mlflow_gc.inventory.registry import is_refused
from mlflow_gc.inventory.traces import read_traces
from mlflow_gc.plan.document import (
    ExperimentEntry,
    Json,
    ModelVersionEntry,
    Plan,
    RegisteredModelEntry,
    RunEntry,
)
from mlflow_gc.retention.decision import Decisions
from mlflow_gc.retention.engine import experiments_to_probe, trash_since
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.runs import runs_behind_registry

_EVIDENCE_VALID_S = RECHECK_VALID_S / 2
_TRACES_SHARE = 2
"""Traces are read again after this multiple of the time it takes: at most half of the time."""
_NOTHING = Inventory({}, {}, {}, {}, {})

Renames = Mapping[str, Sequence[tuple[str, int]]]
"""By experiment id: new names by this plan, and the server time, ms since the epoch."""


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


def refuse_partial_view(gateway: Gateway, policy: Policy) -> None:
    """Refuse to continue if the server may hide protectors from this account.

    Permissions can change during a prune.

    Raises:
        PartialView: The view is partial, and the plan does not accept that.
    """
    hidden = gateway.partial_view()
    if hidden and not policy.evidence.accept_partial_view:
        raise PartialView(hidden)


class LiveEvidence:
    """Reads evidence for re-checks.  Every method raises ``ServerError``.

    Of the plan only ``runs``, ``protected`` runs and ``server`` are used.

    Attributes:
        registry: registered models and their versions.
        dependents: runs that may depend on a planned one.
        entries: all planned runs, also those of other shards.
    """

    def __init__(self, gateway: Gateway, plan: Plan, policy: Policy) -> None:
        self._gateway = gateway
        # Evidence is as old as the begin of its reads: a large registry takes long.
        self._refreshed_at = time.monotonic()
        self._policy = policy
        self.registry = RegistryView(gateway, gateway.other_workspaces())
        self.entries = plan["runs"]
        self._planned_runs = {entry["run_id"] for entry in self.entries}
        self._workspace: str | None = plan["server"]["workspace"]
        self._reader = LiveReader(gateway, policy.wanted)
        self.dependents = Dependents(gateway, self._reader, policy, plan)
        self._groups = LiveGroups(self._reader, policy, self._workspace)
        self._refreshing = threading.Lock()
        self._reading_traces = threading.Lock()
        self._traces: Traces | None = None
        self._traces_read_at = 0.0
        self._traces_took_s = 0.0
        self._reader.read_experiment_ids()
        if self._planned_runs:
            self.dependents.read_all(plan["runs"])

    def refresh(self, *, older_than_s: float = 0.0) -> None:
        """Update the protectors, unless that was done within ``older_than_s`` seconds."""
        with self._refreshing:
            began = time.monotonic()
            if began - self._refreshed_at < older_than_s:
                return
            refuse_partial_view(self._gateway, self._policy)
            self.registry = self.registry.refreshed()
            if self._planned_runs:
                self.dependents.read_new()
            self._refreshed_at = began

    def reread(self) -> None:
        """Read the whole registry and the list of experiments again, regardless of timestamps.

        :meth:`refresh` finds new entities by their timestamps; a server whose clock is behind
        gives new entities old timestamps.
        """
        with self._refreshing:
            self.registry = self.registry.refreshed(completely=True)
            self._reader.read_experiment_ids()

    # -- runs ----------------------------------------------------------------------------------

    def of_runs(
        self, entries: Sequence[RunEntry], deleted: Collection[str], skipped: Mapping[str, str]
    ) -> RunEvidence:
        """Read planned runs with their protectors, see :class:`RunEvidence`."""
        read_at, registry = self._fresh(), self.registry
        self.dependents.read_models_of({entry["run_id"] for entry in entries})
        # Changes between a re-check and the deletion are visible only to later reads.
        traces = self._traces_now(older_than_s=0.0 if deleted else _EVIDENCE_VALID_S)
        found = self._reader.planned_runs(entries)
        for run_id in found.keys() & deleted:
            found[run_id] = replace(found[run_id], lifecycle_stage="active")
        active = {i: run for i, run in found.items() if run.lifecycle_stage == "active"}
        experiments = self._reader.experiments({run.experiment_id for run in active.values()})
        active = read_histories(self._gateway, active.values())
        if self.dependents.has_logged_models():
            active = read_content_digests(
                self._gateway,
                active.values(),
                experiments=experiments,
                models_since_ms=self.dependents.models_since_ms,
            )
        active = {i: traces.of(run) for i, run in active.items()}
        relatives, above = self._relatives(found, experiments)
        if deleted:
            # A deleted experiment, by this plan or by somebody, is no reason to roll back its runs.
            experiments = {i: replace(e, lifecycle_stage="active") for i, e in experiments.items()}
        inventory = replace(
            self._registry_inventory(registry),
            experiments=experiments,
            runs={**relatives, **active},
            logged_models={**registry.logged_models, **self.dependents.made},
            parents_in_trash={**self.dependents.parents_in_trash, **above},
        )
        return RunEvidence(
            read_at, found, inventory, {**self.dependents.retained}, skipped, deleted
        )

    def active_among(self, run_ids: Collection[str]) -> set[str]:
        """Return the active ones of some runs."""
        active = self._reader.runs_by_id(sorted(run_ids), view="ACTIVE_ONLY")
        return {run.run_id for run in active}

    def needed_among(self, deleted: Collection[str], skipped: Mapping[str, str]) -> set[str]:
        """Return the deleted runs that an existing entity may depend on, regardless of times.

        The whole registry and all nested runs of the server are read again.  This also finds a
        child with an old start time, an older run that became a child, and users of models that
        deleted runs made.

        ``skipped`` are planned runs that this prune did not delete, with the reason.
        """
        self.reread()
        registry = self.registry
        versions = [*registry.versions.values(), *registry.foreign_versions]
        models = [*registry.models.values(), *registry.foreign_models]
        behind = possible_runs_behind(models, versions, registry.logged_models)
        needed = behind | self._at_places_of(versions) | self.dependents.parents(skipped.keys())
        return (needed | self.dependents.makers_in_use(deleted, skipped)).intersection(deleted)

    def _at_places_of(self, versions: Iterable[ModelVersion]) -> set[str]:
        """Return planned runs with the artifact location of a version, if it lacks their id."""
        planned = ((entry["run_id"], entry["expect"]["artifact_uri"]) for entry in self.entries)
        runs_at = by_location(
            (run_id, uri) for run_id, uri in planned if uri and not artifact_root(uri, run_id)[1]
        )
        if not runs_at:
            return set()
        folders = {folder for version in versions for folder in folders_of(version)}
        return {run_id for folder in runs_at.keys() & folders for run_id in runs_at[folder]}

    def _relatives(
        self, found: Mapping[str, Run], experiments: Mapping[str, Experiment]
    ) -> tuple[dict[str, Run], dict[str, str]]:
        """Return active runs outside the plan that may protect these, and parents in the trash.

        These are runs of the same nested trees, users of their models, and all runs of their
        experiments if the policy has keep rules.  For runs in the trash between them, the parents
        are returned.
        """
        relatives = dict(self.dependents.runs)

        def read(run_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
            for run in self._reader.runs_by_id(run_ids):
                if run.lifecycle_stage == "active":
                    relatives.setdefault(run.run_id, run)
                else:
                    yield run.run_id, run.parent_run_id

        # Their ancestors were in the trash when the plan was made: otherwise they would be in the
        # plan, or protect these runs.
        above = parents_above(found.values(), found.keys() | self._planned_runs, read)
        if self._policy.needs_groups:
            for _, experiment in sorted(experiments.items()):
                # Known relatives have more data: a search omits their inputs.
                relatives = {**self._groups.of(experiment), **relatives}
        return {i: run for i, run in relatives.items() if i not in found}, above

    # -- experiments ---------------------------------------------------------------------------

    def of_experiments(
        self,
        entries: Sequence[ExperimentEntry],
        renames: Renames,
        deleted_with: Mapping[str, Collection[str]] | None,
    ) -> ExperimentEvidence:
        """Read planned experiments, without probes yet (see :meth:`probed`).

        After their deletion, ``deleted_with`` are the runs that were in the trash of each before.
        """
        read_at, registry = self._fresh(), self.registry
        is_after_delete = deleted_with is not None
        planned = {entry["experiment_id"]: entry for entry in entries}
        found = {
            i: without_own_changes(
                e, planned[i], renames.get(i, ()), is_after_delete=is_after_delete
            )
            for i, e in self._reader.experiments({*planned}).items()
        }
        active = {i: e for i, e in found.items() if e.lifecycle_stage == "active"}
        inventory = replace(
            self._registry_inventory(registry),
            experiments=active,
            runs={run.run_id: run for run in self._runs_in(sorted(active), deleted_with)},
            logged_models=self._reader.newest_logged_models(sorted(active)),
        )
        return ExperimentEvidence(read_at, found, inventory, is_after_delete)

    def probed(self, evidence: ExperimentEvidence, decisions: Decisions) -> ExperimentEvidence:
        """Probe experiments that nothing else protects, by decisions on this evidence."""
        waiting = experiments_to_probe(decisions)
        inventory = evidence.inventory
        if waiting and not evidence.is_after_delete:
            traces = self._traces_now(older_than_s=_EVIDENCE_VALID_S)
            if traces.would_be_lost() & self._planned_runs:
                # Assessments of runs that this prune deleted no longer exist.
                traces = self._traces_now(at_any_cost=True)
            inventory = replace(inventory, traces=traces)
        since_ms = trash_since(self._policy, inventory)
        deleted = evidence.is_after_delete
        inventory = probe(self._gateway, inventory, waiting, since_ms=since_ms, deleted=deleted)
        if inventory.diagnostics:
            raise ServerError(inventory.diagnostics[0].message, Failure.AMBIGUOUS)
        return replace(evidence, inventory=inventory)

    def trash_of(self, experiment_ids: Sequence[str]) -> dict[str, Json]:
        """Return the undo information of experiments: the runs currently in their trash.

        Restoring an experiment restores every run in it, whenever that was deleted
        (docs/explanation/mlflow-facts.md#trash-restores-all); these have to return to the trash.
        ``registered`` is the version that names some of them today, and ``children`` the active
        runs nested in them, although somebody deleted them.
        """
        trash: dict[str, dict[str, Run]] = {experiment_id: {} for experiment_id in experiment_ids}
        for run in self._reader.runs_in(experiment_ids, view="DELETED_ONLY"):
            trash[run.experiment_id][run.run_id] = run
        undo: dict[str, Json] = {}
        registry = self._registry_inventory(self.registry)
        logged_models = {**registry.logged_models, **self.dependents.made}
        for experiment_id, runs in trash.items():
            undo[experiment_id] = {"deleted_runs": sorted(runs)}
            others = {i: run for i, run in runs.items() if i not in self._planned_runs}
            if not others:
                continue
            inventory = replace(registry, runs=others, logged_models=logged_models)
            if behind := runs_behind_registry(inventory):
                undo[experiment_id]["registered"] = {
                    i: list(behind[i].chain) for i in sorted(behind)
                }
            if children := self.dependents.children_of(others):
                undo[experiment_id]["children"] = children
        return undo

    def has_planned_runs(self, experiment_id: str) -> bool:
        """Tell whether an experiment has active runs that the plan (all shards) deletes."""
        found, _ = self._gateway.search_runs([experiment_id], max_results=IDS_A_CALL)
        return any(run.run_id in self._planned_runs for run in found)

    def _runs_in(
        self, experiment_ids: Sequence[str], deleted_with: Mapping[str, Collection[str]] | None
    ) -> Iterator[Run]:
        """Yield active runs; of deleted experiments those that were not in the trash before."""
        if deleted_with is None:
            yield from self._reader.runs_in(experiment_ids)
            return
        for run in self._reader.runs_in(experiment_ids, view="ALL"):
            if run.run_id not in deleted_with[run.experiment_id]:
                yield replace(run, lifecycle_stage="active")

    # -- registry ------------------------------------------------------------------------------

    def of_version(self, entry: ModelVersionEntry) -> RegistryEvidence:
        """Read a planned model version with all versions that may protect it."""
        read_at, registry = self._fresh(), self.registry
        name, number = entry["name"], entry["version"]
        details, refusal = self._registered_model(name)
        found = self._gateway.get_model_version(name, number) if details is not None else None
        if details is None or found is None:
            return RegistryEvidence(read_at, _NOTHING, refusal=refusal)
        inventory = replace(
            _NOTHING,
            registered_models={**registry.models, name: details.model},
            model_versions={
                **self._versions_of(details),
                **registry.copies_of(name, number),
                (name, number): found.version,
            },
            workspace=self._workspace,
        )
        return RegistryEvidence(read_at, inventory, found.aliases)

    def of_registered_model(self, entry: RegisteredModelEntry) -> RegistryEvidence:
        """Read a planned registered model with its versions."""
        read_at = self._fresh()
        details, refusal = self._registered_model(entry["name"])
        if details is None:
            return RegistryEvidence(read_at, _NOTHING, refusal=refusal)
        inventory = replace(
            _NOTHING,
            registered_models={entry["name"]: details.model},
            model_versions=self._versions_of(details),
            workspace=self._workspace,
        )
        return RegistryEvidence(read_at, inventory)

    def _registered_model(self, name: str) -> tuple[ModelDetails | None, str]:
        """Return a registered model or None, and why its name is refused."""
        try:
            return self._gateway.get_registered_model(name), ""
        except ServerError as error:
            if not is_refused(error, name):
                raise
            return None, error.message

    def _versions_of(self, details: ModelDetails) -> Mapping[tuple[str, str], ModelVersion]:
        return self.registry.versions_now(details, ranked=self._policy.ranks_versions)

    # -- shared --------------------------------------------------------------------------------

    def _fresh(self) -> float:
        """Refresh old protectors; return the ``time.monotonic()`` of the last refresh."""
        self.refresh(older_than_s=_EVIDENCE_VALID_S)
        return self._refreshed_at

    def _registry_inventory(self, registry: RegistryView) -> Inventory:
        """Return an inventory with only the registry."""
        return replace(
            _NOTHING,
            registered_models=registry.models,
            model_versions=registry.versions,
            foreign_versions=registry.foreign_versions,
            foreign_models=registry.foreign_models,
            logged_models=registry.logged_models,
            workspace=self._workspace,
        )

    def _traces_now(self, *, older_than_s: float = 0.0, at_any_cost: bool = False) -> Traces:
        """Return the current references of traces to runs.

        New assessments cannot be searched, so all traces are read each time.  If that takes long,
        it is done less often: at most half of the time.

        Within ``older_than_s`` seconds they are not read again; ``at_any_cost`` they always are.
        """
        with self._reading_traces:
            began = time.monotonic()
            valid_s = max(older_than_s, _TRACES_SHARE * self._traces_took_s)
            traces = self._traces
            if traces is None or at_any_cost or began - self._traces_read_at > valid_s:
                self._traces = traces = read_traces(self._gateway, self._reader.experiment_ids)
                self._traces_read_at, self._traces_took_s = began, time.monotonic() - began
            return traces
