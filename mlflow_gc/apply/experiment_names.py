"""Freeing names of experiments: rename before the deletion, and rename back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from mlflow_gc.apply.journal.reader import Session
from mlflow_gc.apply.outcomes import Recorder
from mlflow_gc.apply.recheck.checker import Finding
from mlflow_gc.apply.recheck.recheck import Recheck
from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import ABORT_ON, Failure, Gateway, ServerError
from mlflow_gc.backend.retries import retry_until_confirmed
from mlflow_gc.domain.entities import Experiment
from mlflow_gc.domain.timestamps import format_ms, now_ms, parse_time
from mlflow_gc.errors import GcError
from mlflow_gc.plan.document import ExperimentEntry, Json
from mlflow_gc.plan.freed_names import freed_name, is_freed, name_before

NAME, FREED_NAME = "name", "freed_name"
"""Fields of the undo information with the two names of an experiment."""
RENAMED_BACK = "renamed_back"
"""Field of the undo information; true if the original name was restored."""


class ExperimentNames:
    """Renames planned experiments for their deletion, and back if they are not deleted."""

    def __init__(
        self,
        gateway: Gateway,
        recheck: Recheck,
        recorder: Recorder,
        limiter: AdaptiveLimiter,
        stop: threading.Event,
    ) -> None:
        self._gateway = gateway
        self._recheck = recheck
        self._recorder = recorder
        self._limiter = limiter
        self._stop = stop

    def expect_earlier(self, sessions: Sequence[Session]) -> set[str]:
        """Register renames by earlier sessions without deletion; return the experiment ids."""
        announced = renames(sessions)
        for experiment_id, names in announced.items():
            for name, moment_ms in names:
                self._recheck.expect_rename(experiment_id, name, moment_ms)
        return {*announced}

    def expect(self, experiment_id: str, name: str) -> None:
        """Register that this plan gives an experiment this name, from now on."""
        moment_ms = now_ms() + self._gateway.clock_skew_ms()
        self._recheck.expect_rename(experiment_id, name, moment_ms)

    def rename(self, experiment_id: str, undo: Json) -> bool:
        """Free the name of an active experiment; return whether it was renamed, and record if not.

        ``undo`` has both names, see :func:`both_names`.

        Raises:
            ServerError: the server is gone or locked us out.
        """
        self.expect(experiment_id, undo[FREED_NAME])

        def send() -> None:
            with self._limiter.request():
                self._gateway.rename_experiment(experiment_id, undo[FREED_NAME])

        try:
            # Renaming is idempotent.
            retry_until_confirmed(send, self._stop)
        except ServerError as error:
            if error.failure in ABORT_ON:
                self._recorder.aborted.set()
                raise
            if error.failure is Failure.FORBIDDEN:
                finding = Finding("forbidden", error.message)
                self._recorder.record_skip("experiment", experiment_id, finding)
            else:
                detail = f"It could not be renamed, so it was not deleted. {error.message}"
                self._recorder.count_failure("experiment", experiment_id, detail)
            return False
        return True

    def rename_back(self, experiment_id: str, undo: Json) -> None:
        """Restore the name of an experiment that was not deleted."""

        def announce() -> None:
            # It changes the time of the last update; a later session must recognize that as this
            # plan's change.  A full disk is no reason to leave the experiment with the other name.
            self.expect(experiment_id, undo[NAME])
            renamed_back = {**undo, RENAMED_BACK: True}
            with suppress(GcError):
                self._recorder.journal.intend("experiment", [experiment_id], renamed_back)

        try:
            problem = rename_back(self._gateway, experiment_id, undo, self._stop, announce=announce)
        except ServerError as error:
            problem = f"it may be called {undo[FREED_NAME]!r} now: {error.message}"
        if problem:
            detail = f"It was not deleted, and its name is not back: {problem}"
            self._recorder.record_failure("experiment", experiment_id, detail, undo)


def both_names(entry: ExperimentEntry) -> Json:
    """Return the two names of a planned experiment that is renamed for its deletion."""
    freed = freed_name(entry["name"], entry["experiment_id"], format_ms(now_ms()))
    return {NAME: entry["name"], FREED_NAME: freed}


def renames(sessions: Sequence[Session]) -> dict[str, list[tuple[str, int]]]:
    """Return the renames that sessions announced of experiments that they did not delete.

    Names and times of last update of these experiments may be set by this plan.

    Returns:
        By experiment id: the new name and the server time, ms since the epoch; the later one if it
        was also to be renamed back.
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
    undo: Json,
    stop: threading.Event,
    *,
    announce: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> str | None:
    """Restore the name of an active experiment that a prune renamed to delete it.

    An experiment in the trash, or renamed by somebody since, is not changed.

    ``undo`` is the undo information of the prune, with both names if it renamed the experiment.
    ``announce`` is called immediately before the change on the server.

    Returns:
        Why it keeps the other name, or None.

    Raises:
        ServerError: It failed; it can be repeated.
    """

    def read() -> Experiment | None:
        found = gateway.get_experiment(experiment_id)
        is_here = found and (dry_run or found.lifecycle_stage == "active")
        return found if is_here else None

    found = read()
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
        retry_until_confirmed(send, stop, lambda: (now := read()) is not None and now.name == name)
    return None
