"""``mlflow-gc usage``: what takes space, and how much of it could be freed; read-only."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import orjson
import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode


def usage(
    *,
    context: typer.Context,
    server: options.Server,
    backend_store_uri: options.BackendStoreUri = None,
    artifacts_destination: options.ArtifactsDestination = None,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Tell apart what prune would delete now; reads the server like report."
        ),
    ] = False,
    policy_options: options.PolicyOptions,
    output_format: options.UsageFormat = "text",
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="Output file; - is stdout."),
    ] = Path("-"),
    output: options.Output,
) -> int:
    """Measure what takes space and how much of it could be freed; nothing is deleted."""
    from mlflow_gc.cli.output import console, write_output
    from mlflow_gc.cli.session import begin
    from mlflow_gc.plan.writer import refuse_overwriting, write
    from mlflow_gc.render.html import usage_page
    from mlflow_gc.render.markdown import usage_markdown
    from mlflow_gc.render.terminal import usage_text
    from mlflow_gc.workflows.usage import measure_usage
    from mlflow_gc.workflows.usage_document import FORMAT

    reporter = begin(context, output)
    connection = server.connection(backend_store_uri)
    refuse_overwriting(out, (FORMAT,), "such a document")
    policy = policy_options.resolve(reporter, output)
    found = measure_usage(
        connection,
        reporter,
        artifacts_destination=artifacts_destination,
        policy=policy,
        stale=stale,
        verbose=output.verbose,
    )
    if output_format == "json":
        content = orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    elif output_format == "markdown":
        content = usage_markdown.show(found).encode()
    elif output_format == "html":
        content = usage_page.show(found).encode()
    elif str(out) == "-":
        usage_text.show(found, console(no_color=output.no_color))
        return ExitCode.OK
    else:
        lines = io.StringIO()
        usage_text.show(found, console(no_color=True, file=lines))
        content = lines.getvalue().encode()
    if str(out) == "-":
        write_output(content)
    else:
        write([content], out)
    return ExitCode.OK
