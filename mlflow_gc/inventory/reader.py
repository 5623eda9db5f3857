"""The reader of an inventory: over REST, page by page, or from a database snapshot."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from mlflow_gc.backend.interface import Gateway
from mlflow_gc.domain.entities import ReadFrom, Run, ServerInfo, oldest_model_ms
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.errors import UsageProblem
from mlflow_gc.inventory import lookup
from mlflow_gc.inventory.probe import probe
from mlflow_gc.inventory.progress import Progress
from mlflow_gc.inventory.scan import scan
from mlflow_gc.inventory.traces import read_traces, with_traces

if TYPE_CHECKING:
    from mlflow_gc.inventory.sql.reader import DatabaseReader

Reader: TypeAlias = "GatewayReader | DatabaseReader"
"""Reads a server for a plan; all methods raise :class:`ServerError`."""


@dataclass(frozen=True)
class GatewayReader:
    """Reads through a gateway to a server; all methods raise :class:`ServerError`."""

    gateway: Gateway
    server: ServerInfo

    @property
    def read_from(self) -> ReadFrom:
        """The data source, as in a plan."""
        return self.gateway.read_from

    def scan(self, progress: Progress, *, wanted: Wanted | None = None) -> Inventory:
        """Read all entities; see :func:`mlflow_gc.inventory.scan.scan`."""
        return scan(self.gateway, progress, wanted=wanted, workspace=self.server.workspace)

    def read_inputs(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with the logged models that runs read."""
        found: dict[str, Run] = {}
        for run in lookup.runs_with_inputs(self.gateway, run_ids):
            found[run.run_id] = replace(inventory.runs[run.run_id], model_ids=run.model_ids)
            progress("runs", 1)
        return replace(inventory, runs={**inventory.runs, **found})

    def read_histories(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with the times of all that was ever logged to metrics of runs."""
        runs = (inventory.runs[run_id] for run_id in run_ids)
        found = lookup.read_histories(self.gateway, runs, progress)
        return replace(inventory, runs={**inventory.runs, **found})

    def read_content_digests(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with digests over parameters, datasets and models of runs."""
        found = lookup.read_content_digests(
            self.gateway,
            (inventory.runs[run_id] for run_id in run_ids),
            experiments=inventory.experiments,
            models_since_ms=oldest_model_ms(inventory.logged_models.values()),
            progress=progress,
        )
        return replace(inventory, runs={**inventory.runs, **found})

    def read_traces(
        self, inventory: Inventory, run_ids: Collection[str], progress: Progress
    ) -> Inventory:
        """Return the inventory with the traces and assessments of runs."""
        traces = inventory.traces or read_traces(
            self.gateway, sorted(inventory.experiments), progress
        )
        return with_traces(inventory, traces, run_ids)

    def probe(
        self,
        inventory: Inventory,
        experiment_ids: Collection[str],
        *,
        since_ms: int,
        progress: Progress,
    ) -> Inventory:
        """Return the inventory with probes of experiments that may be deleted."""
        return probe(self.gateway, inventory, experiment_ids, since_ms=since_ms, progress=progress)


@contextmanager
def open_reader(gateway: Gateway, server: ServerInfo) -> Iterator[Reader]:
    """Open a reader for a server: its database, if configured, else its REST API.

    Raises:
        UsageProblem: The database cannot be read directly, or the registry is elsewhere.
        ServerError: The database cannot be opened.
        Refused: The database belongs to another server.
    """
    address = gateway.database
    if address is None:
        yield GatewayReader(gateway, server)
        return
    from mlflow_gc.backend.sql_connection import try_database
    from mlflow_gc.inventory.sql.reader import DatabaseReader
    from mlflow_gc.inventory.sql.snapshot import Snapshot

    address.refuse_unreadable("Leave it out to read over the server.")
    if gateway.registry_is_separate:
        raise UsageProblem(
            f"{address.name} cannot be combined with a separate model registry.",
            hint="Leave it out to read over the server, or leave out the registry URI.",
        )
    try_database(address)
    with Snapshot(address) as snapshot:
        yield DatabaseReader(snapshot, server)
