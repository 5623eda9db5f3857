"""What takes space in the database of a server: entities, rows and bytes of tables and indexes.

The tables are read as they are found, not as the installed MLflow defines them, so that databases of
older and newer servers work: a table or column that is missing counts as nothing.  Each table is
counted by one statement, grouped by the id of its entity; no statement is for one entity.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, column, func, literal_column, select, table

from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    LINK,
    LOGGED_MODEL,
    MODEL_VERSION,
    REGISTERED_MODEL,
    RUN,
)
from mlflow_gc.domain.tag_selection import PROMPT_TAG
from mlflow_gc.errors import GcError
from mlflow_gc.inventory.database_usage import DatabaseUsage, Group, Table, month
from mlflow_gc.inventory.sql.snapshot import Snapshot
from mlflow_gc.inventory.sql.table_sizes import read_sizes, unreadable_tables
from mlflow_gc.inventory.sql.tables import OF_MODELS, OF_RUNS
from mlflow_gc.inventory.sql.tables import TOMBSTONE as DELETED_VERSION
from mlflow_gc.inventory.sql.trash_leftovers import ENDS, RETAINED_ENDS
from mlflow_gc.inventory.stored_files import Owner, StoredFiles
from mlflow_gc.retention.freed_space import (
    ACTIVE,
    DATASET,
    ORPHANED,
    OTHER,
    PROMPT,
    STALE,
    TOMBSTONE,
    TRACE,
    TRASH,
)

_TRACE_LOCATIONS = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation")

_PARTS = (
    # Table, kind of its entity, and the columns with the id of the entity.
    *((name, RUN.name, (run_id,)) for name, run_id in OF_RUNS.items() if name not in OF_MODELS),
    *((name, LOGGED_MODEL.name, (model_id,)) for name, model_id in OF_MODELS.items()),
    ("spans", TRACE, ("trace_id",)),
    ("span_metrics", TRACE, ("trace_id",)),
    ("assessments", TRACE, ("trace_id",)),
    ("trace_tags", TRACE, ("request_id",)),
    ("trace_request_metadata", TRACE, ("request_id",)),
    ("trace_metrics", TRACE, ("request_id",)),
    ("model_version_tags", MODEL_VERSION.name, ("workspace", "name", "version")),
    ("registered_model_tags", REGISTERED_MODEL.name, ("workspace", "name")),
    ("registered_model_aliases", REGISTERED_MODEL.name, ("workspace", "name")),
    ("evaluation_dataset_records", DATASET, ("dataset_id",)),
    ("evaluation_dataset_tags", DATASET, ("dataset_id",)),
)
_TABLES = {RUN.name: "runs", LOGGED_MODEL.name: "logged_models", TRACE: "trace_info"}
"""The tables with the ids of what has files; an account may not see all of them."""
_KINDS = {
    "datasets": DATASET,
    "runs": RUN.name,
    "logged_models": LOGGED_MODEL.name,
    "trace_info": TRACE,
    "experiments": EXPERIMENT.name,
    "evaluation_datasets": DATASET,
}
"""The kind of the entities of each table in which an end of a link may be."""


class UsageReader:
    """Reads the database of a server; every method raises ``ServerError``.

    Args:
        snapshot: the open database, of any version of MLflow.
        purged: ids by kind that a purge would delete, as in a plan; None if it was not decided.
        stale: ids by kind that a prune would delete; versions are ``(name, version)``.

    Raises:
        GcError: It contains no data of MLflow.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        purged: Mapping[str, Collection[str]] | None = None,
        stale: Mapping[str, Collection[object]] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._usage = DatabaseUsage(snapshot.kind)
        columns = snapshot.columns()
        self._usage.tables = {name: Table() for name in columns}
        self._usage.unreadable = sorted(columns.keys() & unreadable_tables(snapshot))
        self._columns = {
            name: columns[name] for name in columns if name not in self._usage.unreadable
        }
        self._purged = purged
        self._stale = stale or {}
        self._interned: dict[Group, Group] = {}
        self._deleted_experiments: set[str] = set()
        self._locations: dict[str, str] = {}
        """The artifact locations of experiments, by id."""
        if "alembic_version" not in self._columns or "experiments" not in self._columns:
            raise GcError(f"{snapshot.name} contains no data of MLflow.")

    def read(self, files: StoredFiles) -> DatabaseUsage:
        """Count everything, and add all locations of files."""
        usage = self._usage
        counted = {"alembic_version"}
        self._entities(files)
        usage.complete = {kind for kind, name in _TABLES.items() if name in self._columns}
        counted |= {"experiments", "runs", "logged_models", "trace_info", "datasets"}
        counted |= {"evaluation_datasets", "registered_models", "model_versions"}
        self._links()
        counted |= {"inputs", "input_tags", "entity_associations"}
        known = {name for name, _, _ in _PARTS}
        parts = [*_PARTS] + [
            # Scorers, issues, review queues, and what later versions will add.
            (name, EXPERIMENT.name, ("experiment_id",))
            for name, columns in self._columns.items()
            if name not in known | counted and "experiment_id" in columns
        ]
        for name, kind, ids in parts:
            self._count_rows(name, kind, ids)
            counted.add(name)
        for name in [*(self._columns.keys() - counted), "alembic_version"]:
            ((rows,),) = self._snapshot.read(select(func.count()).select_from(table(name)))
            self._add(name, Group(OTHER, ACTIVE), rows)
        for name, rows_of in usage.rows.items():
            usage.tables[name].rows = rows_of.total()
        read_sizes(self._snapshot, usage)
        return usage

    # -- entities ----------------------------------------------------------------------------------

    def _entities(self, files: StoredFiles) -> None:
        self._experiments(files)
        self._runs(files)
        self._logged_models(files)
        self._traces(files)
        self._datasets()
        self._registry()

    def _experiments(self, files: StoredFiles) -> None:
        for i, name, stage, place, created in self._stream(
            "experiments",
            ("experiment_id", "name", "lifecycle_stage", "artifact_location", "creation_time"),
        ):
            experiment = str(i)
            group = Group(
                EXPERIMENT.name, _stage(stage), experiment=experiment, month=month(created)
            )
            self._entity("experiments", experiment, group)
            self._usage.names[EXPERIMENT.name, experiment] = name
            if stage == "deleted":
                self._deleted_experiments.add(experiment)
            if place:
                files.add_experiment(experiment, place)
                self._locations[experiment] = place.rstrip("/")

    def _runs(self, files: StoredFiles) -> None:
        for run, i, stage, owner, start, deleted, uri in self._stream(
            "runs",
            (
                "run_uuid", "experiment_id", "lifecycle_stage", "user_id", "start_time",
                "deleted_time", "artifact_uri",
            ),
        ):  # fmt: skip
            has_no_time = stage == "deleted" and deleted is None
            self._usage.untimed_runs += has_no_time and self._is_retained(RUN.name, run)
            group = Group(RUN.name, _stage(stage), False, str(i), owner or "", month(start))
            self._entity("runs", run, group)
            self._add_files(files, Owner(RUN.name, run), uri, str(i), f"{run}/artifacts")

    def _logged_models(self, files: StoredFiles) -> None:
        for model, i, stage, created, source, name, uri in self._stream(
            "logged_models",
            (
                "model_id", "experiment_id", "lifecycle_stage", "creation_timestamp_ms",
                "source_run_id", "name", "artifact_location",
            ),
        ):  # fmt: skip
            made_by = self._usage.groups[RUN.name].get(source)
            owner = made_by.owner if made_by else ""
            group = Group(
                LOGGED_MODEL.name, _stage(stage), False, str(i), owner, month(created), model
            )
            self._entity("logged_models", model, group)
            self._usage.names[LOGGED_MODEL.name, model] = name
            owned_by = Owner(LOGGED_MODEL.name, model)
            self._add_files(files, owned_by, uri, str(i), f"models/{model}/artifacts")

    def _traces(self, files: StoredFiles) -> None:
        columns = ("request_id", "experiment_id", "timestamp_ms")
        for trace, i, started in self._stream("trace_info", columns):
            group = Group(TRACE, self._stage_in(str(i)), False, str(i), "", month(started))
            self._entity("trace_info", trace, group)
        if "trace_tags" not in self._columns:
            return
        known = self._usage.groups[TRACE]
        places = self._select("trace_tags", ("request_id", "value"))
        for rows in self._snapshot.stream(places.where(column("key").in_(_TRACE_LOCATIONS))):
            for trace, uri in rows:
                if trace in known:
                    experiment = self._usage.experiment_of(TRACE, trace) or ""
                    folder = f"traces/{trace}/artifacts"
                    self._add_files(files, Owner(TRACE, trace), uri, experiment, folder)

    def _datasets(self) -> None:
        for dataset, i in self._stream("datasets", ("dataset_uuid", "experiment_id")):
            group = Group(DATASET, self._stage_in(str(i)), False, str(i))
            self._entity("datasets", dataset, group)
        for dataset, created in self._stream("evaluation_datasets", ("dataset_id", "created_time")):
            group = Group(DATASET, ACTIVE, month=month(created))
            self._entity("evaluation_datasets", dataset, group)

    def _stage_in(self, experiment: str) -> str:
        """Return the stage of what has no life cycle of its own: traces and datasets."""
        return TRASH if experiment in self._deleted_experiments else ACTIVE

    def _add_files(
        self, files: StoredFiles, owner: Owner, uri: str | None, experiment: str, folder: str
    ) -> None:
        """Add a location of files, unless it is the usual folder below that of the experiment."""
        if uri and uri.rstrip("/") != f"{self._locations.get(experiment)}/{folder}":
            files.add(owner, uri)

    def _registry(self) -> None:
        prompts = set()
        if "registered_model_tags" in self._columns:
            tags = self._select("registered_model_tags", ("workspace", "name"))
            prompts = {
                tuple(row)
                for row in self._snapshot.read(
                    tags.where(column("key") == PROMPT_TAG, func.lower(column("value")) == "true")
                )
            }
        for workspace, name, created in self._stream(
            "registered_models", ("workspace", "name", "creation_time")
        ):
            key = workspace, name
            kind = PROMPT if key in prompts else REGISTERED_MODEL.name
            group = Group(kind, ACTIVE, month=month(created), item=name)
            self._entity("registered_models", key, group, REGISTERED_MODEL.name, name)
        for workspace, name, version, stage, created, owner in self._stream(
            "model_versions",
            ("workspace", "name", "version", "current_stage", "creation_time", "user_id"),
        ):
            key = workspace, name
            is_prompt = key in prompts
            group = Group(
                PROMPT if is_prompt else MODEL_VERSION.name,
                TOMBSTONE if stage == DELETED_VERSION else ACTIVE,
                owner=owner or "",
                month=month(created),
                item=name,
            )
            of_plan = name, str(version)
            self._entity("model_versions", (*key, version), group, MODEL_VERSION.name, of_plan)

    def _entity(
        self,
        table_name: str,
        key: Any,
        group: Group,
        kind: str | None = None,
        of_plan: object = None,
    ) -> None:
        """Count an entity under its key in the database, which may differ from that in a plan."""
        kind = kind or group.kind
        if group.stage == TOMBSTONE:
            group = group._replace(is_retained=self._is_retained(kind, "/".join(map(str, key[1:]))))
        elif group.stage == TRASH:
            # Traces and datasets are in the trash with their experiment.
            of_experiment = kind in {TRACE, DATASET}
            owner = (EXPERIMENT.name, group.experiment) if of_experiment else (kind, key)
            group = group._replace(is_retained=self._is_retained(*owner))
        elif group.stage == ACTIVE and (of_plan or key) in self._stale.get(kind, ()):
            group = group._replace(stage=STALE)
        group = self._interned.setdefault(group, group)
        self._usage.groups[kind][key] = group
        self._add(table_name, group, 1)

    def _is_retained(self, kind: str, entity_id: str) -> bool:
        """Tell whether purge does not delete something that it could delete."""
        return self._purged is not None and entity_id not in self._purged.get(kind, ())

    # -- what belongs to entities ------------------------------------------------------------------

    def _count_rows(self, name: str, kind: str, ids: tuple[str, ...]) -> None:
        """Count the rows of a table with each entity of a kind, whose id is in some columns."""
        if not set(ids) - {"workspace"} <= self._columns.get(name, set()):
            return
        groups = self._usage.groups[kind]
        statement = self._select(name, ids).add_columns(func.count())
        # MySQL and SQLite would group by the text of a literal.
        by: list[ColumnElement[Any]] = [column(i) for i in ids if i in self._columns[name]]
        for rows in self._snapshot.stream(statement.group_by(*by)):
            for *key, number in rows:
                entity_id = key[0] if len(key) == 1 else tuple(key)
                if kind == EXPERIMENT.name:
                    entity_id = str(entity_id)
                group = groups.get(entity_id) or Group(kind, ORPHANED)
                self._add(name, group, number)
        self._snapshot.release()

    def _links(self) -> None:
        ends = ("source_type", "source_id", "destination_type", "destination_id")
        known = ENDS.keys() | RETAINED_ENDS
        for name in ("inputs", "entity_associations"):
            for link in self._stream(name, ends):
                self._add(name, self._link(name, *link), 1)
                self._usage.unknown_ends.update({link[0], link[2]} - known)
        if not {"inputs", "input_tags"} <= self._columns.keys():
            return
        ((total,),) = self._snapshot.read(select(func.count()).select_from(table("input_tags")))
        links, tags = (
            table(name, column("input_uuid"), *map(column, ends))
            for name in ("inputs", "input_tags")
        )
        of_link = [links.c[end] for end in ends]
        joined = select(*of_link, func.count()).select_from(
            links.join(tags, links.c.input_uuid == tags.c.input_uuid)
        )
        for rows in self._snapshot.stream(joined.group_by(*of_link)):
            for *row, number in rows:
                self._add("input_tags", self._link("inputs", *row), number)
                total -= number
        # Of no link, and no purge deletes them.
        self._add("input_tags", Group(LINK.name, ORPHANED, is_retained=True), total)
        self._snapshot.release()

    def _link(self, table_name: str, *ends: Any) -> Group:
        """Return the group of a link: that of its run, if both of its ends exist."""
        experiment, owner, started = "", "", ""
        in_trash: list[Group] = []
        is_lost = False
        for end_type, end_id in (ends[:2], ends[2:]):
            of_table, _ = ENDS.get(end_type, ("", ""))
            if of_table not in self._columns:
                continue  # it is taken to exist, as by purge
            kind = _KINDS[of_table]
            group = self._usage.groups[kind].get(end_id)
            if group is None:
                is_lost = True
                continue
            if group.stage == TRASH:
                in_trash.append(group)
            if kind == RUN.name:
                experiment, owner, started = group.experiment, group.owner, group.month
        # It is deleted with any of its ends.
        is_retained = all(group.is_retained for group in in_trash)
        if is_lost:
            link_id = "{}/{} {}/{} {}".format(table_name, *ends)
            is_retained &= self._is_retained(LINK.name, link_id)
            return Group(LINK.name, ORPHANED, is_retained)
        if in_trash:
            return Group(LINK.name, TRASH, is_retained, experiment, owner, started)
        return Group(LINK.name, ACTIVE, False, experiment, owner, started)

    def _add(self, table_name: str, group: Group, number: int) -> None:
        if number:
            self._usage.rows[table_name][group] += number

    # -- statements --------------------------------------------------------------------------------

    def _select(self, name: str, columns: Collection[str]) -> Select[Any]:
        """Return a statement for columns of a table; NULL for those it lacks."""
        here = self._columns.get(name, set())
        wanted: list[ColumnElement[Any]] = [
            column(c) if c in here else literal_column("NULL").label(c) for c in columns
        ]
        return select(*wanted).select_from(table(name))

    def _stream(self, name: str, columns: Collection[str]) -> Iterator[tuple[Any, ...]]:
        if name not in self._columns:
            return
        for rows in self._snapshot.stream(self._select(name, columns)):
            yield from rows
        self._snapshot.release()


def _stage(lifecycle_stage: str | None) -> str:
    return TRASH if lifecycle_stage == "deleted" else ACTIVE
