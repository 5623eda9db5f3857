"""What ``purge`` deletes permanently from the trash, and what protects it.

The same decision is made for a plan and, on evidence that is read again, inside the transaction that
deletes an entity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_gc.domain.entities import Experiment, ModelVersion, Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.kinds import EXPERIMENT, LINK, LOGGED_MODEL, MODEL_VERSION, RUN
from mlflow_gc.domain.reasons import IN_TRASH, NOT_CHANGED, Inactivity, Link, Reason
from mlflow_gc.domain.source_references import (
    by_location,
    folders_of,
    ids_named_by,
    location,
    logged_model_ids,
)
from mlflow_gc.domain.trash import DanglingLink, Key, OrphanedFiles, Trash, TrashedModel
from mlflow_gc.retention.decision import FRESH, Decision, Verdict, delete, protect
from mlflow_gc.retention.experiments import is_default
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rule_resolution import RuleResolver
from mlflow_gc.retention.rules import Rule
from mlflow_gc.retention.runs import runs_behind_registry

_DELETED = "deleted"
_WITH_FILES = frozenset({RUN.name, LOGGED_MODEL.name})


@dataclass(frozen=True)
class TrashDecisions:
    """The decisions on everything in the trash, by kind and id."""

    by_key: Mapping[Key, Decision] = field(default_factory=dict)
    unused_rules: tuple[str, ...] = ()

    def of(self, kind: str, verdict: Verdict) -> list[str]:
        """Return the ids of one kind (``Kind.name``) with a verdict."""
        return [i for (k, i), d in self.by_key.items() if k == kind and d.verdict is verdict]


def decide_trash(
    trash: Trash,
    policy: Policy,
    *,
    only: Mapping[Key, int] | None = None,
    withheld: Mapping[Key, Decision] | None = None,
) -> TrashDecisions:
    """Decide on everything in the trash.

    Args:
        trash: the evidence.
        policy: its ``purge_after``, tags and rules.
        only: what may be deleted, with the latest time of its deletion, ms since the epoch, UTC; None
            for everything.
        withheld: protections that the artifact stores cause.
    """
    resolver = RuleResolver(policy, trash.inventory)
    found: dict[Key, Decision] = {}
    behind = runs_behind_registry(trash.inventory)
    nested = _protected_trees(trash)
    for run_id, run in trash.inventory.runs.items():
        key = RUN.name, run_id
        needed = behind.get(run_id) or nested.get(run_id) or _needed(trash, key)
        found[key] = _decide_run(run, trash, policy, resolver, needed)
    registered = _models_behind_registry(trash)
    for model_id, model in trash.models.items():
        key = LOGGED_MODEL.name, model_id
        needed = registered.get(model_id) or _needed(trash, key)
        found[key] = _decide_model(model, trash, policy, resolver, needed)
    experiments = {i for kind, i in trash.deleted_ms if kind == EXPERIMENT.name}
    for i in experiments:
        found[EXPERIMENT.name, i] = _decide_experiment(
            trash.inventory.experiments[i], trash, policy, resolver
        )
    for i, version in trash.tombstones.items():
        found[MODEL_VERSION.name, i] = _decide_tombstone(version, trash, policy, resolver)
    for i, link in trash.links.items():
        found[LINK.name, i] = _decide_link(link, policy)
    for key, decision in found.items():
        if decision.verdict is Verdict.DELETE:
            if only is not None and (trash.deleted_ms.get(key) or 0) > only.get(key, -1):
                found[key] = FRESH
            elif withheld and key in withheld:
                found[key] = withheld[key]
    _retain_neighbours(trash, found)
    _retain_experiments(trash, found)
    _leave_to_their_ends(trash, found)
    return TrashDecisions(found, resolver.unused)


def named_in_registry(inventory: Inventory) -> dict[str, Link]:
    """Return everything that may be an id in the registry of all workspaces, with what names it."""
    models = (*inventory.registered_models.values(), *inventory.foreign_models)
    return ids_named_by(models, (*inventory.model_versions.values(), *inventory.foreign_versions))


def decide_orphan(orphan: OrphanedFiles, policy: Policy, named: Mapping[str, Link]) -> Decision:
    """Decide on the files of an entity that is in no table.

    ``named`` is what the registry names: a version outlives its run, and still needs its files
    (docs/explanation/mlflow-facts.md#gc-protects-nothing).
    """
    after_ms = policy.purge.orphans_after_ms
    if after_ms is None:
        return FRESH
    if not policy.is_plausible(orphan.newest_ms) or orphan.newest_ms is None:
        return protect(Reason.UNKNOWN_TIME, "the store does not say when they were written")
    if orphan.newest_ms >= policy.as_of_ms - after_ms:
        return FRESH
    if named_by := named.get(orphan.entity.rpartition(" ")[2]):
        return protect(Reason.REGISTERED_MODEL, named_by)
    reason = Inactivity.since(orphan.newest_ms, policy.as_of_ms, NOT_CHANGED)
    return delete(reason, f"{orphan.entity} is in no table", reversible=False)


def _decide_run(
    run: Run, trash: Trash, policy: Policy, resolver: RuleResolver, needed: Decision | None
) -> Decision:
    if run.lifecycle_stage != _DELETED:
        return FRESH
    experiment = trash.inventory.experiments.get(run.experiment_id)
    rule = resolver.of_run(run, experiment)
    deleted_ms = trash.deleted_ms[RUN.name, run.run_id]
    is_unknown = not policy.is_plausible(deleted_ms)
    if is_unknown:
        deleted_ms = policy.purge.unknown_since_ms
    if not _is_old(deleted_ms, rule.purge_after_ms, policy, is_unknown=is_unknown):
        return FRESH
    if deleted_ms is None:
        return protect(Reason.UNKNOWN_DELETION_TIME, "MLflow stored no deletion time")
    protection = _in_experiment(run, run.run_id, experiment, needed, policy)
    return protection or _delete(deleted_ms, policy)


def _decide_model(
    model: TrashedModel,
    trash: Trash,
    policy: Policy,
    resolver: RuleResolver,
    needed: Decision | None,
) -> Decision:
    if model.lifecycle_stage != _DELETED:
        return FRESH
    experiment = trash.inventory.experiments.get(model.experiment_id)
    rule = resolver.of_experiment(experiment) if experiment else policy.default
    deleted_ms = trash.deleted_ms[LOGGED_MODEL.name, model.model_id]
    protection = _not_purged_yet(deleted_ms, rule, policy) or _in_experiment(
        model, model.model_id, experiment, needed, policy
    )
    return protection or _delete(deleted_ms, policy)


def _in_experiment(
    entity: Run | TrashedModel,
    entity_id: str,
    experiment: Experiment | None,
    needed: Decision | None,
    policy: Policy,
) -> Decision | None:
    """Return what protects a run or logged model of any age; ``needed`` is by something else."""
    if experiment is None:
        of_experiment: Decision | None = protect(Reason.NOT_SEEN, "its experiment was not read")
    else:
        holder = Link("experiment", experiment.experiment_id)
        of_experiment = policy.protected_by(experiment.tags, holder)
    if protection := policy.protected_by(entity.tags) or of_experiment or needed:
        return protection
    if not _is_own_folder(entity.artifact_uri, entity_id):
        return protect(Reason.UNKNOWN_LAYOUT, f"its files are at {entity.artifact_uri}")
    return None


def _decide_experiment(
    experiment: Experiment, trash: Trash, policy: Policy, resolver: RuleResolver
) -> Decision:
    if experiment.lifecycle_stage != _DELETED:
        return FRESH
    rule = resolver.of_experiment(experiment)
    deleted_ms = experiment.last_update_time
    if early := _not_purged_yet(deleted_ms, rule, policy):
        return early
    if protection := policy.protected_by(experiment.tags):
        return protection
    if is_default(experiment):
        return protect(Reason.DEFAULT_EXPERIMENT, "MLflow falls back to it")
    if via := trash.needed_experiments.get(experiment.experiment_id):
        return protect(Reason.ACTIVE, *via)
    decision = _delete(deleted_ms, policy)
    contents = trash.contents.get(experiment.experiment_id, ())
    return delete(*decision.reasons, *(f"with {text}" for text in contents), reversible=False)


def _decide_tombstone(
    version: ModelVersion, trash: Trash, policy: Policy, resolver: RuleResolver
) -> Decision:
    rule = resolver.of_model(version)
    # MLflow sets the last update when it deletes a version, and nothing can update it afterwards.
    deleted_ms = version.last_updated_timestamp
    if policy.purge.keep == "rows":
        return FRESH
    if early := _not_purged_yet(deleted_ms, rule, policy):
        return early
    if not policy.purge.tombstones:
        return protect(Reason.TOMBSTONE, "the policy does not set purge: tombstones")
    model = trash.inventory.registered_models.get(version.name)
    holder = Link("registered_model", version.name)
    if model is None:
        return protect(Reason.UNKNOWN_MODEL, holder)
    tagged = policy.protected_by(version.tags) or policy.protected_by(model.tags, holder)
    if protection := tagged or _needed(trash, (MODEL_VERSION.name, version.key)):
        return protection
    # MLflow gives a new version the highest number plus one, tombstones included
    # (docs/explanation/mlflow-facts.md#deleted-versions-keep-their-row).
    if int(version.version) >= trash.highest_versions.get(version.name, 0):
        return protect(Reason.HIGHEST_VERSION, "MLflow would give its number to another version")
    return _delete(deleted_ms, policy)


def _decide_link(link: DanglingLink, policy: Policy) -> Decision:
    after_ms = policy.purge.orphans_after_ms
    if after_ms is None or policy.purge.keep == "rows":
        return FRESH
    # A trace may be stored after the link to it
    # (docs/explanation/mlflow-facts.md#links-may-be-written-before-what-they-name).
    made_ms = link.created_ms
    if made_ms is not None and not made_ms < policy.as_of_ms - after_ms:
        return FRESH
    return delete(*(f"{end} is in no table" for end in link.missing), reversible=False)


def _leave_to_their_ends(trash: Trash, found: dict[Key, Decision]) -> None:
    """Leave links out that are deleted with a run, a logged model, or an experiment and its traces."""
    deleted = {
        i for (kind, i), d in found.items() if kind in _WITH_FILES and d.verdict is Verdict.DELETE
    }
    for i, link in trash.links.items():
        ends = {end.partition(" ")[2] for end in (link.source, link.destination)}
        experiments = ((EXPERIMENT.name, e) for e in trash.link_experiments.get(i, ()))
        is_in_deleted = any(found[e].verdict is Verdict.DELETE for e in experiments if e in found)
        if ends & deleted or is_in_deleted:
            found[LINK.name, i] = FRESH


def _is_old(
    deleted_ms: int | None, after_ms: int | None, policy: Policy, *, is_unknown: bool = False
) -> bool:
    """Tell whether something has been in the trash for long enough; strictly longer."""
    if after_ms is None:
        return False
    if deleted_ms is None:
        return is_unknown
    return deleted_ms < policy.as_of_ms - after_ms and not policy.is_too_young(deleted_ms)


def _not_purged_yet(deleted_ms: int | None, rule: Rule, policy: Policy) -> Decision | None:
    """Return why something is retained whose last update was its deletion, by that time alone."""
    if not policy.is_plausible(deleted_ms):
        return protect(Reason.UNKNOWN_DELETION_TIME, "its last update is implausible")
    return None if _is_old(deleted_ms, rule.purge_after_ms, policy) else FRESH


def _delete(deleted_ms: int | None, policy: Policy) -> Decision:
    since = policy.as_of_ms if deleted_ms is None else deleted_ms
    return delete(Inactivity.since(since, policy.as_of_ms, IN_TRASH), reversible=False)


def _needed(trash: Trash, key: Key) -> Decision | None:
    via = trash.needed_by.get(key)
    return protect(Reason.ACTIVE, *via) if via else None


def _is_own_folder(uri: str, entity_id: str) -> bool:
    """Tell whether a folder is that of one entity alone: its id is the last but one segment."""
    parts = location(uri).split("/")
    return len(parts) > 4 and parts[-2:] == [entity_id, "artifacts"]


def folders_of_traces(experiment_id: str, trash: Trash) -> list[str]:
    """Return the folders of the traces of an experiment that are theirs alone."""
    found = []
    for trace_id, uri in trash.trace_locations.get(experiment_id, ()):
        key = "trace", trace_id
        # The location is a tag, which anybody may point at the folder of another trace.
        if not (trace_id.startswith("tr-") and _is_own_folder(uri, trace_id)):
            continue
        if not any(_conflicts(trash, key, uri)):
            found.append(uri)
    return found


def _protected_trees(trash: Trash) -> dict[str, Decision]:
    """Return the runs in whose nested tree, at any depth, a run is active."""
    found: dict[str, Decision] = {}

    def active_below(run_id: str, seen: set[str]) -> str | None:
        for child in trash.children.get(run_id, ()):
            if child in trash.active_runs:
                return child
            if child not in seen:
                seen.add(child)
                if below := active_below(child, seen):
                    return below
        return None

    for run_id in trash.inventory.runs:
        if active := active_below(run_id, {run_id}):
            found[run_id] = protect(Reason.TREE, Link("run", active, "is nested in it and active"))
    return found


def _models_behind_registry(trash: Trash) -> dict[str, Decision]:
    """Return the logged models that a model version names, with the chain to it."""
    found: dict[str, Decision] = {}
    own = trash.inventory.model_versions.values()
    models_at = by_location((i, m.artifact_uri) for i, m in trash.models.items())
    for version in (*own, *trash.inventory.foreign_versions):
        at = {i for folder in folders_of(version) for i in models_at.get(folder, ())}
        for model_id in (logged_model_ids(version) & trash.models.keys()) | at:
            found[model_id] = protect(Reason.REGISTERED_MODEL, Link("model_version", version.key))
    return found


def _retain_experiments(trash: Trash, found: dict[Key, Decision]) -> None:
    """Retain experiments in which something in the trash is retained."""
    left: dict[str, Link] = {}
    for (kind, i), decision in found.items():
        if kind in _WITH_FILES and decision.verdict is not Verdict.DELETE:
            experiment_id = _run_or_model(trash, kind, i).experiment_id
            left.setdefault(experiment_id, Link(kind, i, "in its trash is retained"))
    for (kind, i), decision in list(found.items()):
        if kind == EXPERIMENT.name and decision.verdict is Verdict.DELETE and i in left:
            found[kind, i] = protect(Reason.LIVE_RUN, left[i])


def _run_or_model(trash: Trash, kind: str, entity_id: str) -> Run | TrashedModel:
    return trash.inventory.runs[entity_id] if kind == RUN.name else trash.models[entity_id]


def _retain_neighbours(trash: Trash, found: dict[Key, Decision]) -> None:
    """Retain what has files of anything else within its folder, or around it.

    Also if the same plan deletes the other: that one may be restored, or retained by its re-check,
    after these files are gone.
    """
    for key, decision in found.items():
        if decision.verdict is not Verdict.DELETE or key[0] not in _WITH_FILES:
            continue
        if others := set(_conflicts(trash, key, _run_or_model(trash, *key).artifact_uri)):
            via = Link(*min(others), "has its files there")
            found[key] = protect(Reason.NEEDED_FILES, via)


def _conflicts(trash: Trash, key: Key, uri: str) -> Iterator[Key]:
    """Yield the entities whose files lie within the folder of one, or whose folder is around it."""
    for other in trash.locations.within(uri) | trash.locations.named(key[1]):
        if other != key:
            yield other
    for other in trash.locations.around(uri):
        # Everything of an experiment lies below its folder.
        if other != key and other[0] != EXPERIMENT.name:
            yield other
