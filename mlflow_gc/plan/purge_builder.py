"""Build the plan of a ``purge`` from decisions on the trash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

from mlflow_gc.domain.entities import Diagnostic, ModelVersion, Run, ServerInfo
from mlflow_gc.domain.kinds import (
    EXPERIMENT,
    FILE,
    LINK,
    LOGGED_MODEL,
    MODEL_VERSION,
    PURGE,
    PURGED,
    REGISTERED_MODEL,
    RUN,
    Kind,
)
from mlflow_gc.domain.quantities import Size, sizes_of
from mlflow_gc.domain.trash import DanglingLink, Key, OrphanedFiles, Trash, TrashedModel
from mlflow_gc.plan.builder import (
    GUARD,
    count_verdicts,
    experiment_fields,
    experiment_order,
    forecast,
    plan_head,
    protected_lists,
    run_fields,
    unused_rules,
    verdict_fields,
    version_fields,
)
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.document import (
    NO_COUNTS,
    ExperimentEntry,
    FileEntry,
    FileExpectations,
    Freed,
    LinkEntry,
    LinkExpectations,
    LoggedModelEntry,
    ModelVersionEntry,
    Plan,
    RunEntry,
    Summary,
)
from mlflow_gc.plan.lazy_entries import Entries
from mlflow_gc.plan.preconditions import (
    expect_experiment,
    expect_model_version,
    expect_run,
    time_or_none,
)
from mlflow_gc.retention.decision import Verdict
from mlflow_gc.retention.guards import Share, Tally, exceeded
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.trash import TrashDecisions
from mlflow_gc.settings import redact_uri


@dataclass(frozen=True)
class Measured:
    """What was measured besides the trash itself.

    Attributes:
        sizes: of the files of entities that were measured.
        row_bytes: estimated size of one row with its share of the indexes, in bytes.
        retaining: whether a store keeps deleted files as old versions.
        diagnostics: findings on the stores.
        orphans: files of entities that are in no table, by their URI.
    """

    sizes: Mapping[Key, Size] = field(default_factory=dict)
    row_bytes: float = 0
    retaining: bool = False
    diagnostics: tuple[Diagnostic, ...] = ()
    orphans: Mapping[str, OrphanedFiles] = field(default_factory=dict)


def build_purge_plan(
    trash: Trash, decisions: TrashDecisions, policy: Policy, server: ServerInfo, measured: Measured
) -> Plan:
    """Return the plan document; the same arguments give the same one, except for ``created_at``."""
    deleted = {kind.name: decisions.of(kind.name, Verdict.DELETE) for kind in PURGED}
    trash = replace(trash, rows=_rows(deleted, trash))
    freed = _freed(deleted, trash, policy, measured)
    run_counts = Counter(run.experiment_id for run in trash.inventory.runs.values())
    entities: Mapping[Kind, Mapping[str, object]] = {
        EXPERIMENT: trash.inventory.experiments,
        RUN: trash.inventory.runs,
        MODEL_VERSION: trash.tombstones,
        REGISTERED_MODEL: {},
        LOGGED_MODEL: trash.models,
        FILE: measured.orphans,
    }
    plan = cast(
        "Plan",
        {
            **plan_head(
                PURGE,
                policy,
                server,
                measured.diagnostics,
                _refusals(deleted, trash, policy, freed),
                unused_rules(decisions.unused_rules, "in the trash"),
            ),
            "summary": cast(
                "Summary",
                {
                    "registered_models": NO_COUNTS,
                    **{
                        kind.entries: count_verdicts(
                            d for (k, _), d in decisions.by_key.items() if k == kind.name
                        )
                        for kind in PURGED
                    },
                    "irreversible": sum(map(len, deleted.values())),
                    "freed": freed,
                },
            ),
            "experiments": Entries.of(
                _experiment(i, run_counts[i], trash, decisions, measured)
                for i in sorted(deleted[EXPERIMENT.name], key=experiment_order)
            ),
            "runs": Entries.of(
                _run(trash.inventory.runs[i], trash, decisions, measured)
                for i in sorted(deleted[RUN.name], key=lambda i: _place(trash.inventory.runs[i]))
            ),
            "model_versions": Entries.of(
                _tombstone(trash.tombstones[i], trash, decisions)
                for i in _in_order(deleted[MODEL_VERSION.name], trash)
            ),
            "registered_models": [],
            "logged_models": Entries.of(
                _model(trash.models[i], trash, decisions, measured)
                for i in sorted(deleted[LOGGED_MODEL.name])
            ),
            "traces": [],
            "files": Entries.of(
                _orphan(measured.orphans[i], decisions) for i in sorted(deleted[FILE.name])
            ),
            "links": Entries.of(
                _link(trash.links[i], decisions) for i in sorted(deleted[LINK.name])
            ),
            "protected": protected_lists(
                {
                    kind: [
                        (of_kind[i], decisions.by_key[kind.name, i])
                        for i in sorted(decisions.of(kind.name, Verdict.PROTECT))
                    ]
                    for kind, of_kind in entities.items()
                }
            ),
        },
    )
    plan["plan_id"] = plan_id(plan)
    return plan


def expect_trashed_model(model: TrashedModel) -> dict[str, Any]:
    """Return the preconditions of a logged model in the trash.

    MLflow stores no time of its deletion, which is its last update.
    """
    return {
        "experiment_id": model.experiment_id,
        "lifecycle_stage": model.lifecycle_stage,
        "deleted_time": time_or_none(model.last_updated_time),
        "source_run_id": model.source_run_id,
        "artifact_uri": redact_uri(model.artifact_uri),
    }


def expect_trashed_run(run: Run, trash: Trash) -> dict[str, Any]:
    """Return the preconditions of a run in the trash."""
    experiment = trash.inventory.experiments.get(run.experiment_id)
    deleted = time_or_none(trash.deleted_ms[RUN.name, run.run_id])
    return {**expect_run(run, experiment), "deleted_time": deleted}


def expect_trashed_experiment(experiment_id: str, trash: Trash) -> dict[str, Any]:
    """Return the preconditions of an experiment in the trash."""
    experiment = trash.inventory.experiments[experiment_id]
    deleted = time_or_none(experiment.last_update_time)
    return {**expect_experiment(experiment), "deleted_time": deleted}


def _rows(deleted: Mapping[str, Sequence[str]], trash: Trash) -> Mapping[Key, int]:
    """Return the number of rows that are deleted with each; runs are deleted before models."""
    runs, models = set(deleted[RUN.name]), set(deleted[LOGGED_MODEL.name])
    rows = dict(trash.rows)
    for (run_id, model_id), count in trash.shared_rows.items():
        if run_id in runs and model_id in models:
            rows[LOGGED_MODEL.name, model_id] -= count
    return rows


def _freed(
    deleted: Mapping[str, Sequence[str]], trash: Trash, policy: Policy, measured: Measured
) -> Freed:
    keys = [(kind, i) for kind, ids in deleted.items() for i in ids]
    sizes = [measured.sizes.get(key, Size()) for key in keys if policy.purge.keep != "files"]
    orphans = [measured.orphans[i] for i in deleted[FILE.name]]
    sizes += [Size(orphan.size_bytes, orphan.file_count) for orphan in orphans]
    total = sum(sizes, start=Size())
    rows = sum(trash.rows.get(key, 0) for key in keys) - _counted_twice({*keys}, trash)
    if policy.purge.keep == "rows":
        rows = 0
    return {
        "file_bytes": total.size_bytes,
        "files": total.file_count,
        "rows": rows,
        "database_bytes": round(rows * measured.row_bytes),
        "retained_bytes": total.size_bytes if measured.retaining else 0,
    }


def _counted_twice(deleted: Collection[Key], trash: Trash) -> int:
    """Return how much more often than once the rows of deleted entities count that link two.

    A link of an experiment and a run counts with the run only, which may be retained.
    """
    found = 0
    for ends, count in trash.links_between.items():
        with_run = RUN.name in {kind for kind, _ in ends}
        counted = [key in deleted and not (with_run and key[0] == EXPERIMENT.name) for key in ends]
        found += count * (sum(counted) - any(key in deleted for key in ends))
    return found


def _refusals(
    deleted: Mapping[str, Sequence[str]], trash: Trash, policy: Policy, freed: Freed
) -> Iterator[Diagnostic]:
    yield from forecast(policy, "old enough")
    counts = {kind.entries: len(deleted[kind.name]) for kind in PURGED}
    # The shares of the guards are those of what a prune deletes from what is active.
    guards = replace(policy.guards, max_share_percent={})
    for sentence in exceeded(guards, Tally({k: Share(n, n) for k, n in counts.items()})):
        yield Diagnostic(GUARD, sentence, blocks=True)
    existing = sum(trash.totals.values())
    share = policy.purge.max_share_percent
    total = sum(counts[kind.entries] for kind in (EXPERIMENT, RUN, LOGGED_MODEL))
    if total * 100 > share * existing:
        yield Diagnostic(
            GUARD,
            f"purge.max_share: the plan deletes {total:,} of {existing:,} runs, logged models and "
            f"experiments, at most {share} % may be deleted.",
            blocks=True,
        )
    largest = policy.purge.max_bytes
    if largest is not None and freed["file_bytes"] > largest:
        size, most = sizes_of(freed["file_bytes"], largest)
        yield Diagnostic(
            GUARD,
            f"purge.max_bytes: the plan deletes {size}, at most {most} may be deleted.",
            blocks=True,
        )


def _in_order(ids: Iterable[str], trash: Trash) -> list[str]:
    of = trash.tombstones
    return sorted(ids, key=lambda i: (of[i].name, int(of[i].version)))


def _tombstone(version: ModelVersion, trash: Trash, decisions: TrashDecisions) -> ModelVersionEntry:
    key = MODEL_VERSION.name, f"{version.name}/{version.version}"
    expected = expect_model_version(version, ())
    return cast(
        "ModelVersionEntry",
        {
            **version_fields(version),
            "deleted_time": expected["last_updated_timestamp"],
            "row_count": trash.rows[key],
            **verdict_fields(decisions.by_key[key], expected),
        },
    )


def _link(link: DanglingLink, decisions: TrashDecisions) -> LinkEntry:
    return cast(
        "LinkEntry",
        {
            "table": link.table,
            "source": link.source,
            "destination": link.destination,
            "missing": ", ".join(link.missing),
            "created_time": time_or_none(link.created_ms),
            "row_count": link.row_count,
            **verdict_fields(decisions.by_key[LINK.name, link.id], expect_link(link)),
        },
    )


def expect_link(link: DanglingLink) -> LinkExpectations:
    """Return the preconditions of a link."""
    return {"missing": list(link.missing), "row_count": link.row_count}


def _orphan(orphan: OrphanedFiles, decisions: TrashDecisions) -> FileEntry:
    expected = expect_files(orphan)
    return cast(
        "FileEntry",
        {
            "uri": orphan.uri,
            "entity": orphan.entity,
            "experiment_id": None,
            "last_modified_time": expected["last_modified_time"],
            "size_bytes": orphan.size_bytes,
            "file_count": orphan.file_count,
            **verdict_fields(decisions.by_key[FILE.name, orphan.uri], expected),
        },
    )


def expect_files(orphan: OrphanedFiles) -> FileExpectations:
    """Return the preconditions of orphaned files."""
    return {
        "file_count": orphan.file_count,
        "size_bytes": orphan.size_bytes,
        "last_modified_time": time_or_none(orphan.newest_ms),
    }


def _place(run: Run) -> tuple[tuple[int, str], str]:
    # In the order of a flat listing of the artifact store.
    return experiment_order(run.experiment_id), run.run_id


def _sizes(key: Key, measured: Measured) -> dict[str, int]:
    found = measured.sizes.get(key)
    return {} if found is None else asdict(found)


def _run(run: Run, trash: Trash, decisions: TrashDecisions, measured: Measured) -> RunEntry:
    key = RUN.name, run.run_id
    expected = expect_trashed_run(run, trash)
    experiment = trash.inventory.experiments[run.experiment_id]
    return cast(
        "RunEntry",
        {
            **run_fields(run, experiment, expected),
            "deleted_time": expected["deleted_time"],
            "artifact_uri": expected["artifact_uri"],
            "row_count": trash.rows[key],
            **_sizes(key, measured),
            **verdict_fields(decisions.by_key[key], expected),
        },
    )


def _model(
    model: TrashedModel, trash: Trash, decisions: TrashDecisions, measured: Measured
) -> LoggedModelEntry:
    key = LOGGED_MODEL.name, model.model_id
    expected = expect_trashed_model(model)
    experiment = trash.inventory.experiments[model.experiment_id]
    return cast(
        "LoggedModelEntry",
        {
            "model_id": model.model_id,
            "name": model.name,
            "experiment_id": model.experiment_id,
            "experiment_name": experiment.name,
            "status": model.status,
            "source_run_id": model.source_run_id,
            "creation_timestamp": time_or_none(model.creation_time),
            "last_updated_timestamp": time_or_none(model.last_updated_time),
            "deleted_time": expected["deleted_time"],
            "artifact_uri": expected["artifact_uri"],
            "row_count": trash.rows[key],
            **_sizes(key, measured),
            **verdict_fields(decisions.by_key[key], expected),
        },
    )


def _experiment(
    experiment_id: str,
    run_count: int,
    trash: Trash,
    decisions: TrashDecisions,
    measured: Measured,
) -> ExperimentEntry:
    key = EXPERIMENT.name, experiment_id
    experiment = trash.inventory.experiments[experiment_id]
    expected = expect_trashed_experiment(experiment_id, trash)
    return cast(
        "ExperimentEntry",
        {
            **experiment_fields(experiment, run_count, None),
            "deleted_time": expected["deleted_time"],
            "artifact_uri": expected["artifact_location"],
            "row_count": trash.rows[key],
            # Of its traces.
            **_sizes(key, measured),
            **verdict_fields(decisions.by_key[key], expected),
        },
    )
