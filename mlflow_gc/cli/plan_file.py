"""The file of a plan that is written without ``--out``."""

from __future__ import annotations

from pathlib import Path

from mlflow_gc.cli.options import Output
from mlflow_gc.settings import resolve_directory
from mlflow_gc.workflows.reporter import Reporter


def default_plan_file(
    stem: str, reporter: Reporter, output: Output, *, otherwise: str | None = None
) -> Path:
    """Return the file, in the folder of ``MLFLOW_GC_DIR`` if that is set.

    Called before the server is contacted: nothing is scanned or deleted if the folder cannot be used.

    Args:
        stem: the beginning of a name that contains the time.
        reporter: receives where the setting comes from.
        output: whether it is printed.
        otherwise: the name without such a folder; by default one with the time.

    Raises:
        UsageProblem: the folder cannot be used.
    """
    folder, value = resolve_directory()
    if folder is None:
        return Path(otherwise) if otherwise else _name_of_its_own(Path(stem))
    if output.verbose:
        reporter.note(value.describe())
    return _name_of_its_own(folder / stem)


def _name_of_its_own(stem: Path) -> Path:
    """Return a file name that does not exist yet.

    A nightly job writes to the same folder, and the journal of last night must not be overwritten.
    """
    from mlflow_gc.domain.timestamps import format_ms, now_ms

    moment_ms = now_ms()
    while True:
        name = f"{stem.name}-{format_ms(moment_ms).replace(':', '')}.json"
        if not (path := stem.with_name(name)).exists():
            return path
        moment_ms += 1
