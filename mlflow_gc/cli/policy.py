"""``mlflow-gc policy``: write a starter policy, explain a policy, run its tests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, GcError, UsageProblem
from mlflow_gc.invocation import command, file_argument

if TYPE_CHECKING:
    from mlflow_gc.domain.inventory import Inventory

app = typer.Typer(
    help="Write, explain and test a policy file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def init(
    out: Annotated[
        Path,
        typer.Option("-o", "--out", metavar="FILE", help="Output file; - is stdout."),
    ] = Path("mlflow-gc.yml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file.")] = False,
) -> None:
    """Write a commented policy to begin with, and its schema for editors."""
    from mlflow_gc.cli.output import print_message, write_output
    from mlflow_gc.plan.schema import SCHEMAS, schema_text
    from mlflow_gc.plan.writer import refuse_overwriting, write
    from mlflow_gc.policy.loader import DEFAULT_NAMES, starter

    if str(out) == "-":
        write_output(starter().encode())
        return
    if out.exists() and not force:
        raise UsageProblem(f"{out} already exists.", hint="Use --force, or -o FILE.")
    others = [out.with_name(name) for name in DEFAULT_NAMES if name != out.name]
    if out.name in DEFAULT_NAMES and (other := next((o for o in others if o.exists()), None)):
        raise UsageProblem(
            f"{other} already exists; two policy files are refused.",
            hint="Remove it first, or use -o FILE.",
        )
    # The first line of the starter names the schema, which editors use.
    beside = out.with_name(SCHEMAS["policy"])
    refuse_overwriting(beside, (f"urn:mlflow-gc:schemas:{beside.name}",), "the schema of policies")
    write([starter().encode()], out, is_private=False)
    write([schema_text("policy").encode()], beside, is_private=False)
    print_message(f"Wrote {out}, and {SCHEMAS['policy']} beside it for editors.")
    print_message(f"Next: {command('policy', 'explain', '--policy', file_argument(out))}")


@app.command()
@options.grouped
def explain(
    *,
    context: typer.Context,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Why this run is retained or deleted.")
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option("--experiment", metavar="ID|NAME", help="The same for an experiment."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME[/VERSION]", help="The same for a registered model or version."
        ),
    ] = None,
    server: options.Server,
    backend_store_uri: options.BackendStoreUri = None,
    policy_options: options.PolicyOptions,
    as_of: options.AsOf = None,
    output: options.Output,
) -> None:
    """Explain the policy in English, or which rule applies to one entity and why."""
    from mlflow_gc.cli.output import console
    from mlflow_gc.cli.session import begin
    from mlflow_gc.render.common.lines import line
    from mlflow_gc.render.terminal import policies
    from mlflow_gc.retention.explain import explain as explained
    from mlflow_gc.workflows.report import read_and_decide
    from mlflow_gc.workflows.server import open_server

    options_given = {"--run": run, "--experiment": experiment, "--model": model}
    given = [flag for flag, value in options_given.items() if value is not None]
    if len(given) > 1:
        raise UsageProblem(f"{given[0]} and {given[1]} cannot be combined.")
    connection = server.connection(backend_store_uri)
    reporter = begin(context, output)
    policy = policy_options.resolve(reporter, output, as_of=as_of)
    screen = console(no_color=output.no_color)
    policies.policy(policy, screen, whole=not given)
    if not given:
        return
    gateway = open_server(connection, verbose=output.verbose, reporter=reporter)
    inventory, decisions, _ = read_and_decide(gateway, policy, reporter)
    found = [
        (kind, key, explained(inventory, decisions, policy, kind, key))
        for kind, key in _find(inventory, run=run, experiment=experiment, model=model)
    ]
    for kind, key, explanation in found:
        policies.explanation(inventory, policy, kind, key, explanation, screen)
    for diagnostic in inventory.diagnostics:
        if diagnostic.blocks:
            line(screen, f"Warning: {diagnostic.message}", "yellow")


def _find(
    inventory: Inventory, *, run: str | None, experiment: str | None, model: str | None
) -> list[tuple[str, Any]]:
    """Return (kind, key) of the named entity.

    Raises:
        GcError: It does not exist.
    """
    if run is not None:
        if run in inventory.runs:
            return [("run", run)]
        raise GcError(
            f"There is no active run {run} on this server.",
            hint="Runs in the trash and runs that this account may not see are not listed.",
        )
    if experiment is not None:
        by_name = [i for i, e in inventory.experiments.items() if e.name == experiment]
        # Names may look like ids; an id has priority.
        ids = [experiment] if experiment in inventory.experiments else by_name
        if ids:
            return [("experiment", i) for i in ids]
        raise GcError(f"There is no experiment {experiment} on this server.")
    name, _, version = str(model).rpartition("/")
    if model in inventory.registered_models:
        versions = sorted(v.order for v in inventory.model_versions.values() if v.name == model)
        if not versions:
            return [("registered_model", model)]
        return [("model_version", (each[0], each[2])) for each in versions]
    if (name, version) in inventory.model_versions:
        return [("model_version", (name, version))]
    raise GcError(f"There is no registered model or version {model} on this server.")


@app.command("test")
def run_tests(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files of cases.")],
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", metavar="FILE", help="Test this policy, whatever a file names."),
    ] = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Run the test cases of a policy: what must be retained, what must be deleted.  Offline."""
    from mlflow_gc.cli.output import console, print_message
    from mlflow_gc.policy.test_runner import read_policy_tests, run_policy_tests, untested_rules
    from mlflow_gc.render.terminal import policies

    failed = False
    screen = console(no_color=no_color)
    for path in files:
        suite = read_policy_tests(path, policy_file=policy_file)
        results = list(run_policy_tests(suite))
        failed = failed or any(result.failures for result in results)
        policies.policy_tests(str(path), results, screen, quiet=quiet)
        for warning in suite.warnings:
            print_message(f"Warning: {warning}")
        for result in results:
            if not result.checked:
                print_message(f"Warning: {path}: the case {result.name!r} expects nothing")
        for name in untested_rules(suite.policy, results):
            print_message(f"Warning: {path}: no case tests the rule {name!r}")
    return ExitCode.ERROR if failed else ExitCode.OK
