"""A throw-away PostgreSQL with an MLflow server in front of it, and bulk-loaded runs.

A run is what the field has: 15 parameters, 10 metrics, 6 tags.  Rows go in with COPY, a million
runs in a few minutes; the server's own client would take days.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support import postgres

from mlflow_gc.demo.server import LocalServer

DAY_MS = 86_400_000
SHAPES = ("spread", "one", "tiny", "nested", "same-moment", "protected", "mlflow3")
STALE_DAYS = 30
TRIALS = 20
LONG = 100
"""Values of each metric of a run of the shape ``long``."""
STEPS = 20
_CHUNK = 20_000


@dataclass(frozen=True)
class Site:
    """Addresses of one server."""

    tracking_uri: str
    database_uri: str
    stale: int


@contextlib.contextmanager
def site(
    runs: int, shape: str = "spread", workers: int = 4, directory: Path | None = None
) -> Iterator[Site]:
    """Start PostgreSQL, load runs, start a server; all of it goes at the end.

    The server keeps its files in ``directory``, or in a temporary one.
    """
    binaries = postgres.binaries()
    if binaries is None:
        sys.exit("PostgreSQL is not installed (Debian: apt-get install postgresql).")
    with postgres.running(binaries) as database_uri:
        began = time.monotonic()
        stale = load(database_uri, runs, shape)
        print(f"# {runs:,} runs ({shape}) loaded in {time.monotonic() - began:.0f} s", flush=True)
        with server(database_uri, workers, directory) as uri:
            yield Site(uri, database_uri, stale)


@contextlib.contextmanager
def server(database_uri: str, workers: int, directory: Path | None = None) -> Iterator[str]:
    """Run ``mlflow server`` on a database."""
    with tempfile.TemporaryDirectory() as temporary:
        place = directory or Path(temporary)
        with LocalServer(place, backend_store_uri=database_uri, workers=workers) as running:
            yield running.uri


def experiment_count(runs: int, shape: str) -> int:
    """Return over how many experiments, numbered from 1, so many runs are spread."""
    few = {"one": 1, "same-moment": 1, "tiny": max(runs // 5, 1)}
    return few.get(shape, max(runs // 100, 1))


def load(database_uri: str, runs: int, shape: str = "spread") -> int:
    """Make MLflow's tables and fill them; returns how many runs are older than 30 days.

    Shapes: ``spread`` over a hundredth as many experiments; ``one`` experiment; ``tiny`` ones with
    5 runs each; ``nested`` in chains of ten; ``same-moment``, all began and ended in one
    millisecond; ``protected``, each behind a model version; ``long``, with 100 values of each metric; ``mlflow3``, sweeps of a parent and 19
    trials, of which each has 20 values of each metric and a logged model, every tenth one left a trace
    and one of each sweep read the model of the trial before.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(database_uri, "mlflow-artifacts:/").engine.dispose()
    count = experiment_count(runs, shape)
    now = int(time.time() * 1000)
    rng = random.Random(7)
    connection = psycopg2.connect(database_uri.replace("postgresql+psycopg2", "postgresql"))
    with connection, connection.cursor() as cursor:
        definitions = _without_indexes(cursor)
        copy = _Copy(cursor)
        made = now - 900 * DAY_MS
        for number in range(1, count + 1):
            place = f"mlflow-artifacts:/{number}"
            copy.add("experiments", number, f"team/{number}", place, "active", made, made)
        stale = sweep = 0
        parent = model = ""
        for n in range(runs):
            run_id = rng.randbytes(16).hex()
            age = 400 * DAY_MS if shape == "same-moment" else rng.randint(0, 400 * DAY_MS)
            if shape == "mlflow3":
                # The trials of a sweep follow each other; their parent comes first.
                age = sweep if n % TRIALS else age
                sweep = age
            start = now - age
            stale += age - 3_600_000 > STALE_DAYS * DAY_MS
            together = {"nested": 10, "mlflow3": TRIALS}.get(shape, 1)
            experiment = n // together % count + 1
            place = f"mlflow-artifacts:/{experiment}/{run_id}/artifacts"
            user = f"user{n % 20}"
            end = start + 3_600_000
            copy.add(
                *("runs", run_id, f"run {n}", "LOCAL", "", "", user, "FINISHED"),
                *(start, end, "", "active", place, experiment),
            )
            for key, value in (
                ("mlflow.runName", f"run {n}"),
                ("mlflow.user", user),
                ("mlflow.source.name", "/home/user/project/train.py"),
                ("mlflow.source.type", "LOCAL"),
                ("mlflow.source.git.commit", rng.randbytes(20).hex()),
                ("team", f"team {n % 50}"),
            ):
                copy.add("tags", key, value, run_id)
            if (shape == "nested" and n % 10) or (shape == "mlflow3" and n % TRIALS):
                copy.add("tags", "mlflow.parentRunId", parent, run_id)
            if shape != "mlflow3" or n % TRIALS == 0:
                parent = run_id
            for m in range(10):
                copy.add(
                    "latest_metrics", f"metric_{m}", rng.random(), start + 60_000, 7, "f", run_id
                )
                # The last one is the one above.
                first = {"mlflow3": 8 - STEPS, "long": 8 - LONG}.get(shape, 7)
                for step in range(first, 8):
                    at = start + 60_000 + step - 7
                    copy.add("metrics", f"metric_{m}", rng.random(), at, step, "f", run_id)
            if shape == "mlflow3":
                model = _made_model(
                    copy, run_id, experiment, end, model if n % TRIALS == 10 else ""
                )
                if n % 10 == 0:
                    copy.add("trace_info", f"tr-{run_id}", experiment, start, 5, "OK")
            for p in range(15):
                copy.add("params", f"param_{p}", str(rng.random()), run_id)
            if shape == "protected":
                if n % 1000 == 0:
                    model = f"model {n}"
                    copy.add("registered_models", model, made, made, "default")
                copy.add(
                    *("model_versions", model, n % 1000 + 1, made, made, "None"),
                    *(place, run_id, "READY", "default"),
                )
        copy.flush()
        for definition in definitions:
            cursor.execute(definition)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    connection.close()
    return stale


