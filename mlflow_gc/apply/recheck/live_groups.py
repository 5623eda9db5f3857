"""All active runs of an experiment, among which keep rules rank a planned run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from mlflow_gc.apply.recheck.live_reader import LiveReader
from mlflow_gc.domain.entities import Experiment, Inventory, Run
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.runs import keep_rule_winners

_GROUP_VALID_S = 60.0


class LiveGroups:
    """The runs of the current experiment."""

    def __init__(self, reader: LiveReader, policy: Policy, workspace: str | None) -> None:
        self._reader = reader
        self._policy = policy
        self._workspace = workspace
        self._reading = threading.Lock()
        self._groups: dict[str, tuple[float, dict[str, Run]]] = {}

    def of(self, experiment: Experiment) -> dict[str, Run]:
        """Return all active runs of an experiment, by id.

        All are read at most once a minute, because the plan lists the runs of an experiment
        consecutively.  The winners of keep rules are read again each time: only if one of them is
        deleted or changed can a planned run become a winner.

        Raises:
            ServerError: they cannot be read.
        """
        experiment_id = experiment.experiment_id
        with self._reading:
            read_at, runs = self._groups.get(experiment_id, (0.0, {}))
            if experiment_id in self._groups and time.monotonic() - read_at <= _GROUP_VALID_S:
                runs = self._with_winners(experiment, runs)
            else:
                read_at = time.monotonic()
                runs = {run.run_id: run for run in self._reader.search([experiment_id])}
            # Only the current experiment is kept in memory.
            self._groups = {experiment_id: (read_at, runs)}
            return runs

    def _with_winners(self, experiment: Experiment, known: Mapping[str, Run]) -> dict[str, Run]:
        """Return runs with the current winners of keep rules, and runs that replaced winners."""
        runs = dict(known)
        read: set[str] = set()
        context = Inventory({}, {}, {}, {}, {}, workspace=self._workspace)
        while winners := keep_rule_winners(runs.values(), experiment, self._policy, context) - read:
            ids, where = sorted(winners), [experiment.experiment_id]
            now = [*self._reader.runs_by_id(ids, where, view="ACTIVE_ONLY")]
            for run_id in ids:
                runs.pop(run_id)
            runs.update((run.run_id, run) for run in now)
            read |= winners
        return runs
