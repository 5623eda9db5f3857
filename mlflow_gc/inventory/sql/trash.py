"""Reading the trash from a database, and everything that may still need something in it.

The tables are those of the database itself (reflected), not those of the installed MLflow: a server
may be older or newer.  The same statements read the whole trash for a plan, and a few entities
again inside the transaction that deletes them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import func, select

from mlflow_gc.domain.entities import Experiment, ModelVersion, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import EXPERIMENT, LINK, LOGGED_MODEL, MODEL_VERSION, RUN
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.source_references import location
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.domain.trash import DanglingLink, Key, PlaceOf, Trash, TrashedModel
from mlflow_gc.inventory.sql.experiments import read_experiments
from mlflow_gc.inventory.sql.registry import read_registry
from mlflow_gc.inventory.sql.tables import OWNERS_OF_LINKS, Read, TableReader, Tables, chunks
from mlflow_gc.inventory.sql.trash_entities import EntityReader
from mlflow_gc.inventory.sql.trash_evidence import EvidenceReader
from mlflow_gc.inventory.sql.trash_leftovers import LeftoverReader
from mlflow_gc.inventory.sql.trash_locations import LocationReader

_DELETED = "deleted"

Only = Mapping[str, Collection[str]]
"""Ids to read, by name of their kind."""


class TrashReader(TableReader):
    """Reads the trash of one workspace; of runs also the data in ``wanted``.

    ``place_of`` tells which URIs of folders are equal.
    """

    def __init__(
        self,
        tables: Tables,
        read: Read,
        workspace: str | None,
        wanted: Wanted,
        place_of: PlaceOf = location,
    ) -> None:
        super().__init__(tables, read, workspace)
        self._wanted = wanted
        self._entities = EntityReader(tables, read)
        self._evidence = EvidenceReader(tables, read)
        self._locations = LocationReader(tables, read, place_of)
        self._leftovers = LeftoverReader(tables, read, workspace)

    def trash(
        self,
        only: Only | None = None,
        *,
        without: Collection[Key] = (),
        counts_rows: bool = True,
    ) -> Trash:
        """Return the whole trash, or the entities with some ids, in whatever stage they are.

        Args:
            only: the ids; everything that is still in one of their experiments protects it.
            without: what does not, while it is in the trash.
            counts_rows: whether to count the rows, which takes the longest; with ``only`` those of
                experiments.

        Raises:
            ServerError: the database cannot be read.
        """
        experiments = read_experiments(self._tables, self._read, self._workspace)
        run_ids, model_ids, experiment_ids = self._ids(experiments, only)
        runs, run_deleted = self._entities.runs(run_ids, self._wanted)
        models = {m.model_id: m for m in self._entities.models(model_ids)}
        deleted: dict[Key, int | None] = {(RUN.name, i): ms for i, ms in run_deleted.items()}
        for model in models.values():
            deleted[LOGGED_MODEL.name, model.model_id] = model.last_updated_time
        for i in experiment_ids:
            deleted[EXPERIMENT.name, i] = experiments[i].last_update_time
        tombstones, links = self._left(only)
        for i, version in tombstones.items():
            deleted[MODEL_VERSION.name, i] = version.last_updated_timestamp
        registry = self.registry()
        evidence = self._evidence
        rows: dict[Key, int] = {}
        shared: Mapping[tuple[str, str], int] = {}
        links_between: Mapping[tuple[Key, Key], int] = {}
        if counts_rows and only is not None:
            # Something may be put into an experiment in the trash, and has no precondition of its own.
            rows = self._rows({}, {}, experiment_ids)
        elif counts_rows:
            rows = self._rows(runs, models, experiment_ids)
            rows |= {(MODEL_VERSION.name, i): 1 + len(v.tags) for i, v in tombstones.items()}
            rows |= {(LINK.name, i): link.row_count for i, link in links.items()}
            shared = self._shared(models)
            links_between = self._links_between(rows)
        versions = [*registry.model_versions.values(), *registry.foreign_versions]
        places = evidence.trace_locations(experiment_ids)
        traces = itertools.chain.from_iterable(places.values())
        found = Trash(
            inventory=replace(registry, experiments=experiments, runs=runs, logged_models=models),
            models=models,
            deleted_ms=deleted,
            rows=rows,
            shared_rows=shared,
            links_between=links_between,
            needed_by=self._needed(tombstones),
            needed_experiments=dict(
                evidence.needed_experiments(
                    experiment_ids, active_only=only is None, without=without
                )
            ),
            contents=evidence.contents(experiment_ids),
            locations=self._locations.locations(runs, models, traces, versions),
            totals=self.totals() if only is None else {},
            trace_locations=places,
            tombstones=tombstones,
            highest_versions=self._leftovers.highest_versions(
                {v.name for v in tombstones.values()}
            ),
            links=links,
            # A link is planned alone only where it does not go with an experiment.
            link_experiments=self._leftovers.experiments_of(links.values()) if only is None else {},
        )
        return self._with_evidence(found, registry)

    def renewed(self, trash: Trash) -> Trash:
        """Return a trash with what may have become needed since it was read, as far as that is fast.

        What versions name, what active runs and logged models need; not the rows, which may be deleted
        by now.

        Raises:
            ServerError: the database cannot be read.
        """
        return self._with_evidence(trash, self.registry())

    def _with_evidence(self, trash: Trash, registry: Inventory) -> Trash:
        """Return a trash with what active entities and model versions need of it."""
        known = trash.inventory
        children, active = self._evidence.children(known.runs)
        made = self._evidence.logged_models_of(known.runs)
        return replace(
            trash,
            inventory=replace(
                registry,
                experiments=known.experiments,
                runs=known.runs,
                logged_models={**known.logged_models, **{m.model_id: m for m in made}},
            ),
            needed_by={
                **trash.needed_by,
                **dict(self._evidence.needed(known.runs, trash.models, made)),
            },
            children=children,
            active_runs=active,
        )

    def registry(self) -> Inventory:
        """Return an inventory with the model registry of all workspaces, and nothing else.

        Raises:
            ServerError: the database cannot be read.
        """
        found = read_registry(self._tables, self._read, self._workspace, with_storage=True)
        return Inventory(
            experiments={},
            runs={},
            registered_models=found.models,
            model_versions=found.versions,
            logged_models={},
            foreign_models=found.foreign_models,
            foreign_versions=found.foreign_versions,
            workspace=self._workspace,
        )

    def _left(self, only: Only | None) -> tuple[dict[str, ModelVersion], dict[str, DanglingLink]]:
        """Return tombstones and dangling links: all, or those with some ids."""
        read = self._leftovers
        if only is None:
            return read.tombstones(None), read.links(None)
        versions, links = only.get(MODEL_VERSION.name), only.get(LINK.name)
        return read.tombstones(versions) if versions else {}, read.links(links) if links else {}

    def _needed(self, tombstones: Collection[str]) -> dict[Key, tuple[Link, ...]]:
        """Return what protects all tombstones: tables that this version does not know."""
        tables = self._tables.unknown_children("model_versions")
        via = tuple(Link(note=f"the table {table} may refer to it") for table, _ in tables)
        return {(MODEL_VERSION.name, i): via for i in tombstones} if via else {}

    def _ids(
        self, experiments: Mapping[str, Experiment], only: Only | None
    ) -> tuple[list[str], list[str], list[str]]:
        """Return the ids of the runs, logged models and experiments to read, sorted."""
        if only is not None:
            found = {kind: sorted(ids) for kind, ids in only.items()}
            of_experiments = [i for i in found.get(EXPERIMENT.name, ()) if i in experiments]
            return found.get(RUN.name, []), found.get(LOGGED_MODEL.name, []), of_experiments
        ids: list[list[str]] = []
        for table, key in (("runs", "run_uuid"), ("logged_models", "model_id")):
            if table not in self._tables:
                ids.append([])
                continue
            c = self._tables[table].c
            rows = self._read(select(c[key], c.experiment_id).where(c.lifecycle_stage == _DELETED))
            ids.append(sorted(i for i, experiment in rows if str(experiment) in experiments))
        in_trash = [i for i, e in experiments.items() if e.lifecycle_stage == _DELETED]
        return ids[0], ids[1], sorted(in_trash, key=int)

    def _rows(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        experiment_ids: Sequence[str],
    ) -> dict[Key, int]:
        """Return the number of rows of each entity, its own included."""
        found: dict[Key, int] = {}
        of_experiments = [int(i) for i in experiment_ids]
        for kind, ids, rows_of in (
            (RUN.name, list(runs), self._tables.rows_of_runs),
            (LOGGED_MODEL.name, list(models), self._tables.rows_of_models),
            (EXPERIMENT.name, of_experiments, self._tables.rows_of_experiments),
        ):
            for chunk in chunks(ids):
                found |= {(kind, str(i)): 1 for i in chunk}
                for column, condition in rows_of(chunk):
                    counted = select(column, func.count()).where(condition).group_by(column)
                    for entity_id, count in self._read(counted):
                        if (kind, str(entity_id)) in found:
                            found[kind, str(entity_id)] += count
        return found

    def _shared(self, model_ids: Collection[str]) -> Counter[tuple[str, str]]:
        """Return the number of rows that are counted with a run and with a logged model."""
        found: Counter[tuple[str, str]] = Counter()
        for chunk in chunks(model_ids):
            for run, model, condition in self._tables.shared_by_runs_and_models(chunk):
                counted = select(run, model, func.count()).where(condition)
                for run_id, model_id, count in self._read(counted.group_by(run, model)):
                    found[str(run_id), str(model_id)] += count
        return found

    def _links_between(self, keys: Collection[Key]) -> Counter[tuple[Key, Key]]:
        """Return the number of links between two of some entities."""
        found: Counter[tuple[Key, Key]] = Counter()
        for statement in self._tables.links_between():
            for *ends, count in self._read(statement):
                one, other = (
                    (OWNERS_OF_LINKS[kind], str(entity_id if experiment is None else experiment))
                    for kind, experiment, entity_id in (ends[:3], ends[3:])
                )
                if one != other and one in keys and other in keys:
                    found[one, other] += count
        return found

    def knows(self, entity_id: str) -> bool:
        """Tell whether a run, logged model or trace of any workspace has an id."""
        for table, key in (
            ("runs", "run_uuid"),
            ("logged_models", "model_id"),
            ("trace_info", "request_id"),
        ):
            if table in self._tables:
                column = self._tables[table].c[key]
                if self._read(select(column).where(column == entity_id)):
                    return True
        return False

    def totals(self) -> dict[str, int]:
        """Return the number of existing entities, by the field of a plan."""
        return {
            kind.entries: self._read(select(func.count()).select_from(self._tables[table]))[0][0]
            if table in self._tables
            else 0
            for kind, table in (
                (EXPERIMENT, "experiments"),
                (RUN, "runs"),
                (LOGGED_MODEL, "logged_models"),
            )
        }
