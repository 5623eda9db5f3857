"""What can be undone by a journal, and the single steps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

from mlflow_gc.apply.experiment_names import FREED_NAME
from mlflow_gc.apply.journal.reader import Session
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.live_evidence import PartialView, refuse_partial_view
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.backend.interface import Gateway
from mlflow_gc.backend.retries import retry_until_confirmed
from mlflow_gc.domain.entities import Experiment, Run
from mlflow_gc.domain.kinds import BY_NAME, PRUNED
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.domain.tag_selection import KEEP
from mlflow_gc.domain.timestamps import now_ms
from mlflow_gc.domain.traces import Traces
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory.lookup import (
    IDS_A_CALL,
    ancestors,
    chunks,
    read_content_digests,
    read_histories,
    runs_by_id,
)
from mlflow_gc.inventory.scan import read_experiments
from mlflow_gc.inventory.traces import read_traces
from mlflow_gc.plan.document import Json, Plan, RunEntry
from mlflow_gc.plan.preconditions import expect_run
from mlflow_gc.retention.policy import Evidence, Policy
from mlflow_gc.retention.rules import Rule, Selector
from mlflow_gc.settings import DEFAULT_TTL_DAYS

_LOSES_ASSESSMENTS = "in the trash it would lose assessments permanently"

LOST_ASSESSMENTS = "assessments"
"""Value of ``lost`` in a journal: assessments that were deleted permanently."""


KINDS = frozenset(name for kind in PRUNED for name in (kind.name, kind.entries))
"""What ``--only`` takes besides ids."""

CREATED = "creation_time"
"""Field of the undo information that identifies an experiment: ids are assigned again."""


@dataclass(frozen=True)
class Undo:
    """The entities of a journal that can and cannot be restored, each with its undo information.

    Attributes:
        experiments: with the former content of their trash (see :class:`OldTrash`), and ``name``
            and ``freed_name`` if they were renamed.
        runs: in the order of their deletion.
        model_versions: with all data.
        registered_models: with all data.
    """

    experiments: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    model_versions: dict[str, Json] = field(default_factory=dict)
    registered_models: dict[str, Json] = field(default_factory=dict)

    @property
    def without_assessments(self) -> set[str]:
        """The runs whose assessments were lost."""
        return _losing(self.runs)

    @property
    def trash_without_assessments(self) -> set[str]:
        """The experiments with runs in the trash whose assessments were lost."""
        return _losing(self.experiments)


def _losing(entities: Mapping[str, Json]) -> set[str]:
    return {i for i, known in entities.items() if known.get("lost") == LOST_ASSESSMENTS}


def plan_undo(sessions: Sequence[Session], only: Collection[str] = ()) -> Undo:
    """Collect the entities that a prune deleted, or was about to delete when it was killed.

    Args:
        sessions: of the journal.
        only: kinds (``run``) or ids to select; empty for all.  An experiment includes the runs that
            the prune deleted in it.

    Raises:
        UsageProblem: ``only`` names an entity that was not deleted by the journal.
    """
    touched = deleted_by(sessions)
    _refuse_unknown(sessions, only, touched)
    selected = {
        (kind, entity_id)
        for kind, entity_id in touched
        if not only or kind in only or BY_NAME[kind].entries in only or entity_id in only
    }
    for kind, entity_id in tuple(selected):
        if kind == "experiment":
            in_it = touched[kind, entity_id].get("deleted_runs", ())
            selected |= {("run", run_id) for run_id in in_it} & touched.keys()
    undo = Undo()
    for (kind, entity_id), known in touched.items():
        if (kind, entity_id) in selected:
            getattr(undo, BY_NAME[kind].entries)[entity_id] = known
    return undo


def deleted_by(sessions: Sequence[Session]) -> dict[tuple[str, str], Json]:
    """Return, by kind and id, the undo information of what a prune deleted or was about to."""
    touched: dict[tuple[str, str], Json] = {}
    for session in sessions:
        if session.header["action"] != "prune":
            continue
        intended = session.intended_undo()
        for key in sorted(session.unconfirmed()):
            touched.setdefault(key, intended.get(key, {}))
        for record in session.records:
            if record["outcome"] == "deleted":
                touched[record["kind"], record["id"]] = record.get("undo", {})
            elif record["outcome"] == "restored":  # rolled back by the prune itself
                touched.pop((record["kind"], record["id"]), None)
            elif FREED_NAME in record.get("undo", {}):  # renamed, not deleted, not renamed back
                touched.setdefault((record["kind"], record["id"]), record["undo"])
    return touched


def _refuse_unknown(
    sessions: Sequence[Session], only: Collection[str], touched: Collection[tuple[str, str]]
) -> None:
    """Refuse to restore entities by name that were not deleted by the journal.

    Raises:
        UsageProblem: With the record of the journal instead.
    """
    unknown = sorted(set(only) - KINDS - {entity_id for _, entity_id in touched})
    if not unknown:
        return
    records = {r["id"]: r for s in sessions if s.header["action"] == "prune" for r in s.records}
    sentences = [f"{name}: {_describe_record(records.get(name))}." for name in unknown[:5]]
    raise UsageProblem(
        "Nothing was restored: this prune did not delete all that --only names. "
        + " ".join(sentences),
        hint="Name a kind (runs, experiments), or ids of runs and experiments that the journal "
        'records as "deleted". Without --only all of it is restored.',
    )


def _describe_record(record: Json | None) -> str:
    if record is None:
        return "the journal does not name it"
    if record["outcome"] == "restored":
        return "the prune itself restored it at once"
    why = ", ".join(filter(None, (record["reason"], record.get("detail"))))
    return f"it was not deleted ({record['outcome']}: {why})"


class OldTrash:
    """The runs that were in the trash of experiments before a prune deleted the experiments.

    Restoring an experiment restores every run in it, whenever that was deleted
    (docs/explanation/mlflow-facts.md#trash-restores-all), so these have to return to the trash.
    The journal names them.  A run returns if it is in the trash right before the experiment is
    restored (somebody may have restored it since) and passes the same re-check as before a
    deletion: a run that something depends on by now, or that changes meanwhile, is left active.
    Its age and its own tags do not count: MLflow sets no tag on a run in the trash, so whoever
    deleted it knew them.

    If an earlier process was interrupted after it restored the experiment, only its journal names
    the runs of the old trash, and anybody may have edited that.  So these runs are re-checked like
    runs of a plan without a policy file: by age, tags, and announcements, too.

    Without such runs this takes no request.  Otherwise the evidence is read once (registry,
    experiments, nested and new runs), and the state of the runs four times per hundred runs.

    Args:
        gateway: the server.
        undo: by experiment id, the undo information: ``deleted_runs``, the former content of its
            trash, and what already protected it: ``registered``, the version that named some of
            them, and ``children``, the active runs that were nested in some.
        since_ms: start of that prune, ms since the epoch: newer runs may depend on one of these.
        stop: ends waiting, and ends between batches.
        brought_back: runs to restore, whatever was in the trash.
        keep_tag: another name of the keep tag, besides ``mlflow_gc.keep``.
        workspace: of the server; None if it has none.
        evidence: requirements on the view of the account.
    """

    def __init__(
        self,
        gateway: Gateway,
        undo: Mapping[str, Json],
        stop: threading.Event,
        *,
        since_ms: int,
        brought_back: Collection[str] = (),
        keep_tag: str = KEEP,
        workspace: str | None,
        evidence: Evidence | None = None,
    ) -> None:
        self._gateway = gateway
        self._stop = stop
        self._runs: dict[str, Collection[str]] = {
            i: known.get("deleted_runs", ()) for i, known in undo.items()
        }
        self._registered = {
            run_id: via
            for known in undo.values()
            for run_id, via in known.get("registered", {}).items()
        }
        self._children = {
            run_id: frozenset(children)
            for known in undo.values()
            for run_id, children in known.get("children", {}).items()
        }
        self._brought_back = frozenset(brought_back)
        self._workspace = workspace
        never = Rule("never", ttl_ms=None, failed_ttl_ms=None)
        self._policy = Policy(
            # An edited journal may name the future, or another keep tag.
            as_of_ms=min(since_ms, now_ms()),
            default=Rule.of_days(DEFAULT_TTL_DAYS),
            rules=tuple(
                replace(never, match=Selector(tags={tag: "*"})) for tag in {KEEP} - {keep_tag}
            ),
            keep_tag=keep_tag,
            owners_may_shorten=False,
            # ``_assessed`` looks for assessments.
            delete_evaluations=True,
            evidence=evidence or Evidence(),
        )
        self._rechecks: dict[bool, Recheck] = {}
        self._intended: dict[str, list[RunEntry]] = {}

    def candidates(self, experiment_id: str) -> list[str]:
        """Return the runs of an experiment that have to be in the trash after its restore."""
        return sorted(set(self._runs[experiment_id]) - self._brought_back)

    def to_trash(self, experiment_ids: Sequence[str]) -> tuple[list[RunEntry], dict[str, Finding]]:
        """Return the runs that return to the trash if experiments are restored now.

        Returns:
            These runs; and why the other :meth:`candidates` are left active, by run id.
        """
        run_ids = [run_id for i in experiment_ids for run_id in self.candidates(i)]
        found = {run.run_id: run for run in runs_by_id(self._gateway, run_ids, experiment_ids)}
        retained = {
            run_id: Finding("already_active", "somebody restored it since")
            for run_id, run in found.items()
            if run.lifecycle_stage == "active"
        }
        found = self._all_of([r for i, r in found.items() if i not in retained])
        found_in = sorted({run.experiment_id for run in found.values()})
        experiments = {i: self._gateway.get_experiment(i) for i in found_in}
        entries = [_entry(run, experiments[run.experiment_id]) for _, run in sorted(found.items())]
        if self._gateway.loses_assessments:
            retained.update(_losing_assessments(found.values()))
        retained.update(self._needed(entries))
        return [entry for entry in entries if entry["run_id"] not in retained], retained

    def restore(
        self,
        experiment_id: str,
        *,
        begun: Sequence[RunEntry] = (),
        intend: Callable[[Sequence[RunEntry]], None] = lambda _entries: None,
        record: Callable[[str, Finding | None], None] = lambda _run_id, _finding: None,
    ) -> bool:
        """Restore an experiment with exactly the runs that were active when it was deleted.

        Args:
            experiment_id: of the experiment.
            begun: the runs that an earlier process still had to move to the trash.  If the
                experiment is already active, only these and those of an earlier call are moved.
            intend: called with the runs that return to the trash, before any change.
            record: called for each run of the old trash: with None if it is in the trash again,
                else with the reason why it is left active.

        Returns:
            Whether it was completed; False after a stop.

        Raises:
            ServerError: One of the steps failed; it can be repeated.
        """
        is_unverified = False
        retained: dict[str, Finding] = {}
        if not self._is_active(experiment_id):
            entries, retained = self.to_trash([experiment_id])
            self._intended[experiment_id] = entries
            intend(entries)
            retry_until_confirmed(
                partial(self._gateway.restore_experiment, experiment_id),
                self._stop,
                partial(self._is_active, experiment_id),
            )
        elif experiment_id in self._intended:
            entries = self._intended[experiment_id]
        else:
            is_unverified = True
            # All at once first: the batches may divide a nested tree.
            entries, retained = self.still_to_trash(experiment_id, begun, is_unverified=True)
        for run_id, finding in retained.items():
            record(run_id, finding)
        for batch in chunks(entries, IDS_A_CALL):
            if self._stop.is_set():
                return False
            self._move_to_trash(experiment_id, batch, record, is_unverified=is_unverified)
        return True

    def _move_to_trash(
        self,
        experiment_id: str,
        entries: Sequence[RunEntry],
        record: Callable[[str, Finding | None], None],
        *,
        is_unverified: bool,
    ) -> None:
        """Move runs to the trash unless something depends on them.

        ``record`` is called for each of them.
        """
        ids = [entry["run_id"] for entry in entries]
        entries, retained = self.still_to_trash(experiment_id, entries, is_unverified=is_unverified)
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            # Deleting a run is idempotent.
            calls = [
                pool.submit(
                    retry_until_confirmed,
                    partial(self._gateway.delete_run, e["run_id"]),
                    self._stop,
                )
                for e in entries
            ]
        errors = {e["run_id"]: call.exception() for e, call in zip(entries, calls, strict=True)}
        # MLflow has no conditional delete: something may depend on one of them by now.
        again = self._needed(entries, again=True, is_unverified=is_unverified)
        for run_id, finding in again.items():
            retry_until_confirmed(partial(self._gateway.restore_run, run_id), self._stop)
            retained[run_id], errors[run_id] = finding, None
        for run_id in ids:
            if errors.get(run_id) is None:
                record(run_id, retained.get(run_id))
        for error in filter(None, errors.values()):
            raise error

    def still_to_trash(
        self, experiment_id: str, entries: Sequence[RunEntry], *, is_unverified: bool
    ) -> tuple[list[RunEntry], dict[str, Finding]]:
        """Return the runs of an active experiment that are active and return to the trash now.

        If they are unverified, only a journal says that they were in the trash.

        Returns:
            The runs to move; and why the other active ones are left active, by run id.
        """
        active = self._active(experiment_id, [entry["run_id"] for entry in entries])
        here = [entry for entry in entries if entry["run_id"] in active]
        retained = self._needed(here, is_unverified=is_unverified)
        retained |= self._assessed([*active.values()])
        return [entry for entry in here if entry["run_id"] not in retained], retained

    def _active(self, experiment_id: str, run_ids: Sequence[str]) -> dict[str, Run]:
        found = runs_by_id(self._gateway, run_ids, [experiment_id], view="ACTIVE_ONLY")
        return {run.run_id: run for run in found}

    def _needed(
        self, entries: Sequence[RunEntry], *, again: bool = False, is_unverified: bool = False
    ) -> dict[str, Finding]:
        """Return the runs that must not be moved to the trash, with the reason.

        ``again`` tells whether they have just been moved there.  A protection that a run already had
        in the trash, by the journal, does not count, unless the runs are unverified.
        """
        if not entries:
            return {}
        try:
            recheck = self._recheck(is_unverified=is_unverified)
            if again:
                recheck.evidence.refresh()
            found = recheck.runs_to_roll_back(entries, {entry["run_id"] for entry in entries}, {})
        except PartialView as error:
            return {entry["run_id"]: Finding("protected", error.message) for entry in entries}
        if is_unverified:
            return found
        old = {run_id for run_id, finding in found.items() if self._was_protected(run_id, finding)}
        # It is in the nested tree of one of these, so it was protected, too.
        return {
            run_id: finding
            for run_id, finding in found.items()
            if run_id not in old and _first_run(finding) not in old
        }

    def _assessed(self, runs: Sequence[Run]) -> dict[str, Finding]:
        """Return the runs that assessments currently name.

        Deleting a run deletes these permanently, and a restored run may have new ones.
        """
        if not runs or not self._gateway.loses_assessments:
            return {}
        return _losing_assessments(map(self._traces().of, runs))

    def _all_of(self, runs: Sequence[Run]) -> dict[str, Run]:
        """Return runs, by id, with all data that the re-check before a deletion compares."""
        if not runs:
            return {}
        found = read_histories(self._gateway, runs)
        found = read_content_digests(
            self._gateway, found.values(), experiments={}, models_since_ms=0
        )
        traces = self._traces()
        return {run_id: traces.of(run) for run_id, run in found.items()}

    def _traces(self) -> Traces:
        return read_traces(self._gateway, sorted(read_experiments(self._gateway)))

    def _was_protected(self, run_id: str, finding: Finding) -> bool:
        """Tell whether a run had the same protection when its experiment was deleted."""
        protection = finding.protection
        if protection is None:
            return False
        if self._registered.get(run_id) == list(protection.chain):
            return True
        relative = _first_run(finding)
        if protection.reason is not Reason.TREE or relative is None:
            return False
        # The parent of a run in the trash does not change.  Its children may be new.
        return relative in self._children.get(run_id, ()) or not self._is_nested_in(
            relative, run_id
        )

    def _is_nested_in(self, run_id: str, other_id: str) -> bool:
        """Tell whether a run is nested in another one, at any depth."""

        def parent_of(above_id: str) -> str | None:
            above = self._gateway.get_run(above_id)
            return above.parent_run_id if above else None

        run = self._gateway.get_run(run_id)
        return run is not None and other_id in ancestors(run, parent_of)

    def _recheck(self, *, is_unverified: bool) -> Recheck:
        if is_unverified not in self._rechecks:
            refuse_partial_view(self._gateway, self._policy)
            policy = self._policy
            if not is_unverified:
                # No tag has an empty name.
                policy = replace(
                    policy, rules=(), keep_tag="", checks_age=False, checks_announcements=False
                )
            # The part of a plan that a re-check reads.
            plan = {
                # Restored runs are included: nesting between one of them and a run of the old trash
                # existed before.
                "runs": [
                    {"run_id": run_id, "experiment_id": experiment_id}
                    for experiment_id, run_ids in self._runs.items()
                    for run_id in run_ids
                ],
                "protected": {"runs": []},
                "server": {"workspace": self._workspace},
            }
            recheck = Recheck(self._gateway, cast("Plan", plan), policy)
            self._rechecks[is_unverified] = recheck
        return self._rechecks[is_unverified]

    def _is_active(self, experiment_id: str) -> bool:
        found = self._gateway.get_experiment(experiment_id)
        return found is not None and found.lifecycle_stage == "active"


def _first_run(finding: Finding) -> str | None:
    """Return the run through which something is protected, if it is a run."""
    first = next(iter(finding.protection.via), None) if finding.protection else None
    return first.id if first and first.kind == "run" else None


def _losing_assessments(runs: Iterable[Run]) -> dict[str, Finding]:
    """Return, by id, the runs whose deletion would delete assessments.

    They were logged since; earlier ones were lost when the run was deleted.
    """
    return {
        run.run_id: Finding("protected", _LOSES_ASSESSMENTS)
        for run in runs
        if run.details.loses_assessments or run.details.traces_are_hidden
    }


def _entry(run: Run, experiment: Experiment | None) -> RunEntry:
    # The part of an entry that a re-check reads.
    return cast(
        "RunEntry",
        {
            "run_id": run.run_id,
            "run_name": run.run_name,
            "experiment_id": run.experiment_id,
            "parent_run_id": run.parent_run_id,
            # Its state after the restore of its experiment.
            "expect": expect_run(replace(run, lifecycle_stage="active"), experiment),
        },
    )
