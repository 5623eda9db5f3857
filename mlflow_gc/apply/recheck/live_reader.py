"""Searches for the current runs and experiments, with concurrent requests; runs to rank."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mlflow_gc.backend.interface import Gateway, pages
from mlflow_gc.domain.entities import Experiment, LoggedModel, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.tag_selection import PARENT_TAG, Wanted
from mlflow_gc.inventory.lookup import EXPERIMENTS_A_CALL, IDS_A_CALL, chunks, runs_by_id
from mlflow_gc.inventory.scan import read_experiments
from mlflow_gc.plan.document import RunEntry
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.runs import keep_rule_winners

NESTED = f"tags.`{PARENT_TAG}` LIKE '%'"
"""Filter for all nested runs."""

# Reading one experiment takes as long as this number of them on a page.
_EXPERIMENTS_FOR_ONE = 50

_GROUP_VALID_S = 60.0

_Group = TypeVar("_Group")
_Found = TypeVar("_Found")


class LiveReader:
    """Reads runs, experiments and logged models.  Every method raises ``ServerError``.

    Attributes:
        experiment_ids: all known experiments of the server.
    """

    def __init__(self, gateway: Gateway, wanted: Wanted) -> None:
        self._gateway = gateway
        self._wanted = wanted
        self.experiment_ids: list[str] = []

    def read_experiment_ids(self, filter_string: str = "") -> set[str]:
        """Read ids of experiments, add them to the known ones, and return them."""
        search = partial(self._gateway.search_experiments, view="ALL", filter_string=filter_string)
        found = {e.experiment_id for e in pages(search)}
        self.experiment_ids = sorted(found.union(self.experiment_ids))
        return found

    def experiments(self, experiment_ids: set[str]) -> dict[str, Experiment]:
        """Read experiments of any lifecycle stage: few one by one, many by reading all."""
        found: dict[str, Experiment] = {}
        if len(experiment_ids) * _EXPERIMENTS_FOR_ONE >= len(self.experiment_ids):
            every = read_experiments(self._gateway)
            found = {i: experiment for i, experiment in every.items() if i in experiment_ids}
        # A concurrent purge may shift one out of a page, so missing ones are read by id.
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            rest = pool.map(self._gateway.get_experiment, sorted(experiment_ids - found.keys()))
            read = [each for each in rest if each]
        return {**found, **{experiment.experiment_id: experiment for experiment in read}}

    def search(self, experiment_ids: Sequence[str], **kwargs: Any) -> Iterator[Run]:
        """Yield runs with the data that decisions need, from one search."""
        search = partial(self._gateway.search_runs, experiment_ids, wanted=self._wanted, **kwargs)
        return pages(search)

    def runs_in(
        self, experiment_ids: Sequence[str], *, filter_string: str = "", view: str = "ACTIVE_ONLY"
    ) -> Iterator[Run]:
        """Yield runs of any number of experiments."""
        search = partial(self.search, filter_string=filter_string, view=view)
        return self._in_parallel(search, list(chunks(experiment_ids, EXPERIMENTS_A_CALL)))

    def active_runs(self, filter_string: str) -> Iterator[Run]:
        """Yield active runs of all experiments."""
        return self.runs_in(self.experiment_ids, filter_string=filter_string)

    def runs_by_id(
        self,
        run_ids: Sequence[str],
        experiment_ids: Sequence[str] | None = None,
        *,
        view: str = "ALL",
        wanted: Wanted | None = None,
    ) -> Iterator[Run]:
        """Yield runs of some experiments, or of all, by their ids."""
        where = self.experiment_ids if experiment_ids is None else experiment_ids
        wanted = wanted or self._wanted
        return runs_by_id(self._gateway, run_ids, where, view=view, wanted=wanted)

    def planned_runs(self, entries: Sequence[RunEntry]) -> dict[str, Run]:
        """Return planned runs of any lifecycle stage, by id, with their content digests."""
        by_id = partial(self.runs_by_id, wanted=replace(self._wanted, content_digest=True))

        def read(group: Sequence[RunEntry]) -> Iterator[Run]:
            experiment_ids = sorted({entry["experiment_id"] for entry in group})
            return by_id([entry["run_id"] for entry in group], experiment_ids)

        groups = list(chunks(entries, IDS_A_CALL))
        found = {run.run_id: run for run in self._in_parallel(read, groups)}
        # A run that is not in its planned experiment may have been moved: changed, not gone.
        lost = [entry["run_id"] for entry in entries if entry["run_id"] not in found]
        return {**found, **{run.run_id: run for run in by_id(lost)}}

    def newest_logged_models(self, experiment_ids: Sequence[str]) -> Mapping[str, LoggedModel]:
        """Return the newest logged model of each experiment that has any; few do."""
        newest = partial(self._gateway.search_logged_models, newest_first=True, max_results=1)
        if not experiment_ids or not newest(experiment_ids)[0]:
            return {}
        found = [each for i in experiment_ids for each in newest([i])[0]]
        return {model.model_id: model for model in found}

    def _in_parallel(
        self, read: Callable[[_Group], Iterable[_Found]], groups: Sequence[_Group]
    ) -> Iterator[_Found]:
        """Yield the results for groups, several of which are read in parallel."""
        if self._gateway.max_parallel == 1 or len(groups) == 1:
            for group in groups:
                yield from read(group)
            return
        with ThreadPoolExecutor(self._gateway.max_parallel) as pool:
            for found in pool.map(lambda group: list(read(group)), groups):
                yield from found


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
