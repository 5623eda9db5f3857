"""What a plan deletes, said a second time: slow, plain, and from the contract's text alone."""

from __future__ import annotations

import re
from urllib.parse import unquote

from unit.worlds import AS_OF

from mlflow_gc.domain.entities import ModelVersion, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.retention.policy import Policy

_REAL_SINCE = parse_time("2015-01-01")
_MODEL = re.compile(r"m-[0-9a-f]{32}")


def sane(ms: int | None) -> bool:
    return ms is not None and _REAL_SINCE <= ms <= AS_OF + DAY_MS


def protected_by_tag(tags) -> bool:
    return "mlflow_gc.keep" in tags and tags["mlflow_gc.keep"].strip().lower() not in (
        "false",
        "no",
        "0",
    )


def runs_behind(found: Inventory, version: ModelVersion) -> set[str]:
    """Runs that a version names in any way."""
    output = [version.source, version.run_link, version.description, *version.tags.values()]
    text = unquote(" ".join(output))
    behind = {run_id for run_id in found.runs if run_id in text or run_id == version.run_id}
    models = {m for m in found.logged_models if m in _MODEL.findall(text) or m == version.model_id}
    return behind | {found.logged_models[m].source_run_id for m in models}


def trees(found: Inventory) -> list[set[str]]:
    """Sets of run ids that hang together, runs that are gone included."""
    groups: list[set[str]] = []
    for run in found.runs.values():
        mine = {run.run_id} | ({run.parent_run_id} if run.parent_run_id else set())
        above = run.parent_run_id
        while above in found.parents_in_trash and found.parents_in_trash[above] not in mine:
            above = found.parents_in_trash[above]
            mine.add(above)
        touching = [g for g in groups if g & mine]
        groups = [g for g in groups if not g & mine] + [mine.union(*touching)]
    return groups


def _old_enough(stamps: list[int], policy: Policy) -> bool:
    """Older than the policy demands of everything."""
    return all(AS_OF - t > policy.min_age_ms for t in stamps)


def _is_a_last_run(run: Run, found: Inventory, how_many: int) -> bool:
    """Fewer than so many runs of its experiment started after it."""
    newer = [
        other
        for other in found.runs.values()
        if other.lifecycle_stage == "active"
        and other.experiment_id == run.experiment_id
        and sane(other.start_time)
        and other.start_time > run.start_time
    ]
    return len(newer) < how_many


def _stale(run: Run, found: Inventory, policy: Policy) -> bool:
    stamps = [run.start_time, run.end_time]
    metrics = [t for t in (run.newest_metric_time, run.oldest_metric_time) if t is not None]
    home = found.experiments.get(run.experiment_id)
    arrived = [home.creation_time] if home and home.creation_time is not None else []
    metrics += arrived
    return (
        run.status in ("FINISHED", "FAILED", "KILLED")
        and all(sane(t) and t < policy.cutoff_ms for t in [*stamps, *metrics])
        and _old_enough([*stamps, *metrics], policy)
        and not _is_a_last_run(run, found, policy.keep_last_runs)
        and run.end_time >= run.start_time
        and home is not None
        and home.lifecycle_stage == "active"
        and home.tags.get("mlflow.experiment.isGateway", "false") == "false"
        and not protected_by_tag(home.tags)
        and not protected_by_tag(run.tags)
        and (policy.delete_evaluations or run.tags.get("mlflow.runType") != "genai_evaluate")
        and (policy.delete_evaluations or not run.details.loses_assessments)
        and not run.details.traces_are_hidden
        and not any(run.run_id in runs_behind(found, v) for v in found.model_versions.values())
    )


