"""Active runs that depend on planned ones: nested in them, or users of their logged models.

All of them are read once, and then only new ones: applying a plan may take hours, and each re-check
needs all dependents that were added since the plan was made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mlflow_gc.apply.recheck.live_reader import NESTED, LiveReader
from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.entities import (
    MODEL_CLOCK_MARGIN_MS,
    LoggedModel,
    Run,
    oldest_model_ms,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.tag_selection import PARENT_TAG
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.inventory.lookup import (
    EXPERIMENTS_A_CALL,
    ancestors,
    chunks,
    parents_above,
    runs_with_inputs,
)
from mlflow_gc.plan.document import Plan, RunEntry
from mlflow_gc.retention.decision import Decision, Verdict, protect
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy

# Start and creation times come from the clocks of other machines.
_MARGIN_MS = 10 * 60 * 1000
# Up to this number of planned runs, reading the children of each is cheaper than reading all nested
# runs of the server.
_FEW_RUNS = 50


class Dependents:
    """Active runs that may depend on a planned one.

    Of the plan only ``runs``, ``protected`` runs and ``server`` are used.

    Attributes:
        runs: by id.  Planned runs are included only after a re-check retained them.
        retained: the decisions on these planned runs.
        made: logged models that planned runs made, by id.  While there are none, inputs of runs are
            not read.
        parents_in_trash: the parents of runs in the trash.
        models_since_ms: creation of the oldest logged model of the server, ms since the epoch; 0 if
            unknown.
    """

    def __init__(self, gateway: Gateway, reader: LiveReader, policy: Policy, plan: Plan) -> None:
        self._gateway = gateway
        self._reader = reader
        self._policy = policy
        self._workspace: str | None = plan["server"]["workspace"]
        self._planned = {entry["run_id"] for entry in plan["runs"]}
        self._listed = {e["run_id"] for e in plan["protected"]["runs"]} | self._planned
        self._planned_at_ms = self._seen_until_ms = min(policy.as_of_ms, now_ms())
        self.runs: dict[str, Run] = {}
        self.retained: dict[str, Decision] = {}
        self.made: dict[str, LoggedModel] = {}
        self.parents_in_trash: dict[str, str] = {}
        self.models_since_ms = 0
        self._known_models: set[str] = set()
        self._inputs_read: set[str] = set()

    @property
    def source_runs(self) -> set[str]:
        """Planned runs that made existing logged models."""
        return {model.source_run_id for model in self.made.values()}

    def has_logged_models(self) -> bool:
        """Tell whether the server has logged models, which runs may have read."""
        groups = chunks(self._reader.experiment_ids, EXPERIMENTS_A_CALL)
        search = partial(self._gateway.search_logged_models, max_results=1)
        return bool(self._known_models) or any(search(ids)[0] for ids in groups)

    def read_all(self, entries: Sequence[RunEntry]) -> None:
        """Read all dependents of all planned runs."""
        self.models_since_ms = self._read_models_in(self._reader.experiment_ids) or 0
        self._add(self._nested_in([entry["run_id"] for entry in entries]))
        self._read_new_runs()
        self._read_model_users()

    def read_new(self) -> None:
        """Read experiments and runs that are new since the last call or the plan."""
        since_ms = self._seen_until_ms - _MARGIN_MS
        self._reader.read_experiment_ids(f"creation_time >= {since_ms}")
        self._read_new_runs()

    def read_models_of(self, run_ids: Collection[str]) -> None:
        """Read the logged models of runs again, with new runs that logged metrics for them."""
        made = self._made_by(run_ids)
        if not made:
            return
        self._read_models_in(sorted({model.experiment_id for model in made}))
        users = {i for model in self._made_by(run_ids) for i in model.metric_run_ids}
        unknown = sorted(users - self._planned - self.runs.keys())
        found = self._reader.runs_by_id(unknown, view="ACTIVE_ONLY")
        self.runs.update((run.run_id, run) for run in found)

    def read_inputs_of(self, run_ids: Iterable[str]) -> list[Run]:
        """Return planned runs with their inputs; none if no planned run made a model."""
        if not self.made:
            return []
        return [*runs_with_inputs(self._gateway, run_ids, self._policy.wanted)]

    def retain(self, run: Run, decision: Decision) -> None:
        """Add a retained planned run, because it may depend on other planned ones."""
        self.retained[run.run_id] = decision
        # Also a run that was just deleted: it will be rolled back.
        self.runs[run.run_id] = replace(run, lifecycle_stage="active")

    def release(self, run_id: str) -> None:
        """Remove a planned run that will be deleted after all."""
        if self.retained.pop(run_id, None):
            self.runs.pop(run_id, None)

    def parents(self, skipped: Collection[str]) -> set[str]:
        """Return the parents of all active nested runs, which are read again.

        ``skipped`` are planned runs that were not deleted.
        """
        deleted = self._planned.difference(skipped)
        children = self._reader.active_runs(NESTED)
        found = [run for run in children if run.run_id not in deleted]
        self.runs.update((run.run_id, self._with_known_models(run)) for run in found)
        return {run.parent_run_id for run in found if run.parent_run_id}

    def children_of(self, run_ids: Collection[str]) -> dict[str, list[str]]:
        """Return the active runs that are nested in some runs, directly or through the trash."""
        nested = [*self._nested_in(run_ids)]
        above = self._trash_between(nested)
        found: dict[str, list[str]] = {}
        for run in sorted(nested, key=lambda run: run.run_id):
            for parent in ancestors(run, above.get):
                if parent in run_ids:
                    found.setdefault(parent, []).append(run.run_id)
        return found

    def makers_in_use(self, deleted: Collection[str], skipped: Mapping[str, str]) -> set[str]:
        """Return the deleted runs that made a model in use by an active run.

        ``skipped`` are planned runs that this prune did not delete, with the reason.
        """
        if self.source_runs.isdisjoint(deleted):
            return set()
        self.read_models_of(deleted)
        self._read_model_users()
        for run in self.read_inputs_of([i for i in skipped if i not in self.retained]):
            self.retain(run, protect(Reason.CHANGED, skipped[run.run_id]))
        named = {model_id for run in self.runs.values() for model_id in run.model_ids}
        return {
            model.source_run_id
            for model_id, model in self.made.items()
            if model_id in named or not self.runs.keys().isdisjoint(model.metric_run_ids)
        }

    def _nested_in(self, run_ids: Collection[str]) -> Iterator[Run]:
        """Yield active runs nested in some runs, and possibly others."""
        filters = [NESTED]
        if len(run_ids) <= _FEW_RUNS:
            filters = [f"tags.`{PARENT_TAG}` = '{run_id}'" for run_id in run_ids]
        for filter_string in filters:
            yield from self._reader.active_runs(filter_string)

    def _read_new_runs(self) -> None:
        """Add runs that started since the last call (or the plan)."""
        since_ms, self._seen_until_ms = self._seen_until_ms - _MARGIN_MS, now_ms()
        self._add(self._reader.active_runs(f"attributes.start_time >= {max(since_ms, 0)}"))

    def _read_model_users(self) -> None:
        """Add runs outside the plan that may read a model of a planned run.

        These are runs in progress, runs that ended since the first such model was made, runs in
        experiments created since the plan, and runs that the plan would list.  MLflow has no time
        stamp for reading a model, and a run may be restored or imported after the plan was made.
        """
        self._add(self._reader.active_runs("attributes.status = 'RUNNING'"))
        if self.made:
            oldest_ms = oldest_model_ms(self.made.values()) or 0
            ended_ms = max(oldest_ms - MODEL_CLOCK_MARGIN_MS, 0)
            self._add(self._reader.active_runs(f"attributes.end_time >= {ended_ms}"))
            since_ms = max(self._planned_at_ms - _MARGIN_MS, 0)
            new = self._reader.read_experiment_ids(f"creation_time >= {since_ms}")
            self._add(self._reader.runs_in(sorted(new)))
            self._add(self._unlisted_runs())

    def _unlisted_runs(self) -> list[Run]:
        """Return stale runs that the plan neither deletes nor protects.

        They were imported with old times, or restored from the trash, since the plan was made.
        """
        ages = [
            ms
            for rule in self._policy.all_rules()
            for ms in (rule.ttl_ms, rule.failed_ttl_ms, rule.abandoned_ms)
            if ms is not None
        ]
        if not ages:
            return []
        before_ms = max(self._policy.as_of_ms - min(ages), 0)
        found = self._reader.active_runs(f"attributes.start_time < {before_ms}")
        runs = {run.run_id: run for run in found if run.run_id not in self._listed}
        experiments = self._reader.experiments({run.experiment_id for run in runs.values()})
        context = Inventory(experiments, runs, {}, {}, {}, workspace=self._workspace)
        decisions = decide(context, self._policy).runs
        return [
            runs[i] for i, decision in decisions.items() if decision.verdict is not Verdict.FRESH
        ]

    def _add(self, runs: Iterable[Run]) -> None:
        """Add runs outside the plan that may depend on a planned one."""
        found = self._with_inputs(runs)
        self.parents_in_trash = {**self.parents_in_trash, **self._trash_between(found)}
        for run in map(self._with_known_models, found):
            above = ancestors(run, self.parents_in_trash.get)
            if run.model_ids or not self._planned.isdisjoint(above):
                self.runs[run.run_id] = run
            for model_id in set(run.model_ids) - self._known_models:
                self._known_models.add(model_id)
                model = self._gateway.get_logged_model(model_id)
                if model is not None:
                    self._add_model(model)

    def _with_inputs(self, runs: Iterable[Run]) -> list[Run]:
        """Return runs outside the plan, with their input models if needed."""
        others = {run.run_id: run for run in runs if run.run_id not in self._planned}
        unread = others.keys() - self._inputs_read if self.made else set()
        # A run in progress may read further models.
        self._inputs_read |= {i for i in unread if others[i].status != "RUNNING"}
        found = runs_with_inputs(self._gateway, unread)
        return [*{**others, **{run.run_id: run for run in found}}.values()]

    def _with_known_models(self, run: Run) -> Run:
        """Return a run with all models it is known to use: a search omits its inputs."""
        known = self.runs.get(run.run_id, run)
        return replace(run, model_ids=tuple(sorted({*run.model_ids, *known.model_ids})))

    def _trash_between(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return the parents of runs in the trash that may link planned runs with these."""

        def read(run_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
            for run in self._reader.runs_by_id(run_ids, view="DELETED_ONLY"):
                yield run.run_id, run.parent_run_id

        return parents_above(runs, self._planned.union(run.run_id for run in runs), read)

    def _read_models_in(self, experiment_ids: Sequence[str]) -> int | None:
        """Add logged models in some experiments that planned runs made.

        Returns:
            Creation of the oldest of them, ms since the epoch; None without any.
        """
        oldest_ms: int | None = None
        for ids in chunks(experiment_ids, EXPERIMENTS_A_CALL):
            for model in pages(partial(self._gateway.search_logged_models, ids)):
                self._add_model(model)
                made_ms = model.creation_time or 0
                oldest_ms = made_ms if oldest_ms is None else min(oldest_ms, made_ms)
        return oldest_ms

    def _add_model(self, model: LoggedModel) -> None:
        self._known_models.add(model.model_id)
        if model.source_run_id in self._planned:
            self.made[model.model_id] = model

    def _made_by(self, run_ids: Collection[str]) -> list[LoggedModel]:
        return [model for model in self.made.values() if model.source_run_id in run_ids]
