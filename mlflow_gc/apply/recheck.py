"""The second look: is this entity still what the plan saw, and still nobody's?

Fresh evidence goes through the same decision that made the plan, with the plan's policy and
moment.  What it decides and what the plan expects must both say yes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from mlflow_gc.apply.registry_view import RegistryView
from mlflow_gc.inventory import wire
from mlflow_gc.inventory.entities import Experiment, Inventory, Run
from mlflow_gc.inventory.gateway import Gateway, pages
from mlflow_gc.inventory.scan import chunks, probe
from mlflow_gc.plan.build import Document
from mlflow_gc.plan.expect import drift, expect_experiment, expect_model_version, expect_run
from mlflow_gc.retention.decide import decide, experiments_to_probe
from mlflow_gc.retention.decision import Decision, Reason, Verdict, protect
from mlflow_gc.retention.policy import Policy

_PARENT = "tags.`mlflow.parentRunId`"
# Up to so many planned runs, asking for the children of each is cheaper than reading all nested
# runs of the server.
_FEW_RUNS = 50
_IDS_A_CALL = 100


@dataclass(frozen=True)
class Finding:
    """What the second look found for one entity.

    Attributes:
        code: None when it may go; else why not: ``changed``, ``gone``, ``already_deleted`` or
            ``protected``.
        detail: the same in words.
        looked_at: ``time.monotonic()`` of the look, in seconds.
        undo: what ``restore`` will need.
    """

    code: str | None = None
    detail: str = ""
    looked_at: float = field(default_factory=time.monotonic)
    undo: Document | None = None


class Recheck:
    """Looks at planned entities again.

    Args:
        gateway: where to look.
        plan: a verified plan.

    Raises:
        ServerError: the evidence that protects (registry, nested runs) cannot be read; then
            nothing may be deleted.
    """

    def __init__(self, gateway: Gateway, plan: Document) -> None:
        self._gateway = gateway
        self._policy = Policy.from_document(plan["policy"], as_of=plan["as_of"])
        self._registry = RegistryView(gateway)
        self._planned_runs = {entry["run_id"] for entry in plan["runs"]}
        self._experiment_ids = [
            wire.experiment(found).experiment_id
            for found in pages(partial(gateway.search_experiments, view="ALL"))
        ]
        self._children = list(self._unplanned_children(plan["runs"]))

    def refresh(self) -> None:
        """Bring what protects up to date; once before each batch."""
        self._registry.refresh()

    def look_at_runs(self, entries: Sequence[Document]) -> dict[str, Finding]:
        """Look at planned runs; whole nested trees should come together.

        Args:
            entries: entries of the plan's ``runs``.

        Returns:
            A finding for each run id.
        """
        looked_at = time.monotonic()
        found = self._runs_of(entries)
        relatives = self._relatives(found)
        active = {i: run for i, run in found.items() if run.lifecycle_stage == "active"}
        experiments = self._experiments({run.experiment_id for run in active.values()})
        changes = {
            entry["run_id"]: drift(entry["expect"], expect_run(found[entry["run_id"]]))
            for entry in entries
            if entry["run_id"] in active
        }
        held = {i: protect(Reason.CHANGED, *changed) for i, changed in changes.items() if changed}
        decisions = decide(
            Inventory(
                experiments=experiments,
                runs={**relatives, **active},
                registered_models=self._registry.models,
                model_versions=self._registry.versions,
                logged_models=self._registry.logged_models,
            ),
            self._policy,
            held,
        ).runs
        return {
            entry["run_id"]: _finding(
                found.get(entry["run_id"]), decisions.get(entry["run_id"]), looked_at
            )
            for entry in entries
        }

    def look_at_experiment(self, entry: Document) -> Finding:
        """Look at a planned experiment; its planned runs have been dealt with before."""
        looked_at = time.monotonic()
        experiment_id = entry["experiment_id"]
        wired = self._gateway.get_experiment(experiment_id)
        if wired is None:
            return Finding("gone", "it does not exist any more", looked_at)
        experiment = wire.experiment(wired)
        if experiment.lifecycle_stage != "active":
            return Finding("already_deleted", "it is in the trash already", looked_at)
        runs, _ = self._gateway.search_runs([experiment_id], max_results=_IDS_A_CALL)
        models, _ = self._gateway.search_logged_models(
            [experiment_id], newest_first=True, max_results=1
        )
        inventory = Inventory(
            experiments={experiment_id: experiment},
            runs={run.run_id: run for run in map(wire.run, runs)},
            registered_models=self._registry.models,
            model_versions=self._registry.versions,
            logged_models={m.model_id: m for m in map(wire.logged_model, models)},
        )
        waiting = experiments_to_probe(decide(inventory, self._policy))
        inventory = probe(self._gateway, inventory, waiting, cutoff_ms=self._policy.cutoff_ms)
        if inventory.diagnostics:
            return Finding("protected", inventory.diagnostics[0].message, looked_at)
        decision = decide(inventory, self._policy).experiments[experiment_id]
        if inventory.runs:
            # Whatever is in it now was not deleted by this plan, so the experiment stays.
            return _kept_or(decision, "changed", f"{len(runs)} active runs in it", looked_at)
        if changed := drift(entry["expect"], expect_experiment(experiment)):
            return _kept_or(decision, "changed", "; ".join(changed), looked_at)
        if decision.verdict is not Verdict.DELETE:
            return _kept_or(decision, "changed", "it was active again", looked_at)
        return Finding(looked_at=looked_at)

    def trash_of(self, experiment_id: str) -> Document:
        """Return what ``restore`` needs for an experiment: the runs in its trash right now.

        Restoring an experiment brings back every run in it, whenever that was deleted
        (HAZARDS 0.6); these have to go back into the trash.
        """
        search = partial(self._gateway.search_runs, [experiment_id], view="DELETED_ONLY")
        return {"deleted_runs": sorted(wire.run(found).run_id for found in pages(search))}

    def look_at_version(self, entry: Document) -> Finding:
        """Look at a planned model version."""
        looked_at = time.monotonic()
        name, number = entry["name"], entry["version"]
        model = self._gateway.get_registered_model(name)
        wired = self._gateway.get_model_version(name, number) if model is not None else None
        if model is None or wired is None:
            return Finding("gone", "it does not exist any more", looked_at)
        version = wire.model_version(wired)
        newest = [wire.model_version(v) for v in model.get("latest_versions") or ()]
        versions = {
            **self._registry.of_model(name),
            **self._registry.copies_of(name, number),
            **{(v.name, v.version): v for v in newest},
            (name, number): version,
        }
        inventory = Inventory(
            experiments={},
            runs={},
            registered_models={**self._registry.models, name: wire.registered_model(model)},
            model_versions=versions,
            logged_models={},
        )
        decision = decide(inventory, self._policy).model_versions[name, number]
        expected = expect_model_version(version, wire.version_aliases(wired))
        changed = drift(entry["expect"], expected)
        if changed or decision.verdict is not Verdict.DELETE:
            return _kept_or(decision, "changed", "; ".join(changed) or "updated", looked_at)
        return Finding(looked_at=looked_at)

    def _runs_of(self, entries: Sequence[Document]) -> dict[str, Run]:
        """Read runs of any lifecycle stage by id."""
        found: dict[str, Run] = {}
        for group in chunks([entry["run_id"] for entry in entries], _IDS_A_CALL):
            members = set(group)
            experiment_ids = {e["experiment_id"] for e in entries if e["run_id"] in members}
            found.update(self._read_runs(group, sorted(experiment_ids), view="ALL"))
        return found

    def _read_runs(
        self, run_ids: Sequence[str], experiment_ids: Sequence[str], *, view: str
    ) -> Iterator[tuple[str, Run]]:
        listed = ", ".join(f"'{run_id}'" for run_id in run_ids)
        search = partial(
            self._gateway.search_runs,
            experiment_ids,
            filter_string=f"attributes.run_id IN ({listed})",
            view=view,
        )
        for run in map(wire.run, pages(search)):
            yield run.run_id, run

    def _relatives(self, found: Mapping[str, Run]) -> dict[str, Run]:
        """Return active runs outside the plan that are nested with some of these."""
        relatives = {run.run_id: run for run in self._children if run.parent_run_id in found}
        parents = sorted(
            {
                run.parent_run_id
                for run in found.values()
                if run.parent_run_id and run.parent_run_id not in self._planned_runs
            }
        )
        # It was in the trash when the plan was made, or it would be in the plan, or protect it.
        for group in chunks(parents, _IDS_A_CALL):
            for experiment_ids in chunks(self._experiment_ids, 1000):
                relatives.update(self._read_runs(group, experiment_ids, view="ACTIVE_ONLY"))
        return relatives

    def _unplanned_children(self, entries: Sequence[Document]) -> Iterator[Run]:
        """Yield active runs nested in planned ones that are not in the plan themselves."""
        if not entries:
            return
        filters = [f"{_PARENT} LIKE '%'"]
        if len(entries) <= _FEW_RUNS:
            filters = [f"{_PARENT} = '{entry['run_id']}'" for entry in entries]
        for experiment_ids in chunks(self._experiment_ids, 1000):
            for filter_string in filters:
                search = partial(
                    self._gateway.search_runs, experiment_ids, filter_string=filter_string
                )
                for run in map(wire.run, pages(search)):
                    if (
                        run.parent_run_id in self._planned_runs
                        and run.run_id not in self._planned_runs
                    ):
                        yield run

    def _experiments(self, experiment_ids: set[str]) -> dict[str, Experiment]:
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            found = pool.map(self._gateway.get_experiment, sorted(experiment_ids))
            return {e.experiment_id: e for e in (wire.experiment(w) for w in found if w)}


def _finding(run: Run | None, decision: Decision | None, looked_at: float) -> Finding:
    if run is None:
        return Finding("gone", "it does not exist any more", looked_at)
    if run.lifecycle_stage != "active" or decision is None:
        return Finding("already_deleted", "it is in the trash already", looked_at)
    if decision.verdict is Verdict.DELETE:
        return Finding(looked_at=looked_at)
    return _kept_or(decision, "changed", "it was active again", looked_at)


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
    reason = [decision.reason.value] if decision.reason else []
    return Finding("protected", ", ".join([*reason, *decision.via]), looked_at)
