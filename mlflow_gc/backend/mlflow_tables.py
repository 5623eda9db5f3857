"""The tables of a tracking server's database, as the installed MLflow defines them."""

from __future__ import annotations

from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.store.model_registry.dbmodels import models as registry
from mlflow.store.tracking.dbmodels import models as tracking

__all__ = ["STAGE_DELETED_INTERNAL", "registry", "tracking"]
