"""Reading what may still need runs, logged models and experiments in the trash."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Select, func, select

from mlflow_gc.domain.entities import LoggedModel, Run
from mlflow_gc.domain.kinds import LOGGED_MODEL, RUN
from mlflow_gc.domain.reasons import Link
from mlflow_gc.domain.tag_selection import PARENT_TAG
from mlflow_gc.domain.trash import Key, TrashedModel
from mlflow_gc.inventory.sql.tables import TableReader, chunks
from mlflow_gc.inventory.sql.trash_locations import ARCHIVE, ARTIFACTS

_DELETED = "deleted"


class EvidenceReader(TableReader):
    """Reads what refers to entities, and what is deleted with them."""

    def logged_models_of(self, runs: Mapping[str, Run]) -> list[LoggedModel]:
        """Return the active logged models that runs made, or logged metrics for."""
        if "logged_models" not in self._tables:
            return []
        m, k = self._tables["logged_models"].c, self._tables["logged_model_metrics"].c
        found: dict[str, LoggedModel] = {}
        for ids in chunks(runs):
            made = select(m.model_id, m.experiment_id, m.source_run_id, m.artifact_location).where(
                m.source_run_id.in_(ids), m.lifecycle_stage.is_distinct_from(_DELETED)
            )
            measured = (
                select(m.model_id, m.experiment_id, k.run_id, m.artifact_location)
                .where(m.model_id == k.model_id, k.run_id.in_(ids))
                .where(m.lifecycle_stage.is_distinct_from(_DELETED))
                .distinct()
            )
            for statement in (made, measured):
                for model_id, experiment, run_id, uri in self._read(statement):
                    known = found.get(model_id)
                    others = known.metric_run_ids if known else ()
                    found[model_id] = LoggedModel(
                        model_id=model_id,
                        experiment_id=str(experiment),
                        source_run_id=known.source_run_id if known else run_id,
                        artifact_uri=uri or "",
                        last_updated_time=None,
                        metric_run_ids=(*others, run_id),
                    )
        return list(found.values())

    def needed(
        self,
        runs: Mapping[str, Run],
        models: Mapping[str, TrashedModel],
        made: Iterable[LoggedModel],
    ) -> Iterator[tuple[Key, tuple[Link, ...]]]:
        """Yield runs and logged models that something active needs, with the chain to it."""
        for model in made:
            for run_id in model.metric_run_ids:
                yield (RUN.name, run_id), (Link("logged_model", model.model_id, "is active"),)
        if models and "inputs" in self._tables:
            r, i = self._tables["runs"].c, self._tables["inputs"].c
            for ids in chunks(models):
                rows = select(i.destination_id, i.source_id).where(
                    i.source_type == "RUN_INPUT",
                    i.destination_type == "MODEL_INPUT",
                    i.destination_id.in_(ids),
                    i.source_id == r.run_uuid,
                    r.lifecycle_stage.is_distinct_from(_DELETED),
                )
                for model_id, run_id in self._read(rows):
                    yield (LOGGED_MODEL.name, model_id), (Link("run", run_id, "reads it"),)
        yield from self._unknown(runs, models)

    def _unknown(
        self, runs: Mapping[str, Run], models: Mapping[str, TrashedModel]
    ) -> Iterator[tuple[Key, tuple[Link, ...]]]:
        """Yield what tables that this version does not know refer to."""
        for parent, kind, ids in (
            ("runs", RUN.name, runs),
            ("logged_models", LOGGED_MODEL.name, models),
        ):
            for table, column in self._tables.unknown_children(parent):
                for chunk in chunks(ids):
                    rows = select(column).where(column.in_(chunk)).distinct()
                    for (entity_id,) in self._read(rows):
                        yield (kind, entity_id), (Link(note=f"the table {table} refers to it"),)

    def children(
        self, runs: Mapping[str, Run]
    ) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
        """Return the runs nested in some runs, at any depth, and the active ones of these."""
        r, t = self._tables["runs"].c, self._tables["tags"].c
        found: dict[str, set[str]] = defaultdict(set)
        active: set[str] = set()
        seen: set[str] = set()
        waiting = set(runs)
        while waiting:
            seen |= waiting
            below: set[str] = set()
            for ids in chunks(waiting):
                rows = select(t.value, t.run_uuid, r.lifecycle_stage).where(
                    t.key == PARENT_TAG, t.value.in_(ids), t.run_uuid == r.run_uuid
                )
                for parent, child, stage in self._read(rows):
                    found[parent].add(child)
                    below.add(child)
                    if stage != _DELETED:
                        active.add(child)
            waiting = below - seen
        return {parent: tuple(sorted(of)) for parent, of in found.items()}, frozenset(active)

    def needed_experiments(
        self, experiment_ids: Sequence[str], *, active_only: bool, without: Collection[Key]
    ) -> Iterator[tuple[str, tuple[Link, ...]]]:
        """Yield experiments that something outside of the trash needs.

        With ``active_only`` runs and logged models in the trash are decided on themselves.
        """
        numbers = [int(i) for i in experiment_ids]
        if not numbers:
            return
        for table, key, kind in (
            ("runs", "run_uuid", "run"),
            ("logged_models", "model_id", "logged_model"),
        ):
            if table in self._tables:
                c = self._tables[table].c
                stage = c.lifecycle_stage
                of_kind: Select[Any] = select(c.experiment_id, c[key], stage)
                of_kind = of_kind.where(c.experiment_id.in_(numbers))
                if active_only:
                    of_kind = of_kind.where(stage.is_distinct_from(_DELETED))
                for experiment, entity_id, is_at in self._read(of_kind):
                    if is_at != _DELETED or (kind, entity_id) not in without:
                        yield str(experiment), (Link(kind, entity_id, "is in it"),)
        if "endpoints" in self._tables and "experiment_id" in (e := self._tables["endpoints"].c):
            rows = select(e.experiment_id, e.endpoint_id).where(e.experiment_id.in_(numbers))
            for experiment, endpoint in self._read(rows):
                yield str(experiment), (Link(note=f"the gateway endpoint {endpoint} logs to it"),)
        if {"guardrails", "scorers"} <= self._tables.names:
            g, s = self._tables["guardrails"].c, self._tables["scorers"].c
            rows = select(s.experiment_id, s.scorer_name).where(
                g.scorer_id == s.scorer_id, s.experiment_id.in_(numbers)
            )
            for experiment, scorer in self._read(rows):
                yield str(experiment), (Link(note=f"a guardrail uses its scorer {scorer}"),)
        if "trace_info" in self._tables and "last_update_time" in (
            x := self._tables["experiments"].c
        ):
            # docs/explanation/mlflow-facts.md#traces-reach-deleted-experiments
            t = self._tables["trace_info"].c
            rows = (
                select(t.experiment_id, func.max(t.request_id))
                .where(t.experiment_id.in_(numbers), t.experiment_id == x.experiment_id)
                .where(t.timestamp_ms > x.last_update_time)
                .group_by(t.experiment_id)
            )
            for experiment, trace in self._read(rows):
                yield str(experiment), (Link("trace", trace, "was made after its deletion"),)
        for table, column in self._tables.unknown_children("experiments"):
            rows = select(column).where(column.in_(numbers)).distinct()
            for (experiment,) in self._read(rows):
                yield str(experiment), (Link(note=f"the table {table} refers to it"),)

    def contents(self, experiment_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Return what is deleted with experiments besides runs and logged models."""
        numbers = [int(i) for i in experiment_ids]
        found: dict[str, list[str]] = defaultdict(list)
        for table, noun in (
            ("trace_info", "traces"),
            ("scorers", "scorers"),
            ("issues", "issues"),
            ("review_queues", "review queues"),
            ("label_schemas", "label schemas"),
        ):
            if table not in self._tables or not numbers:
                continue
            c = self._tables[table].c
            rows = (
                select(c.experiment_id, func.count())
                .where(c.experiment_id.in_(numbers))
                .group_by(c.experiment_id)
            )
            for experiment, count in self._read(rows):
                found[str(experiment)].append(f"{noun}: {count}")
        return {i: tuple(texts) for i, texts in found.items()}

    def trace_locations(
        self, experiment_ids: Sequence[str]
    ) -> dict[str, tuple[tuple[str, str], ...]]:
        """Return the ids and folders of the traces of experiments."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        if {"trace_info", "trace_tags"} <= self._tables.names and experiment_ids:
            i, t = self._tables["trace_info"].c, self._tables["trace_tags"].c
            rows = select(i.experiment_id, i.request_id, t.value).where(
                i.experiment_id.in_([int(n) for n in experiment_ids]),
                i.request_id == t.request_id,
                t.key.in_([ARTIFACTS, ARCHIVE]),
            )
            for experiment, trace_id, uri in self._read(rows):
                if uri:
                    found[str(experiment)].append((trace_id, uri))
        return {i: tuple(sorted(places)) for i, places in found.items()}
