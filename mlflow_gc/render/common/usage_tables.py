"""What a usage document says, as sentences and tables that all views of it show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from mlflow_gc.domain.kinds import ALL
from mlflow_gc.domain.quantities import number_of, size_of

Json = dict[str, Any]

NOUNS = {
    **{kind.name: kind.plural for kind in ALL},
    "trace": "traces",
    "dataset": "datasets",
    "prompt": "prompts",
    "other": "other tables",
}
"""What people call the kinds of a usage document."""
_MAINTENANCE = {
    "postgresql": "VACUUM FULL",
    "mysql": "OPTIMIZE TABLE",
    "mariadb": "OPTIMIZE TABLE",
    "sqlite": "VACUUM",
}
_MONTHS = 24


class Table(NamedTuple):
    """A table; the first ``names`` columns are text from the server, the others numbers."""

    title: str
    head: Sequence[str]
    names: int
    rows: Sequence[Sequence[str]]


def size(size_bytes: int | None) -> str:
    """Return a size for people; ``-`` if it is unknown."""
    return "-" if size_bytes is None else size_of(size_bytes)


def sentences(found: Json) -> Iterator[str]:
    """Yield the totals."""
    database, totals = found["database"], found["totals"]
    later = "old versions of files"
    if database is None:
        yield "Database: not measured."
    else:
        # It also packs what is retained: docs/how-to/usage.md.
        later = f"{_MAINTENANCE[database['kind']]} of the database, which may return more; {later}"
        yield from _of_database(database)
    yield _of_files(found)
    about = "about " if "estimate" in totals else ""
    yield (
        f"Purge would free {about}{size(totals['freed_at_once_bytes'])} at once and "
        f"{size(totals['freed_later_bytes'])} later ({later}); {size(totals['not_freed_bytes'])} "
        "are not freed."
    )
    if stale := [row for row in found["rows"] if row["stage"] == "stale"]:
        taken = sum(row["table_bytes"] + row["index_bytes"] + row["file_bytes"] for row in stale)
        yield f"A prune by the policy would move or delete {size(taken)} of what is active."


def _of_files(found: Json) -> str:
    if not found["files_measured"]:
        return "Files: not measured."
    totals, sample = found["totals"], found["sample"]
    files = number_of(totals["files"], "file", "files")
    if "estimate" not in totals:
        return f"Files: {size(totals['file_bytes'])} in {files}."
    return (
        f"Files: about {_file_bytes(totals)} in about {files} (from {sample['listed']:,} of "
        f"{sample['entities']:,} runs and logged models behind the server)."
    )


def _of_database(database: Json) -> Iterator[str]:
    about = "about " if database["sizes_are_estimates"] else ""
    total, of_tables, of_indexes = (
        database[f"{part}_bytes"] for part in ("total", "table", "index")
    )
    parts = f"{size(of_tables)} tables, {size(of_indexes)} indexes"
    other = total - of_tables - of_indexes - (database["reusable_bytes"] or 0)
    # What PostgreSQL itself needs, and what else is in the same database.
    if other * 100 > total:
        parts += f", {size(other)} not of MLflow"
    yield f"Database: {about}{size(total)} ({parts})."
    if database["reusable_bytes"]:
        yield (
            f"{size(database['reusable_bytes'])} of the database are free for new rows and not "
            "returned to the disk."
        )


def basis(found: Json) -> Iterator[str]:
    """Yield what is exact and what is estimated."""
    if found["database"] is None:
        if "estimate" in found["totals"]:
            yield (
                "Counts are exact. Files are estimated from a sample, wherever ± is shown, as 95 % "
                "intervals; a few very large runs or logged models may be missing from it. Exact "
                "numbers need a listing of the store: --artifacts-destination."
            )
        elif found["sample"]:
            yield "Counts and files of runs and logged models are exact: all of them were listed."
        else:
            yield "Counts and files are exact."
        return
    kind = found["database"]["kind"]
    exact = "estimated by the database" if found["database"]["sizes_are_estimates"] else "exact"
    yield (
        f"Counts, rows and files are exact; bytes of whole tables and indexes are {exact} ({kind}), "
        "their shares are estimates: each row of a table counts the same."
    )


def tables(found: Json) -> Iterator[Table]:
    """Yield the tables, except for those without rows."""
    largest = found["largest"]
    yield Table(
        "By kind and stage",
        (
            "kind", "stage", "count", "rows", "tables", "indexes", "files", "file bytes",
            "freed at once", "freed later", "not freed",
        ),
        2,
        [*_rows(found), _row(found, {"count": None, **found["totals"]}, "total", "")],
    )  # fmt: skip
    for title, key, names in (
        ("Largest experiments", "experiments", ("name", "experiment_id")),
        ("Largest logged models", "logged_models", ("name", "model_id")),
        ("Largest registered models", "registered_models", ("name",)),
        ("Largest owners of runs", "owners", ("user_id",)),
    ):
        if largest[key]:
            space = _SPACE if "files" in largest[key][0] else _SPACE[:2]
            yield Table(
                title,
                (*(name.replace("_", " ") for name in names), *space),
                len(names),
                [
                    (*(entry[name] or "(no name)" for name in names), *_space(found, entry))
                    for entry in largest[key]
                ],
            )
    growth = found["growth"][-_MONTHS:]
    if growth:
        yield Table(
            "Growth: by month of start or creation",
            ("month", *_SPACE),
            1,
            [(month["month"] or "unknown", *_space(found, month)) for month in growth],
        )


_SPACE = ("rows", "database", "files", "file bytes")
_DATABASE = ("rows", "table_bytes", "index_bytes", "database_bytes")
_FILES = ("files", "file_bytes")


def _known(found: Json, entry: Json) -> Json:
    """Return an entry without the numbers of what was not measured."""
    no_database = {} if found["database"] else dict.fromkeys(_DATABASE)
    no_files = {} if found["files_measured"] else dict.fromkeys(_FILES)
    return {**entry, **no_database, **no_files}


def _space(found: Json, entry: Json) -> tuple[str, ...]:
    known = _known(found, entry)
    database = _number(known["rows"]), size(known["database_bytes"])
    if "files" not in entry:
        return database
    return (*database, _number(known["files"]), _file_bytes(known))


def _rows(found: Json) -> Iterator[tuple[str, ...]]:
    before = None
    for row in found["rows"]:
        kind = "" if row["kind"] == before else NOUNS[row["kind"]]
        before = row["kind"]
        yield _row(found, row, kind, row["stage"])


def _row(found: Json, row: Json, *names: str) -> tuple[str, ...]:
    known = _known(found, row)
    return (
        *names,
        f"{row['count']:,}" if row["count"] else "",
        _number(known["rows"]),
        size(known["table_bytes"]),
        size(known["index_bytes"]),
        _number(known["files"]),
        _file_bytes(known),
        size(row["freed_at_once_bytes"]),
        size(row["freed_later_bytes"]),
        size(row["not_freed_bytes"]),
    )


def _number(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _file_bytes(entry: Json) -> str:
    """Return the size of files, with how exact it is if it is an estimate."""
    taken, estimate = entry["file_bytes"], entry.get("estimate")
    if not estimate:
        return size(taken)
    return f"{size(taken)} ± {size_of(estimate['margin_bytes'], like=taken)}"
