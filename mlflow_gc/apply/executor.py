"""Applying a plan: in order, in batches, each entity looked at once more before it goes.

Runs go first, children before parents; then experiments; then model versions, which cannot be
brought back.  The time between the look at an entity and its deletion is at most
``LOOK_IS_GOOD_FOR_S``.  After each batch there is a look back: what somebody came to need in
between is put back at once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

from mlflow_gc.apply.dry_run import DryRun
from mlflow_gc.apply.journal.file import Journal
from mlflow_gc.apply.recheck.checker import LOOK_IS_GOOD_FOR_S, Finding, Recheck
from mlflow_gc.apply.restore_plan import (
    CREATED,
    FREED_NAME,
    LOST_ASSESSMENTS,
    NAME,
    RENAMED_BACK,
    OldTrash,
    deleted_since_completion,
    intended_undo,
    rename_back,
    renames,
    settled,
)
from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import Failure, Gateway, ServerError
from mlflow_gc.backend.retries import wait_s
from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.errors import GcError
from mlflow_gc.plan.freed_names import freed_name, frees_names
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.retention.run_trees import nested_order

BATCH = 100
"""How many runs are looked at together at first; later as many as go in the time below."""
_LARGEST_BATCH = 500
_RUNS_OF_A_BATCH = 2000
"""Of experiments: their runs lie in the trash by then, and all of these are read."""
# What protects was read for the look back at the batch before; a large server takes seconds for it.
# With the looks and the deletions of a batch this is less than a look is good for.
_EVIDENCE_S = 1.5
_BATCH_S = 2.0
_ATTEMPTS = 4
# Every further call would end the same way.
_FATAL = {Failure.UNAUTHORIZED, Failure.UNREACHABLE, Failure.INVALID_RESPONSE}
# The request arrived, or may have; nobody knows what came of it.
_UNCLEAR = {Failure.AMBIGUOUS, Failure.THROTTLED, Failure.INVALID_RESPONSE}
_HOPELESS_AFTER = 25
UNREADABLE = "unreadable"
"""Finding code for what could not be looked at; becomes a failure."""

_T = TypeVar("_T")

Alarm = Callable[[str], None]
"""Called at once with a sentence about something that was put back."""

Skipped = Callable[[str, str, Finding], None]
"""Called with kind, id and finding of everything that is left alone."""


@dataclass
class Result:
    """How a prune ended.

    Attributes:
        counts: number of entities by (kind, outcome), skips as ``skipped:<code>``.
        interrupted: it was asked to stop and did.
        fatal: the error that ended it early, or None.
        failures: kind, id and words for each failure.
        left: experiments in which other shards of the plan still have runs to delete.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    interrupted: bool = False
    fatal: ServerError | None = None
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def total(self, outcome: str) -> int:
        """Return how many entities ended with an outcome, over all kinds."""
        return sum(n for (_, o), n in self.counts.items() if o.split(":", 1)[0] == outcome)


