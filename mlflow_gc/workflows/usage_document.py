"""The document of ``mlflow-gc usage``, from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_gc.backend.address import Address
from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    LOGGED_MODEL,
    MODEL_VERSION,
    REGISTERED_MODEL,
    RUN,
)
from mlflow_gc.domain.quantities import number_of, size_of
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.timestamps import format_ms, now_ms
from mlflow_gc.inventory.database_usage import (
    UNKNOWN_LINKS,
    DatabaseUsage,
    Group,
    bytes_by_group,
)
from mlflow_gc.inventory.file_sample import FileSample, Spread, margin
from mlflow_gc.inventory.stored_files import UNKNOWN as UNKNOWN_LAYOUT
from mlflow_gc.inventory.stored_files import Owner, Root, StoredFiles, StoredSize
from mlflow_gc.plan.document import Json
from mlflow_gc.plan.schema import USAGE_SCHEMA_ID
from mlflow_gc.retention.freed_space import KINDS, ORPHANED, STAGES, UNKNOWN, freed
from mlflow_gc.version import TOOL

FORMAT = "mlflow-gc/usage"
FORMAT_VERSION = "1.0"

LARGEST = 20
"""Number of experiments, models and owners that are listed."""

NEXT_LARGEST = 200
"""Number of experiments after these that are named, so that a click finds them on the map."""

_SUMMED = (
    "rows", "table_bytes", "index_bytes", "files", "file_bytes", "freed_at_once_bytes",
    "freed_later_bytes", "not_freed_bytes",
)  # fmt: skip


@dataclass
class Sums:
    """The space of some entities; shares and expected numbers are not whole.

    Attributes:
        listed: number of entities of a sample whose files were listed.
        unlisted: number of the others, whose files are expected.
    """

    count: int = 0
    rows: int = 0
    table_bytes: float = 0
    index_bytes: float = 0
    files: float = 0
    file_bytes: float = 0
    version_bytes: int = 0
    listed: int = 0
    unlisted: Counter[Spread] = field(default_factory=Counter)

    def add(self, other: Sums) -> None:
        """Add other sums."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    @property
    def database_bytes(self) -> int:
        """The bytes of tables and indexes, each rounded."""
        return round(self.table_bytes) + round(self.index_bytes)

    @property
    def estimate(self) -> Json | None:
        """How exact the files are; None if all of them were listed."""
        if not self.unlisted:
            return None
        return {
            "listed": self.listed,
            "entities": self.listed + self.unlisted.total(),
            "margin_bytes": round(margin(self.unlisted)),
        }


@dataclass(frozen=True)
class Measured:
    """What was read and listed.

    Attributes:
        database: entities, and the rows and bytes of a database.
        files: of stores that were listed as a whole.
        sizes: of those files by owner.
        retained: owners of orphaned files that purge does not delete.
        is_decided: whether it is known what purge deletes.
        sample: of files behind a server; None with a database.
    """

    database: DatabaseUsage
    files: StoredFiles
    sizes: Mapping[Owner, StoredSize]
    retained: Collection[Owner] = ()
    is_decided: bool = True
    sample: FileSample | None = None

    @property
    def sample_problems(self) -> list[str]:
        """What of the sample could not be listed."""
        return list(self.sample.problems()) if self.sample else []

    def all_sizes(self) -> Iterator[tuple[Owner, StoredSize]]:
        """Yield everything that was listed."""
        yield from self.sizes.items()
        if self.sample:
            yield from self.sample.sizes.items()