def _made_model(copy: _Copy, run_id: str, experiment: int, at: int, read: str) -> str:
    """Add a logged model that a run made, and the one that it read; returns the id of the first."""
    model_id = f"m-{run_id}"
    place = f"mlflow-artifacts:/{experiment}/models/{model_id}/artifacts"
    copy.add(
        *("logged_models", model_id, experiment, "model", place, at, at, 2, "active", run_id),
    )
    copy.add("inputs", f"o{run_id}", "RUN_OUTPUT", run_id, "MODEL_OUTPUT", model_id, 0)
    if read:
        copy.add("inputs", f"i{run_id}", "RUN_INPUT", run_id, "MODEL_INPUT", read, 0)
    return model_id


def _without_indexes(cursor: psycopg2.extensions.cursor) -> list[str]:
    """Drop the indexes and constraints of the tables to fill; returns what makes them again.

    Made once over all rows they take a fraction of the time that they take row by row.
    """
    cursor.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype IN ('p', 'u', 'f')"
        " AND (conrelid::regclass::text = ANY(%(t)s) OR confrelid::regclass::text = ANY(%(t)s))"
        # Foreign keys stand on the others.
        " ORDER BY contype = 'f', conname",
        {"t": list(_Copy.COLUMNS)},
    )
    constraints = cursor.fetchall()
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)"
        " AND indexname NOT IN (SELECT conname FROM pg_constraint)",
        (list(_Copy.COLUMNS),),
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    for table, name, _ in reversed(constraints):
        cursor.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
    made = [
        f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {what}' for table, name, what in constraints
    ]
    return [*made, *(definition for _, definition in indexes)]


class _Copy:
    """Collects rows and sends them table by table, those that others refer to first."""

    COLUMNS = {  # noqa: RUF012 - a constant
        "experiments": "experiment_id,name,artifact_location,lifecycle_stage,creation_time,"
        "last_update_time",
        "runs": "run_uuid,name,source_type,source_name,entry_point_name,user_id,status,"
        "start_time,end_time,source_version,lifecycle_stage,artifact_uri,experiment_id",
        "tags": "key,value,run_uuid",
        "latest_metrics": "key,value,timestamp,step,is_nan,run_uuid",
        "metrics": "key,value,timestamp,step,is_nan,run_uuid",
        "params": "key,value,run_uuid",
        "logged_models": "model_id,experiment_id,name,artifact_location,creation_timestamp_ms,"
        "last_updated_timestamp_ms,status,lifecycle_stage,source_run_id",
        "inputs": "input_uuid,source_type,source_id,destination_type,destination_id,step",
        "trace_info": "request_id,experiment_id,timestamp_ms,execution_time_ms,status",
        "registered_models": "name,creation_time,last_updated_time,workspace",
        "model_versions": "name,version,creation_time,last_updated_time,current_stage,source,"
        "run_id,status,workspace",
    }

    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self._cursor = cursor
        self._rows: dict[str, list[str]] = {table: [] for table in self.COLUMNS}

    def add(self, table: str, *values: object) -> None:
        self._rows[table].append("\t".join(map(str, values)))
        if table == "runs" and len(self._rows[table]) >= _CHUNK:
            self.flush()

    def flush(self) -> None:
        for table, rows in self._rows.items():
            if rows:
                text = io.StringIO("\n".join(rows) + "\n")
                self._cursor.copy_expert(f"COPY {table} ({self.COLUMNS[table]}) FROM STDIN", text)
                rows.clear()
