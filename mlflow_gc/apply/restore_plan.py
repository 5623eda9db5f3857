"""What a journal says that can be undone, and the single steps of undoing it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

from mlflow_gc.apply.journal.file import Session
from mlflow_gc.apply.recheck.checker import (
    Finding,
    PartialView,
    Recheck,
    refuse_partial_view,
)
from mlflow_gc.backend.interface import UNCONFIRMED, Gateway, ServerError
from mlflow_gc.backend.retries import wait_s
from mlflow_gc.domain.entities import Experiment, Run
from mlflow_gc.domain.kinds import ALL, BY_NAME
from mlflow_gc.domain.timestamps import parse_time
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory.lookup import (
    IDS_A_CALL,
    chunks,
    read_contents,
    read_histories,
    runs_by_id,
)
from mlflow_gc.inventory.scan import read_experiments
from mlflow_gc.inventory.traces import read_traces
from mlflow_gc.plan.freed_names import is_freed, name_before
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.plan.preconditions import expect_run
from mlflow_gc.retention.policy import Evidence, Policy
from mlflow_gc.retention.rules import Rule
from mlflow_gc.settings import DEFAULT_TTL_DAYS

_ATTEMPTS = 3
_LOSES_ASSESSMENTS = "in the trash it would lose assessments for good"

LOST_ASSESSMENTS = "assessments"
"""What the journal says has been lost for good: of a deleted run, or of runs in an experiment's trash."""


CREATED = "creation_time"
"""What the undo of an experiment calls the time by which it is known: ids are handed out again."""

NAME, FREED_NAME = "name", "freed_name"
"""What the undo of an experiment that is renamed for its deletion calls its two names."""
RENAMED_BACK = "renamed_back"
"""What the undo of an experiment says, as true, that gets the first of them again."""


@dataclass(frozen=True)
class Undo:
    """What a journal says can and cannot be undone.

    Attributes:
        experiments: for each deleted experiment, what was in its trash before (see
            :class:`OldTrash`), and ``name`` and ``freed_name`` where it was renamed for that.
        runs: deleted runs, in the order of their deletion.
        without_assessments: those of them whose assessments went for good.
        trash_without_assessments: experiments in whose trash were runs whose assessments did.
        model_versions: what is known of the deleted versions.
        registered_models: the same of deleted registered models.
    """

    experiments: dict[str, Document] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    without_assessments: set[str] = field(default_factory=set)
    trash_without_assessments: set[str] = field(default_factory=set)
    model_versions: dict[str, Document] = field(default_factory=dict)
    registered_models: dict[str, Document] = field(default_factory=dict)


def plan_undo(sessions: Sequence[Session], only: Collection[str] = ()) -> Undo:
    """Collect what a prune deleted, or was about to delete when it was killed.

    Args:
        sessions: of the journal.
        only: kinds (``run``) or ids to take; everything when empty.  An experiment comes with the
            runs that the prune deleted in it: that is how it was.

    Raises:
        UsageProblem: ``only`` names what the journal does not say was deleted.
    """
    touched: dict[tuple[str, str], Document | None] = {}
    for session in sessions:
        if session.header["action"] != "prune":
            continue
        intended = intended_undo(session)
        for key in sorted(session.unsettled()):
            touched.setdefault(key, intended.get(key))
        for record in session.records:
            if record["outcome"] == "deleted":
                touched[record["kind"], record["id"]] = record.get("undo")
            elif record["outcome"] == "restored":  # put back by the prune itself
                touched.pop((record["kind"], record["id"]), None)
            elif FREED_NAME in record.get("undo", {}):  # renamed, not deleted, not renamed back
                touched.setdefault((record["kind"], record["id"]), record["undo"])
    _refuse_unknown(sessions, only, touched)
    selected = {
        (kind, entity_id)
        for kind, entity_id in touched
        if not only or kind in only or BY_NAME[kind].entries in only or entity_id in only
    }
    for kind, entity_id in tuple(selected):
        if kind == "experiment":
            in_it = (touched[kind, entity_id] or {}).get("deleted_runs", ())
            selected |= {("run", run_id) for run_id in in_it} & touched.keys()
    undo = Undo()
    for (kind, entity_id), said in touched.items():
        if (kind, entity_id) not in selected:
            continue
        known = said or {}
        if kind == "experiment":
            undo.experiments[entity_id] = {
                name: value
                for name, value in known.items()
                if name in {"deleted_runs", "registered", CREATED, NAME, FREED_NAME}
            }
            if known.get("lost") == LOST_ASSESSMENTS:
                undo.trash_without_assessments.add(entity_id)
        elif kind == "run":
            undo.runs.append(entity_id)
            if known.get("lost") == LOST_ASSESSMENTS:
                undo.without_assessments.add(entity_id)
        elif kind == "model_version":
            undo.model_versions[entity_id] = known
        else:
            undo.registered_models[entity_id] = known
    return undo