def usage_document(found: Measured, address: Address | None, server: str | None) -> Json:
    """Return the document.

    Args:
        found: what was measured.
        address: of the database, if one was read.
        server: the URI of the server, if one was named.
    """
    database = found.database
    groups = _by_group(found)
    rows = list(_rows(groups))
    everything = Sums()
    for sums in groups.values():
        everything.add(sums)
    totals: Json = {key: sum(row[key] for row in rows) for key in _SUMMED}
    stores = list(_stores(found))
    unknown = found.files.problems or found.files.unlisted() or found.sample_problems
    return {
        "$schema": USAGE_SCHEMA_ID,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "measured_at": format_ms(now_ms()),
        "tool": TOOL,
        "server": {"tracking_uri": server, "database": address and hide(address.shown)},
        "complete": not (unknown or everything.unlisted),
        "diagnostics": list(_diagnostics(found)),
        "database": address
        and {
            "kind": database.kind,
            "total_bytes": database.total_bytes,
            "table_bytes": sum(t.table_bytes or 0 for t in database.tables.values()),
            "index_bytes": sum(t.index_bytes or 0 for t in database.tables.values()),
            "reusable_bytes": database.reusable_bytes,
            "sizes_are_estimates": database.sizes_are_estimates,
            "tables": [
                {"name": name, **vars(t)}
                for name, t in sorted(
                    database.tables.items(),
                    key=lambda item: (
                        -(item[1].table_bytes or 0) - (item[1].index_bytes or 0),
                        item,
                    ),
                )
            ],
        },
        "stores": stores,
        "files_measured": not unknown or any(s["complete"] or s["files"] for s in stores),
        "sample": _sample(found.sample, everything),
        "rows": rows,
        "totals": _with_estimate(totals, everything),
        "largest": _largest(groups, database),
        "growth": _growth(groups),
    }


def _stores(found: Measured) -> Iterator[Json]:
    for root in found.files.roots:
        yield {
            "uri": root.uri,
            "complete": root.is_complete,
            "keeps_versions": root.notes.keeps_versions,
            "files": root.size.files,
            "file_bytes": root.size.bytes,
        }
    if found.sample and found.sample.entities:
        sizes = found.sample.sizes.values()
        yield {
            "uri": found.sample.uri,
            "complete": len(sizes) == found.sample.entities,
            "keeps_versions": False,
            "files": sum(size.files for size in sizes),
            "file_bytes": sum(size.bytes for size in sizes),
        }


def _sample(sample: FileSample | None, everything: Sums) -> Json | None:
    """Return how the files behind a server were measured; None if there are none."""
    if sample is None or not sample.entities:
        return None
    exact = {"listed": everything.listed, "entities": everything.listed, "margin_bytes": 0}
    return {**(everything.estimate or exact), "requests": sample.requests}


def _by_group(found: Measured) -> dict[Group, Sums]:
    database = found.database
    groups: dict[Group, Sums] = {}

    def of(group: Group) -> Sums:
        return groups.setdefault(group, Sums())

    for group, (rows, table_bytes, index_bytes) in bytes_by_group(database).items():
        of(group).add(Sums(0, rows, table_bytes, index_bytes))
    for kind, entities in database.groups.items():
        for group, count in Counter(entities.values()).items():
            # Versions of prompts are rows of their prompt.
            if kind != MODEL_VERSION.name or group.kind == MODEL_VERSION.name:
                of(group).count += count
    for name in ("inputs", "entity_associations"):
        for group, rows in database.rows.get(name, {}).items():
            of(group).count += rows
    for owner, size in found.all_sizes():
        if owner == UNKNOWN_LAYOUT:
            group, count = Group(FILE.name, UNKNOWN), 0
        elif owner.is_orphan:
            group, count = Group(FILE.name, ORPHANED, owner in found.retained), 1
        else:
            group, count = database.groups[owner.kind][owner.id], 0
        of(group).add(Sums(count, 0, 0, 0, size.files, size.bytes, size.later_bytes))
    if found.sample:
        for owner in found.sample.sizes:
            of(database.groups[owner.kind][owner.id]).listed += 1
        for owner, spread in found.sample.unlisted():
            sums = of(database.groups[owner.kind][owner.id])
            sums.files += spread.files
            sums.file_bytes += spread.bytes
            sums.unlisted[spread] += 1
    return groups


def _with_estimate(entry: Json, sums: Sums) -> Json:
    """Return an entry with how exact its files are, if they are not."""
    return {**entry, "estimate": estimate} if (estimate := sums.estimate) else entry


def _summed(groups: Mapping[Group, Sums], key: Callable[[Group], Any]) -> dict[Any, Sums]:
    found: dict[Any, Sums] = {}
    for group, sums in groups.items():
        if (of := key(group)) is not None:
            found.setdefault(of, Sums()).add(sums)
    return found


