"""The tables of a database as they are there, whatever version of MLflow made them.

MLflow's own definitions fit one version.  Which rows belong to an entity follows from the foreign
keys of the database, and from the few tables that MLflow connects by ids alone
(docs/explanation/mlflow-facts.md#purged-runs-leave-rows).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    String,
    and_,
    case,
    cast,
    delete,
    exists,
    func,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from mlflow_gc.domain.kinds import EXPERIMENT, LOGGED_MODEL, RUN
from mlflow_gc.inventory import lookup

if TYPE_CHECKING:
    from sqlalchemy import Delete, FromClause, MetaData, Select, Table, Update

Statement: TypeAlias = "Delete | Update"
Read: TypeAlias = Callable[["Select[Any]"], Sequence[Sequence[Any]]]
"""Returns all rows of a statement."""

_IDS_AT_ONCE = 1000  # PostgreSQL drivers stop at 65,535 parameters, SQLite at 32,766

# Tables with a foreign key to what ``purge`` deletes, up to MLflow 3.18: their rows are deleted with
# it.  Rows of other tables protect what they refer to.
OF_RUNS = {
    "metrics": "run_uuid",
    "latest_metrics": "run_uuid",
    "params": "run_uuid",
    "tags": "run_uuid",
    "logged_model_metrics": "run_id",
}
OF_MODELS = {
    "logged_model_metrics": "model_id",
    "logged_model_params": "model_id",
    "logged_model_tags": "model_id",
}
_OF_EXPERIMENTS = frozenset(
    {
        "assessments",
        "datasets",
        "experiment_tags",
        "issue_categories",
        "issues",
        "label_schemas",
        "online_scoring_configs",
        "review_queue_items",
        "review_queue_label_schemas",
        "review_queue_users",
        "review_queues",
        "scorer_versions",
        "scorers",
        "span_metrics",
        "spans",
        "trace_info",
        "trace_metrics",
        "trace_request_metadata",
        "trace_tags",
    }
)
# They are not deleted with an experiment: it waits until it has none.
_SEPARATE = frozenset({"runs", "logged_models", "endpoints", "guardrails", *OF_RUNS, *OF_MODELS})
_KNOWN = {
    "model_versions": {"model_version_tags"},
    "runs": {*OF_RUNS, "issues"},
    "logged_models": set(OF_MODELS),
    "experiments": _OF_EXPERIMENTS | _SEPARATE,
}

_ROLLUPS = (
    # Sums of traces by experiment and day, without a foreign key: an experiment that gets the id of
    # a deleted one would show them (docs/explanation/mlflow-facts.md#ids-are-reused).
    "sql_assessment_daily_rollups",
    "sql_span_cost_daily_rollups",
    "sql_trace_metric_daily_rollups",
    "sql_trace_rollup_rebuild_queue",
)

TOMBSTONE = "Deleted_Internal"
"""The stage of the row that MLflow keeps of a deleted model version (STAGE_DELETED_INTERNAL)."""
LINKS = ("inputs", "entity_associations")
"""The tables whose rows link two entities by their types and ids."""
_RUNS_OF_MODELS = ("RUN_INPUT", "RUN_OUTPUT")
"""The types of the source of a link from a run to a logged model."""
_ENDS = {"source": "destination", "destination": "source"}
"""The ends of a link, and the other end of each."""
OWNERS_OF_LINKS = {
    "run": RUN.name,
    "model": LOGGED_MODEL.name,
    "trace": EXPERIMENT.name,
    "experiment": EXPERIMENT.name,
}
"""The kind of what a link of ``entity_associations`` is deleted with, by the type of its end."""
LINK_KEY = ("source_type", "source_id", "destination_type", "destination_id")
"""The primary key of these tables."""


@dataclass(frozen=True)
class _Child:
    """Rows that belong to experiments.

    Attributes:
        table: their table.
        owner: the column with the id of the experiment, of this table or one above.
        joins: the conditions that lead from the table to that column.
        above: the same as pairs of columns, from the table upwards.
    """

    table: Table
    owner: ColumnElement[Any]
    joins: tuple[ColumnElement[bool], ...]
    above: tuple[tuple[ColumnElement[Any], ColumnElement[Any]], ...]

    def among(self, ids: Collection[int]) -> ColumnElement[bool]:
        """Return the condition on the rows of some experiments."""
        condition = self.owner.in_(ids)
        # From the experiment down to the table.
        for column, referred in reversed(self.above):
            condition = column.in_(select(referred).where(condition))
        return condition


class Tables:
    """The tables of one database.

    Args:
        metadata: reflected from it.
    """

    def __init__(self, metadata: MetaData) -> None:
        self._tables = {table.name: table for table in metadata.tables.values()}
        self.names = frozenset(self._tables)
        self._children = list(self._descend("experiments"))

    def __getitem__(self, name: str) -> Table:
        """Return a table.

        Raises:
            KeyError: The database has none of that name.
        """
        return self._tables[name]

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a table."""
        return name in self._tables

    def columns(self, table: str, *names: str) -> list[ColumnElement[Any]]:
        """Return columns that older versions lack; NULL in their place."""
        found = self._tables[table].c
        return [found[name] if name in found else null().label(name) for name in names]

    def unknown_children(self, parent: str) -> Iterator[tuple[str, ColumnElement[Any]]]:
        """Yield the tables of newer versions that refer to a table, and their column."""
        for table in self._tables.values():
            for key in table.foreign_key_constraints:
                if key.referred_table.name == parent and table.name not in _KNOWN[parent]:
                    yield table.name, next(iter(key.columns))

    # -- the rows of entities, by owner and condition --------------------------------------------

    def rows_of_runs(
        self, ids: Collection[str]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        """Yield the run id and the condition of all rows of runs but their own."""
        for name, column in OF_RUNS.items():
            if name in self:
                yield self[name].c[column], self[name].c[column].in_(ids)
        for owner, condition in self._inputs_of_runs(ids):
            yield owner, condition
            if "input_tags" in self:
                tags, inputs = self["input_tags"].c, self["inputs"].c
                yield owner, and_(tags.input_uuid == inputs.input_uuid, condition)
        yield from self._associations("run", ids)

    def rows_of_models(
        self, ids: Collection[str]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        """Yield the id and the condition of all rows of logged models but their own."""
        for name, column in OF_MODELS.items():
            if name in self:
                owner = self[name].c[column]
                yield owner, owner.in_(ids)
        if "inputs" in self:
            i = self["inputs"].c
            yield i.destination_id, self._inputs_to_models(ids)
        yield from self._associations("model", ids)

    def rows_of_experiments(
        self, ids: Collection[int]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        """Yield the id and the condition of all rows of experiments but their own."""
        counted = set()
        for child in self._children:
            if child.table.name not in counted:
                counted.add(child.table.name)
                yield child.owner, and_(child.owner.in_(ids), *child.joins)
        for table in self._rollups():
            yield table.c.experiment_id, table.c.experiment_id.in_(ids)
        if self._has_bindings:
            s, b = self["scorers"].c, self["endpoint_bindings"].c
            of_scorer = and_(b.resource_type == "scorer", b.resource_id == s.scorer_id)
            yield s.experiment_id, and_(s.experiment_id.in_(ids), of_scorer)
        yield from self._links_of_experiments(ids)

    def shared_by_runs_and_models(
        self, model_ids: Collection[str]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[Any], ColumnElement[bool]]]:
        """Yield the run, the logged model and the condition of rows that are deleted with either."""
        if "logged_model_metrics" in self:
            c = self["logged_model_metrics"].c
            yield c.run_id, c.model_id, c.model_id.in_(model_ids)
        if "inputs" in self:
            i = self["inputs"].c
            of_run = i.source_type.in_(_RUNS_OF_MODELS)
            yield i.source_id, i.destination_id, and_(of_run, self._inputs_to_models(model_ids))

    # -- deleting them ---------------------------------------------------------------------------

    def delete_runs(self, ids: Collection[str]) -> Iterator[Statement]:
        """Yield the statements that delete runs with all their rows, in their order."""
        for _, condition in self._inputs_of_runs(ids):
            if "input_tags" in self:
                uuids = select(self["inputs"].c.input_uuid).where(condition)
                yield delete(self["input_tags"]).where(self["input_tags"].c.input_uuid.in_(uuids))
            yield delete(self["inputs"]).where(condition)
        for _, condition in self._associations("run", ids):
            yield delete(self["entity_associations"]).where(condition)
        for name, column in OF_RUNS.items():
            if name in self:
                yield delete(self[name]).where(self[name].c[column].in_(ids))
        if "issues" in self:
            issues = self["issues"]
            yield update(issues).where(issues.c.source_run_id.in_(ids)).values(source_run_id=None)
        yield delete(self["runs"]).where(self["runs"].c.run_uuid.in_(ids))

    def delete_models(self, ids: Collection[str]) -> Iterator[Statement]:
        """Yield the statements that delete logged models with all their rows."""
        if "inputs" in self:
            yield delete(self["inputs"]).where(self._inputs_to_models(ids))
        for _, condition in self._associations("model", ids):
            yield delete(self["entity_associations"]).where(condition)
        for name, column in OF_MODELS.items():
            if name in self:
                yield delete(self[name]).where(self[name].c[column].in_(ids))
        yield delete(self["logged_models"]).where(self["logged_models"].c.model_id.in_(ids))

    def delete_experiments(self, ids: Collection[int]) -> Iterator[Statement]:
        """Yield the statements that delete experiments without runs and logged models."""
        if "trace_info" in self and "entity_associations" in self:
            traces = select(self["trace_info"].c.request_id).where(
                self["trace_info"].c.experiment_id.in_(ids)
            )
            a = self["entity_associations"].c
            for end in ("source", "destination"):
                condition = and_(a[f"{end}_type"] == "trace", a[f"{end}_id"].in_(traces))
                yield delete(self["entity_associations"]).where(condition)
        for _, condition in self._associations("experiment", [str(i) for i in ids]):
            yield delete(self["entity_associations"]).where(condition)
        if self._has_queues:
            t, q = self["trace_info"].c, self["review_queue_items"].c
            traces = select(t.request_id).where(t.experiment_id.in_(ids))
            of_traces = and_(q.item_type == "trace", q.item_id.in_(traces))
            yield delete(self["review_queue_items"]).where(of_traces)
        for table in self._rollups():
            yield delete(table).where(table.c.experiment_id.in_(ids))
        if self._has_bindings:
            s, b = self["scorers"].c, self["endpoint_bindings"].c
            scorers = select(s.scorer_id).where(s.experiment_id.in_(ids))
            of_scorers = and_(b.resource_type == "scorer", b.resource_id.in_(scorers))
            yield delete(self["endpoint_bindings"]).where(of_scorers)
        for child in reversed(self._children):
            yield delete(child.table).where(child.among(ids))
        yield delete(self["experiments"]).where(self["experiments"].c.experiment_id.in_(ids))

    def delete_tombstones(
        self, numbers: Mapping[str, Collection[int]], workspace: str | None
    ) -> Iterator[Statement]:
        """Yield the statements that delete tombstones, by model, with their tags."""
        is_one = self.is_version("model_versions", numbers, workspace)
        yield delete(self["model_version_tags"]).where(
            self.is_version("model_version_tags", numbers, workspace)
        )
        yield delete(self["model_versions"]).where(
            is_one, self["model_versions"].c.current_stage == TOMBSTONE
        )

    def delete_links(self, keys: Mapping[str, Collection[Sequence[str]]]) -> Iterator[Statement]:
        """Yield the statements that delete links, by table, with their tags."""
        for table, of_table in keys.items():
            is_one = self.is_link(table, of_table)
            if table == "inputs" and "input_tags" in self:
                uuids = select(self["inputs"].c.input_uuid).where(is_one)
                yield delete(self["input_tags"]).where(self["input_tags"].c.input_uuid.in_(uuids))
            yield delete(self[table]).where(is_one)

    def is_version(
        self, table: str, numbers: Mapping[str, Collection[int]], workspace: str | None
    ) -> ColumnElement[bool]:
        """Return the condition on rows of some model versions, by name and number."""
        c = self[table].c
        each = (and_(c.name == name, c.version.in_(of)) for name, of in numbers.items())
        return and_(or_(*each), self.of_workspace(table, workspace))

    def is_link(self, table: str, keys: Collection[Sequence[str]]) -> ColumnElement[bool]:
        """Return the condition on links with some keys (``LINK_KEY``)."""
        return tuple_(*(self[table].c[name] for name in LINK_KEY)).in_([tuple(k) for k in keys])

    def of_version(self) -> ColumnElement[bool]:
        """Return the condition that joins the tags of model versions with these."""
        v, t = self["model_versions"].c, self["model_version_tags"].c
        same = [v.name == t.name, v.version == t.version]
        if "workspace" in v and "workspace" in t:
            same.append(v.workspace == t.workspace)
        return and_(*same)

    def of_workspace(self, table: str, workspace: str | None) -> ColumnElement[bool]:
        """Return the condition on the rows of a workspace; all for None, or without a column."""
        c = self[table].c
        if workspace is None or "workspace" not in c:
            return true()
        return c.workspace == workspace

    # -- how they are connected ------------------------------------------------------------------

    def _rollups(self) -> Iterator[Table]:
        return (self[name] for name in _ROLLUPS if name in self)

    @property
    def _has_bindings(self) -> bool:
        """Whether endpoints of the gateway may be bound to scorers, without a foreign key."""
        return {"endpoint_bindings", "scorers"} <= self.names

    @property
    def _has_queues(self) -> bool:
        """Whether review queues, also of other experiments, may have traces, without a foreign key."""
        return {"review_queues", "review_queue_items", "trace_info"} <= self.names

    def _links_of_experiments(
        self, ids: Collection[int]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        """Yield what refers to experiments and their traces, and is deleted with them.

        Without what is counted with a run in the trash, or with a queue of the same experiment.
        """
        if "trace_info" not in self:
            return
        t = self["trace_info"].c
        if self._has_queues:
            i, q = self["review_queue_items"].c, self["review_queues"].c
            of_others = and_(i.queue_id == q.queue_id, q.experiment_id != t.experiment_id)
            of_trace = and_(i.item_type == "trace", i.item_id == t.request_id)
            yield t.experiment_id, and_(t.experiment_id.in_(ids), of_trace, of_others)
        if "entity_associations" in self:
            a, experiment = self["entity_associations"].c, cast(t.experiment_id, String)
            texts = [str(i) for i in ids]
            for end in _ENDS:
                of_trace = and_(a[f"{end}_type"] == "trace", a[f"{end}_id"] == t.request_id)
                found = and_(
                    t.experiment_id.in_(ids), of_trace, self._is_counted_once(end, experiment)
                )
                yield t.experiment_id, found
                owner = a[f"{end}_id"]
                of_experiment = and_(a[f"{end}_type"] == "experiment", owner.in_(texts))
                yield owner, and_(of_experiment, self._is_counted_once(end, owner))

    def _is_counted_once(self, end: str, experiment: ColumnElement[str]) -> ColumnElement[bool]:
        """Return the condition that a link counts with one of its ends, which is of an experiment.

        It counts with a run in the trash at its other end, or with the source if both are of the
        experiment.
        """
        a, r, t = self["entity_associations"].c, self["runs"].c, self["trace_info"].alias().c
        other_type, other_id = (a[f"{_ENDS[end]}_{what}"] for what in ("type", "id"))
        in_trash = exists().where(r.run_uuid == other_id, r.lifecycle_stage == "deleted")
        counts = ~and_(other_type == "run", in_trash)
        if end == "source":
            return counts
        is_trace = exists().where(
            t.request_id == other_id, cast(t.experiment_id, String) == experiment
        )
        is_same = and_(other_type == "experiment", other_id == experiment)
        return and_(counts, ~or_(is_same, and_(other_type == "trace", is_trace)))

    def links_between(self) -> Iterator[Select[Any]]:
        """Yield the statement for the links of two entities with each of which they are deleted.

        Its rows: the type, the experiment of a trace and the id of anything else, of either end; and
        their number.
        """
        if not {"trace_info", "entity_associations"} <= self.names:
            return
        links: FromClause = self["entity_associations"]
        a, known, owners = links.c, [], []
        for end in _ENDS:
            t, is_trace = self["trace_info"].alias(), a[f"{end}_type"] == "trace"
            links = links.outerjoin(t, and_(is_trace, a[f"{end}_id"] == t.c.request_id))
            known.append(a[f"{end}_type"].in_(OWNERS_OF_LINKS))
            entity_id = case((is_trace, literal_column("''")), else_=a[f"{end}_id"]).label(end)
            owners += [a[f"{end}_type"], t.c.experiment_id, entity_id]
        yield select(*owners, func.count()).select_from(links).where(*known).group_by(*owners)

    def _inputs_of_runs(
        self, ids: Collection[str]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        if "inputs" in self:
            i = self["inputs"].c
            yield i.destination_id, and_(i.destination_type == "RUN", i.destination_id.in_(ids))
            sources = i.source_type.in_(_RUNS_OF_MODELS)
            yield i.source_id, and_(sources, i.source_id.in_(ids))

    def _inputs_to_models(self, ids: Collection[str]) -> ColumnElement[bool]:
        i = self["inputs"].c
        kinds = i.destination_type.in_(["MODEL_INPUT", "MODEL_OUTPUT"])
        return and_(kinds, i.destination_id.in_(ids))

    def _associations(
        self, kind: str, ids: Collection[str]
    ) -> Iterator[tuple[ColumnElement[Any], ColumnElement[bool]]]:
        if "entity_associations" in self:
            a = self["entity_associations"].c
            yield a.source_id, and_(a.source_type == kind, a.source_id.in_(ids))
            # What links it to itself is in the first ones.
            others = or_(a.source_type != kind, a.source_id != a.destination_id)
            yield (
                a.destination_id,
                and_(a.destination_type == kind, a.destination_id.in_(ids), others),
            )

    def _descend(
        self,
        parent: str,
        owner: ColumnElement[Any] | None = None,
        joins: Sequence[ColumnElement[bool]] = (),
        above: Sequence[tuple[ColumnElement[Any], ColumnElement[Any]]] = (),
    ) -> Iterator[_Child]:
        """Yield the tables whose rows belong to experiments, those above before those below."""
        below = []
        for table in sorted(self._tables.values(), key=lambda table: table.name):
            if table.name not in _OF_EXPERIMENTS:
                continue
            for key in table.foreign_key_constraints:
                if key.referred_table.name != parent or key.ondelete == "SET NULL":
                    continue
                pairs = [(element.parent, element.column) for element in key.elements]
                if owner is None:
                    child = _Child(table, pairs[0][0], (), ())
                else:
                    # The first column of a key of several (trace_id, span_id) already leads to
                    # the owner.
                    of = and_(*(column == referred for column, referred in pairs))
                    child = _Child(table, owner, (*joins, of), (pairs[0], *above))
                below.append(child)
        yield from below
        for child in below:
            yield from self._descend(child.table.name, child.owner, child.joins, child.above)


class TableReader:
    """Reads from the tables of a database.

    Args:
        tables: of the database.
        read: executes a statement; raises what the caller expects.
        workspace: of what is read; None for all, as on a server without workspaces.
    """

    def __init__(self, tables: Tables, read: Read, workspace: str | None = None) -> None:
        self._tables = tables
        self._read = read
        self._workspace = workspace


def chunks(ids: Iterable[Any]) -> Iterator[list[Any]]:
    """Return groups of sorted ids, as many as one statement may name."""
    return lookup.chunks(sorted(ids), _IDS_AT_ONCE)


def tags_of(rows: Iterable[Sequence[Any]]) -> dict[Any, dict[str, str]]:
    """Return tags by entity, sorted by key; NULL is an empty value.

    Args:
        rows: the columns that identify the entity, then key and value.

    Returns:
        By the identifying column, or by a tuple of several.
    """
    found: dict[Any, dict[str, str]] = {}
    for *owner, key, value in rows:
        of = owner[0] if len(owner) == 1 else tuple(owner)
        found.setdefault(of, {})[key] = value or ""
    return {owner: dict(sorted(tags.items())) for owner, tags in found.items()}