def _refuse_unknown(
    sessions: Sequence[Session], only: Collection[str], touched: Collection[tuple[str, str]]
) -> None:
    """Refuse to restore by name what the journal does not say was deleted.

    Raises:
        UsageProblem: with what the journal says of it instead.
    """
    kinds = {name for kind in ALL for name in (kind.name, kind.entries)}
    unknown = sorted(set(only) - kinds - {entity_id for _, entity_id in touched})
    if not unknown:
        return
    said = {r["id"]: r for s in sessions if s.header["action"] == "prune" for r in s.records}
    sentences = [f"{name}: {_what_was_said(said.get(name))}." for name in unknown[:5]]
    raise UsageProblem(
        "Nothing was restored: this prune did not delete all that --only names. "
        + " ".join(sentences),
        hint="Name a kind (runs, experiments), or ids of runs and experiments that the journal "
        'records as "deleted". Without --only all of it is restored.',
    )


def _what_was_said(record: Document | None) -> str:
    if record is None:
        return "the journal does not name it"
    if record["outcome"] == "restored":
        return "the prune itself restored it at once"
    why = ", ".join(filter(None, (record["reason"], record.get("detail"))))
    return f"it was not deleted ({record['outcome']}: {why})"


def intended_undo(session: Session) -> dict[tuple[str, str], Document]:
    """Return, by kind and id, the undo information that a session wrote into its intents."""
    found: dict[tuple[str, str], Document] = {}
    for intent in session.intents:
        if "undo" in intent:
            for entity_id in intent["ids"]:
                found.setdefault((intent["kind"], entity_id), intent["undo"])
    return found


def deleted_since_completion(sessions: Sequence[Session]) -> dict[str, set[str]]:
    """Return, by kind, the ids of what is still ours to put back.

    A session that was cut off leaves its batch to the next one; what a completed session deleted
    is settled, and may be somebody else's by now, unless it should have been put back and could
    not be.
    """
    deleted: dict[str, set[str]] = {kind: set() for kind in BY_NAME}
    owed: dict[str, set[str]] = {kind: set() for kind in deleted}
    for session in sessions:
        for record in session.records:
            kind, entity_id, outcome = record["kind"], record["id"], record["outcome"]
            if outcome == "deleted":
                deleted[kind].add(entity_id)
            elif outcome == "restored":
                deleted[kind].discard(entity_id)
                owed[kind].discard(entity_id)
            elif outcome == "failed" and entity_id in deleted[kind]:
                owed[kind].add(entity_id)
        if session.end and session.end["ended"] == "completed":
            deleted = {kind: set(ids) for kind, ids in owed.items()}
    return deleted


