"""The bare SELECT: the columns that decide, of all active runs, with their tags and metric times.

    read_select.py DATABASE_URI PLAN

Then the entries of a plan, in memory already, are written to a file.  Prints seconds of both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import orjson
from sqlalchemy import create_engine, text

plan = json.loads(Path(sys.argv[2]).read_bytes())
entries = [entry for value in plan.values() if isinstance(value, list) for entry in value]
began = time.monotonic()
rows = 0
with create_engine(sys.argv[1]).connect() as connection:
    for statement in (
        (
            "SELECT run_uuid, name, experiment_id, user_id, status, start_time, end_time, artifact_uri"
            " FROM runs WHERE lifecycle_stage = 'active'"
        ),
        "SELECT run_uuid, key, value FROM tags",
        "SELECT run_uuid, min(timestamp), max(timestamp) FROM latest_metrics GROUP BY run_uuid",
    ):
        result = connection.execution_options(stream_results=True, yield_per=10_000).execute(
            text(statement)
        )
        rows += sum(len(some) for some in result.partitions())
selected = time.monotonic() - began
began = time.monotonic()
with tempfile.TemporaryFile() as file:
    for entry in entries:
        file.write(orjson.dumps(entry))
        file.write(b",\n")
    file.flush()
print(f"{rows} {selected:.3f} {time.monotonic() - began:.3f}")
