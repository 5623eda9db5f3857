"""The types of the plan document.

Names and meanings are those of ``schemas/prune-plan.v1.schema.json``; a test compares them.  Times
are RFC 3339 in UTC.  A plan from a file has these types after validation against the schema.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, cast, final

from mlflow_gc.domain.kinds import kinds_of
from mlflow_gc.version import Tool

if TYPE_CHECKING:
    from typing_extensions import NotRequired

Json = dict[str, Any]
"""A JSON object of another document, or with unknown fields."""
Fields = Mapping[str, Any]
"""An entry of any kind; the kind defines the names of its fields."""


class ExperimentExpectations(TypedDict):
    """Preconditions of an experiment."""

    name: str
    lifecycle_stage: str
    creation_time: str | None
    last_update_time: str | None
    artifact_location: str
    tags_digest: str
    trash_assessments_digest: NotRequired[str]
    deleted_time: NotRequired[str | None]


class RunExpectations(TypedDict):
    """Preconditions of a run.  Plans of older versions lack the last four."""

    experiment_id: str
    lifecycle_stage: str
    status: str
    start_time: str | None
    end_time: str | None
    last_activity_time: str | None
    artifact_uri: str
    tags_digest: str
    metric_count: NotRequired[int]
    content_digest: NotRequired[str]
    traces_digest: NotRequired[str]
    assessments_digest: NotRequired[str]
    deleted_time: NotRequired[str | None]


class ModelVersionExpectations(TypedDict):
    """Preconditions of a model version."""

    creation_timestamp: str | None
    last_updated_timestamp: str | None
    current_stage: str | None
    aliases: list[str]
    run_id: str
    source: str
    tags_digest: str


class RegisteredModelExpectations(TypedDict):
    """Preconditions of a registered model."""

    creation_timestamp: str | None
    last_updated_timestamp: str | None
    tags_digest: str


class LoggedModelExpectations(TypedDict):
    """Preconditions of a logged model in the trash."""

    experiment_id: str
    lifecycle_stage: str
    deleted_time: str | None
    source_run_id: str
    artifact_uri: str


class FileExpectations(TypedDict):
    """Preconditions of a folder of orphaned files."""

    file_count: int
    size_bytes: int
    last_modified_time: str | None


class EntrySize(TypedDict):
    """The files of an entry; missing without ``--sizes``, or if they could not be listed."""

    size_bytes: NotRequired[int]
    file_count: NotRequired[int]


class _Reasoned(TypedDict):
    reversible: bool
    reasons: list[str]


class _Deletion(_Reasoned, EntrySize):
    pass


class _RowsFromTrash(_Deletion):
    """In plans for ``purge``."""

    deleted_time: NotRequired[str | None]
    row_count: NotRequired[int]


class _FromTrash(_RowsFromTrash):
    artifact_uri: NotRequired[str]


@final
class ExperimentEntry(_FromTrash):
    """An experiment to delete."""

    experiment_id: str
    name: str
    creation_time: str | None
    last_update_time: str | None
    last_activity_time: str | None
    run_count: int
    expect: ExperimentExpectations


@final
class RunEntry(_FromTrash):
    """A run to delete."""

    run_id: str
    run_name: str
    experiment_id: str
    experiment_name: str
    user_id: str
    status: str
    start_time: str | None
    end_time: str | None
    last_activity_time: str | None
    parent_run_id: str | None
    expect: RunExpectations


@final
class ModelVersionEntry(_RowsFromTrash):
    """A model version to delete, with all data that the server deletes with it."""

    name: str
    version: str
    creation_timestamp: str | None
    last_updated_timestamp: str | None
    current_stage: str | None
    run_id: str
    source: str
    description: str
    tags: dict[str, str]
    expect: ModelVersionExpectations


@final
class RegisteredModelEntry(_Deletion):
    """A registered model to delete."""

    name: str
    creation_timestamp: str | None
    last_updated_timestamp: str | None
    description: str
    tags: dict[str, str]
    expect: RegisteredModelExpectations


@final
class LoggedModelEntry(_Deletion):
    """A logged model to delete permanently."""

    model_id: str
    name: str
    experiment_id: str
    experiment_name: str
    status: str
    source_run_id: str
    creation_timestamp: str | None
    last_updated_timestamp: str | None
    deleted_time: str | None
    artifact_uri: str
    row_count: int
    expect: LoggedModelExpectations


@final
class FileEntry(TypedDict):
    """A folder with the files of an entity that no longer exists."""

    reversible: bool
    reasons: list[str]
    size_bytes: int
    file_count: int
    uri: str
    entity: str
    experiment_id: str | None
    last_modified_time: str | None
    expect: FileExpectations


class LinkExpectations(TypedDict):
    """Preconditions of a link."""

    missing: list[str]
    row_count: int


@final
class LinkEntry(_Reasoned):
    """A link with an end that does not exist, with its tags."""

    table: str
    source: str
    destination: str
    missing: str
    created_time: str | None
    row_count: int
    expect: LinkExpectations


Entry = (
    ExperimentEntry
    | RunEntry
    | ModelVersionEntry
    | RegisteredModelEntry
    | LoggedModelEntry
    | FileEntry
    | LinkEntry
)
"""Something to delete."""
E = TypeVar("E", bound=Entry)
"""Entries of one kind."""


class Protection(TypedDict):
    """Why something stale is retained: the code of a reason, and the chain that leads to it."""

    reason: str
    via: list[str]


@final
class ProtectedExperiment(Protection):
    """An experiment that is stale and retained."""

    experiment_id: str
    name: str


@final
class ProtectedRun(Protection):
    """A run that is stale and retained."""

    run_id: str
    run_name: str
    experiment_id: str


@final
class ProtectedModelVersion(Protection):
    """A model version that is stale and retained."""

    name: str
    version: str


@final
class ProtectedRegisteredModel(Protection):
    """A registered model that is stale and retained."""

    name: str


@final
class ProtectedLoggedModel(Protection):
    """A logged model in the trash that is retained."""

    model_id: str
    name: str
    experiment_id: str


@final
class ProtectedFile(Protection):
    """A folder of orphaned files that is retained."""

    uri: str


ProtectedEntry = (
    ProtectedExperiment
    | ProtectedRun
    | ProtectedModelVersion
    | ProtectedRegisteredModel
    | ProtectedLoggedModel
    | ProtectedFile
)
"""Something that is stale and retained."""


class ProtectedLists(TypedDict):
    """What is stale and retained, by kind."""

    experiments: Sequence[ProtectedExperiment]
    runs: Sequence[ProtectedRun]
    model_versions: Sequence[ProtectedModelVersion]
    registered_models: Sequence[ProtectedRegisteredModel]
    logged_models: NotRequired[Sequence[ProtectedLoggedModel]]
    files: NotRequired[Sequence[ProtectedFile]]


class CapabilitiesDocument(TypedDict):
    """What the server has, of that which may protect or hide something; None if unknown."""

    accounts: bool | None
    aliases: bool | None
    logged_models: bool | None
    traces: bool | None


class Server(TypedDict):
    """The server, how it was read, and what it has.  Plans of older versions lack the last two."""

    tracking_uri: str
    registry_uri: str
    mlflow_version: str | None
    workspace: str | None
    identity: str
    read_from: NotRequired[str]
    capabilities: NotRequired[CapabilitiesDocument]


class PolicySource(TypedDict):
    """The policy file; both None if there was none."""

    path: str | None
    digest: str | None


class DiagnosticEntry(TypedDict):
    """A finding about the scan or the plan as a whole."""

    code: str
    message: str


class Counts(TypedDict):
    """Counts of one kind by decision."""

    scanned: int
    stale: int
    protected: int
    delete: int


class Freed(TypedDict):
    """What a purge frees.

    ``retained_bytes`` of ``file_bytes`` remain as old versions.  ``database_bytes`` is an estimate.
    """

    file_bytes: int
    files: int
    rows: int
    database_bytes: int
    retained_bytes: int


class Summary(TypedDict):
    """Counts by kind; number of irreversible deletions.  The last four only in purge plans."""

    experiments: Counts
    runs: Counts
    model_versions: Counts
    registered_models: Counts
    irreversible: int
    logged_models: NotRequired[Counts]
    files: NotRequired[Counts]
    links: NotRequired[Counts]
    freed: NotRequired[Freed]


class AgeCounts(TypedDict):
    """Counts of one kind by age and decision."""

    delete: list[int]
    protected: list[int]
    fresh: list[int]


class Ages(TypedDict):
    """Counts by age, by kind."""

    experiments: AgeCounts
    runs: AgeCounts
    model_versions: AgeCounts
    registered_models: AgeCounts


class Shares(TypedDict):
    """Counts of deleted, protected and fresh."""

    delete: int
    protected: int
    fresh: int


class ExperimentShares(Shares):
    """Counts of the runs of an experiment."""

    experiment_id: str
    name: str


class ModelShares(Shares):
    """Counts of the versions of a registered model."""

    name: str


class Statistics(TypedDict):
    """Numbers for charts; the bounds of age are in days."""

    age_bounds_days: list[int]
    ages: Ages
    by_experiment: list[ExperimentShares]
    by_model: list[ModelShares]


class KeepLast(TypedDict):
    """Number of the newest that are retained in each experiment and model."""

    runs: int
    model_versions: int


class GuardsDocument(TypedDict):
    """Limits above which the plan cannot be applied."""

    max_deletions: dict[str, int]
    max_share_percent: dict[str, int]


class PurgeDocument(TypedDict):
    """The settings of a purge (:class:`mlflow_gc.retention.policy.PurgeSettings`)."""

    max_bytes: int | None
    max_share_percent: int
    unknown_since: str | None
    keep: str
    orphans_after: str | None
    tombstones: NotRequired[bool]


class PolicyDocument(TypedDict):
    """The policy that was applied, with all its defaults.  Durations are as in a policy file."""

    ttl_days: int | None
    cutoff: str | None
    keep_tag: str
    run_statuses: list[str]
    sensible_since: str
    min_age: str
    keep_last: KeepLast
    evaluation_runs: str
    free_experiment_names: NotRequired[bool]
    guards: GuardsDocument
    expire_after: str
    accept_partial_view: bool
    max_scan_duration: str
    max_clock_skew: str
    default: Json
    rules: list[Json]
    time_zone: str
    owners_may_shorten: bool
    owners_may_shorten_irreversible: NotRequired[bool]
    owners_shortest_ttl: NotRequired[str]
    grace: str
    purge: NotRequired[PurgeDocument]


_Schema = TypedDict("_Schema", {"$schema": str})


class PlanHead(_Schema):
    """What a plan says before its entries.  Plans before 1.1 lack the action."""

    format: str
    format_version: str
    action: NotRequired[str]
    plan_id: str
    created_at: str
    as_of: str
    expires_at: str | None
    tool: Tool
    server: Server
    policy: PolicyDocument
    policy_source: NotRequired[PolicySource]
    complete: bool
    applyable: bool
    diagnostics: list[DiagnosticEntry]


class Plan(PlanHead):
    """A prune plan, or a purge plan.  Plans before 1.1 lack the last lists."""

    summary: Summary
    statistics: NotRequired[Statistics]
    experiments: Sequence[ExperimentEntry]
    runs: Sequence[RunEntry]
    model_versions: Sequence[ModelVersionEntry]
    registered_models: Sequence[RegisteredModelEntry]
    logged_models: NotRequired[Sequence[LoggedModelEntry]]
    traces: NotRequired[Sequence[Json]]
    files: NotRequired[Sequence[FileEntry]]
    links: NotRequired[Sequence[LinkEntry]]
    protected: ProtectedLists


NO_COUNTS: Counts = {"scanned": 0, "stale": 0, "protected": 0, "delete": 0}
"""Of a kind that a plan says nothing about."""


def deletions_of(plan: Plan, kind: str) -> Sequence[Entry]:
    """Return the deletions of one kind, by the field of the plan."""
    return cast("Sequence[Entry]", cast("Mapping[str, Any]", plan).get(kind, ()))


def deletion_counts(plan: Plan) -> dict[str, int]:
    """Return the number of deletions of each kind, by the field of the plan."""
    return {kind: len(deletions_of(plan, kind)) for kind in kinds_of(plan)}


def protected_of(plan: Plan, kind: str) -> Sequence[ProtectedEntry]:
    """Return the protected entities of one kind, by the field of the plan."""
    protected = cast("Mapping[str, Any]", plan["protected"])
    return cast("Sequence[ProtectedEntry]", protected.get(kind, ()))


def counts_of(plan: Plan, kind: str) -> Counts:
    """Return the counts of one kind, by the field of the plan."""
    return cast("Counts", cast("Mapping[str, Any]", plan["summary"]).get(kind, NO_COUNTS))


def total_of(plan: Plan, count: Literal["delete", "protected"]) -> int:
    """Return one of the counts for all kinds together."""
    return sum(counts_of(plan, kind)[count] for kind in kinds_of(plan))
