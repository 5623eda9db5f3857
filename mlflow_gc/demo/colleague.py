"""Changes by a colleague on the server between the report and the prune."""

from __future__ import annotations

from mlflow_gc.errors import GcError
from mlflow_gc.plan.document import Plan
from mlflow_gc.retention.owner_tags import KEEP

_EXPERIMENT = "fraud-detection"
_MODEL = "fraud"
_ALIAS = "rollback"


def interfere(tracking_uri: str, plan: Plan) -> list[str]:
    """Protect one run and one model version that the plan is about to delete.

    Returns:
        The changes, one sentence each; names in them are not escaped.

    Raises:
        GcError: The plan has no suitable entities.
    """
    # mlflow takes seconds to import, and the other commands do not need it.
    from mlflow import MlflowClient

    parents = {run["parent_run_id"] for run in plan["runs"]}
    # In a retained experiment and not in a sweep, so that one change protects one run.
    loners = [
        run
        for run in plan["runs"]
        if run["experiment_name"] == _EXPERIMENT
        and run["parent_run_id"] is None
        and run["run_id"] not in parents
    ]
    versions = [version for version in plan["model_versions"] if version["name"] == _MODEL]
    if not loners or not versions:
        message = f"The plan lists no run of {_EXPERIMENT} or no version of {_MODEL}."
        raise GcError(message, hint="The demo's data should have both: please report this.")
    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    run = max(loners, key=lambda run: str(run["run_name"]))
    client.set_tag(run["run_id"], KEEP, "true")
    version = max(versions, key=lambda version: int(version["version"]))
    client.set_registered_model_alias(_MODEL, _ALIAS, version["version"])
    return [
        f"tags run {run['run_name']} of {_EXPERIMENT} with {KEEP}=true",
        f"gives version {version['version']} of model {_MODEL} the alias {_ALIAS}",
    ]
