"""Reading runs and logged models, in whatever stage they are, from reflected tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import select

from mlflow_gc.domain.entities import Run, artifact_root
from mlflow_gc.domain.tag_selection import RUN_NAME_TAG, Wanted, tags_digest
from mlflow_gc.domain.trash import TrashedModel
from mlflow_gc.inventory.sql.tables import TableReader, chunks, tags_of


class EntityReader(TableReader):
    """Reads entities by their ids."""

    def runs(
        self, run_ids: Sequence[str], wanted: Wanted
    ) -> tuple[dict[str, Run], dict[str, int | None]]:
        """Return runs, with the data in ``wanted``, and when they were deleted (Unix ms), by id."""
        r, t = self._tables["runs"].c, self._tables["tags"].c
        runs: dict[str, Run] = {}
        deleted: dict[str, int | None] = {}
        for ids in chunks(run_ids):
            of_runs = select(t.run_uuid, t.key, t.value).where(t.run_uuid.in_(ids))
            tags = tags_of(self._read(of_runs))
            rows = select(
                r.run_uuid,
                r.experiment_id,
                r.user_id,
                r.status,
                r.lifecycle_stage,
                r.start_time,
                r.end_time,
                r.artifact_uri,
                *self._tables.columns("runs", "name", "deleted_time"),
            ).where(r.run_uuid.in_(ids))
            for run_id, of, user, status, stage, start, end, uri, name, when in self._read(rows):
                root, has_own_folder = artifact_root(uri or "", run_id)
                own = tags.get(run_id, {})
                run_name = name or own.get(RUN_NAME_TAG, "")
                deleted[run_id] = when or None
                runs[run_id] = Run(
                    run_id=run_id,
                    run_name=run_name,
                    experiment_id=str(of),
                    user_id=user or "",
                    status=status or "",
                    lifecycle_stage=stage or "",
                    start_time=start,
                    end_time=end or None,
                    newest_metric_time=None,
                    oldest_metric_time=None,
                    artifact_root=root,
                    has_own_folder=has_own_folder,
                    tags=wanted.of(own, user or ""),
                    tags_digest=tags_digest(own, run_name),
                )
        return runs, deleted

    def models(self, model_ids: Sequence[str]) -> Iterator[TrashedModel]:
        """Yield logged models."""
        if not model_ids:
            return
        m, t = self._tables["logged_models"].c, self._tables["logged_model_tags"].c
        for ids in chunks(model_ids):
            of_models = select(t.model_id, t.tag_key, t.tag_value).where(t.model_id.in_(ids))
            tags = tags_of(self._read(of_models))
            rows = select(
                m.model_id,
                m.name,
                m.experiment_id,
                m.artifact_location,
                m.status,
                m.source_run_id,
                m.lifecycle_stage,
                m.creation_timestamp_ms,
                m.last_updated_timestamp_ms,
            ).where(m.model_id.in_(ids))
            for model_id, name, of, uri, status, source, stage, created, updated in self._read(
                rows
            ):
                yield TrashedModel(
                    model_id=model_id,
                    name=name or "",
                    experiment_id=str(of),
                    artifact_uri=uri or "",
                    status=str(status),
                    source_run_id=source or "",
                    lifecycle_stage=stage or "",
                    creation_time=created,
                    last_updated_time=updated or None,
                    tags=tags.get(model_id, {}),
                )
