"""Applying a plan: in order, in batches, each entity re-checked immediately before its deletion.

Runs are deleted first, children before parents; then experiments; then model versions, which cannot
be restored.  The time between the re-check of an entity and its deletion is at most
``RECHECK_VALID_S``.  After each batch comes a post-delete check.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

from mlflow_gc.apply import batching
from mlflow_gc.apply.deletion import Deletion, check_or_unreadable, is_stale
from mlflow_gc.apply.dry_run import DryRun
from mlflow_gc.apply.experiment_names import FREED_NAME, ExperimentNames, both_names
from mlflow_gc.apply.journal.writer import Journal
from mlflow_gc.apply.outcomes import (
    MAX_FAILURES_IN_A_ROW,
    UNREADABLE,
    OnSkip,
    Recorder,
    Result,
    deleted_before,
)
from mlflow_gc.apply.recheck.checker import GONE, Finding
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.apply.restore_plan import CREATED, LOST_ASSESSMENTS
from mlflow_gc.apply.rollback import OnRollback, Rollback
from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import ABORT_ON, Gateway, ServerError
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.plan.document import (
    E,
    Entry,
    ExperimentEntry,
    Json,
    ModelVersionEntry,
    Plan,
    RegisteredModelEntry,
    RunEntry,
)
from mlflow_gc.plan.freed_names import frees_names

# The evidence was read for the post-delete check of the previous batch; that takes seconds on a
# large server.  Together with the re-checks and deletions of a batch this is less than the validity
# of a re-check.
_EVIDENCE_S = 1.5

_T = TypeVar("_T")


class Executor:
    """Applies one verified, applyable plan of this server.

    A :class:`~mlflow_gc.apply.dry_run.DryRun` as gateway makes it a dry run.  In ``shared``
    experiments other shards have planned runs, too.  ``stop`` is set from outside to end after the
    requests in flight.
    """

    def __init__(
        self,
        gateway: Gateway,
        plan: Plan,
        recheck: Recheck,
        journal: Journal,
        *,
        shared: Collection[str],
        stop: threading.Event,
        on_rollback: OnRollback,
        on_skip: OnSkip,
    ) -> None:
        self._gateway = gateway
        self._plan = plan
        self._recheck = recheck
        self._evidence = recheck.evidence
        self._journal = journal
        self._shared = frozenset(shared)
        self._stop = stop
        self._is_dry_run = isinstance(gateway, DryRun)
        # A dry run rolls back nothing, and continues no earlier session.
        self._recorder = Recorder(journal, () if self._is_dry_run else journal.earlier, on_skip)
        limiter = AdaptiveLimiter(gateway.max_parallel)
        self._deletion = Deletion(self._recorder, limiter, stop)
        self._names = ExperimentNames(gateway, recheck, self._recorder, limiter, stop)
        self._rollback = Rollback(
            gateway, plan, recheck, self._recorder, self._names, stop=stop, on_rollback=on_rollback
        )
        self._deleted_before = deleted_before(journal.earlier, journal.restores)
        self._frees_names = frees_names(plan)
        self._renamed = self._names.expect_earlier(journal.earlier if self._frees_names else ())
        self._batch = batching.BATCH
        self._trees: dict[str, list[RunEntry]] = {}

    def run(self) -> Result:
        """Apply the plan until it is done, the server fails, or the user stops it.

        Raises:
            GcError: the journal cannot be written.
        """
        result = self._recorder.result
        try:
            with ThreadPoolExecutor(self._gateway.max_parallel) as self._pool:
                self._apply()
        except _Stopped:
            result.interrupted = True
        except ServerError as error:
            result.fatal = error
        ended = "failed" if result.fatal else "completed"
        self._journal.close("interrupted" if result.interrupted else ended)
        return result

    def _apply(self) -> None:
        # Runs that made models are deleted last, when it is known which users of the models are
        # retained.
        runs = self._plan["runs"]
        self._recheck.check_other_shards(runs)
        batches = batching.run_batches(
            runs, lambda: self._batch, last=self._evidence.dependents.source_runs
        )
        for levels in self._in_turn(batches):
            self._runs(levels)
        if not self._is_dry_run:
            self._rollback.check_all_runs()
        for experiments in self._in_turn(batching.experiment_batches(self._plan["experiments"])):
            self._experiments(experiments)
        if self._plan["model_versions"]:
            self._evidence.reread()
        # Each is deleted immediately after its re-check, because it cannot be restored.  Versions
        # of several models concurrently; deleting a model deletes any version in it, so its delete
        # must not wait.
        for versions in self._in_turn(batching.batches(self._plan["model_versions"])):
            of_models = groupby(versions, key=itemgetter("name"))
            self._in_parallel([partial(self._each, self._version, [*of]) for _, of in of_models])
        for models in self._in_turn(batching.batches(self._plan["registered_models"])):
            self._each(self._registered_model, models)
        self._check_stop()

    def _in_turn(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Yield batches, each after a refresh of the evidence, until a stop is requested."""
        for batch in batches:
            self._check_stop()
            self._evidence.refresh(older_than_s=_EVIDENCE_S)
            yield batch

    def _each(self, delete_one: Callable[[E], None], entries: Sequence[E]) -> None:
        for entry in entries:
            if self._deletion.is_over:
                return
            delete_one(entry)

    # -- runs ----------------------------------------------------------------------------------

    def _runs(self, levels: Sequence[Sequence[RunEntry]]) -> None:
        """Delete whole nested trees of runs, given by level, the deepest first."""
        entries = batching.flat(levels)
        self._trees = batching.trees(entries)
        skips_before = len(self._journal.skipped_or_failed)
        findings = self._without_restored(self._check_runs(entries))
        planned = self._recorder.to_delete("run", entries, findings)
        self._recorder.intend("run", [entry for entry in planned if entry["reversible"]])
        lossy = [entry for entry in planned if not entry["reversible"]]
        self._recorder.intend("run", lossy, {"lost": LOST_ASSESSMENTS})
        took_s = self._delete_levels(levels, findings, {entry["run_id"] for entry in planned})
        self._batch = batching.next_size(len(entries), took_s)
        if not self._is_dry_run:
            self._rollback.check_runs(entries, self._recorder.runs_not_deleted(since=skips_before))

    def _delete_levels(
        self,
        levels: Sequence[Sequence[RunEntry]],
        findings: dict[str, Finding],
        planned: Collection[str],
    ) -> float:
        """Delete the planned runs of some trees; return the duration of the deletions in s.

        A run is not deleted if one nested in it was not.
        """
        retained_children: dict[str, str] = {}
        took_s = 0.0
        for level in levels:
            for batch in batching.batches([entry for entry in level if entry["run_id"] in planned]):
                if is_stale(findings[batch[0]["run_id"]]):
                    findings = self._check_runs(batching.flat(levels))
                findings = {**findings, **_blocked(batch, retained_children)}
                to_delete = self._recorder.to_delete("run", batch, findings)
                began = time.monotonic()
                deleted = self._in_parallel(
                    [partial(self._delete_run, e, findings[e["run_id"]]) for e in to_delete]
                )
                took_s += time.monotonic() - began
                deleted_ids = {
                    e["run_id"] for e, done in zip(to_delete, deleted, strict=True) if done
                }
                retained_children.update(
                    (entry["parent_run_id"], entry["run_id"])
                    for entry in batch
                    if entry["run_id"] not in deleted_ids
                    and entry["parent_run_id"]
                    and findings[entry["run_id"]].code not in GONE
                )
                self._journal.sync()
        return took_s

    def _check_runs(self, entries: Sequence[RunEntry]) -> dict[str, Finding]:
        """Re-check runs; if the batch as a whole fails, each of them alone.

        Raises:
            ServerError: Too many re-checks failed in a row.
        """
        try:
            return self._recheck.check_runs(entries)
        except ServerError as error:
            if error.failure in ABORT_ON or len(entries) == 1:
                raise
            failed = error
        findings: dict[str, Finding] = {}
        in_a_row = 0
        for entry in entries:
            self._check_stop()
            finding = check_or_unreadable(partial(self._check_run, entry))
            findings[entry["run_id"]] = finding
            in_a_row = in_a_row + 1 if finding.code == UNREADABLE else 0
            if in_a_row == MAX_FAILURES_IN_A_ROW:
                raise failed
        return findings

    def _without_restored(self, findings: dict[str, Finding]) -> dict[str, Finding]:
        """Return findings that retain runs that this plan deleted before and somebody restored.

        Their nested trees are retained, too.  Runs restored by ``restore`` are deleted again:
        applying the same plan again requests that.
        """
        restored = {
            run_id
            for run_id, finding in findings.items()
            if finding.code is None and ("run", run_id) in self._deleted_before
        }
        if not restored:
            return findings
        found = {
            i: restored.intersection(entry["run_id"] for entry in tree)
            for i, tree in self._trees.items()
        }
        return {
            run_id: Finding(
                "changed",
                f"run {min(found[run_id])} was deleted by this plan before and restored since; a new "
                "plan can delete it again",
            )
            if found.get(run_id) and finding.code is None
            else finding
            for run_id, finding in findings.items()
        }

    def _check_run(self, entry: RunEntry) -> Finding:
        """Re-check one run, with its nested tree: a part of it would protect the rest."""
        return self._recheck.check_runs(self._trees[entry["run_id"]])[entry["run_id"]]

    def _delete_run(self, entry: RunEntry, finding: Finding) -> bool:
        run_id = entry["run_id"]
        return self._deletion.delete(
            "run",
            run_id,
            finding,
            send=lambda: self._gateway.delete_run(run_id),
            check=partial(self._check_run, entry),
            undo=None if entry["reversible"] else {"lost": LOST_ASSESSMENTS},
        )

    # -- experiments ---------------------------------------------------------------------------

    def _experiments(self, entries: Sequence[ExperimentEntry]) -> None:
        """Re-check some experiments and delete them; if that fails, each of them alone.

        Raises:
            ServerError: The server is down, the login failed, or too many failed in a row.
        """
        entries = self._without_shared(entries)
        if not entries:
            return
        try:
            trash = self._evidence.trash_of([entry["experiment_id"] for entry in entries])
            findings = self._recheck.check_experiments(entries)
        except ServerError as error:
            if error.failure in ABORT_ON:
                raise
            if len(entries) == 1:
                experiment_id = entries[0]["experiment_id"]
                self._recorder.count_failure("experiment", experiment_id, error.message)
                return
        else:
            self._delete_experiments(entries, findings, trash)
            return
        # An unreadable experiment is not deleted, and the others continue.
        for entry in entries:
            self._check_stop()
            self._experiments([entry])

    def _without_shared(self, entries: Sequence[ExperimentEntry]) -> Sequence[ExperimentEntry]:
        """Leave out experiments with runs that other shards still have to delete.

        The last shard to delete its runs finds none left and deletes the experiment.
        """
        shared = [e["experiment_id"] for e in entries if e["experiment_id"] in self._shared]
        if not shared:
            return entries
        have_runs = self._in_parallel([partial(self._evidence.has_planned_runs, i) for i in shared])
        left = {i for i, has_runs in zip(shared, have_runs, strict=True) if has_runs}
        self._recorder.result.left.extend(i for i in shared if i in left)
        return [entry for entry in entries if entry["experiment_id"] not in left]

    def _delete_experiments(
        self,
        entries: Sequence[ExperimentEntry],
        findings: Mapping[str, Finding],
        trash: Mapping[str, Json],
    ) -> None:
        """Delete the experiments that pass the re-check, with the post-delete check."""
        undo = {i: {**trash[i], **self._to_restore(e)} for i, e in _by_id(entries).items()}
        planned = _by_id(self._recorder.to_delete("experiment", entries, findings))
        for experiment_id in self._renamed & undo.keys() - planned.keys():
            self._names.rename_back(experiment_id, undo[experiment_id])
        self._journal.intend_each("experiment", {i: undo[i] for i in planned})
        self._in_parallel(
            [partial(self._delete_experiment, e, findings[i], undo[i]) for i, e in planned.items()]
        )
        self._journal.sync()
        if self._is_dry_run:
            return
        deleted = [e for e in entries if e["experiment_id"] in self._recorder.deleted["experiment"]]
        known = {
            i: undo[i] if i in planned else self._recorder.intended_undo("experiment", i) or {}
            for i in _by_id(deleted)
        }
        self._rollback.check_experiments(deleted, known)

    def _to_restore(self, entry: ExperimentEntry) -> Json:
        """Return the undo information of an experiment, without the runs in its trash."""
        undo: Json = {CREATED: entry["creation_time"]} if entry["creation_time"] else {}
        if self._frees_names:
            undo |= both_names(entry)
        if not entry["reversible"]:
            undo["lost"] = LOST_ASSESSMENTS
        return undo

    def _delete_experiment(self, entry: ExperimentEntry, finding: Finding, undo: Json) -> bool:
        """Delete an experiment, renamed first if the policy frees its name."""
        experiment_id = entry["experiment_id"]
        delete = partial(
            self._deletion.delete,
            "experiment",
            experiment_id,
            finding,
            send=partial(self._gateway.delete_experiment, experiment_id),
            check=lambda: self._recheck.check_experiments([entry])[experiment_id],
            undo=undo,
        )
        if FREED_NAME not in undo or self._is_dry_run:
            return delete()
        if self._deletion.is_over:
            return False
        is_deleted = False
        try:
            is_deleted = self._names.rename(experiment_id, undo) and delete()
        finally:
            if not is_deleted:
                self._names.rename_back(experiment_id, undo)
        return is_deleted

    # -- irreversible deletions ----------------------------------------------------------------

    def _version(self, entry: ModelVersionEntry) -> None:
        send = partial(self._gateway.delete_model_version, entry["name"], entry["version"])
        check = partial(self._recheck.check_version, entry)
        self._delete_permanently("model_version", entry, send, check)

    def _registered_model(self, entry: RegisteredModelEntry) -> None:
        send = partial(self._gateway.delete_registered_model, entry["name"])
        check = partial(self._recheck.check_registered_model, entry)
        self._delete_permanently("registered_model", entry, send, check)

    def _delete_permanently(
        self, kind: str, entry: Entry, send: Callable[[], None], check: Callable[[], Finding]
    ) -> None:
        """Re-check and delete an entity that cannot be restored."""
        entity_id = BY_NAME[kind].id_of(entry)
        finding = check_or_unreadable(check)
        if not self._recorder.to_delete(kind, [entry], {entity_id: finding}):
            return
        # MLflow cannot undo it; this records at least everything about it.
        known = {name: value for name, value in entry.items() if name not in {"expect", "reasons"}}
        self._recorder.intend(kind, [entry], known)
        self._deletion.delete(kind, entity_id, finding, send=send, check=check, undo=known)
        self._journal.sync()

    # -- shared --------------------------------------------------------------------------------

    def _in_parallel(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Make calls in parallel; raise the error of one after all have ended."""
        if self._gateway.max_parallel == 1 or len(calls) <= 1:
            return [call() for call in calls]
        futures = [self._pool.submit(call) for call in calls]
        wait(futures)
        return [future.result() for future in futures]

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):  # not an error: the user requested it
    """Ends a prune gracefully."""


def _blocked(
    entries: Sequence[RunEntry], retained_children: Mapping[str, str]
) -> dict[str, Finding]:
    """Return findings for runs that are retained because one nested in them was not deleted."""
    return {
        entry["run_id"]: Finding(
            "protected", f"tree, run {retained_children[entry['run_id']]} is retained"
        )
        for entry in entries
        if entry["run_id"] in retained_children
    }


def _by_id(entries: Iterable[ExperimentEntry]) -> dict[str, ExperimentEntry]:
    return {entry["experiment_id"]: entry for entry in entries}
