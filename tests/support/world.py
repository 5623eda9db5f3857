"""Put data of any age and shape into a real server.

What a client can set goes through the REST API, runs aside, of which there are many; times that the
server stamps itself, and values that this version of the server would refuse but an older one
stored, are written into its SQLite file.
"""

from __future__ import annotations

import itertools
import secrets
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from support.plans import DAY_MS, rfc3339
from support.server import open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

TTL_DAYS = 30
OLD = 100.0
"""Days; far beyond the cutoff."""
FRESH = 3.0
"""Days; well before the cutoff."""
ANCIENT = 3000.0
"""Days; older than any run of a test."""
KEEP_TAG = "mlflow_gc.keep"
PROMPT_TAG = "mlflow.prompt.is_prompt"
_UNSET: Any = object()
_INSERT_RUN = """
    INSERT INTO runs (run_uuid, name, user_id, status, start_time, end_time, artifact_uri,
        experiment_id, source_type, source_name, entry_point_name, source_version, lifecycle_stage)
    SELECT ?, ?, ?, ?, ?, ?, artifact_location || '/' || ? || '/artifacts', experiment_id,
        'UNKNOWN', '', '', '', 'active'
    FROM experiments WHERE experiment_id = ?
"""
_INSERT_TAG = "INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)"


