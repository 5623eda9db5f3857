"""Runs that may need a planned one: nested in it, or with a logged model that it made.

All of them are read once, and from then on those that are new: a plan may be applied for hours, and
each re-check has to know what came to need a run since the plan was made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from mlflow_gc.apply.recheck.live_reader import NESTED, LiveReader
from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.entities import Inventory, LoggedModel, Run
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.inventory.lookup import EXPERIMENTS_A_CALL, chunks, parents_above
from mlflow_gc.plan.document import Plan, RunEntry
from mlflow_gc.retention.decision import Decision, Reason, Verdict, protect
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy

# Start and creation times are stamped by other machines.
_MARGIN_MS = 10 * 60 * 1000
# Up to so many planned runs, asking for the children of each is cheaper than reading all nested
# runs of the server.
_FEW_RUNS = 50


class Dependents:
    """Active runs that may need a planned one.

    Args:
        gateway: where to read logged models.
        reader: where to read all else.
        policy: of the plan.
        plan: a verified plan, or only its ``runs``, ``protected`` runs and ``server``.

    Attributes:
        runs: by id.  Planned ones are among them only once a re-check retained them.
        retained: the decisions on these planned ones.
        made: logged models that planned runs made, by id.  While there is none, nobody is asked what
            it reads.
        parents_in_trash: what runs in the trash are nested in.
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
        self._known_models: set[str] = set()
        self._inputs_read: set[str] = set()

    @property
    def makers(self) -> set[str]:
        """Planned runs that made logged models which are still there."""
        return {model.source_run_id for model in self.made.values()}

    def there_are_models(self) -> bool:
        """Tell whether the server holds logged models, which runs may have read."""
        return bool(self._known_models) or self._reader.holds_logged_models()

    def read_all(self, entries: Sequence[RunEntry]) -> None:
        """Read all there are, for all planned runs."""
        self._read_models_in(self._reader.experiment_ids)
        self._add(self._nested_runs(entries))
        self._read_new_runs()
        self._read_model_users()

    def read_new(self) -> None:
        """Read experiments and runs that are new since the last call, or since the plan was made."""
        since_ms = self._seen_until_ms - _MARGIN_MS
        self._reader.read_experiment_ids(f"creation_time >= {since_ms}")
        self._read_new_runs()

    def read_models_of(self, run_ids: Collection[str]) -> None:
        """Read again what runs made, with the runs that logged metrics for it meanwhile."""
        made = self._made_by(run_ids)
        if not made:
            return
        self._read_models_in(sorted({model.experiment_id for model in made}))
        users = {i for model in self._made_by(run_ids) for i in model.metric_run_ids}
        unknown = sorted(users - self._planned - self.runs.keys())
        found = self._reader.runs_by_id(unknown, view="ACTIVE_ONLY")
        self.runs.update((run.run_id, run) for run in found)

    def read_inputs_of(self, run_ids: Iterable[str]) -> list[Run]:
        """Return planned runs as they are, with what they read; none while none made a model."""
        if not self.made:
            return []
        return self._reader.runs_with_inputs([*run_ids], self._policy.wanted)

    def retain(self, run: Run, decision: Decision) -> None:
        """Add a planned run that is retained, as something that may need other planned ones."""
        self.retained[run.run_id] = decision
        # Also one that was just deleted: it is about to be rolled back.
        self.runs[run.run_id] = replace(run, lifecycle_stage="active")

    def release(self, run_id: str) -> None:
        """Remove a planned run that is to be deleted after all."""
        if self.retained.pop(run_id, None):
            self.runs.pop(run_id, None)

    def parents(self, kept: Collection[str]) -> set[str]:
        """Return what any active run is nested in, by reading all of them again.

        Args:
            kept: planned runs that were not deleted.
        """
        deleted = self._planned.difference(kept)
        children = self._reader.active_runs(NESTED)
        found = [run for run in children if run.run_id not in deleted]
        self.runs.update((run.run_id, self._with_known_models(run)) for run in found)
        return {run.parent_run_id for run in found if run.parent_run_id}

    def makers_in_use(self, deleted: Collection[str], kept: Mapping[str, str]) -> set[str]:
        """Return which deleted runs made a model that an active run uses.

        Args:
            deleted: runs that this prune deleted.
            kept: planned runs that it did not delete, with words why.
        """
        if self.makers.isdisjoint(deleted):
            return set()
        self.read_models_of(deleted)
        self._read_model_users()
        for run in self.read_inputs_of([i for i in kept if i not in self.retained]):
            self.retain(run, protect(Reason.CHANGED, kept[run.run_id]))
        named = {model_id for run in self.runs.values() for model_id in run.model_ids}
        return {
            model.source_run_id
            for model_id, model in self.made.items()
            if model_id in named or not self.runs.keys().isdisjoint(model.metric_run_ids)
        }

    def _nested_runs(self, entries: Sequence[RunEntry]) -> Iterator[Run]:
        """Yield active runs that are nested in planned ones, and maybe others."""
        filters = [NESTED]
        if len(entries) <= _FEW_RUNS:
            filters = [f"tags.`mlflow.parentRunId` = '{entry['run_id']}'" for entry in entries]
        for filter_string in filters:
            yield from self._reader.active_runs(filter_string)

    def _read_new_runs(self) -> None:
        """Add runs that began since the last call (or since the plan)."""
        since_ms, self._seen_until_ms = self._seen_until_ms - _MARGIN_MS, now_ms()
        self._add(self._reader.active_runs(f"attributes.start_time >= {max(since_ms, 0)}"))

    def _read_model_users(self) -> None:
        """Add runs outside the plan that may have read a model since the plan was made.

        Those in progress, those that ended since, those in experiments that were made since, and those
        that look as if the plan would list them.  What a run reads is stamped nowhere.
        """
        self._add(self._reader.active_runs("attributes.status = 'RUNNING'"))
        if self.made:
            since_ms = max(self._planned_at_ms - _MARGIN_MS, 0)
            self._add(self._reader.active_runs(f"attributes.end_time >= {since_ms}"))
            new = self._reader.read_experiment_ids(f"creation_time >= {since_ms}")
            self._add(self._reader.runs_in(sorted(new)))
            self._add(self._unlisted_runs())

    def _unlisted_runs(self) -> list[Run]:
        """Return stale runs that the plan neither deletes nor protects.

        They were brought in since it was made, with the times of long ago, or back from the trash.
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
        """Add those of some runs outside the plan that may need a planned one."""
        found = self._with_inputs(runs)
        self.parents_in_trash = {**self.parents_in_trash, **self._trash_between(found)}
        for run in map(self._with_known_models, found):
            if self._is_nested_in_planned(run) or run.model_ids:
                self.runs[run.run_id] = run
            for model_id in set(run.model_ids) - self._known_models:
                self._known_models.add(model_id)
                model = self._gateway.get_logged_model(model_id)
                if model is not None:
                    self._add_model(model)

    def _with_inputs(self, runs: Iterable[Run]) -> list[Run]:
        """Return runs outside the plan; with the logged models that they read, if that matters."""
        others = {run.run_id: run for run in runs if run.run_id not in self._planned}
        unread = others.keys() - self._inputs_read if self.made else set()
        # A run in progress may read one more.
        self._inputs_read |= {i for i in unread if others[i].status != "RUNNING"}
        found = self._reader.runs_with_inputs(unread)
        return [*{**others, **{run.run_id: run for run in found}}.values()]

    def _with_known_models(self, run: Run) -> Run:
        """Return a run with all models that it is known to use: a search leaves out what it reads."""
        known = self.runs.get(run.run_id, run)
        return replace(run, model_ids=tuple(sorted({*run.model_ids, *known.model_ids})))

    def _trash_between(self, runs: Sequence[Run]) -> dict[str, str]:
        """Return what runs in the trash are nested in that may stand between planned runs and these."""

        def read(run_ids: Sequence[str]) -> Iterator[tuple[str, str | None]]:
            for run in self._reader.runs_by_id(run_ids, view="DELETED_ONLY"):
                yield run.run_id, run.parent_run_id

        return parents_above(runs, self._planned.union(run.run_id for run in runs), read)

    def _is_nested_in_planned(self, run: Run) -> bool:
        """Tell whether a run is nested in a planned one, directly or by way of the trash."""
        seen: set[str] = set()
        parent = run.parent_run_id
        while parent and parent not in self._planned and parent not in seen:
            seen.add(parent)
            parent = self.parents_in_trash.get(parent)
        return parent in self._planned

    def _read_models_in(self, experiment_ids: Sequence[str]) -> None:
        """Add the logged models of some experiments that planned runs made."""
        for ids in chunks(experiment_ids, EXPERIMENTS_A_CALL):
            for model in pages(partial(self._gateway.search_logged_models, ids)):
                self._add_model(model)

    def _add_model(self, model: LoggedModel) -> None:
        self._known_models.add(model.model_id)
        if model.source_run_id in self._planned:
            self.made[model.model_id] = model

    def _made_by(self, run_ids: Collection[str]) -> list[LoggedModel]:
        return [model for model in self.made.values() if model.source_run_id in run_ids]
