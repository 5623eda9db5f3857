"""``mlflow-gc validate``: schema, digest and semantics of all files of this program, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlflow_gc.cli import options
from mlflow_gc.errors import ExitCode, GcError


def validate(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Plans, journals, policies, events.")
    ],
    quiet: options.Quiet = False,
) -> int:
    """Check plans, journals, policy files and events: schema, digest and meaning."""
    from mlflow_gc.cli.output import print_message
    from mlflow_gc.render.common.escape import plain

    worst = ExitCode.OK
    for path in files:
        try:
            message = _validate(path)
        except GcError as error:
            for message in getattr(error, "found", ()) or (f"{path}: {error.message}",):
                print_message(message)
            if error.hint:
                print_message(error.hint)
            worst = worst or error.exit_code
        else:
            if not quiet:
                typer.echo(f"{plain(str(path))}: {message}")
    return worst


def _validate(path: Path) -> str:
    """Return a description of a valid file, or raise an error."""
    from mlflow_gc.apply.journal.reader import read_journal
    from mlflow_gc.domain.quantities import number_of
    from mlflow_gc.plan.verification import load_plan, verify

    if path.suffix in {".yml", ".yaml"}:
        return _validate_yaml(path)
    if _begins_with(path, b'"mlflow-gc/events"'):
        return _validate_events(path)
    if _begins_with(path, b'"mlflow-gc/journal"'):
        sessions = read_journal(path)
        records = sum(len(session.records) for session in sessions)
        return (
            f"valid journal, {number_of(len(sessions), 'session', 'sessions')}, "
            f"{number_of(records, 'record', 'records')}"
        )
    plan = load_plan(path)
    verify(plan, path)
    return f"valid plan {plan['plan_id']}"


def _validate_yaml(path: Path) -> str:
    from mlflow_gc.policy.lint import warnings
    from mlflow_gc.policy.loader import read_policy_file
    from mlflow_gc.policy.test_runner import read_policy_tests, run_policy_tests
    from mlflow_gc.policy.yaml_loader import read_yaml

    document = read_yaml(path, "policy").document
    if isinstance(document, dict) and "cases" in document:
        list(run_policy_tests(read_policy_tests(path)))
        return f"valid policy tests, {len(document['cases'])} cases"
    from mlflow_gc.cli.output import print_message

    policy = read_policy_file(path)
    for warning in warnings(policy):
        print_message(f"Warning: {path}: {warning}")
    return "valid policy"


def _validate_events(path: Path) -> str:
    from mlflow_gc.cli.events import FORMAT, FORMAT_VERSION
    from mlflow_gc.plan import schema
    from mlflow_gc.plan.reader import read_bytes
    from mlflow_gc.plan.strict_json import parse_json
    from mlflow_gc.plan.verification import check_format

    lines = read_bytes(path, "events file").splitlines()
    events = [
        parse_json(line, f"Line {number} of the events file {path}")
        for number, line in enumerate(lines, start=1)
    ]
    check_format(events[0], path, FORMAT, FORMAT_VERSION, "events file")
    for number, event in enumerate(events, start=1):
        if found := schema.problems(event, "events", most=1):
            raise GcError(f"Line {number} of the events file {path} is not valid: {found[0]}.")
    last = events[-1]
    end = f"exit code {last['exit_code']}" if last["event"] == "end" else "without an end"
    return f"valid events of {events[0]['command']}, {len(events):,} lines, {end}"


def _begins_with(path: Path, start: bytes) -> bool:
    """Detect a file by its first line; a stream that cannot be read twice counts as a plan."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return start in file.readline(10_000)
    except OSError:
        return False
