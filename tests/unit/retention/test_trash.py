"""What ``purge`` deletes permanently, and what protects it: decisions without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.worlds import RUN_IDS, a_model, a_run, a_version, an_experiment, inventory

from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.domain.trash import DanglingLink, Locations, OrphanedFiles, Trash, TrashedModel
from mlflow_gc.retention.decision import Verdict, protect
from mlflow_gc.retention.policy import Policy, PurgeSettings
from mlflow_gc.retention.rules import Rule, Selector
from mlflow_gc.retention.trash import decide_orphan, decide_trash, folders_of_traces

AS_OF = parse_time("2026-05-01T10:02:11.123Z")
POLICY = Policy(as_of_ms=AS_OF, default=Rule.of_days(30))
ORPHANS = replace(POLICY, purge=PurgeSettings(orphans_after_ms=30 * DAY_MS))
FIRST, SECOND, THIRD = RUN_IDS[:3]
MODEL = f"m-{'a' * 32}"
OLD = AS_OF - 31 * DAY_MS


def _run(run_id: str, **fields: Any) -> Any:
    fields = {"experiment_id": "1", "lifecycle_stage": "deleted", **fields}
    uri = fields.pop("artifact_uri", f"s3://bucket/1/{run_id}/artifacts")
    return replace(a_run(run_id, **fields), artifact_root=uri, has_own_folder=False)


def _trash(*entities: Any, deleted: int | None = OLD, **more: Any) -> Trash:
    found = inventory(an_experiment("1"), *entities)
    models = more.pop("models", {})
    keys = [("run", i) for i in found.runs] + [("logged_model", i) for i in models]
    keys += [
        ("experiment", i) for i, e in found.experiments.items() if e.lifecycle_stage != "active"
    ]
    stamps = dict.fromkeys(keys, deleted) | more.pop("stamps", {})
    return Trash(found, models=models, deleted_ms=stamps, **more)


def _model(**fields: Any) -> TrashedModel:
    uri = f"s3://bucket/1/models/{MODEL}/artifacts"
    values = {"artifact_uri": uri, "experiment_id": "1", **fields}
    return TrashedModel(MODEL, name="m", status="2", source_run_id="", lifecycle_stage="deleted",
                        creation_time=OLD, last_updated_time=OLD, **values)  # fmt: skip


def _of(
    trash: Trash, key: tuple[str, str] = ("run", FIRST), policy: Policy = POLICY, **more: Any
) -> Any:
    decision = decide_trash(trash, policy, **more).by_key[key]
    return decision.reason or decision.verdict


@pytest.mark.parametrize(
    ("deleted", "verdict"),
    [
        (AS_OF - 30 * DAY_MS - 1, Verdict.DELETE),
        (AS_OF - 30 * DAY_MS, Verdict.FRESH),
        (AS_OF + DAY_MS // 2, Verdict.FRESH),
        (None, Reason.UNKNOWN_DELETION_TIME),
        (5, Reason.UNKNOWN_DELETION_TIME),
    ],
)
def test_strictly_longer_in_the_trash(deleted: int | None, verdict: object) -> None:
    assert _of(_trash(_run(FIRST), deleted=deleted)) == verdict


def test_a_policy_says_from_when_an_unknown_time_counts() -> None:
    for since, verdict in ((OLD, Verdict.DELETE), (AS_OF - DAY_MS, Verdict.FRESH)):
        policy = replace(POLICY, purge=PurgeSettings(unknown_since_ms=since))
        assert _of(_trash(_run(FIRST), deleted=None), policy=policy) == verdict


def test_the_rule_of_the_run_counts() -> None:
    rule = Rule("never", Selector(experiment="exp-1"), purge_after_ms=None)
    assert _of(_trash(_run(FIRST)), policy=replace(POLICY, rules=(rule,))) == Verdict.FRESH


def test_what_is_active_is_never_planned() -> None:
    assert _of(_trash(_run(FIRST, lifecycle_stage="active"))) == Verdict.FRESH


def test_a_version_an_active_model_and_an_active_child_protect() -> None:
    version = (a_model(), a_version("1", run_id=FIRST))
    assert _of(_trash(_run(FIRST), *version)) == Reason.REGISTERED_MODEL
    needed = {("run", FIRST): (Link("logged_model", MODEL),)}
    assert _of(_trash(_run(FIRST), needed_by=needed)) == Reason.ACTIVE
    children = {FIRST: (SECOND,), SECOND: (THIRD, FIRST)}
    tree = _trash(_run(FIRST), _run(SECOND), children=children, active_runs=frozenset({THIRD}))
    assert _of(tree) == _of(tree, ("run", SECOND)) == Reason.TREE


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket/1/other/artifacts",
        f"s3://bucket/1/{FIRST}",
        f"s3://bucket/1/{FIRST}2/artifacts",
        f"s3://bucket/{FIRST}/artifacts/..",
        "",
        ".",
    ],
)
def test_files_outside_of_a_folder_of_its_own_protect(uri: str) -> None:
    assert _of(_trash(_run(FIRST, artifact_uri=uri))) == Reason.UNKNOWN_LAYOUT


def test_files_of_others_within_and_around_protect() -> None:
    """However the place is spelt, and whatever becomes of the others."""
    other = ("run", SECOND)
    for uri in (
        f"s3a://bucket//1/{FIRST}/artifacts/x",
        f"s3://bucket/1/{FIRST}/./artifacts",
        f"s3://bucket/1/{FIRST}",
    ):
        places = Locations([(other, uri)])
        assert _of(_trash(_run(FIRST), locations=places)) == Reason.NEEDED_FILES
        assert _of(_trash(_run(FIRST), _run(SECOND), locations=places)) == Reason.NEEDED_FILES
    for uri in (f"s3://bucket/1/{FIRST}2/artifacts", f"s3://bucket/1/{FIRST}/artifacts2"):
        places = Locations([(other, uri)])
        assert _of(_trash(_run(FIRST), locations=places)) == Verdict.DELETE
    above = Locations([(("experiment", "9"), "s3://bucket/1")])
    assert _of(_trash(_run(FIRST), locations=above)) == Verdict.DELETE


def test_folders_of_traces_are_theirs_alone() -> None:
    """Anybody may set the tag with the location of a trace; experiments may be located in one."""
    first, second = (f"tr-{letter * 32}" for letter in "ab")
    folder = f"s3://bucket/1/traces/{first}/artifacts"

    def folders(trace_id: str, *places: tuple[tuple[str, str], str]) -> list[str]:
        locations = {"1": ((trace_id, folder),)}
        return folders_of_traces(
            "1", _trash(trace_locations=locations, locations=Locations(places))
        )

    home = (("experiment", "1"), "s3://bucket/1")
    assert folders(first, home) == [folder]
    assert folders(second, home) == []
    assert folders(first, home, (("trace", second), folder)) == []
    assert folders(first, home, (("experiment", "9"), f"{folder}/sub")) == []


def test_models_wait_for_versions_and_readers() -> None:
    key = ("logged_model", MODEL)
    assert _of(_trash(models={MODEL: _model()}), key) == Verdict.DELETE
    version = (a_model(), a_version("1", source=f"models:/{MODEL}"))
    assert _of(_trash(*version, models={MODEL: _model()}), key) == Reason.REGISTERED_MODEL
    at = (a_model(), a_version("1", source=f"s3://bucket/1/models/{MODEL}/artifacts/x"))
    assert _of(_trash(*at, models={MODEL: _model()}), key) == Reason.REGISTERED_MODEL
    needed = {key: (Link("run", FIRST),)}
    assert _of(_trash(models={MODEL: _model()}, needed_by=needed), key) == Reason.ACTIVE


def test_an_experiment_waits_for_everything_in_it() -> None:
    dead = an_experiment("2", lifecycle_stage="deleted", last_update_time=OLD)
    key = ("experiment", "2")
    assert _of(_trash(dead), key) == Verdict.DELETE
    assert _of(_trash(dead, needed_experiments={"2": (Link("run", FIRST),)}), key) == Reason.ACTIVE
    young = {("run", FIRST): AS_OF}
    assert _of(_trash(dead, _run(FIRST, experiment_id="2"), stamps=young), key) == Reason.LIVE_RUN
    assert _of(_trash(dead, _run(FIRST, experiment_id="2")), key) == Verdict.DELETE
    default = an_experiment("0", lifecycle_stage="deleted", last_update_time=OLD)
    assert _of(_trash(default), ("experiment", "0")) == Reason.DEFAULT_EXPERIMENT


def test_stores_and_journals_limit_it() -> None:
    trash = _trash(_run(FIRST), _run(SECOND))
    found = decide_trash(trash, POLICY, only={("run", SECOND): OLD})
    assert found.of("run", Verdict.DELETE) == [SECOND]
    withheld = {("run", FIRST): protect(Reason.UNREACHABLE_STORE)}
    assert _of(trash, withheld=withheld) == Reason.UNREACHABLE_STORE


@pytest.mark.parametrize(
    ("newest", "verdict"),
    [
        (AS_OF - 30 * DAY_MS - 1, Verdict.DELETE),
        (AS_OF - 30 * DAY_MS, Verdict.FRESH),
        (AS_OF + DAY_MS // 2, Verdict.FRESH),
        (None, Reason.UNKNOWN_TIME),
        (5, Reason.UNKNOWN_TIME),
    ],
)
def test_orphaned_files_are_strictly_older(newest: int | None, verdict: object) -> None:
    """By the newest of them; a store that tells no time, or an implausible one, protects."""
    orphan = OrphanedFiles(f"s3://bucket/1/{FIRST}", f"run {FIRST}", 7, 1, newest)
    decision = decide_orphan(orphan, ORPHANS, {})
    assert (decision.reason or decision.verdict) == verdict
    assert decide_orphan(orphan, POLICY, {}).verdict is Verdict.FRESH


def test_orphaned_files_that_the_registry_names_are_protected() -> None:
    orphan = OrphanedFiles(f"s3://bucket/1/{FIRST}", f"run {FIRST}", 7, 1, OLD)
    named = {FIRST: Link("model_version", "fraud/1")}
    assert decide_orphan(orphan, ORPHANS, named).reason is Reason.REGISTERED_MODEL
    assert decide_orphan(orphan, ORPHANS, {SECOND: named[FIRST]}).verdict is Verdict.DELETE


@pytest.mark.parametrize(
    ("created", "verdict"),
    [
        (AS_OF - 30 * DAY_MS - 1, Verdict.DELETE),
        (AS_OF - 30 * DAY_MS, Verdict.FRESH),
        (None, Verdict.DELETE),
    ],
)
def test_dangling_links_are_strictly_older(created: int | None, verdict: Verdict) -> None:
    """What a link names may be stored after the link; the table ``inputs`` has no times."""
    link = DanglingLink("inputs", "RUN_INPUT a", "MODEL_INPUT b", ("run a",), created, 1)
    trash = _trash(links={link.id: link})
    assert _of(trash, ("link", link.id), ORPHANS) == verdict
    assert _of(trash, ("link", link.id)) == Verdict.FRESH
