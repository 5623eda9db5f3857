"""The tables of a tracking server's database, as the installed MLflow defines them."""

from __future__ import annotations

# The tables of the registry are part of the same metadata once this is imported.
from mlflow.store.model_registry.dbmodels import models as registry
from mlflow.store.tracking.dbmodels import models as tracking

__all__ = ["registry", "tracking"]
