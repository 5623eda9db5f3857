"""Reading the folders that may lie in, or around, those of entities in the trash."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_, select, true

from mlflow_gc.domain.entities import ModelVersion, Run
from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, RUN
from mlflow_gc.domain.source_references import location
from mlflow_gc.domain.trash import Key, Locations, PlaceOf, TrashedModel
from mlflow_gc.inventory.sql.tables import Read, TableReader, Tables, chunks

ARTIFACTS = "mlflow.artifactLocation"
ARCHIVE = "mlflow.trace.archiveLocation"
_FOLDER = re.compile(r"/([0-9a-f]{32}|m-[0-9a-f]{32}|tr-[0-9a-f]{32})/artifacts/")


class LocationReader(TableReader):
    """Reads locations of artifacts; ``place_of`` tells which are equal."""

    def __init__(self, tables: Tables, read: Read, place_of: PlaceOf) -> None:
        super().__init__(tables, read)
        self._place_of = place_of

    def locations(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        traces: Iterable[tuple[str, str]],
        versions: Iterable[ModelVersion],
    ) -> Locations:
        """Return the folders that may lie in, or around, those of some entities.

        Runs, logged models and traces in their usual place below their experiment are represented by
        the folder of the experiment, unless a folder of these entities is in theirs.  ``traces`` are
        ids and folders.
        """
        e = self._tables["experiments"].c
        owned: list[tuple[Key, str]] = [
            ((EXPERIMENT.name, str(i)), uri or "")
            for i, uri in self._read(select(e.experiment_id, e.artifact_location))
        ]
        for version in versions:
            key = ("model_version", version.key)
            owned += [(key, uri) for uri in (version.source, version.storage) if "/" in uri]
        owned += self._unusual_folders
        folders = [run.artifact_uri for run in runs.values() if not run.has_own_folder]
        roots = {run.artifact_root for run in runs.values() if run.has_own_folder}
        folders += [*roots, *(model.artifact_uri for model in models.values())]
        inside = {i for uri in folders for i in _FOLDER.findall(f"{location(uri)}/")}
        for own, uri in traces:
            inside.update(i for i in _FOLDER.findall(f"{location(uri)}/") if i != own)
        owned += self._existing(inside)
        return Locations(owned, self._place_of)

    @cached_property
    def _unusual_folders(self) -> list[tuple[Key, str]]:
        """Folders that are not in the usual place below their experiment.

        Read once: the server sets them when it creates something, in the usual place.
        """
        return [
            *self._unusual("runs", "run_uuid", "artifact_uri", RUN.name, "/"),
            *self._unusual(
                "logged_models", "model_id", "artifact_location", LOGGED_MODEL.name, "/models/"
            ),
            *self._unusual_traces(),
        ]

    def _unusual(
        self, table: str, key: str, uri: str, kind: str, between: str
    ) -> Iterator[tuple[Key, str]]:
        """Yield the folders that are not ``<location><between><id>/artifacts`` of their experiment.

        Somebody who moves a store may have changed one and not the other.
        """
        if table not in self._tables:
            return
        c, e = self._tables[table].c, self._tables["experiments"].c
        of_experiment = e.experiment_id == c.experiment_id
        rows = (
            select(c[key], c[uri])
            .select_from(c[key].table.outerjoin(e.experiment_id.table, of_experiment))
            .where(~_is_usual(c[uri], e.artifact_location, between, c[key]))
        )
        for entity_id, place in self._read(rows):
            yield (kind, entity_id), place or ""

    def _unusual_traces(self) -> Iterator[tuple[Key, str]]:
        if not {"trace_tags", "trace_info"} <= self._tables.names:
            return
        t, i = self._tables["trace_tags"].c, self._tables["trace_info"].c
        e = self._tables["experiments"].c
        usual = _is_usual(t.value, e.artifact_location, "/traces/", t.request_id)
        rows = (
            select(t.request_id, t.value)
            .select_from(
                t.request_id.table.outerjoin(
                    i.request_id.table, i.request_id == t.request_id
                ).outerjoin(e.experiment_id.table, e.experiment_id == i.experiment_id)
            )
            .where(or_((t.key == ARTIFACTS) & ~usual, t.key == ARCHIVE))
        )
        for trace_id, place in self._read(rows):
            yield ("trace", trace_id), place or ""

    def _existing(self, ids: Collection[str]) -> Iterator[tuple[Key, str]]:
        """Yield the folders of the runs, logged models and traces with some ids."""
        for table, key, uri, kind in (
            ("runs", "run_uuid", "artifact_uri", RUN.name),
            ("logged_models", "model_id", "artifact_location", LOGGED_MODEL.name),
            ("trace_tags", "request_id", "value", "trace"),
        ):
            if table in self._tables:
                c = self._tables[table].c
                is_place = c.key.in_([ARTIFACTS, ARCHIVE]) if kind == "trace" else true()
                for chunk in chunks(ids):
                    for entity_id, place in self._read(
                        select(c[key], c[uri]).where(c[key].in_(chunk), is_place)
                    ):
                        yield (kind, entity_id), place or ""


def _is_usual(
    uri: ColumnElement[Any],
    location: ColumnElement[Any],
    between: str,
    entity_id: ColumnElement[Any],
) -> ColumnElement[bool]:
    """Return the condition that a folder is where MLflow puts it; false for NULL."""
    own = between + entity_id + "/artifacts"
    # MLflow puts a slash in between unless the location ends in one.
    after_slash = between[1:] + entity_id + "/artifacts"
    is_after_slash = location.like("%/") & (uri == location + after_slash)
    return func.coalesce(or_(uri == location + own, is_after_slash), false())
