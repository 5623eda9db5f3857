"""What was read of a server: the input of the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlflow_gc.domain.entities import (
    Diagnostic,
    Experiment,
    LoggedModel,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
)
from mlflow_gc.domain.traces import Traces


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that was read; the input of the decision.

    ``runs`` holds active runs only, those of deleted experiments included; ``experiments`` holds
    both lifecycle stages.  An experiment without an entry in ``probes`` is retained.
    """

    experiments: Mapping[str, Experiment]
    runs: Mapping[str, Run]
    registered_models: Mapping[str, RegisteredModel]
    model_versions: Mapping[tuple[str, str], ModelVersion]
    logged_models: Mapping[str, LoggedModel]
    probes: Mapping[str, Probe] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    workspace: str | None = None
    parents_in_trash: Mapping[str, str] = field(default_factory=dict)
    """The parent of each run in the trash that has active child runs."""
    foreign_versions: tuple[ModelVersion, ...] = ()
    """Versions of other workspaces: never deleted; they protect the runs and models they name."""
    foreign_models: tuple[RegisteredModel, ...] = ()
    """Registered models of other workspaces; their texts protect the runs that they name."""
    traces: Traces | None = None
    """The runs that traces refer to; None until they were read."""
    refused_names: frozenset[str] = frozenset()
    """Registered models whose name the server refuses in a deletion."""