class World:
    """The content of one server.

    Args:
        uri: of the server.
        database: its SQLite file.
        as_of_ms: the moment all ages count from.

    Attributes:
        knows_storage: whether the server stores where it found the files of a version (2.8 and
            newer).
        knows_prompts: whether the server knows prompts, and takes no other source for one (2.21 and
            newer).
    """

    knows_storage = True
    knows_prompts = True

    def __init__(self, uri: str, database: Path, as_of_ms: int) -> None:
        self.uri = uri
        self.database = database
        self.as_of_ms = as_of_ms
        self.http = requests.Session()
        self._serial = itertools.count(1)

    @property
    def as_of(self) -> str:
        """The clock of the reports, in the form of the contract."""
        return rfc3339(self.as_of_ms)

    @property
    def cutoff_ms(self) -> int:
        """Older than this is stale, with the default TTL."""
        return self.as_of_ms - TTL_DAYS * DAY_MS

    def ago(self, days: float) -> int:
        """The moment so many days before :attr:`as_of`, in milliseconds."""
        return self.as_of_ms - int(days * DAY_MS)

    def call(
        self, method: str, path: str, body: Mapping[str, Any], *, version: str = "2.0"
    ) -> dict[str, Any]:
        """Call the REST API; a refusal fails the test."""
        response = self.http.request(
            method, f"{self.uri}/api/{version}/mlflow/{path}", json=dict(body), timeout=60
        )
        assert response.status_code == requests.codes.ok, f"{path} {body}: {response.text}"
        return dict(response.json())

    def sql(self, statement: str, *values: object) -> None:
        """Change the server's database behind its back."""
        with open_database(self.database) as db:
            db.execute(statement, values)

    def sql_for_each(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """The same with each of many values."""
        with open_database(self.database) as db:
            db.executemany(statement, rows)

    @property
    def store(self) -> Path | str:
        """Its database, as ``oracle`` takes it."""
        return self.database

    def close(self) -> None:
        """Close the connections to the server."""
        self.http.close()

    def columns(self, table: str) -> set[str]:
        """The columns of a table of the server's database, none where it has no such table."""
        with open_database(self.database) as db:
            return {row[1] for row in db.execute(f'PRAGMA table_info("{table}")')}

    # Experiments

    def experiment(
        self,
        name: str | None = None,
        *,
        age: float = OLD,
        created: int | None = _UNSET,
        updated: int | None = _UNSET,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """An experiment last updated ``age`` days ago, and older than any run (or as given, in ms).

        A run is no older than its experiment, whatever its own times say.  None for a time is what
        servers before 1.28 stored: nothing.
        """
        name = name or f"experiment-{next(self._serial)}"
        body = {"name": name, "tags": _tags(tags)}
        experiment_id = str(self.call("POST", "experiments/create", body)["experiment_id"])
        self.date_experiment(
            experiment_id,
            created=self.ago(max(age, ANCIENT)) if created is _UNSET else created,
            updated=self.ago(age) if updated is _UNSET else updated,
        )
        return experiment_id

    def date_experiment(
        self, experiment_id: str, *, created: Any = _UNSET, updated: Any = _UNSET
    ) -> None:
        """Set the times that the server stamps."""
        if created is not _UNSET:
            self.sql(
                "UPDATE experiments SET creation_time = ? WHERE experiment_id = ?",
                created,
                int(experiment_id),
            )
        if updated is not _UNSET:
            self.sql(
                "UPDATE experiments SET last_update_time = ? WHERE experiment_id = ?",
                updated,
                int(experiment_id),
            )

    def tag_experiment(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag, which leaves last_update_time alone."""
        body = {"experiment_id": experiment_id, "key": key, "value": value}
        self.call("POST", "experiments/set-experiment-tag", body)

    def delete_experiment(self, experiment_id: str) -> None:
        """Move an experiment with its runs to the trash."""
        self.call("POST", "experiments/delete", {"experiment_id": experiment_id})

    # Runs

    def run(
        self,
        experiment_id: str,
        *,
        name: str | None = None,
        age: float = OLD,
        start: int | None = None,
        end: int | None = _UNSET,
        status: str = "FINISHED",
        metrics: Mapping[str, int] | None = None,
        tags: Mapping[str, str] | None = None,
        parent: str | None = None,
    ) -> str:
        """A run that started and ended ``age`` days ago.

        Args:
            experiment_id: where it goes.
            name: run name.
            age: days.
            start: ms; overrides ``age``.
            end: ms, or None for none; the start when not given (none while RUNNING).
            status: any status.
            metrics: metric name -> timestamp in ms.
            tags: run tags.
            parent: run id of the parent.
        """
        start = self.ago(age) if start is None else start
        if end is _UNSET:
            end = None if status in {"RUNNING", "SCHEDULED"} else start
        all_tags = {**(tags or {}), **({"mlflow.parentRunId": parent} if parent else {})}
        return self._make_run(
            experiment_id,
            name or f"run-{next(self._serial)}",
            (start, end, status),
            metrics or {},
            all_tags,
        )

    def _make_run(
        self,
        experiment_id: str,
        name: str,
        life: tuple[int, int | None, str],
        metrics: Mapping[str, int],
        tags: Mapping[str, str],
    ) -> str:
        """Write what the server would (a test compares), in a twentieth of the time."""
        start, end, status = life
        run_id = secrets.token_hex(16)
        with open_database(self.database) as db:
            row = (run_id, name, "", status, start, end, run_id, int(experiment_id))
            db.execute(_INSERT_RUN, row)
            db.executemany(
                _INSERT_TAG,
                [(k, v, run_id) for k, v in {"mlflow.runName": name, **tags}.items()],
            )
            for table in ("metrics", "latest_metrics"):
                db.executemany(
                    f"INSERT INTO {table} (key, value, timestamp, step, is_nan, run_uuid)"
                    " VALUES (?, 0.5, ?, 0, 0, ?)",
                    [(key, timestamp, run_id) for key, timestamp in metrics.items()],
                )
        return run_id

    def make_run_over_rest(
        self,
        experiment_id: str,
        name: str,
        life: tuple[int, int | None, str],
        metrics: Mapping[str, int],
        tags: Mapping[str, str],
    ) -> str:
        """Make a run as a client does."""
        start, end, status = life
        body = {
            "experiment_id": experiment_id,
            "run_name": name,
            "start_time": start,
            "tags": _tags(tags),
        }
        run_id = str(self.call("POST", "runs/create", body)["run"]["info"]["run_id"])
        for key, timestamp in metrics.items():
            self.metric(run_id, timestamp, key=key)
        update: dict[str, Any] = {"run_id": run_id, "status": status}
        if end is not None:
            update["end_time"] = end
        if status != "RUNNING" or end is not None:
            self.call("POST", "runs/update", update)
        return run_id

    def metric(
        self,
        run_id: str,
        timestamp: int,
        *,
        key: str = "loss",
        step: int = 0,
        value: float | str = 0.5,
    ) -> None:
        """Log a metric."""
        body = {
            "run_id": run_id,
            "key": key,
            "value": value,
            "timestamp": timestamp,
            "step": step,
        }
        self.call("POST", "runs/log-metric", body)

    def param(self, run_id: str, key: str = "depth", value: str = "7") -> None:
        """Log a parameter."""
        self.call("POST", "runs/log-parameter", {"run_id": run_id, "key": key, "value": value})

    def read_dataset(self, run_id: str, name: str = "customers", digest: str = "1") -> None:
        """Let a run read a dataset."""
        dataset = {"name": name, "digest": digest, "source_type": "local", "source": "{}"}
        body = {"run_id": run_id, "datasets": [{"dataset": dataset, "tags": []}]}
        self.call("POST", "runs/log-inputs", body)

    def tag_input(self, run_id: str, key: str, value: str) -> None:
        """Tag the datasets that a run reads, as ``mlflow.log_input`` with a context does."""
        self.sql(
            "INSERT INTO input_tags (input_uuid, name, value)"
            " SELECT input_uuid, ?, ? FROM inputs WHERE destination_id = ?",
            *(key, value, run_id),
        )

    def tag_run(self, run_id: str, key: str, value: str) -> None:
        """Set a run tag."""
        self.call("POST", "runs/set-tag", {"run_id": run_id, "key": key, "value": value})

    def resume(self, run_id: str) -> None:
        """What ``mlflow.start_run(run_id=...)`` does: status RUNNING, old end time."""
        self.call("POST", "runs/update", {"run_id": run_id, "status": "RUNNING"})

    def delete_run(self, run_id: str) -> None:
        """Move a run to the trash."""
        self.call("POST", "runs/delete", {"run_id": run_id})

    def restore_run(self, run_id: str) -> None:
        """Bring a run back from the trash."""
        self.call("POST", "runs/restore", {"run_id": run_id})

    def use_model(self, run_id: str, model_id: str) -> None:
        """Let a run read a logged model, as loading it inside the run does."""
        body = {"run_id": run_id, "models": [{"model_id": model_id}]}
        self.call("POST", "runs/log-inputs", body)

    def measure_model(self, run_id: str, model_id: str, *, age: float = OLD) -> None:
        """Let a run log a metric of a logged model, as an evaluation does."""
        body = {"run_id": run_id, "key": "score", "value": 1, "timestamp": self.ago(age), "step": 0}
        self.call("POST", "runs/log-metric", {**body, "model_id": model_id})

    def put_out_model(self, run_id: str, model_id: str) -> None:
        """Name a logged model as a result of a run, as training it further does."""
        body = {"run_id": run_id, "models": [{"model_id": model_id, "step": 0}]}
        self.call("POST", "runs/outputs", body)

    def purge_run(self, run_id: str) -> None:
        """Remove a run for good, as ``mlflow gc`` does."""
        for table in ("tags", "metrics", "latest_metrics", "params"):
            self.sql(f"DELETE FROM {table} WHERE run_uuid = ?", run_id)
        self.sql("DELETE FROM runs WHERE run_uuid = ?", run_id)

    def bulk_runs(
        self,
        experiment_id: str,
        count: int,
        *,
        age: float = OLD,
        status: str = "FINISHED",
        name: str = "bulk",
    ) -> list[str]:
        """Thousands of runs in a moment, one millisecond apart, written as the server would."""
        start = self.ago(age)
        ids = [secrets.token_hex(16) for _ in range(count)]
        with open_database(self.database) as db:
            db.executemany(
                _INSERT_RUN,
                [
                    (
                        run_id,
                        f"{name}-{n}",
                        "bulk",
                        status,
                        start - n,
                        start - n,
                        run_id,
                        int(experiment_id),
                    )
                    for n, run_id in enumerate(ids)
                ],
            )
            db.executemany(
                _INSERT_TAG,
                [("mlflow.runName", f"{name}-{n}", run_id) for n, run_id in enumerate(ids)],
            )
        return ids

    # The model registry

    def model(
        self,
        name: str | None = None,
        *,
        age: float = OLD,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """A registered model."""
        name = name or f"model-{next(self._serial)}"
        self.call("POST", "registered-models/create", {"name": name, "tags": _tags(tags)})
        self.sql(
            "UPDATE registered_models SET creation_time = ?, last_updated_time = ? WHERE name = ?",
            self.ago(age),
            self.ago(age),
            name,
        )
        return name

    def stamp_model(self, name: str, moment: int | None) -> None:
        """Set when a registered model was last updated, as a server with a bad clock would."""
        self.sql("UPDATE registered_models SET last_updated_time = ? WHERE name = ?", moment, name)

    def bulk_models(self, count: int, *, age: float = OLD) -> list[str]:
        """Registered models without versions, written as the server would."""
        names = [f"bulk-model-{next(self._serial)}" for _ in range(count)]
        with open_database(self.database) as db:
            db.executemany(
                "INSERT INTO registered_models (workspace, name, creation_time, last_updated_time)"
                " VALUES ('default', ?, ?, ?)",
                [(name, self.ago(age), self.ago(age)) for name in names],
            )
        return names

    def version(
        self,
        name: str,
        *,
        source: str | None = None,
        storage: str | None = None,
        run_id: str | None = None,
        model_id: str | None = None,
        age: float = OLD,
        updated: int | None = None,
        stage: str | None = None,
        aliases: Iterable[str] = (),
        tags: Mapping[str, str] | None = None,
        description: str | None = None,
    ) -> str:
        """A version of ``name``; returns ``name/version``.

        ``source`` and ``run_id`` are stored as given, also where this server would refuse them.
        ``storage`` is where the server once found the files; like ``source`` when not given.
        """
        is_prompt = self.knows_prompts and PROMPT_TAG in (tags or {})
        body: dict[str, Any] = {
            "name": name,
            # The server checks prompts to have the placeholder, and others not to be suspicious.
            "source": "dummy-source" if is_prompt else "s3://bucket/no-run",
            "tags": _tags(tags),
            **({"description": description} if description is not None else {}),
        }
        if model_id is not None:
            body["model_id"] = model_id
        created = self.call("POST", "model-versions/create", body)["model_version"]
        version = str(created["version"])
        if stage is not None:
            self.stage(name, version, stage)
        for alias in aliases:
            self.alias(f"{name}/{version}", alias)
        moment = self.ago(age) if updated is None else updated
        self.sql(
            "UPDATE model_versions SET creation_time = ?, last_updated_time = ?, source = ?,"
            " run_id = ? WHERE name = ? AND version = ?",
            min(self.ago(age), moment),
            moment,
            source or "s3://bucket/no-run",
            run_id or "",
            name,
            int(version),
        )
        if self.knows_storage:
            self.sql(
                "UPDATE model_versions SET storage_location = ? WHERE name = ? AND version = ?",
                storage or source or "s3://bucket/no-run",
                name,
                int(version),
            )
        return f"{name}/{version}"

    def copy_version(self, version: str, name: str, *, run_id: str = "") -> str:
        """Copy ``name/version`` to another model as MLflow does: the server finds the files.

        ``run_id`` is what the copy says about its run, right or wrong.
        """
        body = {"name": name, "source": f"models:/{version}"}
        made = self.call("POST", "model-versions/create", body)["model_version"]
        number = str(made["version"])
        self.sql(
            "UPDATE model_versions SET run_id = ? WHERE name = ? AND version = ?",
            run_id,
            name,
            int(number),
        )
        return f"{name}/{number}"

    def rename_model(self, name: str, new_name: str) -> None:
        """Rename a registered model; the sources of copies keep the old name."""
        self.call("POST", "registered-models/rename", {"name": name, "new_name": new_name})

    def stage(self, name: str, version: str, stage: str) -> None:
        """Move a version to a stage."""
        body = {"name": name, "version": version, "stage": stage}
        self.call("POST", "model-versions/transition-stage", body)

    def alias(self, version: str, alias: str) -> None:
        """Point an alias at ``name/version``."""
        name, _, number = version.rpartition("/")
        body = {"name": name, "alias": alias, "version": number}
        self.call("POST", "registered-models/alias", body)

    def tag_model(self, name: str, key: str, value: str) -> None:
        """Tag a registered model."""
        self.call("POST", "registered-models/set-tag", {"name": name, "key": key, "value": value})

    def tag_version(self, version: str, key: str, value: str) -> None:
        """Tag ``name/version``."""
        name, _, number = version.rpartition("/")
        body = {"name": name, "version": number, "key": key, "value": value}
        self.call("POST", "model-versions/set-tag", body)

    def describe(self, version: str, text: str) -> None:
        """Edit the description of ``name/version``."""
        name, _, number = version.rpartition("/")
        body = {"name": name, "version": number, "description": text}
        self.call("PATCH", "model-versions/update", body)

    def delete_version(self, version: str) -> None:
        """Delete ``name/version``, which cannot be undone."""
        name, _, number = version.rpartition("/")
        self.call("DELETE", "model-versions/delete", {"name": name, "version": number})

    def prompt(self, name: str, *, age: float = OLD, versions: int = 2) -> list[str]:
        """A prompt as MLflow's own client registers it."""
        self.model(name, age=age, tags={PROMPT_TAG: "true"})
        return [
            self.version(
                name,
                source="dummy-source",
                age=age,
                tags={PROMPT_TAG: "true", "mlflow.prompt.text": "Hello {{name}}"},
            )
            for _ in range(versions)
        ]

    def spare_version(self, name: str, **more: Any) -> str:
        """A version that something newer outranks: put a fresh one on top of it."""
        version = self.version(name, **more)
        self.version(name, age=FRESH)
        return version

    # MLflow 3

    def logged_model(
        self, experiment_id: str, run_id: str | None = None, *, age: float = OLD
    ) -> str:
        """A logged model, finished, as ``mlflow.<flavor>.log_model`` leaves it."""
        body = {"experiment_id": experiment_id, "name": "model"}
        if run_id is not None:
            body["source_run_id"] = run_id
        info = self.call("POST", "logged-models", body)["model"]["info"]
        model_id = str(info["model_id"])
        self.call(
            "PATCH",
            f"logged-models/{model_id}",
            {"model_id": model_id, "status": "LOGGED_MODEL_READY"},
        )
        self.sql(
            "UPDATE logged_models SET creation_timestamp_ms = ?, last_updated_timestamp_ms = ?"
            " WHERE model_id = ?",
            self.ago(age),
            self.ago(age),
            model_id,
        )
        return model_id

    def trace(self, experiment_id: str, *, age: float = OLD) -> str:
        """A trace."""
        trace_id = f"tr-{secrets.token_hex(16)}"
        self.sql(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms,"
            " status) VALUES (?, ?, ?, 5, 'OK')",
            trace_id,
            int(experiment_id),
            self.ago(age),
        )
        return trace_id

    def bulk_traces(self, experiment_id: str, count: int, *, age: float = OLD) -> None:
        """Many traces of one moment."""
        rows = [
            (f"tr-{secrets.token_hex(16)}", int(experiment_id), self.ago(age)) for _ in range(count)
        ]
        self.sql_for_each(
            "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms,"
            " status) VALUES (?, ?, ?, 5, 'OK')",
            rows,
        )

    # What else an experiment can hold

    def scorer(self, experiment_id: str, name: str = "judge") -> None:
        """A scorer, or another version of it."""
        body = {"experiment_id": experiment_id, "name": name, "serialized_scorer": "{}"}
        self.call("POST", "scorers/register", body, version="3.0")

    def issue(self, experiment_id: str) -> None:
        """An issue."""
        body = {"experiment_id": experiment_id, "name": "too slow", "description": "since May"}
        self.call("POST", "issues", body, version="3.0")

    def review_queue(self, experiment_id: str) -> None:
        """A review queue."""
        body = {
            "experiment_id": experiment_id,
            "name": f"queue-{next(self._serial)}",
            "queue_type": "CUSTOM",
        }
        self.call("POST", "review-queues/create", body, version="3.0")

    def label_schema(self, experiment_id: str) -> None:
        """A label schema that somebody made."""
        body = {
            "experiment_id": experiment_id,
            "name": f"question-{next(self._serial)}",
            "type": "FEEDBACK",
            "input": {"text": {}},
        }
        self.call("POST", "label-schemas/create", body, version="3.0")

    def default_label_schema(self, experiment_id: str) -> None:
        """The one that the server makes when somebody opens the page of an experiment."""
        self.http.get(
            f"{self.uri}/api/3.0/mlflow/label-schemas/list",
            params={"experiment_id": experiment_id},
            timeout=60,
        ).raise_for_status()

    def evaluation_dataset(self, *experiment_ids: str) -> str:
        """An evaluation dataset of some experiments."""
        body = {"name": f"dataset-{next(self._serial)}", "experiment_ids": list(experiment_ids)}
        made = self.call("POST", "datasets/create", body, version="3.0")["dataset"]
        return str(made["dataset_id"])

    def assessed_trace(self, experiment_id: str, run_id: str) -> str:
        """A trace with an assessment of the run, as ``mlflow.genai.evaluate`` leaves them."""
        trace_id = self.source_trace(experiment_id, run_id)
        self.assess(trace_id, run_id)
        return trace_id

    def source_trace(self, experiment_id: str, run_id: str) -> str:
        """A trace that was made in a run."""
        trace_id = f"tr-{secrets.token_hex(16)}"
        info = {
            "trace_id": trace_id,
            "trace_location": {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": experiment_id},
            },
            "request_time": rfc3339(self.ago(OLD)),
            "state": "OK",
            "trace_metadata": {"mlflow.sourceRun": run_id},
        }
        self.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
        return trace_id

    def delete_logged_model(self, model_id: str) -> None:
        """Delete a logged model; versions that name it stay."""
        self.call("DELETE", f"logged-models/{model_id}", {"model_id": model_id})

    def source_trace_v2(self, experiment_id: str, run_id: str) -> str:
        """A trace that was made in a run, as clients made them before 3.0 (2.14 and newer)."""
        body = {
            "experiment_id": experiment_id,
            "timestamp_ms": self.ago(OLD),
            "request_metadata": [{"key": "mlflow.sourceRun", "value": run_id}],
            "tags": [],
        }
        return str(self.call("POST", "traces", body)["trace_info"]["request_id"])

    def assess(
        self,
        trace_id: str,
        run_id: str | None = None,
        *,
        key: str = "mlflow.assessment.sourceRunId",
    ) -> None:
        """Assess a trace: in the name of a run, as a judge does, or of none, as people do.

        Args:
            trace_id: of the trace.
            run_id: of the run.
            key: of the metadata that names it.
        """
        moment = rfc3339(self.ago(OLD))
        assessment = {
            "assessment_name": "correctness",
            "trace_id": trace_id,
            "source": {"source_type": "LLM_JUDGE" if run_id else "HUMAN", "source_id": "somebody"},
            "create_time": moment,
            "last_update_time": moment,
            "feedback": {"value": True},
            "metadata": {key: run_id} if run_id else {"page": "1"},
        }
        path = f"traces/{trace_id}/assessments"
        self.call("POST", path, {"assessment": assessment}, version="3.0")

    def assessments(self, trace_id: str) -> list[str]:
        """The names of the assessments of a trace, asked from the server."""
        found = self.call("GET", f"traces/{trace_id}", {}, version="3.0")
        return [a["assessment_name"] for a in found["trace"]["trace_info"].get("assessments", ())]


def _tags(tags: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (tags or {}).items()]


class DatabaseWorld(World, ABC):
    """The content of a server on a database that is no file.

    Args:
        uri: of the server.
        database_uri: of its database.
        as_of_ms: the moment all ages count from.
    """

    _make_run = World.make_run_over_rest

    def __init__(self, uri: str, database_uri: str, as_of_ms: int) -> None:
        super().__init__(uri, Path("no-file"), as_of_ms)
        self.database_uri = database_uri

    @property
    def store(self) -> str:
        """The SQLAlchemy URI of its database."""
        return self.database_uri

    def columns(self, table: str) -> set[str]:
        """The columns of a table of the server's database, none where it has no such table."""
        with self.rows() as cursor:
            cursor.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table,)
            )
            return {str(name) for (name,) in cursor.fetchall()}

    @abstractmethod
    def rows(self) -> AbstractContextManager[Any]:
        """Open a cursor on the database; commits on success."""

    def sql(self, statement: str, *values: object) -> None:
        """Change the server's database behind its back."""
        with self.rows() as cursor:
            cursor.execute(statement.replace("?", "%s"), values)

    def sql_for_each(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        """The same with each of many values."""
        with self.rows() as cursor:
            cursor.executemany(statement.replace("?", "%s"), rows)
