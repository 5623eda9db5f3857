"""Reading the rows that no deletion of MLflow removes: tombstones of model versions, dangling links.

See docs/explanation/mlflow-facts.md#purged-runs-leave-rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
)

from mlflow_gc.domain.entities import ModelVersion
from mlflow_gc.domain.trash import DanglingLink
from mlflow_gc.inventory.sql.tables import LINKS, TOMBSTONE, TableReader, chunks, tags_of

_LINK = re.compile(r"(?P<table>[a-z_]+)/(?P<source_type>\w+) (?P<source_id>.*?)/\w+ .*", re.DOTALL)

ENDS = {
    "DATASET": ("datasets", "dataset_uuid"),
    "RUN": ("runs", "run_uuid"),
    "RUN_INPUT": ("runs", "run_uuid"),
    "RUN_OUTPUT": ("runs", "run_uuid"),
    "MODEL_INPUT": ("logged_models", "model_id"),
    "MODEL_OUTPUT": ("logged_models", "model_id"),
    "run": ("runs", "run_uuid"),
    "model": ("logged_models", "model_id"),
    "trace": ("trace_info", "request_id"),
    "experiment": ("experiments", "experiment_id"),
    "evaluation_dataset": ("evaluation_datasets", "dataset_id"),
}
"""The table and key of the ends of a link, by MLflow's type of the end.

