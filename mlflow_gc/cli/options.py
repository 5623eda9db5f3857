"""Options that several commands share, declared once."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.render.common import budget

TrackingUri = Annotated[
    str | None,
    typer.Option("--tracking-uri", help="Tracking server or database [MLFLOW_TRACKING_URI]."),
]
RegistryUri = Annotated[
    str | None,
    typer.Option("--registry-uri", help="Model registry [MLFLOW_REGISTRY_URI]."),
]
Workspace = Annotated[
    str | None,
    typer.Option("--workspace", help="Workspace of the server, MLflow 3.10+ [MLFLOW_WORKSPACE]."),
]
BackendStoreUri = Annotated[
    str | None,
    typer.Option(
        "--backend-store-uri",
        metavar="URI",
        help="Database of the server, read in place of it [MLFLOW_BACKEND_STORE_URI].",
    ),
]
MaxParallel = Annotated[
    str | None,
    typer.Option(
        "--max-parallel",
        metavar="N",
        help="Maximum number of concurrent requests [MLFLOW_GC_MAX_PARALLEL, 16].",
    ),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        "--ttl",
        metavar="DAYS",
        help="Age in whole days from which an entity is stale [MLFLOW_TRACKING_ENTITY_TTL].",
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="Count ages from this moment instead of now (RFC 3339, UTC).",
    ),
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        metavar="FILE",
        help="Policy file: guards, what to keep [MLFLOW_GC_POLICY, ./mlflow-gc.yml or .yaml].",
    ),
]
NoPolicy = Annotated[
    bool,
    typer.Option("--no-policy", help="Use no policy file, even where there is one."),
]
AcceptPartialView = Annotated[
    bool,
    typer.Option(
        "--accept-partial-view",
        help="Continue although the server may hide from this account what protects something.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Print where each setting comes from.")
]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours (also: NO_COLOR=1).")]
Events = Annotated[
    Path | None,
    typer.Option(
        "--events",
        metavar="FILE",
        help="Write what happens as JSON Lines for machines; also a named pipe or /dev/fd/3.",
    ),
]
DetailedExitcode = Annotated[
    bool,
    typer.Option(
        "--detailed-exitcode", help="Exit 2 when there is something to report, 0 when not."
    ),
]
MarkdownBudget = Annotated[
    int | None,
    typer.Option(
        "--budget",
        metavar="BYTES",
        min=budget.LEAST,
        help="Cut lists so that the Markdown is no larger "
        f"[{budget.DEFAULT}: fits a comment on GitHub].",
    ),
]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file; - is stdin.")]


class Format(str, Enum):
    """Output formats of show."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"
    CSV = "csv"
    NDJSON = "ndjson"


class DiffFormat(str, Enum):
    """Output formats of diff and check."""

    TEXT = "text"
    MARKDOWN = "markdown"
    JSON = "json"