class Executor:
    """Applies one verified plan.

    Args:
        gateway: the server, or a :class:`~mlflow_gc.apply.dry_run.DryRun` around it.
        plan: a verified, applyable plan of this server.
        recheck: of the same gateway and plan.
        journal: where every attempt is written.
        shared: experiments of the plan that have planned runs in other shards, too.
        stop: set from outside to end after the calls under way.
        alarm: told about everything that is put back.
        skipped: told about everything that is left alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        plan: Document,
        recheck: Recheck,
        journal: Journal,
        *,
        shared: Collection[str] = (),
        stop: threading.Event,
        alarm: Alarm = lambda _sentence: None,
        skipped: Skipped = lambda _kind, _id, _finding: None,
    ) -> None:
        self._gateway = gateway
        self._plan = plan
        self._recheck = recheck
        self._journal = journal
        self._shared = frozenset(shared)
        self._stop = stop
        self._alarm = alarm
        self._skipped = skipped
        self._lossy = {
            *(("run", e["run_id"]) for e in plan["runs"] if not e["reversible"]),
            *(
                ("experiment", e["experiment_id"])
                for e in plan["experiments"]
                if not e["reversible"]
            ),
        }
        self._pretend = isinstance(gateway, DryRun)
        # A dry run puts nothing back and finishes nobody's session.
        sessions = () if self._pretend else journal.earlier
        # Ours to put back: with what a session that was cut off has left to us, by kind.
        self._deleted = deleted_since_completion(sessions)
        self._unsettled = {pair for s in sessions for pair in s.unsettled()}
        self._intended = {key: undo for s in sessions for key, undo in intended_undo(s).items()}
        self._frees_names = frees_names(plan)
        announced = renames(journal.earlier) if self._frees_names else {}
        # What earlier sessions may have renamed and did not delete.
        self._renamed = announced.keys()
        for experiment_id, names in announced.items():
            for name, moment_ms in names:
                recheck.expect_rename(experiment_id, name, moment_ms)
        self._pace = AdaptiveLimiter(gateway.max_parallel)
        self._batch = BATCH
        self._resume_at = 0.0
        self._dead = threading.Event()
        self._failed_in_a_row = 0
        self._result = Result(counts=journal.counts)

    def run(self) -> Result:
        """Apply the plan, as far as the server and the user let us.

        Raises:
            GcError: the journal cannot be written.
        """
        try:
            with ThreadPoolExecutor(self._gateway.max_parallel) as self._pool:
                self._apply()
        except _Stopped:
            self._result.interrupted = True
        except ServerError as error:
            self._result.fatal = error
        ended = "failed" if self._result.fatal else "completed"
        self._journal.close("interrupted" if self._result.interrupted else ended)
        return self._result

    def _apply(self) -> None:
        # Whoever made a model goes after those that may use it: what keeps one of these is known then.
        makers = self._recheck.makers
        batches = _run_batches(self._plan["runs"], lambda: self._batch, last=makers)
        for batch in self._in_turn(batches):
            self._runs(batch)
        self._look_back_at_all_runs()
        for experiments in self._in_turn(_experiment_batches(self._plan["experiments"])):
            self._experiments(experiments)
        if self._plan["model_versions"]:
            self._recheck.read_again()
        # Each of these right after a look at it: what somebody came to need in between cannot be put
        # back.  Versions of several models at once; a model takes along whatever is in it by then,
        # so nothing makes its delete wait.
        for versions in self._in_turn(_batches(self._plan["model_versions"])):
            of_models = groupby(versions, key=itemgetter("name"))
            self._in_parallel([partial(self._each, self._version, [*of]) for _, of in of_models])
        for models in self._in_turn(_batches(self._plan["registered_models"])):
            self._each(self._registered_model, models)
        self._check_stop()

    def _in_turn(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Yield batches, each with what protects read a moment before, until it is time to stop."""
        for batch in batches:
            self._check_stop()
            self._recheck.refresh(older_than_s=_EVIDENCE_S)
            yield batch

    def _each(self, delete_one: Callable[[Document], None], entries: Sequence[Document]) -> None:
        for entry in entries:
            if self._stop.is_set() or self._dead.is_set():
                return
            delete_one(entry)

    # -- one kind each -------------------------------------------------------------------------

    def _runs(self, levels: Sequence[Sequence[Document]]) -> None:
        """Delete some whole trees of runs, given by level, the deepest first."""
        entries = [entry for level in levels for entry in level]
        kept_so_far = len(self._journal.kept)
        self._delete_trees(levels)
        kept = {
            record["id"]: record.get("detail") or record["outcome"]
            for record in self._journal.kept[kept_so_far:]
            if record["reason"] not in {"gone", "already_deleted"}
        }
        self._look_back_at_runs(entries, kept)

    def _delete_trees(self, levels: Sequence[Sequence[Document]]) -> None:
        entries = [entry for level in levels for entry in level]
        findings = self._look_at_runs(entries)
        going = {entry["run_id"] for entry in self._skip("run", entries, findings)}
        wanted = [entry for entry in entries if entry["run_id"] in going]
        self._intend("run", [entry for entry in wanted if entry["reversible"]])
        lossy = [entry for entry in wanted if not entry["reversible"]]
        self._intend("run", lossy, {"lost": LOST_ASSESSMENTS})
        kept_below: dict[str, str] = {}
        took_s = 0.0
        for level in levels:
            for batch in _batches([entry for entry in level if entry["run_id"] in going]):
                if _is_stale(findings[batch[0]["run_id"]]):
                    findings = {**findings, **self._look_at_runs(batch)}
                findings = {**findings, **_blocked(batch, kept_below)}
                wanted = self._skip("run", batch, findings)
                began = time.monotonic()
                deleted = self._in_parallel(
                    [partial(self._delete_run, e, findings[e["run_id"]]) for e in wanted]
                )
                took_s += time.monotonic() - began
                gone = {e["run_id"] for e, done in zip(wanted, deleted, strict=True) if done}
                kept_below.update(
                    (entry["parent_run_id"], entry["run_id"])
                    for entry in batch
                    if entry["run_id"] not in gone
                    and entry["parent_run_id"]
                    and findings[entry["run_id"]].code not in {"gone", "already_deleted"}
                )
                self._journal.sync()
        self._size_batches(len(entries), took_s)

    def _size_batches(self, count: int, took_s: float) -> None:
        """Choose how many runs to look at next: as many as go while a look is good.

        What a look costs besides the runs themselves (registry, new runs, rights) is shared by all
        of them.

        Args:
            count: how many were looked at before.
            took_s: how long the deletion of those that could go took.
        """
        fit = int(count / max(took_s, 0.001) * _BATCH_S)
        self._batch = min(max(fit, BATCH // 2), _LARGEST_BATCH)

    def _look_back_at_runs(self, entries: Sequence[Document], kept: Mapping[str, str]) -> None:
        """Put back what of a batch is needed after all, and the rest of trees that stay.

        Raises:
            ServerError: it cannot be looked at; the next session begins with it.
        """
        ids = {entry["run_id"] for entry in entries}
        ours = self._deleted["run"] & ids
        if self._pretend or not ours:
            return
        self._recheck.refresh()
        for run_id, finding in self._recheck.regret_runs(entries, ours, kept).items():
            self._put_back("run", run_id, finding, partial(self._gateway.restore_run, run_id))
        self._journal.sync()

    def _look_back_at_all_runs(self) -> None:
        """Once, when all runs are done: does anything need one that its times did not give away?"""
        if self._pretend or not self._deleted["run"]:
            return
        kept = {
            record["id"]: record.get("detail") or record["outcome"]
            for record in self._journal.kept
            if record["kind"] == "run" and record["reason"] not in {"gone", "already_deleted"}
        }
        back = self._recheck.active_again(self._deleted["run"])
        kept |= dict.fromkeys(back, "somebody restored it meanwhile")
        self._deleted["run"] -= back
        ours = self._deleted["run"]
        failed = {run_id for kind, run_id, _ in self._result.failures if kind == "run"}
        needed = self._recheck.needed_after_all(ours, kept) - failed
        if not needed:
            return
        for batch in _run_batches(self._plan["runs"], lambda: BATCH):
            entries = [entry for level in batch for entry in level]
            if any(entry["run_id"] in needed for entry in entries):
                self._look_back_at_runs(entries, kept)

    def _put_back(
        self, kind: str, entity_id: str, finding: Finding, restore: Callable[[], object]
    ) -> None:
        """Undo one of our own deletions at once, with a loud record."""
        why = f"{finding.code}: {finding.detail}"
        try:
            settled(restore, self._stop)
        except ServerError as error:
            self._fail(kind, entity_id, f"It should be put back ({why}). {error.message}")
            if error.failure in _FATAL:
                raise
            return
        self._deleted[kind].discard(entity_id)
        if (kind, entity_id) in self._lossy:
            whose = "its assessments" if kind == "run" else "assessments of runs in its trash"
            why = f"{why} (without {whose}: deleting it wiped them for good)"
        self._journal.record(kind, entity_id, "restored", reason=finding.code, detail=why)
        self._alarm(f"{kind.replace('_', ' ')} {entity_id} was deleted and put back at once: {why}")

    def _look_at_runs(self, entries: Sequence[Document]) -> dict[str, Finding]:
        """Look at runs; where the batch as a whole fails, at each of them alone.

        Raises:
            ServerError: it fails for so many that the rest would only take long to fail, too.
        """
        try:
            return self._recheck.look_at_runs(entries)
        except ServerError as error:
            if error.failure in _FATAL or len(entries) == 1:
                raise
            failed = error
        findings: dict[str, Finding] = {}
        in_a_row = 0
        for entry in entries:
            self._check_stop()
            finding = self._look_or_fail(partial(self._look_at_run, entry))
            findings[entry["run_id"]] = finding
            in_a_row = in_a_row + 1 if finding.code == UNREADABLE else 0
            if in_a_row == _HOPELESS_AFTER:
                raise failed
        return findings

    def _look_at_run(self, entry: Document) -> Finding:
        return self._recheck.look_at_runs([entry])[entry["run_id"]]

    @staticmethod
    def _look_or_fail(look: Callable[[], Finding]) -> Finding:
        """Look; what cannot be read is not deleted, and the others go on.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        try:
            return look()
        except ServerError as error:
            if error.failure in _FATAL:
                raise
            return Finding(UNREADABLE, error.message)

    def _delete_run(self, entry: Document, finding: Finding) -> bool:
        run_id = entry["run_id"]
        return self._delete(
            "run",
            run_id,
            finding,
            send=lambda: self._gateway.delete_run(run_id),
            look=partial(self._look_at_run, entry),
            undo=None if entry["reversible"] else {"lost": LOST_ASSESSMENTS},
        )

    def _experiments(self, entries: Sequence[Document]) -> None:
        """Delete some experiments, and look back at them."""
        entries = self._without_shared(entries)
        if not entries:
            return
        try:
            trash = self._recheck.trash_of([entry["experiment_id"] for entry in entries])
            findings = self._recheck.look_at_experiments(entries)
        except ServerError as error:
            if error.failure in _FATAL:
                raise
            if len(entries) == 1:
                self._fail_once_more("experiment", entries[0]["experiment_id"], error.message)
                return
            # What cannot be read is not deleted, and the others go on.
            for entry in entries:
                self._check_stop()
                self._experiments([entry])
            return
        for entry in entries:
            undo = trash[entry["experiment_id"]]
            if entry["creation_time"]:
                undo[CREATED] = entry["creation_time"]
            if self._frees_names:
                undo |= self._names_of(entry)
            if not entry["reversible"]:
                undo["lost"] = LOST_ASSESSMENTS
        going = {e["experiment_id"]: e for e in self._skip("experiment", entries, findings)}
        for experiment_id in self._renamed & trash.keys() - going.keys():
            self._rename_back(experiment_id, trash[experiment_id])
        self._journal.intend_each("experiment", {i: trash[i] for i in going})
        self._in_parallel(
            [
                partial(self._delete_experiment, entry, findings[i], trash[i])
                for i, entry in going.items()
            ]
        )
        self._journal.sync()
        ours = [e for e in entries if e["experiment_id"] in self._deleted["experiment"]]
        undone = {
            i: trash[i] if i in going else self._undo_of("experiment", i) or {}
            for i in (entry["experiment_id"] for entry in ours)
        }
        self._look_back_at_experiments(ours, undone)

    def _names_of(self, entry: Document) -> Document:
        """Return the two names of an experiment that is renamed for its deletion."""
        freed = freed_name(entry["name"], entry["experiment_id"], format_ms(now_ms()))
        return {NAME: entry["name"], FREED_NAME: freed}

    def _delete_experiment(self, entry: Document, finding: Finding, undo: Document) -> bool:
        """Delete an experiment, under another name where the policy says so."""
        experiment_id = entry["experiment_id"]
        delete = partial(
            self._delete,
            "experiment",
            experiment_id,
            finding,
            send=partial(self._gateway.delete_experiment, experiment_id),
            look=partial(self._look_at_experiment, entry),
            undo=undo,
        )
        if FREED_NAME not in undo or self._pretend:
            return delete()
        if self._stop.is_set() or self._dead.is_set():
            return False
        is_deleted = False
        try:
            is_deleted = self._rename(experiment_id, undo) and delete()
        finally:
            if not is_deleted:
                self._rename_back(experiment_id, undo)
        return is_deleted

    def _rename(self, experiment_id: str, undo: Document) -> bool:
        """Free the name of an experiment; only an active one can be renamed.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        self._expect_rename(experiment_id, undo[FREED_NAME])

        def send() -> None:
            with self._pace.request():
                self._gateway.rename_experiment(experiment_id, undo[FREED_NAME])

        try:
            # Renaming twice is the same as once.
            settled(send, self._stop)
        except ServerError as error:
            if error.failure in _FATAL:
                self._dead.set()
                raise
            if error.failure is Failure.FORBIDDEN:
                self._record_skipped(
                    "experiment", experiment_id, Finding("forbidden", error.message)
                )
            else:
                detail = f"It could not be renamed, so it was not deleted. {error.message}"
                self._fail_once_more("experiment", experiment_id, detail)
            return False
        return True

    def _rename_back(self, experiment_id: str, undo: Document) -> None:
        """Give an experiment its name back that is not deleted after all."""

        def announce() -> None:
            # It sets the time of the last update, which a later session has to know for ours.  A
            # full disk is no reason to leave the experiment with the other name.
            self._expect_rename(experiment_id, undo[NAME])
            with suppress(GcError):
                self._journal.intend("experiment", [experiment_id], {**undo, RENAMED_BACK: True})

        try:
            kept = rename_back(self._gateway, experiment_id, undo, self._stop, announce=announce)
        except ServerError as error:
            kept = f"it may be called {undo[FREED_NAME]!r} now: {error.message}"
        if kept:
            detail = f"It was not deleted, and its name is not back: {kept}"
            self._journal.record("experiment", experiment_id, "failed", detail=detail, undo=undo)
            self._result.failures.append(("experiment", experiment_id, detail))

    def _expect_rename(self, experiment_id: str, name: str) -> None:
        moment_ms = now_ms() + self._gateway.clock_skew_ms()
        self._recheck.expect_rename(experiment_id, name, moment_ms)

    def _without_shared(self, entries: Sequence[Document]) -> Sequence[Document]:
        """Leave out experiments in which other shards still have something to delete.

        The last shard to be done with its runs deletes them: that one finds none.
        """
        shared = [e["experiment_id"] for e in entries if e["experiment_id"] in self._shared]
        if not shared:
            return entries
        have_runs = self._in_parallel([partial(self._recheck.has_planned_runs, i) for i in shared])
        left = {i for i, has_runs in zip(shared, have_runs, strict=True) if has_runs}
        self._result.left.extend(i for i in shared if i in left)
        return [entry for entry in entries if entry["experiment_id"] not in left]

    def _look_at_experiment(self, entry: Document) -> Finding:
        return self._recheck.look_at_experiments([entry])[entry["experiment_id"]]

    def _look_back_at_experiments(
        self, ours: Sequence[Document], undo: Mapping[str, Document]
    ) -> None:
        """Put experiments back that somebody began to use while they were deleted."""
        if self._pretend or not ours:
            return
        self._recheck.refresh()
        before = {i: frozenset(known.get("deleted_runs", ())) for i, known in undo.items()}
        for experiment_id, known in undo.items():
            if FREED_NAME in known:
                self._expect_rename(experiment_id, known[FREED_NAME])
        regrets = self._recheck.regret_experiments(ours, before)
        for experiment_id, finding in regrets.items():
            policy = self._recheck.policy
            trash = OldTrash(
                self._gateway,
                {experiment_id: undo[experiment_id]},
                # Once begun it is brought to its end: a later session finds it active.
                threading.Event(),
                since_ms=policy.as_of_ms,
                workspace=self._plan["server"]["workspace"],
                evidence=policy.evidence,
            )
            restore = partial(self._restore_experiment, trash, experiment_id, undo[experiment_id])
            self._put_back("experiment", experiment_id, finding, restore)
        self._journal.sync()

    def _restore_experiment(self, trash: OldTrash, experiment_id: str, undo: Document) -> None:
        trash.restore(experiment_id, record=self._record_old_trash)
        if kept := rename_back(self._gateway, experiment_id, undo, self._stop):
            self._alarm(f"experiment {experiment_id} is back, but {kept}")

    def _record_old_trash(self, run_id: str, finding: Finding | None) -> None:
        """Say of a run that was in the trash of an experiment that is back why it is active now."""
        if finding is None or finding.code == "already_active":
            return
        self._deleted["run"].discard(run_id)
        why = f"{finding.code}: {finding.detail}"
        self._journal.record("run", run_id, "restored", reason=finding.code, detail=why)
        self._alarm(f"run {run_id} came back with its experiment and is left active: {why}")

    def _version(self, entry: Document) -> None:
        name, version = entry["name"], entry["version"]
        self._for_good(
            "model_version",
            entry,
            look=partial(self._recheck.look_at_version, entry),
            send=lambda: self._gateway.delete_model_version(name, version),
        )

    def _registered_model(self, entry: Document) -> None:
        name = entry["name"]
        self._for_good(
            "registered_model",
            entry,
            look=partial(self._recheck.look_at_registered_model, entry),
            send=lambda: self._gateway.delete_registered_model(name),
        )

    def _for_good(
        self, kind: str, entry: Document, *, look: Callable[[], Finding], send: Callable[[], None]
    ) -> None:
        """Delete what cannot be brought back."""
        key = BY_NAME[kind].id_of(entry)
        finding = self._look_or_fail(look)
        if not self._skip(kind, [entry], {key: finding}):
            return
        # Not to undo it, which MLflow cannot: so that at least everything about it is known.
        known = {
            field: value for field, value in entry.items() if field not in {"expect", "reasons"}
        }
        self._intend(kind, [entry], known)
        self._delete(kind, key, finding, send=send, look=look, undo=known)
        self._journal.sync()

    # -- shared --------------------------------------------------------------------------------

    def _skip(
        self, kind: str, entries: Sequence[Document], findings: dict[str, Finding]
    ) -> list[Document]:
        """Record the skips among findings and return the entries that may go."""
        going: list[Document] = []
        for entry in entries:
            entity_id = BY_NAME[kind].id_of(entry)
            finding = findings[entity_id]
            if finding.code is None:
                going.append(entry)
            elif (kind, entity_id) in self._unsettled and finding.code == (
                "already_deleted" if BY_NAME[kind].is_recoverable else "gone"
            ):
                # Our own delete of a session that was killed before it could write it down.
                self._record_deleted(
                    kind,
                    entity_id,
                    detail="by an earlier session that was cut off",
                    undo=self._undo_of(kind, entity_id),
                )
            elif finding.code == UNREADABLE:
                self._fail_once_more(kind, entity_id, finding.detail)
            else:
                self._record_skipped(kind, entity_id, finding)
        return going

    def _undo_of(self, kind: str, entity_id: str) -> Document | None:
        """Return the undo information that an earlier session wrote into its intent."""
        return self._intended.get((kind, entity_id))

    def _intend(self, kind: str, entries: Sequence[Document], undo: Document | None = None) -> None:
        if entries:
            self._journal.intend(kind, [BY_NAME[kind].id_of(e) for e in entries], undo)

    def _in_parallel(self, calls: Sequence[Callable[[], _T]]) -> list[_T]:
        """Run calls, some at a time; after a stop or a fatal error no further one begins."""
        if self._gateway.max_parallel == 1 or len(calls) <= 1:
            return [call() for call in calls]
        futures = [self._pool.submit(call) for call in calls]
        wait(futures)
        return [future.result() for future in futures]

    def _delete(
        self,
        kind: str,
        entity_id: str,
        finding: Finding,
        *,
        send: Callable[[], None],
        look: Callable[[], Finding],
        undo: Document | None = None,
    ) -> bool:
        """Delete one entity: one attempt, and after an unclear answer a look before another.

        Returns:
            Whether it is deleted.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        # An answer after which the delete may have been carried out all the same.
        unclear: ServerError | None = None
        failed: ServerError | None = None
        for attempt in range(1, _ATTEMPTS + 1):
            self._wait_for_server()
            if failed or _is_stale(finding):
                finding = self._look_or_fail(look)
            if finding.code in {"already_deleted", "gone"} and unclear:
                detail = f"confirmed by a look after: {unclear.message}"
                self._record_deleted(kind, entity_id, detail=detail, undo=undo)
                return True
            if finding.code == UNREADABLE:
                self._fail_once_more(kind, entity_id, finding.detail)
                return False
            if finding.code is not None:
                self._record_skipped(kind, entity_id, finding)
                return False
            if attempt == _ATTEMPTS or self._stop.is_set() or self._dead.is_set():
                break
            try:
                with self._pace.request():
                    send()
            except ServerError as error:
                failed = error
                if error.failure in _UNCLEAR:
                    unclear = error
                if error.failure not in _UNCLEAR | {Failure.NOT_FOUND, Failure.UNREACHABLE}:
                    break
                self._slow_down(error, attempt)
            else:
                self._record_deleted(kind, entity_id, undo=undo)
                return True
        if failed is None:
            return False  # stopped before it was sent: no record, the next session looks again
        if failed.failure in _FATAL:
            self._dead.set()
            raise failed
        if failed.failure is Failure.FORBIDDEN:
            self._journal.record(
                kind, entity_id, "skipped", reason="forbidden", detail=failed.message
            )
            return False
        self._fail_once_more(kind, entity_id, failed.message)
        return False

    def _record_deleted(
        self, kind: str, entity_id: str, *, detail: str | None = None, undo: Document | None
    ) -> None:
        self._failed_in_a_row = 0
        self._journal.record(kind, entity_id, "deleted", detail=detail, undo=undo)
        self._deleted[kind].add(entity_id)

    def _record_skipped(self, kind: str, entity_id: str, finding: Finding) -> None:
        self._failed_in_a_row = 0
        self._journal.record(kind, entity_id, "skipped", reason=finding.code, detail=finding.detail)
        self._skipped(kind, entity_id, finding)

    def _fail(self, kind: str, entity_id: str, detail: str) -> None:
        self._journal.record(kind, entity_id, "failed", detail=detail)
        self._result.failures.append((kind, entity_id, detail))

    def _fail_once_more(self, kind: str, entity_id: str, detail: str) -> None:
        """Record that a look or a deletion failed.

        Raises:
            ServerError: many did in a row; the rest would only take long to fail, too.
        """
        self._fail(kind, entity_id, detail)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _HOPELESS_AFTER:
            self._dead.set()
            raise ServerError(
                f"{_HOPELESS_AFTER} looks or deletions failed one after the other, the last with: "
                f"{detail}",
                Failure.AMBIGUOUS,
            )

    def _slow_down(self, error: ServerError, attempt: int) -> None:
        """Make all deletes wait, not only this one: the server asked for it, or is in trouble."""
        self._resume_at = max(self._resume_at, time.monotonic() + wait_s(error, attempt))

    def _wait_for_server(self) -> None:
        while (wait := self._resume_at - time.monotonic()) > 0:
            if self._stop.wait(wait):
                return

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise _Stopped


class _Stopped(Exception):  # not an error: the user asked for it
    """Ends a prune in order."""


def _is_stale(finding: Finding) -> bool:
    return time.monotonic() - finding.looked_at > LOOK_IS_GOOD_FOR_S


def _blocked(entries: Sequence[Document], kept_below: Mapping[str, str]) -> dict[str, Finding]:
    """Return findings for runs that stay because one nested in them could not be deleted."""
    return {
        entry["run_id"]: Finding("protected", f"tree, run {kept_below[entry['run_id']]} is kept")
        for entry in entries
        if entry["run_id"] in kept_below
    }


def _batches(entries: Sequence[Document]) -> Iterator[list[Document]]:
    for start in range(0, len(entries), BATCH):
        yield list(entries[start : start + BATCH])


def _experiment_batches(entries: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield batches of planned experiments; those with many runs have a large trash to read."""
    batch: list[Document] = []
    runs = 0
    for entry in entries:
        if batch and (len(batch) == BATCH or runs + entry["run_count"] > _RUNS_OF_A_BATCH):
            yield batch
            batch, runs = [], 0
        batch.append(entry)
        runs += entry["run_count"]
    if batch:
        yield batch


def _with_last(
    parents: Mapping[str, str | None], last: Collection[str]
) -> Iterator[list[list[str]]]:
    """Yield nested trees, those with runs of ``last`` after all others."""
    for is_last in (False, True) if last else (False,):
        for tree in nested_order(parents):
            if any(run_id in last for level in tree for run_id in level) is is_last:
                yield tree


def _run_batches(
    entries: Sequence[Document], most: Callable[[], int], last: Collection[str] = ()
) -> Iterator[list[list[Document]]]:
    """Yield batches of about ``most()`` planned runs, whole trees each, split into levels.

    The levels of a batch come children first; the runs of one level may go at the same time.  Trees
    with runs of ``last`` come after all others.
    """
    parents = {entry["run_id"]: entry["parent_run_id"] for entry in entries}
    places = {run_id: place for place, run_id in enumerate(parents)}
    batch: list[list[Document]] = []
    size = 0
    for tree in _with_last(parents, last):
        for depth, level in enumerate(tree):
            while len(batch) <= depth:
                batch.append([])
            batch[depth].extend(entries[places[run_id]] for run_id in level)
            size += len(level)
        if size >= most():
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
