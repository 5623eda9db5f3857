"""Options that several commands share, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mlflow_gc.errors import UsageProblem
from mlflow_gc.invocation import command
from mlflow_gc.render.common import budget

if TYPE_CHECKING:
    from mlflow_gc.plan.sharding import Shard
    from mlflow_gc.retention.policy import Policy
    from mlflow_gc.settings import Connection
    from mlflow_gc.workflows.reporter import Reporter

AllWorkspaces = Annotated[
    bool,
    typer.Option(
        "--all-workspaces",
        help="Once for each workspace of the server; with files, in the workspace that each names.",
    ),
]
BackendStoreUri = Annotated[
    str | None,
    typer.Option(
        "--backend-store-uri",
        metavar="URI",
        help="Database of the server, read in place of it [MLFLOW_BACKEND_STORE_URI].",
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
AcceptPartialView = Annotated[
    bool,
    typer.Option(
        "--accept-partial-view",
        help="Continue although the server may hide from this account what protects something.",
    ),
]
Sizes = Annotated[
    bool,
    typer.Option(
        "--sizes",
        help="List the files of what is deleted, and say how much a later purge would free.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no summary.")]
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
Everything = Annotated[bool, typer.Option("--all", help="Do not cut long lists.")]
PlanFile = Annotated[Path, typer.Argument(metavar="PLAN", help="A plan file; - is stdin.")]


Format = Annotated[
    Literal["text", "markdown", "html", "json", "csv", "ndjson"],
    typer.Option("--format", help="How to print it."),
]
UsageFormat = Annotated[
    Literal["text", "markdown", "html", "json"],
    typer.Option("--format", help="How to print it."),
]
DiffFormat = Annotated[
    Literal["text", "markdown", "json"], typer.Option("--format", help="How to print it.")
]


@dataclass(frozen=True)
class Server:
    """Options about the server."""

    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="Tracking server or database [MLFLOW_TRACKING_URI]."),
    ] = None
    registry_uri: Annotated[
        str | None, typer.Option("--registry-uri", help="Model registry [MLFLOW_REGISTRY_URI].")
    ] = None
    workspace: Annotated[
        str | None,
        typer.Option(
            "--workspace", help="Workspace of the server, MLflow 3.10+ [MLFLOW_WORKSPACE]."
        ),
    ] = None
    max_parallel: Annotated[
        str | None,
        typer.Option(
            "--max-parallel",
            metavar="N",
            help="Maximum number of concurrent requests [MLFLOW_GC_MAX_PARALLEL, 16].",
        ),
    ] = None

    def connection(self, backend_store_uri: str | None = None) -> Connection:
        """Resolve the connection; called first, so that nothing is read with invalid settings.

        Raises:
            UsageProblem: a setting is invalid.
        """
        from mlflow_gc.settings import resolve_connection

        return resolve_connection(**vars(self), backend_store_uri=backend_store_uri)


@dataclass(frozen=True)
class PolicyOptions:
    """Options about the policy."""

    ttl: Annotated[
        str | None,
        typer.Option(
            "--ttl",
            metavar="DAYS",
            help="Age in whole days from which an entity is stale [MLFLOW_TRACKING_ENTITY_TTL].",
        ),
    ] = None
    policy_file: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Policy file: guards, what to keep [MLFLOW_GC_POLICY, ./mlflow-gc.yml or .yaml].",
        ),
    ] = None
    no_policy: Annotated[
        bool, typer.Option("--no-policy", help="Use no policy file, even where there is one.")
    ] = False

    def resolve(
        self,
        reporter: Reporter,
        output: Output,
        *,
        as_of: str | None = None,
        accept_partial_view: bool = False,
    ) -> Policy:
        """Resolve the policy.

        Raises:
            UsageProblem: an option or the policy file cannot be used.
            GcError: the policy file cannot be read.
        """
        from mlflow_gc.workflows.policy import resolve_policy

        return resolve_policy(
            **vars(self),
            as_of=as_of,
            accept_partial_view=accept_partial_view,
            verbose=output.verbose,
            reporter=reporter,
        )


@dataclass(frozen=True)
class TrashOptions:
    """Options about the trash, where a purge plan is built."""

    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            help="Time in the trash in whole days [purge_after of the policy, 30].",
        ),
    ] = None
    keep_files: Annotated[
        bool, typer.Option("--keep-files", help="Delete only rows of the database.")
    ] = False
    keep_rows: Annotated[
        bool, typer.Option("--keep-rows", help="Delete only files; the rows stay in the trash.")
    ] = False

    def applied_to(self, policy: Policy) -> Policy:
        """Return the policy with these options.

        Raises:
            UsageProblem: one of them cannot be used.
        """
        from mlflow_gc.workflows.policy import with_trash_options

        return with_trash_options(
            policy,
            older_than=self.older_than,
            keep_files=self.keep_files,
            keep_rows=self.keep_rows,
        )


ArtifactsDestination = Annotated[
    str | None,
    typer.Option(
        "--artifacts-destination",
        metavar="URI",
        help="Where the server keeps artifacts that it passes on [MLFLOW_ARTIFACTS_DESTINATION].",
    ),
]


@dataclass(frozen=True)
class Apply:
    """Options about applying a plan."""

    yes: Annotated[bool, typer.Option("--yes", help="Do not ask (without PLAN).")] = False
    expect: Annotated[
        list[str] | None,
        typer.Option(
            "--expect",
            metavar="sha256:...",
            help="Refuse a plan with another plan_id; repeatable for several plans.",
        ),
    ] = None
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal", metavar="FILE", help="File of the journal [<plan>.journal.jsonl]."
        ),
    ] = None
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="N/COUNT",
            help="Apply one of COUNT parts of a PLAN; other machines apply the others.",
        ),
    ] = None
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but the deletes.")] = (
        False
    )

    def part(self, plan_files: Collection[Path]) -> Shard | None:
        """Return the part of a saved plan to apply; None for all of it.

        Raises:
            UsageProblem: It is not a part, or no plan was given.
        """
        if self.shard is None:
            return None
        from mlflow_gc.plan.sharding import Shard

        part = Shard.parse(self.shard)
        if not plan_files:
            raise UsageProblem(
                "--shard needs a saved PLAN: each machine has to apply its part of the same one.",
                hint=f"Make the plan first: {command('report')}",
            )
        return part


@dataclass(frozen=True)
class Output:
    """Options about what is printed besides the result."""

    quiet: Quiet = False
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Print where each setting comes from.")
    ] = False
    no_color: NoColor = False


def names_of(group: type[PolicyOptions | TrashOptions]) -> list[str]:
    """Return the names of the parameters of a group."""
    return [field.name for field in fields(group)]


def refuse_given(context: typer.Context, names: Iterable[str], problem: str, *, hint: str) -> None:
    """Refuse options on the command line that cannot be used here.

    Args:
        context: of the command.
        names: of their parameters.
        problem: why not; the sentence begins with the flag.
        hint: what to do next.

    Raises:
        UsageProblem: With the first that was given.
    """
    flags = {parameter.name: parameter.opts[-1] for parameter in context.command.params}
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageProblem(f"{flags[name]} {problem}", hint=hint)


def grouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command whose parameters that are one of the groups above are options of their own.

    Typer reads its signature, in which each field of a group stands for itself.
    """
    parameters: list[inspect.Parameter] = []
    groups = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        group = parameter.annotation
        if not (isinstance(group, type) and is_dataclass(group)):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = group
        annotations = inspect.get_annotations(group, eval_str=True)
        parameters += [
            parameter.replace(
                name=field.name, default=field.default, annotation=annotations[field.name]
            )
            for field in fields(group)
        ]

    @wraps(command)
    def with_groups(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        return command(**given)

    with_groups.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_groups.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_groups