def renames(sessions: Sequence[Session]) -> dict[str, list[tuple[str, int]]]:
    """Return the renames that sessions announced of experiments that they did not delete.

    Of these experiments the names, and the times of their last update, may be ours.

    Returns:
        By experiment id: what it was to be called, and when by the server's clock, ms since the epoch.
        Once one was to be renamed back, that is the later one.
    """
    found: dict[str, list[tuple[str, int]]] = {}
    for session in sessions:
        skew_ms = session.header.get("clock_skew_ms", 0)
        for line in session.lines:
            if line.get("kind") != "experiment":
                continue
            undo = line.get("undo", {})
            name = undo.get(NAME if undo.get(RENAMED_BACK) else FREED_NAME)
            if line["type"] == "intent" and name and FREED_NAME in undo:
                moment = parse_time(line["time"]) + skew_ms
                for experiment_id in line["ids"]:
                    found.setdefault(experiment_id, []).append((name, moment))
            elif line["type"] == "record" and line["outcome"] in {"deleted", "restored"}:
                found.pop(line["id"], None)
    return found


def rename_back(
    gateway: Gateway,
    experiment_id: str,
    undo: Document,
    stop: threading.Event,
    *,
    announce: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> str | None:
    """Give an active experiment its name back that a prune changed to delete it.

    One that is in the trash, or that somebody renamed since, is left as it is.

    Args:
        gateway: the server.
        experiment_id: of the experiment.
        undo: what a prune wrote down; with both names where that one renamed it.
        stop: cuts waiting short.
        announce: called right before the server is changed.
        dry_run: change nothing.

    Returns:
        Why it keeps the other name, or None.

    Raises:
        ServerError: it could not be done; it can be repeated.
    """

    def look() -> Experiment | None:
        found = gateway.get_experiment(experiment_id)
        is_here = found and (dry_run or found.lifecycle_stage == "active")
        return found if is_here else None

    found = look()
    if found is None or not is_freed(found.name, experiment_id):
        return None
    called = f"it is called {found.name!r} now"
    name = name_before(found.name, experiment_id, undo.get(NAME))
    if name is None:
        return f"{called}, and this journal does not say what it was called"
    if other := gateway.get_experiment_by_name(name):
        return f"{called}, because experiment {other.experiment_id} has its name {name!r}"
    if not dry_run:
        announce()
        send = partial(gateway.rename_experiment, experiment_id, name)
        settled(send, stop, lambda: (now := look()) is not None and now.name == name)
    return None


def settled(
    send: Callable[[], object],
    stop: threading.Event,
    is_done: Callable[[], bool] = lambda: False,
) -> None:
    """Restore something: after an unclear answer look, and send again if it did not happen.

    Args:
        send: the restore.
        stop: cuts waiting short.
        is_done: the look; not needed where restoring twice is the same as once.

    Raises:
        ServerError: it could not be done, or nobody knows.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            send()
        except ServerError as error:
            if error.failure not in UNCONFIRMED:
                raise
            if attempt == _ATTEMPTS:
                raise
            stop.wait(wait_s(error, attempt))
            if is_done():
                return
        else:
            return


Entry = Document
"""What is known of a run that goes back into the trash: ids, and ``expect`` as in a plan."""


class OldTrash:
    """The runs that were in the trash of experiments before a prune deleted these experiments.

    Restoring an experiment brings back every run in it, whenever that was deleted
    (docs/explanation/mlflow-facts.md#trash-restores-all), so these have to go back.  A journal says
    which they were; what really goes back lies in the trash right before the experiment is restored
    (somebody may have restored it by hand since), and is re-checked as a prune re-checks what it
    deletes: what somebody came to need since, or changes meanwhile, stays active.  Its age and its
    own tags do not count: MLflow sets no tag on a run in the trash, so whoever deleted it knew
    them.

    Without such runs this costs no request.  Else the evidence is read once (registry, experiments,
    nested and new runs), and per hundred runs their state four times.

    Args:
        gateway: the server.
        undo: by experiment id, what a prune wrote down when it deleted the experiment:
            ``deleted_runs``, what was in its trash, and ``registered``, the version that named some
            of them already.
        since_ms: when that prune began, ms since the epoch: newer runs may need one of these.
        stop: cuts waiting short, and ends between batches.
        brought_back: runs that come back, whatever was in the trash.
        workspace: of the server; None where it has none.
        evidence: what the account has to see.
    """

    def __init__(
        self,
        gateway: Gateway,
        undo: Mapping[str, Document],
        stop: threading.Event,
        *,
        since_ms: int,
        brought_back: Collection[str] = (),
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
        self._brought_back = frozenset(brought_back)
        self._workspace = workspace
        self._policy = Policy(
            as_of_ms=since_ms,
            default=Rule.of_days(DEFAULT_TTL_DAYS),
            heeds_age=False,
            heeds_marks=False,
            # No tag has this name.
            keep_tag="",
            delete_evaluations=True,
            evidence=evidence or Evidence(),
        )
        self._known_recheck: Recheck | None = None
        self._intended: dict[str, Sequence[Entry]] = {}

    def candidates(self, experiment_id: str) -> list[str]:
        """Return the runs of an experiment that would have to be in the trash once it is back."""
        return sorted(set(self._runs[experiment_id]) - self._brought_back)

    def going(self, experiment_ids: Sequence[str]) -> tuple[list[Entry], dict[str, Finding]]:
        """Return what goes back into the trash if experiments in the trash are restored now.

        Returns:
            The runs that do; and why the others of :meth:`candidates` stay active, by run id.
        """
        candidates = [(run_id, i) for i in experiment_ids for run_id in self.candidates(i)]
        found: dict[str, Run] = {}
        for group in chunks(candidates, IDS_A_CALL):
            ids, homes = zip(*group, strict=True)
            runs = runs_by_id(self._gateway, ids, sorted({*homes}))
            found.update((run.run_id, run) for run in runs)
        stays = {
            run_id: Finding("already_active", "somebody restored it since")
            for run_id, run in found.items()
            if run.lifecycle_stage == "active"
        }
        found = self._all_of([r for i, r in found.items() if i not in stays])
        homes_of = map(
            self._gateway.get_experiment, sorted({r.experiment_id for r in found.values()})
        )
        experiments = {e.experiment_id: e for e in homes_of if e}
        entries = [
            _entry(run, experiments.get(run.experiment_id)) for _, run in sorted(found.items())
        ]
        if self._gateway.loses_assessments:
            stays.update(_assessed(found.values()))
        stays.update(self._needed(entries))
        return [entry for entry in entries if entry["run_id"] not in stays], stays

    def restore(
        self,
        experiment_id: str,
        *,
        begun: Sequence[Entry] = (),
        intend: Callable[[Sequence[Entry]], None] = lambda _entries: None,
        record: Callable[[str, Finding | None], None] = lambda _run_id, _finding: None,
    ) -> bool:
        """Bring an experiment back with exactly the runs that were active when it was deleted.

        Args:
            experiment_id: of the experiment.
            begun: what an earlier process still had to put into the trash.  Of an experiment that
                is active already nothing goes there but this, and what an earlier call began.
            intend: called with what goes back, before anything is changed.
            record: called for each run of the old trash: with None when it went back, else with
                why it stays active.

        Returns:
            Whether it came to its end; False after a stop.

        Raises:
            ServerError: one of the steps could not be done; it can be repeated.
        """
        if self._is_active(experiment_id):
            entries = self._intended.get(experiment_id, begun)
        else:
            entries, stays = self.going([experiment_id])
            self._intended[experiment_id] = entries
            intend(entries)
            settled(
                partial(self._gateway.restore_experiment, experiment_id),
                self._stop,
                partial(self._is_active, experiment_id),
            )
            for run_id, finding in stays.items():
                record(run_id, finding)
        for batch in chunks(entries, IDS_A_CALL):
            if self._stop.is_set():
                return False
            self._put_back(experiment_id, batch, record)
        return True

    def _put_back(
        self,
        experiment_id: str,
        entries: Sequence[Entry],
        record: Callable[[str, Finding | None], None],
    ) -> None:
        """Put runs into the trash, as far as nobody needs them."""
        ids = [entry["run_id"] for entry in entries]
        here = runs_by_id(self._gateway, ids, [experiment_id], view="ACTIVE_ONLY")
        active = {run.run_id for run in here}
        entries = [entry for entry in entries if entry["run_id"] in active]
        stays = self._needed(entries)
        going = [entry for entry in entries if entry["run_id"] not in stays]
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            # Deleting a run twice is the same as once.
            calls = [
                pool.submit(settled, partial(self._gateway.delete_run, e["run_id"]), self._stop)
                for e in going
            ]
        errors = {e["run_id"]: call.exception() for e, call in zip(going, calls, strict=True)}
        # MLflow has no conditional delete: somebody may have come to need one in between.
        for run_id, finding in self._needed(going, again=True).items():
            settled(partial(self._gateway.restore_run, run_id), self._stop)
            stays[run_id], errors[run_id] = finding, None
        for run_id in ids:
            if errors.get(run_id) is None:
                record(run_id, stays.get(run_id))
        for error in filter(None, errors.values()):
            raise error

    def _needed(self, entries: Sequence[Entry], *, again: bool = False) -> dict[str, Finding]:
        """Return those of the runs that must not go into the trash, with the reason."""
        if not entries:
            return {}
        try:
            recheck = self._recheck()
            if again:
                recheck.refresh()
            found = recheck.regret_runs(entries, {entry["run_id"] for entry in entries}, {})
        except PartialView as error:
            return {entry["run_id"]: Finding("protected", error.message) for entry in entries}
        old = {run_id for run_id, finding in found.items() if self._was_so(run_id, finding)}
        # Nested with one of these, it was so, too.
        return {
            run_id: finding
            for run_id, finding in found.items()
            if run_id not in old and _via(finding)[:1] not in [[f"run {i}"] for i in old]
        }

    def _all_of(self, runs: Sequence[Run]) -> dict[str, Run]:
        """Return runs, by id, with all that the re-check before a deletion compares."""
        if not runs:
            return {}
        found = read_histories(self._gateway, runs)
        found = read_contents(self._gateway, found.values(), with_inputs=True)
        traces = read_traces(self._gateway, sorted(read_experiments(self._gateway)))
        return {run_id: traces.of(run) for run_id, run in found.items()}

    def _was_so(self, run_id: str, finding: Finding) -> bool:
        """Tell whether what protects a run did so when its experiment was deleted."""
        return run_id in self._registered and self._registered[run_id] == _via(finding)

    def _recheck(self) -> Recheck:
        if self._known_recheck is None:
            refuse_partial_view(self._gateway, self._policy)
            self._known_recheck = Recheck(
                self._gateway,
                {
                    # With those that come back: that one of them is nested with a run of the old
                    # trash was so before.
                    "runs": [
                        {"run_id": run_id, "experiment_id": experiment_id}
                        for experiment_id, run_ids in self._runs.items()
                        for run_id in run_ids
                    ],
                    "protected": {"runs": []},
                    "server": {"workspace": self._workspace},
                },
                self._policy,
            )
        return self._known_recheck

    def _is_active(self, experiment_id: str) -> bool:
        found = self._gateway.get_experiment(experiment_id)
        return found is not None and found.lifecycle_stage == "active"


def _via(finding: Finding) -> list[str]:
    return list((finding.protection or {}).get("via", ()))


def _assessed(runs: Iterable[Run]) -> dict[str, Finding]:
    """Return, by id, those of the runs with which assessments would be lost.

    Somebody logged them since; those from before were lost when the run was deleted.
    """
    return {
        run.run_id: Finding("protected", _LOSES_ASSESSMENTS)
        for run in runs
        if run.details.loses_assessments or run.details.traces_are_hidden
    }


def _entry(run: Run, experiment: Experiment | None) -> Entry:
    return {
        "run_id": run.run_id,
        "run_name": run.run_name,
        "experiment_id": run.experiment_id,
        "parent_run_id": run.parent_run_id,
        # As it will be once its experiment is back.
        "expect": expect_run(replace(run, lifecycle_stage="active"), experiment),
    }