def _rows(groups: Mapping[Group, Sums]) -> Iterator[Json]:
    """Yield a row for each kind and stage with anything in it."""
    parts = _summed(groups, lambda g: (g.kind, g.stage, g.is_retained))
    for kind in KINDS:
        for stage in STAGES:
            both = [(r, parts[kind, stage, r]) for r in (False, True) if (kind, stage, r) in parts]
            if not both:
                continue
            total = Sums()
            returned = [0, 0, 0]
            for is_retained, sums in both:
                total.add(sums)
                of_part = freed(
                    kind,
                    stage,
                    database_bytes=sums.database_bytes,
                    file_bytes=round(sums.file_bytes),
                    version_bytes=sums.version_bytes,
                    is_retained=is_retained,
                )
                returned = [a + b for a, b in zip(returned, of_part, strict=True)]
            row = {
                "kind": kind,
                "stage": stage,
                "count": total.count,
                "rows": total.rows,
                "table_bytes": sum(round(sums.table_bytes) for _, sums in both),
                "index_bytes": sum(round(sums.index_bytes) for _, sums in both),
                "files": round(total.files),
                "file_bytes": sum(round(sums.file_bytes) for _, sums in both),
                "freed_at_once_bytes": returned[0],
                "freed_later_bytes": returned[1],
                "not_freed_bytes": returned[2],
            }
            yield _with_estimate(row, total)


def _space(sums: Sums) -> Json:
    space = {
        "rows": sums.rows,
        "database_bytes": sums.database_bytes,
        "files": round(sums.files),
        "file_bytes": round(sums.file_bytes),
    }
    return _with_estimate(space, sums)


def _largest(groups: Mapping[Group, Sums], database: DatabaseUsage) -> Json:
    models = _summed(groups, lambda g: g.item if g.kind == LOGGED_MODEL.name and g.item else None)
    registered = _summed(
        groups,
        lambda g: (
            g.item if g.kind in {REGISTERED_MODEL.name, MODEL_VERSION.name} and g.item else None
        ),
    )
    owners = _summed(groups, lambda g: g.owner if g.experiment and g.owner else None)
    return {
        **_largest_experiments(groups, database),
        "logged_models": [
            {
                "model_id": i,
                "name": database.names.get((LOGGED_MODEL.name, i)) or "",
                "experiment_id": database.experiment_of(LOGGED_MODEL.name, i),
                **_space(sums),
            }
            for i, sums in _split(models)[0]
        ],
        "registered_models": [
            {"name": name, "rows": sums.rows, "database_bytes": sums.database_bytes}
            for name, sums in _split(registered)[0]
        ],
        "owners": [{"user_id": owner, **_space(sums)} for owner, sums in _split(owners)[0]],
    }


def _largest_experiments(groups: Mapping[Group, Sums], database: DatabaseUsage) -> Json:
    """Return the largest experiments by kind and stage, the next ones by stage, and the others."""
    experiments = _summed(groups, lambda g: g.experiment or None)
    first, others = _split(experiments)
    following = _ranked(experiments)[LARGEST:][:NEXT_LARGEST]
    known, named = {i for i, _ in first}, {i for i, _ in following}
    stages = _summed(groups, lambda g: (g.experiment, g.stage) if g.experiment in named else None)
    parts = _summed(
        groups,
        lambda g: (
            (g.experiment if g.experiment in known else "", g.kind, g.stage)
            if g.experiment
            else None
        ),
    )

    def entry(i: str, sums: Sums) -> Json:
        name = database.names.get((EXPERIMENT.name, i), "")
        return {"experiment_id": i, "name": name, **_space(sums)}

    def by_stage(i: str) -> Json:
        found = {stage: stages.get((i, stage)) for stage in STAGES}
        return {
            stage: sums.database_bytes + round(sums.file_bytes)
            for stage, sums in found.items()
            if sums
        }

    return {
        "experiments": [{**entry(i, sums), "parts": _parts(parts, i)} for i, sums in first],
        "other_experiments": {
            "count": len(experiments) - len(first),
            **_space(others),
            "parts": _parts(parts, ""),
            "experiments": [{**entry(i, sums), "stages": by_stage(i)} for i, sums in following],
        },
    }