An end of another type, or of a type whose table a version does not have, is taken to exist.
"""
RETAINED_ENDS = frozenset({"prompt_version"})
"""Types of MLflow that are taken to exist, too: the name of a prompt version is used again."""
_NAMES = {
    "datasets": "dataset",
    "runs": "run",
    "logged_models": "logged_model",
    "trace_info": "trace",
    "experiments": "experiment",
    "evaluation_datasets": "evaluation dataset",
}


class LeftoverReader(TableReader):
    """Reads what is left of deleted entities."""

    # -- tombstones ------------------------------------------------------------------------------

    def tombstones(self, only: Collection[str] | None) -> dict[str, ModelVersion]:
        """Return tombstones by ``name/version``; all, or those with some ids."""
        v, t = self._tables["model_versions"].c, self._tables["model_version_tags"].c
        own = [self._of_workspace(table) for table in ("model_versions", "model_version_tags")]
        rows = select(
            v.name, v.version, v.creation_time, v.last_updated_time, v.source, v.run_id
        ).where(v.current_stage == TOMBSTONE, own[0])
        tagged = select(t.name, t.version, t.key, t.value).where(
            self._tables.of_version(), v.current_stage == TOMBSTONE, own[1]
        )
        if only is not None:
            names = {i.rpartition("/")[0] for i in only}
            rows, tagged = rows.where(v.name.in_(names)), tagged.where(t.name.in_(names))
        tags = tags_of(self._read(tagged))
        found = {}
        for name, number, created, updated, source, run_id in self._read(rows):
            version = ModelVersion(
                name=name,
                version=str(number),
                creation_timestamp=created,
                last_updated_timestamp=updated,
                current_stage=TOMBSTONE,
                description="",
                source=source or "",
                run_id=run_id or "",
                run_link="",
                model_id="",
                tags=tags.get((name, number), {}),
                storage="",
            )
            if only is None or f"{name}/{number}" in only:
                found[f"{name}/{number}"] = version
        return found

    def highest_versions(self, names: Collection[str]) -> dict[str, int]:
        """Return the highest number of each model, tombstones included."""
        v = self._tables["model_versions"].c
        found: dict[str, int] = {}
        for some in chunks(names):
            rows = select(v.name, func.max(v.version)).where(
                v.name.in_(some), self._of_workspace("model_versions")
            )
            found |= {name: int(number) for name, number in self._read(rows.group_by(v.name))}
        return found

    def _of_workspace(self, table: str) -> ColumnElement[bool]:
        return self._tables.of_workspace(table, self._workspace)

    # -- links -----------------------------------------------------------------------------------

    def links(self, only: Collection[str] | None) -> dict[str, DanglingLink]:
        """Return links with an end that does not exist, by id; all, or those with some ids.

        On a server with workspaces an end that exists must be in this one.
        """
        found: dict[str, DanglingLink] = {}
        for table in LINKS:
            if table not in self._tables:
                continue
            statement = self._dangling(table)
            if only is None:
                found |= {link.id: link for link in self._links(table, statement)}
                continue
            parsed = [match for i in only if (match := _LINK.fullmatch(i))]
            sources = {m["source_id"] for m in parsed if m["table"] == table}
            for some in chunks(sources):
                of = statement.where(self._tables[table].c.source_id.in_(some))
                found |= {link.id: link for link in self._links(table, of) if link.id in only}
        return found

    def experiments_of(self, links: Collection[DanglingLink]) -> dict[str, frozenset[str]]:
        """Return, by id of a link, the experiments with whose rows it is deleted: of its own ends."""
        ends = {
            link.id: [end.partition(" ")[::2] for end in (link.source, link.destination)]
            for link in links
            if link.table == "entity_associations"
        }
        experiments = {
            ("experiment", i): i for of in ends.values() for kind, i in of if kind == "experiment"
        }
        if "trace_info" in self._tables:
            t = self._tables["trace_info"].c
            traces = {i for of in ends.values() for kind, i in of if kind == "trace"}
            for some in chunks(traces):
                rows = select(t.request_id, t.experiment_id).where(t.request_id.in_(some))
                experiments |= {("trace", i): str(experiment) for i, experiment in self._read(rows)}
        return {
            i: frozenset(experiments[kind, end] for kind, end in of if (kind, end) in experiments)
            for i, of in ends.items()
        }

    def _links(self, table: str, statement: Select[Any]) -> Iterator[DanglingLink]:
        for *ends, is_source, is_destination, created, tags in self._read(statement):
            kinds = (ends[0], ends[1], is_source), (ends[2], ends[3], is_destination)
            yield DanglingLink(
                table,
                f"{ends[0]} {ends[1]}",
                f"{ends[2]} {ends[3]}",
                tuple(f"{_NAMES[ENDS[kind][0]]} {i}" for kind, i, is_lost in kinds if is_lost),
                created or None,
                1 + tags,
            )

    def _dangling(self, table: str) -> Select[Any]:
        c = self._tables[table].c
        source = self._missing(c.source_type, c.source_id)
        destination = self._missing(c.destination_type, c.destination_id)
        number: ColumnElement[int] = literal(0)
        if table == "inputs" and "input_tags" in self._tables:
            t = self._tables["input_tags"].c
            number = select(func.count()).where(t.input_uuid == c.input_uuid).scalar_subquery()
        columns: list[ColumnElement[Any]] = [
            c.source_type,
            c.source_id,
            c.destination_type,
            c.destination_id,
            case((source, 1), else_=0),
            case((destination, 1), else_=0),
            *self._tables.columns(table, "created_time"),
            number,
        ]
        statement = select(*columns).where(or_(source, destination))
        if self._workspace is None:
            return statement
        return statement.where(
            or_(source, self._here(c.source_type, c.source_id)),
            or_(destination, self._here(c.destination_type, c.destination_id)),
        )

    def _missing(
        self, kind: ColumnElement[str], entity_id: ColumnElement[str]
    ) -> ColumnElement[bool]:
        """Return the condition that an end is of a known kind and in no table."""
        return or_(
            false(),
            *(
                and_(kind == name, ~exists(select(1).where(key == entity_id)))
                for name, _, key in self._ends()
            ),
        )

    def _here(self, kind: ColumnElement[str], entity_id: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that an end is in this workspace."""
        e = self._tables["experiments"].c
        found: list[ColumnElement[bool]] = []
        for name, table, key in self._ends():
            c = self._tables[table].c
            rows = select(1).where(key == entity_id)
            if "workspace" in c:
                rows = rows.where(c.workspace == self._workspace)
            elif "experiment_id" in c and "workspace" in e:
                rows = rows.where(
                    c.experiment_id == e.experiment_id, e.workspace == self._workspace
                )
            else:
                continue
            found.append(and_(kind == name, exists(rows)))
        return or_(false(), *found)

    def _ends(self) -> Iterator[tuple[str, str, ColumnElement[str]]]:
        """Yield the known types of ends, with the table and its key as text."""
        for name, (table, column) in ENDS.items():
            if table in self._tables:
                key = self._tables[table].c[column]
                yield name, table, cast(key, String) if table == "experiments" else key


def numbers_of(only: Collection[str]) -> dict[str, list[int]]:
    """Return the numbers of versions by name, of ids ``name/version``."""
    found: dict[str, list[int]] = defaultdict(list)
    for entity_id in only:
        name, _, number = entity_id.rpartition("/")
        found[name].append(int(number))
    return found
