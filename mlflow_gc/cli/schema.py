"""``mlflow-gc schema``: print a published JSON Schema, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from mlflow_gc.errors import UsageProblem


def schema(
    name: Annotated[
        str,
        typer.Argument(help="plan, journal, diff, check, usage, events, policy or policy-tests."),
    ],
) -> None:
    """Print a JSON Schema (2020-12)."""
    from mlflow_gc.plan.schema import SCHEMAS, schema_text

    if name not in SCHEMAS:
        raise UsageProblem(
            f"There is no schema {name!r}.", hint=f"Choose from {', '.join(SCHEMAS)}."
        )
    typer.echo(schema_text(name), nl=False)
