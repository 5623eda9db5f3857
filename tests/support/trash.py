"""A trash with rows and files, and an oracle that compares every table and every file."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine, insert, select
from sqlalchemy.pool import NullPool

from support.plans import Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Table

    from support.bench import Bench
    from support.cli import Outcome
    from support.world import World

Rows = dict[str, list[tuple[Any, ...]]]
_MEANINGLESS: dict[type, Callable[[], object]] = {
    # Also JSON, for which MariaDB checks its columns of text.
    str: lambda: str(secrets.randbelow(10**15)),
    int: lambda: 1,
    float: lambda: 1.0,
    bool: lambda: False,
    bytes: lambda: b"x",
    dict: dict,
    object: dict,
    date: lambda: date(2026, 1, 1),
    datetime: lambda: datetime(2026, 1, 1, tzinfo=timezone.utc),
    Decimal: lambda: Decimal(1),
}
"""A value of each type of column."""


@dataclass(frozen=True)
class State:
    """Every row of every table, and the size of every file by its path."""

    rows: Rows
    files: dict[str, int]

    def rows_gone_since(self, before: State) -> Rows:
        """The rows of ``before`` that are no longer there; nothing else may have changed."""
        gone = {}
        for table, rows in before.rows.items():
            # Some columns are dictionaries, which no set takes.
            left = Counter(map(repr, self.rows[table]))
            missing = []
            for row in rows:
                key = repr(row)
                if left[key]:
                    left[key] -= 1
                else:
                    missing.append(row)
            assert not +left, f"new or changed rows in {table}: {[*+left][:3]}"
            if missing:
                gone[table] = missing
        return gone

    def files_gone_since(self, before: State) -> set[str]:
        """The files of ``before`` that are no longer there; nothing else may have changed."""
        assert self.files.items() <= before.files.items()
        return before.files.keys() - self.files.keys()


class Trash:
    """The trash of the server of a bench.

    Args:
        bench: the data and the program.
        root: the folder in which the server keeps artifacts.
        database_uri: of the server, with user and password.
    """

    def __init__(self, bench: Bench, root: Path, database_uri: str) -> None:
        self.bench = bench
        self.world: World = bench.world
        self.root = root
        self.database_uri = database_uri
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir()
        self.put("other/file.txt")

    @property
    def options(self) -> tuple[object, ...]:
        """Where database and artifacts are."""
        server = ("--tracking-uri", self.world.uri, "--backend-store-uri", self.database_uri)
        return (*server, "--artifacts-destination", self.root)

    def put(self, path: str, size: int = 10) -> str:
        """Write a file below the artifact root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
        return path

    def run(
        self, experiment: str, *, deleted: float | None = 100.0, files: int = 2, **more: Any
    ) -> str:
        """A run with parameters, metrics and files that was deleted so many days ago."""
        run_id = self.world.run(experiment, metrics={"loss": self.world.ago(200)}, **more)
        self.world.param(run_id)
        for number in range(files):
            self.put(f"{experiment}/{run_id}/artifacts/folder/{number}.bin")
        if deleted is not None:
            self.delete(run_id, deleted)
        return run_id

    def copies(self, run_id: str, number: int) -> list[str]:
        """So many runs with the rows and files of another one, written all at once."""
        found = [secrets.token_hex(16) for _ in range(number)]
        with create_engine(self.database_uri, poolclass=NullPool).begin() as connection:
            # Runs first: the other tables refer to them.
            for table in self.tables:
                if "run_uuid" not in table.c:
                    continue
                rows = connection.execute(select(table).where(table.c.run_uuid == run_id)).all()
                copied = [
                    {
                        key: value.replace(run_id, copy) if isinstance(value, str) else value
                        for key, value in row._mapping.items()
                    }
                    for copy in found
                    for row in rows
                ]
                if copied:
                    connection.execute(insert(table), copied)
        for folder in self.root.glob(f"*/{run_id}"):
            for copy in found:
                shutil.copytree(folder, folder.with_name(copy))
        return found

    def find(self, table: str, **values: object) -> list[dict[str, Any]]:
        """The rows of a table with some values."""
        (wanted,) = (each for each in self.tables if each.name == table)
        with create_engine(self.database_uri, poolclass=NullPool).connect() as connection:
            found = connection.execute(select(wanted).filter_by(**values)).mappings()
            return [dict(row) for row in found]

    def fill(self, table: str, **values: object) -> dict[str, Any]:
        """Insert a row into a table, with values of no meaning where none are given; return it.

        What it has to refer to is the first row of the other table, made if there is none.
        """
        found: dict[str, Any] = dict(values)
        (wanted,) = (each for each in self.tables if each.name == table)
        for constraint in wanted.foreign_key_constraints:
            if any(c.name in found or c.nullable for c in constraint.columns):
                continue
            other = constraint.referred_table.name
            row = next(iter(self.find(other)), None) or self.fill(other)
            for element in constraint.elements:
                found[element.parent.name] = row[element.column.name]
        for column in wanted.columns:
            is_made = column.computed is not None or column.server_default is not None
            is_serial = column.primary_key and column.type.python_type is int
            if column.name not in found and not (column.nullable or is_made or is_serial):
                found[column.name] = _MEANINGLESS[column.type.python_type]()
        with create_engine(self.database_uri, poolclass=NullPool).begin() as connection:
            connection.execute(insert(wanted), found)
        return found

    def delete(self, run_id: str, days: float = 100.0) -> None:
        """Move a run to the trash, so many days ago."""
        self.world.delete_run(run_id)
        moment = self.world.ago(days)
        self.world.sql("UPDATE runs SET deleted_time = ? WHERE run_uuid = ?", moment, run_id)

    def model(
        self, experiment: str, run_id: str | None = None, *, deleted: float | None = 100.0
    ) -> str:
        """A logged model with a file that was deleted so many days ago."""
        model_id = self.world.logged_model(experiment, run_id)
        self.put(f"{experiment}/models/{model_id}/artifacts/MLmodel")
        if deleted is not None:
            self.drop_model(model_id, deleted)
        return model_id

    def drop_model(self, model_id: str, days: float = 100.0) -> None:
        """Move a logged model to the trash, so many days ago."""
        self.world.delete_logged_model(model_id)
        self.world.sql(
            "UPDATE logged_models SET last_updated_timestamp_ms = ? WHERE model_id = ?",
            self.world.ago(days),
            model_id,
        )

    def drop_experiment(self, experiment: str, days: float = 100.0) -> None:
        """Move an experiment to the trash, so many days ago."""
        self.world.delete_experiment(experiment)
        self.world.date_experiment(experiment, updated=self.world.ago(days))
        self.world.sql(
            "UPDATE runs SET deleted_time = ? WHERE experiment_id = ?",
            self.world.ago(days),
            int(experiment),
        )

    def report(
        self, *args: object, codes: tuple[int, ...] = (0,), name: str = "purge.json"
    ) -> Plan:
        """Run ``report --trash`` and read its plan."""
        path = self.bench.dir / name
        as_of = ("--as-of", self.world.as_of)
        command = ("report", "--trash", "-o", path, *as_of, *self.options, *args)
        self.bench.cli(*command).expect(*codes)
        return Plan.load(path)

    def purge(self, plan: Plan, *args: object, codes: tuple[int, ...] = (0,)) -> Outcome:
        """Run ``purge PLAN``."""
        return self.bench.cli("purge", plan.path, *self.options, *args).expect(*codes)

    @cached_property
    def tables(self) -> list[Table]:
        """All tables; those that refer to others come after them."""
        metadata = MetaData()
        metadata.reflect(create_engine(self.database_uri, poolclass=NullPool))
        return metadata.sorted_tables

    def state(self) -> State:
        """What is in the database and in the artifact root now."""
        with create_engine(self.database_uri, poolclass=NullPool).connect() as connection:
            rows = {
                table.name: sorted(map(tuple, connection.execute(select(table))), key=repr)
                for table in self.tables
            }
        files = {}
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                files[str(path.relative_to(self.root))] = path.lstat().st_size
        return State(rows, files)

    def put_back(self, before: State) -> None:
        """Bring back the rows and files that are gone since, and were made here."""
        now = self.state()
        gone = now.rows_gone_since(before)
        with create_engine(self.database_uri, poolclass=NullPool).begin() as connection:
            for table in self.tables:
                rows = [
                    {
                        c.name: v
                        for c, v in zip(table.columns, row, strict=True)
                        if c.computed is None
                    }
                    for row in gone.get(table.name, ())
                ]
                if rows:
                    connection.execute(insert(table), rows)
        for path in now.files_gone_since(before):
            self.put(path, before.files[path])


def make_unreadable(folder: Path) -> None:
    """Put a folder below another one whose path is longer than the operating system allows.

    Permissions refuse nothing to root, as which tests may run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    for _ in range(17):
        os.mkdir("n" * 250, dir_fd=opened)
        inner = os.open("n" * 250, os.O_RDONLY, dir_fd=opened)
        os.close(opened)
        opened = inner
    os.close(opened)


def ids(plan: Plan, kind: str, key: str) -> set[str]:
    """The ids that a plan deletes of one kind."""
    return {entry[key] for entry in plan.document[kind]}


def protected(plan: Plan, kind: str, key: str) -> dict[str, str]:
    """The reasons by id of what a plan protects of one kind."""
    return {entry[key]: entry["reason"] for entry in plan.document["protected"][kind]}
