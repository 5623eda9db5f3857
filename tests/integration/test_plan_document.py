"""The plan as a file: section 5 of the contract."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import DAY_MS, Plan, plan_digest, rfc3339
from support.proxy import Proxy
from support.world import KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli
    from support.world import World

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

TOP_KEYS = [
    "$schema",
    "format",
    "format_version",
    "plan_id",
    "created_at",
    "as_of",
    "expires_at",
    "tool",
    "server",
    "policy",
    "complete",
    "applyable",
    "diagnostics",
    "summary",
    "experiments",
    "runs",
    "model_versions",
    "protected",
]
ENTRY_KEYS = {
    "experiments": [
        "experiment_id",
        "name",
        "creation_time",
        "last_update_time",
        "last_activity_time",
        "run_count",
        "reversible",
        "reasons",
        "expect",
    ],
    "runs": [
        "run_id",
        "run_name",
        "experiment_id",
        "experiment_name",
        "user_id",
        "status",
        "start_time",
        "end_time",
        "last_activity_time",
        "parent_run_id",
        "reversible",
        "reasons",
        "expect",
    ],
    "model_versions": [
        "name",
        "version",
        "creation_timestamp",
        "last_updated_timestamp",
        "current_stage",
        "run_id",
        "source",
        "description",
        "tags",
        "reversible",
        "reasons",
        "expect",
    ],
}


@pytest.fixture(scope="module")
def facts(shared_world: World) -> dict[str, str]:
    """Some entities of each kind, with values that are easy to find again."""
    world = shared_world
    experiment = world.experiment("Überfahrt ✈ \u202eevil\x1b[31m")
    runs = [world.run(experiment, name=f"run {n}", age=40 + n) for n in range(5)]
    timed = world.run(
        experiment,
        name="timed",
        start=world.ago(50) + 7,
        end=world.ago(49) + 11,
        metrics={"metric_name_zebra": world.ago(48) + 13},
        tags={"tag_name_zebra": "tag_value_zebra", "mlflow.user": "alice"},
    )
    body = {"run_id": timed, "key": "param_name_zebra", "value": "param_value_zebra"}
    world.call("POST", "runs/log-parameter", body)
    child = world.run(experiment, parent=runs[0])
    world.run(world.experiment("kept"), tags={KEEP_TAG: "true"})
    model = world.model("fraud")
    version = world.spare_version(
        model,
        source="s3://bucket/fraud",
        description="Detects fraud.",
        tags={"team": "risk"},
    )
    world.version(world.model("second"), aliases=["champion"])
    return {"experiment": experiment, "timed": timed, "child": child, "version": version}


@pytest.fixture(scope="module")
def plan(shared_bench: Bench, facts: dict[str, str]) -> Plan:
    """The plan under test."""
    assert facts
    return shared_bench.report()


def _lines(plan: Plan) -> list[str]:
    return plan.path.read_bytes().decode().split("\n")


def test_the_file_is_utf8_with_line_feeds_and_a_final_newline(plan: Plan) -> None:
    """No carriage return, no byte order mark, exactly one newline at the end."""
    raw = plan.path.read_bytes()
    raw.decode("utf-8", errors="strict")
    assert b"\r" not in raw
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert raw.endswith(b"}\n")


def test_each_entity_has_one_line_of_its_own(plan: Plan) -> None:
    """Every entry is a whole JSON object on a line, so that git diff shows entities."""
    lines = [line.rstrip(",") for line in _lines(plan)]
    groups = [plan.document[kind] for kind in ENTRY_KEYS]
    groups += [plan.document["protected"][kind] for kind in ENTRY_KEYS]
    objects = [line for line in lines if line.startswith('{"') and line.endswith("}")]
    parsed = [json.loads(line) for line in objects]
    for group in groups:
        for entry in group:
            assert parsed.count(entry) == 1, entry


def test_keys_come_in_the_order_of_the_contract(plan: Plan) -> None:
    """Top level and entries; further optional keys may stand between them."""
    assert [key for key in plan.document if key in TOP_KEYS] == TOP_KEYS
    for kind, keys in ENTRY_KEYS.items():
        assert plan.document[kind], kind
        for entry in plan.document[kind]:
            assert [key for key in entry if key in keys] == keys, kind


def test_times_are_rfc3339_utc_with_milliseconds(plan: Plan) -> None:
    """Every value whose name says time, and the clocks of the document."""

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, key)
        elif key.endswith(("_time", "_timestamp", "_at", "as_of", "cutoff")) and value is not None:
            assert isinstance(value, str), key
            assert TIME.fullmatch(value), (key, value)

    walk(plan.document, "")


def test_the_document_says_what_it_is_and_when(plan: Plan, shared_world: World) -> None:
    """Format, version, clock, cutoff and expiry."""
    document = plan.document
    assert document["format"] == "mlflow-gc/prune-plan"
    assert re.fullmatch(r"1\.\d+", document["format_version"])
    assert document["as_of"] == shared_world.as_of
    assert document["expires_at"] == rfc3339(shared_world.as_of_ms + 7 * DAY_MS)
    assert document["policy"]["ttl_days"] == 30
    assert document["policy"]["cutoff"] == rfc3339(shared_world.cutoff_ms)
    assert document["complete"] is True
    assert document["applyable"] is True
    assert document["tool"]["name"] == "mlflow-gc"
    assert document["server"]["mlflow_version"]
    assert document["server"]["tracking_uri"] == shared_world.uri
    assert document["server"]["registry_uri"] == shared_world.uri
    assert document["server"]["workspace"] is None
    assert document["server"]["identity"]


def test_a_run_entry_holds_what_the_server_says(
    plan: Plan, facts: dict[str, str], shared_world: World
) -> None:
    """Names, experiment, user, status and all three times, exact to the millisecond."""
    entry = plan.run(facts["timed"])
    assert entry["run_name"] == "timed"
    assert entry["experiment_id"] == facts["experiment"]
    assert entry["experiment_name"] == "Überfahrt ✈ \u202eevil\x1b[31m"
    assert entry["status"] == "FINISHED"
    assert entry["start_time"] == rfc3339(shared_world.ago(50) + 7)
    assert entry["end_time"] == rfc3339(shared_world.ago(49) + 11)
    assert entry["last_activity_time"] == rfc3339(shared_world.ago(48) + 13)
    assert entry["parent_run_id"] is None
    assert entry["reasons"]
    assert plan.run(facts["child"])["parent_run_id"] is not None


def test_a_version_entry_holds_what_no_one_can_read_after_its_deletion(
    plan: Plan, facts: dict[str, str], shared_world: World
) -> None:
    """The plan is the only record of a deleted version."""
    (entry,) = plan.document["model_versions"]
    assert f"{entry['name']}/{entry['version']}" == facts["version"]
    assert entry["description"] == "Detects fraud."
    assert entry["tags"] == {"team": "risk"}
    assert entry["source"] == "s3://bucket/fraud"
    assert entry["current_stage"] == "None"
    assert entry["last_updated_timestamp"] == rfc3339(shared_world.ago(100))
    assert entry["reversible"] is False


def test_an_experiment_entry_counts_its_runs(plan: Plan, facts: dict[str, str]) -> None:
    """``run_count`` is the number of planned runs in it."""
    entry = next(
        e for e in plan.document["experiments"] if e["experiment_id"] == facts["experiment"]
    )
    inside = [r for r in plan.document["runs"] if r["experiment_id"] == facts["experiment"]]
    assert entry["run_count"] == len(inside) == 7


def test_the_plan_holds_no_metric_no_parameter_and_no_foreign_tag(plan: Plan) -> None:
    """Neither names nor values."""
    assert "zebra" not in plan.path.read_text()


def test_plan_id_is_the_digest_of_the_canonical_form(plan: Plan) -> None:
    """Computed here with another implementation of RFC 8785."""
    assert plan.plan_id == plan_digest(plan.document)


def test_two_reports_of_one_state_differ_in_created_at_only(
    plan: Plan, shared_bench: Bench
) -> None:
    """The same ``--as-of`` gives the same bytes."""
    again = shared_bench.report(name="again.json")
    first, second = _lines(plan), _lines(again)
    assert len(first) == len(second)
    different = [(a, b) for a, b in zip(first, second, strict=True) if a != b]
    assert [a.split(":")[0] for a, _ in different] == ['"created_at"']
    assert plan.plan_id == again.plan_id


def test_a_plan_on_stdout_is_the_same_and_nothing_else(plan: Plan, shared_bench: Bench) -> None:
    """``-o -`` puts the document on stdout, everything else on stderr."""
    outcome = shared_bench.cli("report", "-o", "-", "--as-of", shared_bench.world.as_of).expect(0)
    assert outcome.out.endswith("}\n")
    assert outcome.json()["plan_id"] == plan.plan_id
    assert not (shared_bench.cli.scratch / "-").exists()


def test_report_to_a_file_prints_a_summary(shared_bench: Bench, plan: Plan, tmp_path: Path) -> None:
    """People see how much would go, and where the plan is."""
    path = tmp_path / "some-plan.json"
    outcome = shared_bench.cli("report", "-o", path, "--as-of", plan.document["as_of"]).expect(0)
    assert str(len(plan.runs)) in outcome.text
    assert "some-plan.json" in outcome.text


def test_the_default_file_is_prune_plan_json(shared_bench: Bench, tmp_path: Path) -> None:
    """In the working directory, and nothing beside it."""
    shared_bench.cli("report", cwd=tmp_path).expect(0)
    assert [p.name for p in tmp_path.iterdir()] == ["prune-plan.json"]


def test_as_of_defaults_to_now(shared_bench: Bench, tmp_path: Path) -> None:
    """Without ``--as-of`` the clock is the time of the report."""
    shared_bench.cli("report", "-o", tmp_path / "p.json").expect(0)
    document = json.loads((tmp_path / "p.json").read_bytes())
    assert document["as_of"] > shared_bench.world.as_of
    assert abs(_seconds(document["created_at"]) - _seconds(document["as_of"])) < 60


def _seconds(time: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("size", [None, 1, 3])
def test_the_same_entities_in_the_same_order_whatever_the_page_size(
    plan: Plan, shared_bench: Bench, proxy: Proxy, size: int | None
) -> None:
    """Through a proxy that cuts pages short and puts an empty page between them."""
    if size is not None:
        proxy.shrink_pages(size)
    other = shared_bench.report(name="proxy.json", env={"MLFLOW_TRACKING_URI": proxy.uri})
    for kind in ENTRY_KEYS:
        assert other.document[kind] == plan.document[kind]
        assert other.document["protected"][kind] == plan.document["protected"][kind]


def test_another_ttl_moves_the_cutoff(shared_bench: Bench, plan: Plan) -> None:
    """``--ttl`` is in the policy, and decides."""
    longer = shared_bench.report("--ttl", 43, name="ttl.json")
    assert longer.document["policy"]["ttl_days"] == 43
    assert longer.document["policy"]["cutoff"] == rfc3339(shared_bench.world.ago(43))
    assert longer.runs < plan.runs
    assert longer.plan_id != plan.plan_id


def test_validate_accepts_what_report_writes(plan: Plan, offline_cli: Cli) -> None:
    """Schema, digest and meaning."""
    offline_cli("validate", plan.path).expect(0)


def test_the_published_schema_is_draft_2020_12_and_the_plan_names_it(
    plan: Plan, offline_cli: Cli
) -> None:
    """``$schema`` of the plan is the ``$id`` of the schema."""
    schema = offline_cli("schema", "plan").expect(0).json()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == plan.document["$schema"]


def test_no_credential_of_an_uri_reaches_file_or_output(
    shared_bench: Bench, shared_world: World
) -> None:
    """User name and password in the tracking URI, and a token, stay out of everything."""
    uri = shared_world.uri.replace("http://", "http://usr-canary:pwd-canary@")
    path = shared_bench.dir / "secret.json"
    env = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_TOKEN": "tok-canary"}
    outcome = shared_bench.cli(
        "report", "-v", "-o", path, "--as-of", shared_world.as_of, env=env
    ).expect(0)
    assert "canary" not in path.read_text()
    assert "canary" not in outcome.text
    assert Plan.load(path).document["server"]["tracking_uri"] == shared_world.uri


def test_verbose_says_where_each_setting_came_from(shared_bench: Bench, tmp_path: Path) -> None:
    """The origin of the TTL and of the URI, never the value of a secret."""
    outcome = shared_bench.cli(
        "report",
        "-v",
        "-o",
        tmp_path / "p.json",
        env={"MLFLOW_TRACKING_ENTITY_TTL": "31", "MLFLOW_TRACKING_TOKEN": "tok-canary"},
    ).expect(0)
    assert "MLFLOW_TRACKING_ENTITY_TTL" in outcome.err
    assert "canary" not in outcome.text


@pytest.mark.usefixtures("facts")
def test_a_report_changes_nothing_on_the_server(shared_bench: Bench) -> None:
    """Every request of a report reads."""
    with Proxy(shared_bench.world.uri) as watched:
        before = shared_bench.state()
        shared_bench.report(name="watched.json", env={"MLFLOW_TRACKING_URI": watched.uri})
        assert shared_bench.state() == before
        paths = {s.path for s in watched.seen if s.method != "GET"}
    assert all(path.endswith(("search", "graphql")) for path in paths), paths


def test_the_file_stays_small_next_to_its_content(plan: Plan) -> None:
    """A fresh run costs no line."""
    assert plan.document["summary"]["runs"]["scanned"] == 8
    assert len(_lines(plan)) < 80
