"""Write a scenario to a server through MLflow's own API.

Times that a client may choose (start and end of a run, timestamps of metrics and traces) are
backdated here; times that the server sets are shifted afterwards by
:mod:`mlflow_gc.demo.backdating`, for which this module returns the server's ids.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from mlflow_gc.demo.scenario import (
    RunSpec,
    Scenario,
    TraceSpec,
    VersionSpec,
)
from mlflow_gc.demo.server import direct_opener
from mlflow_gc.domain.tag_selection import PARENT_TAG, USER_TAG
from mlflow_gc.errors import GcError

if TYPE_CHECKING:
    from mlflow import MlflowClient

_Item = TypeVar("_Item")

_THREADS = 6
_TIMEOUT_S = 60.0


@dataclass
class SeededIds:
    """The ids that the server assigned to a scenario."""

    experiments: dict[str, str] = field(default_factory=dict)
    """Experiment id by name."""
    runs: dict[str, str] = field(default_factory=dict)
    """Run id by :attr:`RunSpec.key`."""
    versions: list[tuple[VersionSpec, str]] = field(default_factory=list)
    """Version numbers."""
    logged_models: dict[str, str] = field(default_factory=dict)
    """Id of a run's logged model by :attr:`RunSpec.key`."""


class Seeder:
    """Writes a scenario to an empty server, and reports the number of runs written so far."""

    def __init__(self, tracking_uri: str, progress: Callable[[int], None]) -> None:
        # mlflow takes seconds to import, and the other commands do not need it.
        from mlflow import MlflowClient

        # MLflow sets its own log level on import; its messages about waiting for versions are
        # noise.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._uri = tracking_uri
        self._client: MlflowClient = MlflowClient(tracking_uri, registry_uri=tracking_uri)
        self._progress = progress
        self._ids = SeededIds()
        self._run_uris: dict[str, str] = {}

    def seed(self, scenario: Scenario) -> SeededIds:
        """Write the scenario; takes some seconds per hundred runs.

        Raises:
            GcError: The server refused a request.
        """
        from mlflow.exceptions import MlflowException

        try:
            self._ids.experiments = {"Default": "0"}
            for experiment in scenario.experiments:
                self._ids.experiments[experiment.name] = self._client.create_experiment(
                    experiment.name, tags=dict(experiment.tags)
                )
            self._runs(scenario.runs)
            for model in scenario.models:
                self._client.create_registered_model(
                    model.name, dict(model.tags), model.description
                )
            for version in scenario.versions:
                self._version(version)
            for prompt in scenario.prompts:
                for template in prompt.templates:
                    self._client.register_prompt(prompt.name, template)
                for alias, number in prompt.aliases.items():
                    self._client.set_prompt_alias(prompt.name, alias, number)
            self._traces(scenario.traces)
            # Last, because a deleted experiment accepts no more runs.
            for experiment in scenario.experiments:
                if experiment.deleted:
                    self._client.delete_experiment(self._ids.experiments[experiment.name])
        except (MlflowException, OSError) as error:
            raise GcError(f"The demo's data could not be written to its server: {error}") from error
        return self._ids

    def _runs(self, runs: Iterable[RunSpec]) -> None:
        waiting = list(runs)
        while waiting:
            # Parents first: the tag of a child contains the id of its parent.
            ready = [r for r in waiting if r.parent is None or r.parent in self._ids.runs]
            if not ready:
                message = f"runs without their parents: {[run.key for run in waiting]}"
                raise ValueError(message)
            _in_threads(self._run, ready)
            written = {run.key for run in ready}
            waiting = [run for run in waiting if run.key not in written]

    def _run(self, spec: RunSpec) -> None:
        from mlflow.entities import Metric, Param

        tags = {USER_TAG: spec.user, **spec.tags}
        if spec.parent is not None:
            tags[PARENT_TAG] = self._ids.runs[spec.parent]
        experiment_id = self._ids.experiments[spec.experiment]
        if spec.start_ms is None:
            run_id = self._run_without_start(experiment_id, spec, tags)
        else:
            run = self._client.create_run(experiment_id, spec.start_ms, tags, spec.name)
            run_id = run.info.run_id
            self._run_uris[spec.key] = run.info.artifact_uri or ""
        self._client.log_batch(
            run_id,
            metrics=[Metric(m.name, m.value, m.time_ms, m.step) for m in spec.metrics],
            params=[Param(key, value) for key, value in spec.params.items()],
        )
        if spec.logged_model:
            model = self._client.create_logged_model(experiment_id, "model", run_id)
            self._client.finalize_logged_model(model.model_id, "READY")
            self._ids.logged_models[spec.key] = model.model_id
        if spec.end_ms is not None:
            status = "FINISHED" if spec.resumed else spec.status
            self._client.set_terminated(run_id, status, spec.end_ms)
        if spec.resumed or spec.status == "SCHEDULED":
            # The end time is kept, as when mlflow.start_run(run_id=...) resumes a run.
            self._client.update_run(run_id, spec.status)
        if spec.deleted:
            self._client.delete_run(run_id)
        self._ids.runs[spec.key] = run_id
        self._progress(len(self._ids.runs))

    def _run_without_start(self, experiment_id: str, spec: RunSpec, tags: Mapping[str, str]) -> str:
        # MLflow's Python client always sends a start time; clients in other languages need not,
        # and the server then stores 0 (server/handlers.py, _create_run).
        response = self._post(
            "api/2.0/mlflow/runs/create",
            {
                "experiment_id": experiment_id,
                "user_id": spec.user,
                "run_name": spec.name,
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )
        return str(response["run"]["info"]["run_id"])

    def _version(self, spec: VersionSpec) -> None:
        if spec.copy_of is not None:
            name, original = spec.copy_of
            # MLflow prints a message about the copy to stderr.
            with contextlib.redirect_stderr(io.StringIO()):
                version = self._client.copy_model_version(f"models:/{name}/{original}", spec.model)
        else:
            source, run_id, model_id = self._source(spec)
            version = self._client.create_model_version(
                spec.model,
                source,
                run_id,
                dict(spec.tags),
                description=spec.description,
                # 0: do not wait, and do not log about waiting.
                await_creation_for=0,
                model_id=model_id,
            )
        number = str(version.version)
        if spec.stage is not None:
            with warnings.catch_warnings():
                # Stages are deprecated, but common in registries.
                warnings.simplefilter("ignore", FutureWarning)
                self._client.transition_model_version_stage(spec.model, number, spec.stage)
        for alias in spec.aliases:
            self._client.set_registered_model_alias(spec.model, alias, number)
        self._ids.versions.append((spec, number))

    def _source(self, spec: VersionSpec) -> tuple[str, str | None, str | None]:
        """Return source, run id and logged model id of a version to register."""
        key = spec.run or ""
        run_id = self._ids.runs[key]
        if spec.source == "logged_model":
            model_id = self._ids.logged_models[key]
            return f"models:/{model_id}", run_id, model_id
        if spec.source == "artifacts":
            return f"{self._run_uris[key]}/model", run_id, None
        if spec.source == "s3":
            # Registered by another tool: no run id, only the path names the run.
            return f"s3://models/{run_id}/artifacts/model", None, None
        self._client.log_text(run_id, f"flavors: {{}}\nrun_id: {run_id}\n", "model/MLmodel")
        return f"runs:/{run_id}/model", run_id, None

    def _traces(self, traces: Iterable[TraceSpec]) -> None:
        try:
            for trace in traces:
                self._trace(trace)
        except urllib.error.HTTPError as error:
            # Servers before 3.2 have another API for traces; the demo leaves them out there.
            if error.code != HTTPStatus.NOT_FOUND:
                raise

    def _trace(self, spec: TraceSpec) -> None:
        # Over REST, because MLflow's Python functions for traces use one tracking server per
        # process and finish in a background thread that outlives the demo's server.
        trace_id = f"tr-{uuid4().hex}"
        time = datetime.fromtimestamp(spec.created_ms / 1000, timezone.utc).isoformat()
        experiment_id = self._ids.experiments[spec.experiment]
        info = {
            "trace_id": trace_id,
            "trace_location": {
                "type": "MLFLOW_EXPERIMENT",
                "mlflow_experiment": {"experiment_id": experiment_id},
            },
            "request_time": time.replace("+00:00", "Z"),
            "execution_duration": "1.5s",
            "state": "OK",
            "request_preview": spec.question,
        }
        self._post("api/3.0/mlflow/traces", {"trace": {"trace_info": info}})
        if spec.scored_by is None:
            return
        assessment = {
            "assessment_name": "correctness",
            "trace_id": trace_id,
            "source": {"source_type": "LLM_JUDGE", "source_id": "judge"},
            "feedback": {"value": True},
            # Metadata that mlflow.genai.evaluate() adds to every score
            # (genai/evaluation/harness.py).
            "metadata": {"mlflow.assessment.sourceRunId": self._ids.runs[spec.scored_by]},
        }
        self._post(f"api/3.0/mlflow/traces/{trace_id}/assessments", {"assessment": assessment})

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self._uri}/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with direct_opener().open(request, timeout=_TIMEOUT_S) as response:
            payload: dict[str, Any] = json.load(response)
        return payload


def _in_threads(work: Callable[[_Item], None], items: list[_Item]) -> None:
    """Do the work for all items; an error or Ctrl-C cancels items that have not started."""
    pool = ThreadPoolExecutor(_THREADS)
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