def _split(sums_of: Mapping[str, Sums]) -> tuple[list[tuple[str, Sums]], Sums]:
    """Return the largest, and the sum of the others."""
    ranked = _ranked(sums_of)
    others = Sums()
    for _, sums in ranked[LARGEST:]:
        others.add(sums)
    return ranked[:LARGEST], others


def _ranked(sums_of: Mapping[str, Sums]) -> list[tuple[str, Sums]]:
    """Return what takes space, the largest first."""
    return sorted(
        sums_of.items(), key=lambda item: (-item[1].database_bytes - item[1].file_bytes, item[0])
    )


def _parts(sums_of: Mapping[tuple[str, str, str], Sums], experiment: str) -> list[Json]:
    """Return the parts of an experiment; of those that are not listed for the empty text."""
    return [
        {"kind": kind, "stage": stage, **_space(found)}
        for kind in KINDS
        for stage in STAGES
        if (found := sums_of.get((experiment, kind, stage)))
    ]


def _growth(groups: Mapping[Group, Sums]) -> list[Json]:
    """Return what was started or created in each month, oldest first; of unknown time last."""
    months = _summed(groups, lambda g: g.month if g.experiment or g.month else None)
    return [
        {"month": month or None, **_space(months[month])}
        for month in sorted(months, key=lambda month: (not month, month))
    ]


def _diagnostics(found: Measured) -> Iterator[Json]:
    database, files = found.database, found.files
    if not database.kind:
        yield _diagnostic(
            "no_database",
            "Rows and bytes of the database, deleted logged models, files of traces and orphaned files "
            "cannot be told over the API of a server. Name its database: --backend-store-uri.",
        )
    for message in (*files.unlisted(), *files.problems, *found.sample_problems):
        yield _diagnostic("files_unknown", message)
    used = {
        group.experiment
        for kind in (RUN, LOGGED_MODEL)
        for group in set(database.groups.get(kind.name, {}).values())
    }
    for root in files.roots:
        yield from _diagnostics_of_root(root, is_used=not root.experiments.isdisjoint(used))
    if database.unreadable:
        yield _diagnostic(
            "unreadable_tables",
            "The account may not read these tables, so their bytes are those of other tables: "
            f"{', '.join(database.unreadable)}.",
        )
    if not found.is_decided:
        yield _diagnostic(
            "purge_unknown",
            "The account may not read everything that may need something in the trash, so nothing is "
            "promised to be freed.",
        )
    if database.untimed_runs:
        yield _diagnostic(
            "no_deletion_time",
            f"{number_of(database.untimed_runs, 'run', 'runs')} in the trash without a time of "
            "deletion: purge deletes nothing of them, unless the policy says from when to count.",
        )
    if links := database.unknown_links:
        yield _diagnostic(UNKNOWN_LINKS, hide(links))
    if database.sizes_are_estimates:
        yield _diagnostic(
            "sizes_are_estimates",
            "The bytes of tables and indexes are estimates of the database.",
        )


def _diagnostics_of_root(root: Root, *, is_used: bool) -> Iterator[Json]:
    """Yield what an artifact root tells about itself; ``is_used``: runs or models are located there."""
    if root.is_complete and not root.is_there and is_used:
        yield _diagnostic(
            "root_empty",
            f"{root.uri} does not exist or is empty, although runs or models are located in it. Is "
            "its volume mounted?",
        )
    if root.notes.keeps_versions:
        yield _diagnostic(
            "keeps_versions",
            f"{root.uri} keeps old versions of deleted files: their space is returned when its "
            "lifecycle rules remove them.",
        )
    if uploads := root.notes.unfinished_uploads:
        yield _diagnostic(
            "unfinished_uploads",
            f"{root.uri} has {number_of(uploads, 'unfinished upload', 'unfinished uploads')} "
            f"({size_of(root.notes.unfinished_bytes)}), which no listing shows and no purge deletes.",
        )
    for sentence in root.notes.unknown:
        yield _diagnostic("store_notes", f"{root.uri}: {hide(sentence)}")


def _diagnostic(code: str, message: str) -> Json:
    return {"code": code, "message": message}