def deleted_runs(found: Inventory, policy: Policy) -> set[str]:
    active = {r.run_id for r in found.runs.values() if r.lifecycle_stage == "active"}
    to_delete = {r for r in active if _stale(found.runs[r], found, policy)}
    groups = trees(found)
    while True:
        staying = active - to_delete
        held = set().union(*(g for g in groups if g & staying)) | staying
        for run_id in list(held):
            run = found.runs.get(run_id)
            for model_id, model in found.logged_models.items() if run else ():
                if model_id in run.model_ids or run_id in model.metric_run_ids:
                    held.add(model.source_run_id)
        # One in the trash is still nested in what it was nested in.
        for run_id in list(held):
            above, seen = run_id, set()
            while above in found.parents_in_trash and above not in seen:
                seen.add(above)
                above = found.parents_in_trash[above]
            held.add(above)
        # A run that is gone already still holds its tree together.
        held |= set().union(*(g for g in groups if g & held))
        if not to_delete & held:
            return to_delete
        to_delete -= held


def deleted_versions(found: Inventory, policy: Policy) -> set[tuple[str, str]]:
    versions = found.model_versions.values()
    by_alias = {
        (m.name, a): v
        for m in found.registered_models.values()
        for v, aliases in m.aliases.items()
        for a in aliases
    }
    originals = set()
    for v in versions:
        if not v.source.startswith("models:/"):
            continue
        rest = v.source[len("models:/") :]
        if "@" in rest:
            name, alias = rest.split("@")
            original = (name, by_alias.get((name, alias)))
        else:
            original = tuple(rest.split("/"))
        if original != (v.name, v.version):
            originals.add(original)
    to_delete = set()
    for v in versions:
        siblings = [w for w in versions if w.name == v.name]
        same_stage = [w for w in siblings if w.current_stage == v.current_stage]
        model = found.registered_models.get(v.name)
        if (
            model is not None
            and v.current_stage == "None"
            and all(
                sane(t) and t < policy.cutoff_ms
                for t in (v.creation_timestamp, v.last_updated_timestamp)
            )
            and not (
                sane(model.creation_timestamp) and model.creation_timestamp >= policy.cutoff_ms
            )
            and _old_enough([v.creation_timestamp, v.last_updated_timestamp], policy)
            and len([w for w in siblings if int(w.version) > int(v.version)])
            >= policy.keep_last_versions
            and not model.aliases.get(v.version)
            and not protected_by_tag(v.tags)
            and not protected_by_tag(model.tags)
            and v.tags.get("mlflow.prompt.is_prompt") != "true"
            and max(siblings, key=lambda w: int(w.version)) is not v
            and max(same_stage, key=lambda w: int(w.version)) is not v
            and (v.name, v.version) not in originals
        ):
            to_delete.add((v.name, v.version))
    return to_delete


def deleted_experiments(found: Inventory, policy: Policy) -> set[str]:
    runs_gone = deleted_runs(found, policy)
    to_delete = set()
    for e in found.experiments.values():
        probe = found.probes.get(e.experiment_id)
        inside = {
            r.run_id
            for r in found.runs.values()
            if r.experiment_id == e.experiment_id and r.lifecycle_stage == "active"
        }
        place = e.artifact_location.rstrip("/")
        if (
            e.lifecycle_stage == "active"
            and e.experiment_id != "0"
            and e.name != "Default"
            and not protected_by_tag(e.tags)
            and e.tags.get("mlflow.experiment.isGateway", "false") == "false"
            and all(sane(t) and t < policy.cutoff_ms for t in (e.creation_time, e.last_update_time))
            and _old_enough([e.creation_time, e.last_update_time], policy)
            and inside <= runs_gone
            and not any(m.experiment_id == e.experiment_id for m in found.logged_models.values())
            and not any(
                place and (v.source + "/").startswith(place + "/")
                for v in found.model_versions.values()
            )
            and probe is not None
            and not (probe.has_traces or probe.newest_deleted_run or probe.unseen_run)
            and (policy.delete_evaluations or not probe.assessed_runs)
            and not probe.traces_are_hidden
            and not probe.contents
        ):
            to_delete.add(e.experiment_id)
    return to_delete
