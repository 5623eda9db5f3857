"""Reading the trash from a database, and everything that may still need something in it.

The tables are those of the database itself (reflected), not those of the installed MLflow: a server
may be older or newer.  The same statements read the whole trash for a plan, and a few entities
again inside the transaction that deletes them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.entities import (
    Experiment,
    Inventory,
    LoggedModel,
    ModelVersion,
    RegisteredModel,
    Run,
    artifact_root,
)
from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, RUN
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.source_references import location
from mlflow_gc.domain.tag_selection import Wanted, tags_digest
from mlflow_gc.domain.trash import Key, Locations, Trash, TrashedModel
from mlflow_gc.inventory.sql.tables import Tables

if TYPE_CHECKING:
    from sqlalchemy import Select

Read = Callable[["Select[Any]"], Sequence[Sequence[Any]]]
"""Returns all rows of a statement."""

_IDS_AT_ONCE = 1000  # PostgreSQL drivers stop at 65,535 parameters, SQLite at 32,766
_PARENT = "mlflow.parentRunId"
_NAME = "mlflow.runName"
_ARTIFACTS = "mlflow.artifactLocation"
_ARCHIVE = "mlflow.trace.archiveLocation"
_FOLDER = re.compile(r"/([0-9a-f]{32}|m-[0-9a-f]{32}|tr-[0-9a-f]{32})/artifacts/")
_ACTIVE, _DELETED = "active", "deleted"

Only = Mapping[str, Collection[str]]
"""Ids to read, by name of their kind."""


class TrashReader:
    """Reads the trash of one workspace.

    Args:
        tables: of the database.
        workspace: of the experiments; None for all, as on a server without workspaces.
        wanted: data of runs that the policy needs.
    """

    def __init__(self, tables: Tables, workspace: str | None, wanted: Wanted) -> None:
        self._read: Read = _not_read
        self._tables = tables
        self._workspace = workspace
        self._wanted = wanted

    def trash(
        self,
        read: Read,
        only: Only | None = None,
        *,
        without: Collection[Key] = (),
        counts_rows: bool = True,
    ) -> Trash:
        """Return the whole trash, or the entities with some ids, in whatever stage they are.

        Args:
            read: executes a statement; raises what the caller expects.
            only: the ids; everything that is still in one of their experiments protects it.
            without: what does not.
            counts_rows: whether to count the rows of the whole trash, which takes the longest.
        """
        self._read = read
        experiments = self._experiments()
        run_ids, model_ids, experiment_ids = self._ids(experiments, only)
        runs, run_deleted = self._runs(run_ids)
        models = {m.model_id: m for m in self._models(model_ids)}
        children, active = self._children(runs)
        deleted: dict[Key, int | None] = {(RUN.name, i): ms for i, ms in run_deleted.items()}
        for model in models.values():
            deleted[LOGGED_MODEL.name, model.model_id] = model.last_updated_time
        for i in experiment_ids:
            deleted[EXPERIMENT.name, i] = experiments[i].last_update_time
        registry = self._registry()
        makers = self._made(runs)
        return Trash(
            inventory=Inventory(
                experiments=experiments,
                runs=runs,
                registered_models=registry[0],
                model_versions=registry[1],
                logged_models={
                    **{i: _logged(m) for i, m in models.items()},
                    **{m.model_id: m for m in makers},
                },
                foreign_models=registry[2],
                foreign_versions=registry[3],
                workspace=self._workspace,
            ),
            models=models,
            deleted_ms=deleted,
            rows=self._rows(runs, models, experiment_ids) if counts_rows and only is None else {},
            needed_by=dict(self._needed(runs, models, makers)),
            children=children,
            active_runs=active,
            needed_experiments=dict(
                self._needed_experiments(experiment_ids, active_only=only is None, without=without)
            ),
            contents=self._contents(experiment_ids),
            locations=self._locations(runs, models, registry[1], registry[3]),
            totals=self.totals(read) if only is None else {},
            trace_locations=self._trace_locations(experiment_ids),
        )

    # -- entities ------------------------------------------------------------------------------

    def _experiments(self) -> dict[str, Experiment]:
        from sqlalchemy import select

        e = self._tables["experiments"].c
        t = self._tables["experiment_tags"].c
        tags: dict[str, dict[str, str]] = defaultdict(dict)
        for i, key, value in self._read(select(t.experiment_id, t.key, t.value)):
            tags[str(i)][key] = value or ""
        rows = select(
            e.experiment_id,
            e.name,
            e.lifecycle_stage,
            e.artifact_location,
            *self._tables.columns("experiments", "creation_time", "last_update_time"),
        )
        if self._workspace is not None and "workspace" in e:
            rows = rows.where(e.workspace == self._workspace)
        return {
            str(i): Experiment(
                experiment_id=str(i),
                name=name or "",
                lifecycle_stage=stage or "",
                artifact_location=place or "",
                creation_time=created or None,
                last_update_time=updated or None,
                tags=dict(sorted(tags.get(str(i), {}).items())),
            )
            for i, name, stage, place, created, updated in self._read(rows)
        }

    def _ids(
        self, experiments: Mapping[str, Experiment], only: Only | None
    ) -> tuple[list[str], list[str], list[str]]:
        """Return the ids of the runs, logged models and experiments to read, sorted."""
        from sqlalchemy import select

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
            ids.append(sorted(i for i, home in rows if str(home) in experiments))
        in_trash = [i for i, e in experiments.items() if e.lifecycle_stage == _DELETED]
        return ids[0], ids[1], sorted(in_trash, key=int)

    def _runs(self, run_ids: Sequence[str]) -> tuple[dict[str, Run], dict[str, int | None]]:
        from sqlalchemy import select

        r, t = self._tables["runs"].c, self._tables["tags"].c
        runs: dict[str, Run] = {}
        deleted: dict[str, int | None] = {}
        for ids in _chunks(run_ids):
            tags: dict[str, dict[str, str]] = defaultdict(dict)
            of_runs = select(t.run_uuid, t.key, t.value).where(t.run_uuid.in_(ids))
            for run_id, key, value in self._read(of_runs):
                tags[run_id][key] = value or ""
            rows = select(
                r.run_uuid,
                r.experiment_id,
                r.user_id,
                r.status,
                r.lifecycle_stage,
                r.start_time,
                r.end_time,
                r.artifact_uri,
                *self._tables.columns("runs", "name", "deleted_time"),
            ).where(r.run_uuid.in_(ids))
            for run_id, home, user, status, stage, start, end, uri, name, when in self._read(rows):
                root, has_own_folder = artifact_root(uri or "", run_id)
                own = tags.get(run_id, {})
                run_name = name or own.get(_NAME, "")
                deleted[run_id] = when or None
                runs[run_id] = Run(
                    run_id=run_id,
                    run_name=run_name,
                    experiment_id=str(home),
                    user_id=user or "",
                    status=status or "",
                    lifecycle_stage=stage or "",
                    start_time=start,
                    end_time=end or None,
                    newest_metric_time=None,
                    oldest_metric_time=None,
                    artifact_root=root,
                    has_own_folder=has_own_folder,
                    tags=self._wanted.of(own, user or ""),
                    tags_digest=tags_digest(own, run_name),
                )
        return runs, deleted

    def _models(self, model_ids: Sequence[str]) -> Iterator[TrashedModel]:
        from sqlalchemy import select

        if not model_ids:
            return
        m, t = self._tables["logged_models"].c, self._tables["logged_model_tags"].c
        for ids in _chunks(model_ids):
            tags: dict[str, dict[str, str]] = defaultdict(dict)
            of_models = select(t.model_id, t.tag_key, t.tag_value).where(t.model_id.in_(ids))
            for model_id, key, value in self._read(of_models):
                tags[model_id][key] = value or ""
            rows = select(
                m.model_id,
                m.name,
                m.experiment_id,
                m.artifact_location,
                m.status,
                m.source_run_id,
                m.lifecycle_stage,
                m.creation_timestamp_ms,
                m.last_updated_timestamp_ms,
            ).where(m.model_id.in_(ids))
            for model_id, name, home, uri, status, maker, stage, created, updated in self._read(
                rows
            ):
                yield TrashedModel(
                    model_id=model_id,
                    name=name or "",
                    experiment_id=str(home),
                    artifact_uri=uri or "",
                    status=str(status),
                    source_run_id=maker or "",
                    lifecycle_stage=stage or "",
                    creation_time=created,
                    last_updated_time=updated or None,
                    tags=dict(sorted(tags.get(model_id, {}).items())),
                )

    def _registry(
        self,
    ) -> tuple[
        dict[str, RegisteredModel],
        dict[tuple[str, str], ModelVersion],
        tuple[RegisteredModel, ...],
        tuple[ModelVersion, ...],
    ]:
        """Return the registered models and versions of this workspace, and those of the others."""
        from sqlalchemy import select

        here = self._workspace or "default"
        v, t = self._tables["model_versions"].c, self._tables["model_version_tags"].c
        tags: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
        rows = select(
            t.name,
            t.version,
            t.key,
            t.value,
            *self._tables.columns("model_version_tags", "workspace"),
        )
        for name, number, key, value, workspace in self._read(rows):
            tags[workspace or here, name, str(number)][key] = value or ""
        own: dict[tuple[str, str], ModelVersion] = {}
        foreign: list[ModelVersion] = []
        rows = select(
            v.name,
            v.version,
            v.creation_time,
            v.last_updated_time,
            v.current_stage,
            v.description,
            v.source,
            v.run_id,
            *self._tables.columns("model_versions", "run_link", "storage_location", "workspace"),
        ).where(v.current_stage.is_distinct_from("Deleted_Internal"))
        for name, number, created, updated, stage, text, source, run_id, link, at, ws in self._read(
            rows
        ):
            version = ModelVersion(
                name=name,
                version=str(number),
                creation_timestamp=created,
                last_updated_timestamp=updated,
                current_stage=stage,
                description=text or "",
                source=source or "",
                run_id=run_id or "",
                run_link=link or "",
                model_id="",
                tags=tags.get((ws or here, name, str(number)), {}),
                storage=at or "",
            )
            if (ws or here) == here:
                own[name, str(number)] = version
            else:
                foreign.append(version)
        models, others = self._registered_models(here)
        return models, own, others, tuple(foreign)

    def _registered_models(
        self, here: str
    ) -> tuple[dict[str, RegisteredModel], tuple[RegisteredModel, ...]]:
        from sqlalchemy import select

        aliases: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(
            lambda: defaultdict(list)
        )
        if "registered_model_aliases" in self._tables:
            a = self._tables["registered_model_aliases"].c
            rows = select(
                a.name,
                a.alias,
                a.version,
                *self._tables.columns("registered_model_aliases", "workspace"),
            )
            for name, alias, number, workspace in self._read(rows):
                aliases[workspace or here, name][str(number)].append(alias)
        tags: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        t = self._tables["registered_model_tags"].c
        rows = select(
            t.name, t.key, t.value, *self._tables.columns("registered_model_tags", "workspace")
        )
        for name, key, value, workspace in self._read(rows):
            tags[workspace or here, name][key] = value or ""
        own: dict[str, RegisteredModel] = {}
        others: list[RegisteredModel] = []
        m = self._tables["registered_models"].c
        rows = select(
            m.name, m.description, *self._tables.columns("registered_models", "workspace")
        )
        for name, text, workspace in self._read(rows):
            key = workspace or here, name
            model = RegisteredModel(
                name=name,
                tags=tags.get(key, {}),
                aliases={n: tuple(sorted(of)) for n, of in aliases.get(key, {}).items()},
                description=text or "",
            )
            if key[0] == here:
                own[name] = model
            else:
                others.append(model)
        return own, tuple(others)

    # -- what needs them -----------------------------------------------------------------------

    def _made(self, runs: Mapping[str, Run]) -> list[LoggedModel]:
        """Return the active logged models that runs made, or logged metrics for."""
        from sqlalchemy import select

        if "logged_models" not in self._tables:
            return []
        m, k = self._tables["logged_models"].c, self._tables["logged_model_metrics"].c
        found: dict[str, LoggedModel] = {}
        for ids in _chunks(runs):
            made = select(m.model_id, m.experiment_id, m.source_run_id, m.artifact_location).where(
                m.source_run_id.in_(ids), m.lifecycle_stage.is_distinct_from(_DELETED)
            )
            measured = (
                select(m.model_id, m.experiment_id, k.run_id, m.artifact_location)
                .select_from(k.model_id.table.join(m.model_id.table, m.model_id == k.model_id))
                .where(k.run_id.in_(ids), m.lifecycle_stage.is_distinct_from(_DELETED))
                .distinct()
            )
            for statement in (made, measured):
                for model_id, home, run_id, uri in self._read(statement):
                    known = found.get(model_id)
                    others = known.metric_run_ids if known else ()
                    found[model_id] = LoggedModel(
                        model_id=model_id,
                        experiment_id=str(home),
                        source_run_id=known.source_run_id if known else run_id,
                        artifact_uri=uri or "",
                        last_updated_time=None,
                        metric_run_ids=(*others, run_id),
                    )
        return list(found.values())

    def _needed(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        made: Iterable[LoggedModel],
    ) -> Iterator[tuple[Key, tuple[Link, ...]]]:
        from sqlalchemy import select

        for model in made:
            for run_id in model.metric_run_ids:
                yield (RUN.name, run_id), (Link("logged_model", model.model_id, "is active"),)
        if models and "inputs" in self._tables:
            r, i = self._tables["runs"].c, self._tables["inputs"].c
            for ids in _chunks(models):
                rows = (
                    select(i.destination_id, i.source_id)
                    .select_from(
                        i.source_id.table.join(r.run_uuid.table, r.run_uuid == i.source_id)
                    )
                    .where(
                        i.source_type == "RUN_INPUT",
                        i.destination_type == "MODEL_INPUT",
                        i.destination_id.in_(ids),
                        r.lifecycle_stage.is_distinct_from(_DELETED),
                    )
                )
                for model_id, run_id in self._read(rows):
                    yield (LOGGED_MODEL.name, model_id), (Link("run", run_id, "reads it"),)
        yield from self._unknown(runs, models)

    def _unknown(
        self, runs: Mapping[str, Run], models: Mapping[str, TrashedModel]
    ) -> Iterator[tuple[Key, tuple[Link, ...]]]:
        """Yield what tables that this version does not know refer to."""
        from sqlalchemy import select

        for parent, kind, ids in (
            ("runs", RUN.name, runs),
            ("logged_models", LOGGED_MODEL.name, models),
        ):
            for table, column in self._tables.unknown_children(parent):
                for chunk in _chunks(ids):
                    rows = select(column).where(column.in_(chunk)).distinct()
                    for (entity_id,) in self._read(rows):
                        yield (kind, entity_id), (Link(note=f"the table {table} refers to it"),)

    def _children(
        self, runs: Mapping[str, Run]
    ) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
        """Return the runs nested in some runs, at any depth, and the active ones of these."""
        from sqlalchemy import select

        r, t = self._tables["runs"].c, self._tables["tags"].c
        found: dict[str, set[str]] = defaultdict(set)
        active: set[str] = set()
        seen: set[str] = set()
        waiting = set(runs)
        while waiting:
            seen |= waiting
            below: set[str] = set()
            for ids in _chunks(waiting):
                rows = (
                    select(t.value, t.run_uuid, r.lifecycle_stage)
                    .select_from(t.run_uuid.table.join(r.run_uuid.table, r.run_uuid == t.run_uuid))
                    .where(t.key == _PARENT, t.value.in_(ids))
                )
                for parent, child, stage in self._read(rows):
                    found[parent].add(child)
                    below.add(child)
                    if stage != _DELETED:
                        active.add(child)
            waiting = below - seen
        return {parent: tuple(sorted(of)) for parent, of in found.items()}, frozenset(active)

    def _needed_experiments(
        self, experiment_ids: Sequence[str], *, active_only: bool, without: Collection[Key]
    ) -> Iterator[tuple[str, tuple[Link, ...]]]:
        """Yield experiments that something outside of the trash needs.

        With ``active_only`` runs and logged models in the trash are decided on themselves.
        """
        from sqlalchemy import select

        numbers = [int(i) for i in experiment_ids]
        if not numbers:
            return
        for table, key, kind in (
            ("runs", "run_uuid", "run"),
            ("logged_models", "model_id", "logged_model"),
        ):
            if table in self._tables:
                c = self._tables[table].c
                rows = select(c.experiment_id, c[key]).where(c.experiment_id.in_(numbers))
                if active_only:
                    rows = rows.where(c.lifecycle_stage.is_distinct_from(_DELETED))
                for home, entity_id in self._read(rows):
                    if (kind, entity_id) not in without:
                        yield str(home), (Link(kind, entity_id, "is in it"),)
        if "endpoints" in self._tables and "experiment_id" in (e := self._tables["endpoints"].c):
            rows = select(e.experiment_id, e.endpoint_id).where(e.experiment_id.in_(numbers))
            for home, endpoint in self._read(rows):
                yield str(home), (Link(note=f"the gateway endpoint {endpoint} logs to it"),)
        if {"guardrails", "scorers"} <= self._tables.names:
            g, s = self._tables["guardrails"].c, self._tables["scorers"].c
            rows = (
                select(s.experiment_id, s.scorer_name)
                .select_from(g.scorer_id.table.join(s.scorer_id.table, g.scorer_id == s.scorer_id))
                .where(s.experiment_id.in_(numbers))
            )
            for home, scorer in self._read(rows):
                yield str(home), (Link(note=f"a guardrail uses its scorer {scorer}"),)
        for table, column in self._tables.unknown_children("experiments"):
            rows = select(column).where(column.in_(numbers)).distinct()
            for (home,) in self._read(rows):
                yield str(home), (Link(note=f"the table {table} refers to it"),)

    def _contents(self, experiment_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return what is deleted with experiments besides runs and logged models."""
        from sqlalchemy import func, select

        numbers = [int(i) for i in experiment_ids]
        found: dict[str, list[str]] = defaultdict(list)
        for table, noun in (
            ("trace_info", "traces"),
            ("scorers", "scorers"),
            ("issues", "issues"),
            ("review_queues", "review queues"),
            ("label_schemas", "label schemas"),
        ):
            if table not in self._tables or not numbers:
                continue
            c = self._tables[table].c
            rows = (
                select(c.experiment_id, func.count())
                .where(c.experiment_id.in_(numbers))
                .group_by(c.experiment_id)
            )
            for home, count in self._read(rows):
                found[str(home)].append(f"{noun}: {count}")
        return {i: tuple(texts) for i, texts in found.items()}

    def _trace_locations(self, experiment_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        from sqlalchemy import select

        found: dict[str, list[str]] = defaultdict(list)
        if {"trace_info", "trace_tags"} <= self._tables.names and experiment_ids:
            i, t = self._tables["trace_info"].c, self._tables["trace_tags"].c
            rows = (
                select(i.experiment_id, t.value)
                .select_from(
                    t.request_id.table.join(i.request_id.table, i.request_id == t.request_id)
                )
                .where(
                    i.experiment_id.in_([int(n) for n in experiment_ids]),
                    t.key.in_([_ARTIFACTS, _ARCHIVE]),
                )
            )
            for home, uri in self._read(rows):
                if uri:
                    found[str(home)].append(uri)
        return {i: tuple(sorted(uris)) for i, uris in found.items()}

    # -- folders and numbers ---------------------------------------------------------------------

    def _locations(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        *versions: Mapping[tuple[str, str], ModelVersion] | Iterable[ModelVersion],
    ) -> Locations:
        """Return the folders that may lie in, or around, those of some entities.

        Runs, logged models and traces in their usual place below their experiment are represented by
        the folder of the experiment.
        """
        from sqlalchemy import select

        e = self._tables["experiments"].c
        owned: list[tuple[Key, str]] = [
            ((EXPERIMENT.name, str(i)), uri or "")
            for i, uri in self._read(select(e.experiment_id, e.artifact_location))
        ]
        for of in versions:
            for version in of.values() if isinstance(of, Mapping) else of:
                key = ("model_version", version.key)
                owned += [(key, uri) for uri in (version.source, version.storage) if "/" in uri]
        owned += self._unusual_folders
        folders = [run.artifact_uri for run in runs.values() if not run.has_own_folder]
        roots = {run.artifact_root for run in runs.values() if run.has_own_folder}
        folders += [*roots, *(model.artifact_uri for model in models.values())]
        inside = {i for uri in folders for i in _FOLDER.findall(f"{location(uri)}/")}
        owned += self._existing(inside)
        return Locations(owned)

    @cached_property
    def _unusual_folders(self) -> list[tuple[Key, str]]:
        """Folders that are not in the usual place below their experiment.

        Read once: the server sets them when it creates something, in the usual place.
        """
        return [
            *self._unusual("runs", "run_uuid", "artifact_uri", RUN.name),
            *self._unusual("logged_models", "model_id", "artifact_location", LOGGED_MODEL.name),
            *self._unusual_traces(),
        ]

    def _unusual(self, table: str, key: str, uri: str, kind: str) -> Iterator[tuple[Key, str]]:
        """Yield the folders that do not end in ``/<id>/artifacts``."""
        from sqlalchemy import select

        if table not in self._tables:
            return
        c = self._tables[table].c
        usual = c[uri].like("%/" + c[key] + "/artifacts")
        for entity_id, place in self._read(select(c[key], c[uri]).where(~usual)):
            yield (kind, entity_id), place or ""

    def _unusual_traces(self) -> Iterator[tuple[Key, str]]:
        from sqlalchemy import or_, select

        if "trace_tags" not in self._tables:
            return
        t = self._tables["trace_tags"].c
        usual = t.value.like("%/" + t.request_id + "/artifacts")
        rows = select(t.request_id, t.value).where(
            or_((t.key == _ARTIFACTS) & ~usual, t.key == _ARCHIVE)
        )
        for trace_id, place in self._read(rows):
            yield ("trace", trace_id), place or ""

    def _existing(self, ids: Collection[str]) -> Iterator[tuple[Key, str]]:
        """Yield the folders of the runs, logged models and traces with some ids."""
        from sqlalchemy import select

        for table, key, uri, kind in (
            ("runs", "run_uuid", "artifact_uri", RUN.name),
            ("logged_models", "model_id", "artifact_location", LOGGED_MODEL.name),
        ):
            if table in self._tables:
                c = self._tables[table].c
                for chunk in _chunks(ids):
                    for entity_id, place in self._read(
                        select(c[key], c[uri]).where(c[key].in_(chunk))
                    ):
                        yield (kind, entity_id), place or ""

    def _rows(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        experiment_ids: Sequence[str],
    ) -> dict[Key, int]:
        """Return the number of rows of each entity, its own included."""
        from sqlalchemy import func, select

        found: dict[Key, int] = {}
        of_experiments = [int(i) for i in experiment_ids]
        for kind, ids, rows_of in (
            (RUN.name, list(runs), self._tables.rows_of_runs),
            (LOGGED_MODEL.name, list(models), self._tables.rows_of_models),
            (EXPERIMENT.name, of_experiments, self._tables.rows_of_experiments),
        ):
            for chunk in _chunks(ids):
                found |= {(kind, str(i)): 1 for i in chunk}
                for column, condition in rows_of(chunk):
                    counted = select(column, func.count()).where(condition).group_by(column)
                    for entity_id, count in self._read(counted):
                        if (kind, str(entity_id)) in found:
                            found[kind, str(entity_id)] += count
        return found

    def knows(self, read: Read, entity_id: str) -> bool:
        """Tell whether a run, logged model or trace of any workspace has an id."""
        from sqlalchemy import select

        for table, key in (
            ("runs", "run_uuid"),
            ("logged_models", "model_id"),
            ("trace_info", "request_id"),
        ):
            if table in self._tables:
                column = self._tables[table].c[key]
                if read(select(column).where(column == entity_id)):
                    return True
        return False

    def totals(self, read: Read) -> dict[str, int]:
        """Return the number of existing entities, by the field of a plan; see :meth:`trash`."""
        from sqlalchemy import func, select

        return {
            kind.entries: read(select(func.count()).select_from(self._tables[table]))[0][0]
            if table in self._tables
            else 0
            for kind, table in (
                (EXPERIMENT, "experiments"),
                (RUN, "runs"),
                (LOGGED_MODEL, "logged_models"),
            )
        }


def _not_read(_: Select[Any]) -> Sequence[Sequence[Any]]:
    raise NotImplementedError


def _logged(model: TrashedModel) -> LoggedModel:
    return LoggedModel(
        model_id=model.model_id,
        experiment_id=model.experiment_id,
        source_run_id=model.source_run_id,
        artifact_uri=model.artifact_uri,
        last_updated_time=model.last_updated_time,
        tags=model.tags,
        creation_time=model.creation_time,
    )


def _chunks(ids: Iterable[Any]) -> Iterator[list[Any]]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _IDS_AT_ONCE):
        yield ordered[start : start + _IDS_AT_ONCE]
