"""The registry of a database: for a plan as over REST, for the trash with every location."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, insert

from mlflow_gc.backend.mlflow_tables import registry, tracking
from mlflow_gc.inventory.sql.registry import Registry, read_registry
from mlflow_gc.inventory.sql.tables import TOMBSTONE, Tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

METADATA = tracking.SqlRun.metadata
RUN = "a" * 32
COPY = "models:/gone/1"


@pytest.fixture
def database() -> Iterator[Connection]:
    with create_engine("sqlite://").connect() as connection:
        METADATA.create_all(connection, [t for n, t in METADATA.tables.items() if "model" in n])
        yield connection


def _add(database: Connection, workspace: str, name: str, **versions: dict[str, Any]) -> None:
    of = {"name": name, "workspace": workspace}
    database.execute(insert(registry.SqlRegisteredModel).values(**of))
    for number, version in versions.items():
        key = {**of, "version": int(number.removeprefix("v"))}
        values = {"run_id": RUN, "source": f"s3://b/{name}", "creation_time": 1, **version}
        database.execute(insert(registry.SqlModelVersion).values(**{**key, **values}))
        tag = {"key": "k", "value": workspace}
        database.execute(insert(registry.SqlModelVersionTag).values(**key, **tag))


def _read(database: Connection, workspace: str | None = None, **how: bool) -> Registry:
    tables = Tables(METADATA)
    return read_registry(tables, lambda s: database.execute(s).all(), workspace, **how)  # type: ignore[arg-type]


def test_what_is_in_another_workspace_is_foreign(database: Connection) -> None:
    """The same names in both: each with its own tags, aliases and highest version."""
    _add(database, "default", "fraud", v1={}, v2={})
    _add(database, "other", "fraud", v1={}, v7={})
    alias = {"name": "fraud", "alias": "champion", "version": 7, "workspace": "other"}
    database.execute(insert(registry.SqlRegisteredModelAlias).values(**alias))
    found = _read(database)
    assert {key: v.tags["k"] for key, v in found.versions.items()} == {
        ("fraud", "1"): "default",
        ("fraud", "2"): "default",
    }
    assert [(v.version, v.tags["k"]) for v in found.foreign_versions] == [
        ("1", "other"),
        ("7", "other"),
    ]
    assert (found.models["fraud"].highest_version, found.models["fraud"].aliases) == (2, {})
    (foreign,) = found.foreign_models
    assert (foreign.highest_version, foreign.aliases) == (7, {"7": ("champion",)})
    assert _read(database, "other").models["fraud"] == foreign


def test_only_tombstones_are_left_out(database: Connection) -> None:
    """A version without a stage may protect a run as well."""
    of_stage = {"v1": {"current_stage": TOMBSTONE}, "v2": {"current_stage": None}, "v3": {}}
    _add(database, "default", "fraud", **of_stage)
    assert [*_read(database).versions] == [("fraud", "2"), ("fraud", "3")]


def test_the_trash_needs_every_location_and_a_plan_those_of_copies(database: Connection) -> None:
    stored = {"storage_location": "s3://b/stored"}
    _add(database, "default", "fraud", v1=stored, v2={"source": COPY, **stored}, v3={})
    every = _read(database, with_storage=True).versions.values()
    assert [v.storage for v in every] == ["s3://b/stored", "s3://b/stored", ""]
    assert [v.storage for v in _read(database).versions.values()] == ["", "s3://b/stored", ""]
