"""A plan that is not what was reviewed, or not for this server or moment, is refused whole.

Refused means: the right exit code, one sentence that says what is wrong, nothing deleted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.bench import Bench
from support.plans import DAY_MS, Plan, rfc3339
from support.world import FRESH

from mlflow_gc.demo.server import LocalServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.world import World

ERROR, REFUSED, USAGE = 1, 5, 64


@pytest.fixture(scope="module")
def plan(shared_bench: Bench) -> Plan:
    """A plan on one tree, one experiment and one version; no test here may delete anything."""
    world = shared_bench.world
    experiment = world.experiment("first")
    parent = world.run(experiment, name="parent")
    world.run(experiment, parent=parent)
    world.run(world.experiment("fresh", age=FRESH), age=FRESH)
    world.spare_version(world.model("fraud"), description="d", tags={"a": "b"})
    world.version(world.model("champion"), aliases=["champion"])
    return shared_bench.report()


@pytest.fixture
def refuse(shared_bench: Bench, tmp_path: Path) -> Callable[..., str]:
    """Prune a plan file, check that it is refused, and return what was said."""

    def run(path: Path, *args: object, codes: tuple[int, ...] = (REFUSED,), **more: Any) -> str:
        before = shared_bench.state()
        outcome = shared_bench.cli(
            "prune", path, "--journal", tmp_path / "j.jsonl", *args, **more
        ).expect(*codes)
        assert shared_bench.state() == before, "something was deleted"
        assert outcome.err.strip(), "no message"
        return outcome.err

    return run


def _edit_description(d: dict[str, Any]) -> None:
    d["model_versions"][0]["description"] = "e"


def _edit_reason(d: dict[str, Any]) -> None:
    d["runs"][0]["reasons"][0] += "."


def _edit_ttl(d: dict[str, Any]) -> None:
    d["policy"]["ttl_days"] = 31


def _remove_a_run(d: dict[str, Any]) -> None:
    d["runs"].pop()


def _swap_runs(d: dict[str, Any]) -> None:
    d["runs"].reverse()


def _edit_expectation(d: dict[str, Any]) -> None:
    key = min(d["runs"][0]["expect"])
    d["runs"][0]["expect"][key] = "something else"


def _edit_run_id(d: dict[str, Any]) -> None:
    run_id = d["runs"][0]["run_id"]
    d["runs"][0]["run_id"] = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")


def _edit_identity(d: dict[str, Any]) -> None:
    d["server"]["identity"] += "0"


def _edit_digest(d: dict[str, Any]) -> None:
    d["plan_id"] = "sha256:" + "0" * 64


def _extend_expiry(d: dict[str, Any]) -> None:
    d["expires_at"] = "2999-01-01T00:00:00.000Z"


def _add_a_name(d: dict[str, Any]) -> None:
    d["runs"][0]["annotation"] = "added by a reviewer"


def _unprotect(d: dict[str, Any]) -> None:
    d["protected"]["model_versions"] = []


@pytest.mark.parametrize(
    "edit",
    [
        _edit_description,
        _edit_reason,
        _edit_ttl,
        _remove_a_run,
        _swap_runs,
        _edit_expectation,
        _edit_run_id,
        _edit_identity,
        _edit_digest,
        _extend_expiry,
        _add_a_name,
        _unprotect,
    ],
)
def test_an_edited_plan_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path, edit: Callable[[Any], None]
) -> None:
    """Any change of a value, by ``prune``, ``validate`` and ``check`` alike."""
    edited = plan.edited(tmp_path / "edited.json", edit, sign=False)
    assert edited.document != plan.document
    refuse(edited.path, codes=(ERROR, REFUSED))


@pytest.mark.parametrize("command", ["validate", "check", "show"])
def test_other_commands_notice_an_edited_plan_too(
    plan: Plan, shared_bench: Bench, tmp_path: Path, command: str
) -> None:
    """``validate`` and ``check`` refuse; ``show`` may render it but must not keep quiet."""
    edited = plan.edited(tmp_path / "edited.json", _edit_description, sign=False)
    outcome = shared_bench.cli(command, edited.path)
    if command != "show" or outcome.code != 0:
        outcome.expect(ERROR, REFUSED)
    assert outcome.err.strip()


def test_the_message_about_an_edit_names_the_file_and_the_digest(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """A sentence that says what is wrong."""
    edited = plan.edited(tmp_path / "edited.json", _edit_description, sign=False)
    output = refuse(edited.path, codes=(ERROR, REFUSED))
    assert "edited.json" in output.replace("\n", "")
    assert (
        "digest" in output or "plan_id" in output or "edited" in output.replace("edited.json", "")
    )


def _signed(plan: Plan, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    return plan.edited(tmp_path / "signed.json", change, sign=True).path


def test_a_duplicated_key_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """Two readers of one file must not see two documents."""
    text = plan.path.read_text()
    twice = text.replace('"complete": true', '"complete": false,\n"complete": true')
    assert twice != text
    path = tmp_path / "twice.json"
    path.write_text(twice)
    refuse(path, codes=(ERROR, REFUSED))


def test_a_truncated_file_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """A copy that broke off."""
    path = tmp_path / "half.json"
    path.write_bytes(plan.path.read_bytes()[:-300])
    refuse(path, codes=(ERROR, REFUSED))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe{}",
        b'{"format": "terraform"}',
        b"<html></html>",
        b"[" * 100_000,
        b'{"plan_id": NaN}',
    ],
    ids=["empty", "null", "array", "object", "utf16", "foreign", "html", "deep", "nan"],
)
def test_a_file_that_is_no_plan_is_refused(
    refuse: Callable[..., str], tmp_path: Path, content: bytes
) -> None:
    """Whatever it is."""
    path = tmp_path / "no-plan.json"
    path.write_bytes(content)
    refuse(path, codes=(ERROR, REFUSED))


@pytest.mark.parametrize("command", ["prune", "show", "validate", "check", "diff"])
def test_a_missing_plan_file_is_an_error_that_names_it(
    shared_bench: Bench, plan: Plan, tmp_path: Path, command: str
) -> None:
    """One sentence, exit 1."""
    words = [tmp_path / "nowhere.json"] + ([plan.path] if command == "diff" else [])
    outcome = shared_bench.cli(command, *words).expect(ERROR)
    assert "nowhere.json" in outcome.err.replace("\n", "")


def test_a_directory_instead_of_a_plan_is_an_error(shared_bench: Bench, tmp_path: Path) -> None:
    """Exit 1, no traceback."""
    shared_bench.cli("prune", tmp_path).expect(ERROR)


def test_an_unknown_major_version_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """A plan of the future means something else."""
    output = refuse(_signed(plan, tmp_path, lambda d: d.update(format_version="2.0")))
    assert "2.0" in output


@pytest.mark.parametrize("kind", ["experiments", "runs", "model_versions"])
def test_an_unknown_precondition_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path, kind: str
) -> None:
    """Ignoring an ``expect`` key would make a newer plan less safe under this program."""
    assert plan.document[kind]

    def demand(document: dict[str, Any]) -> None:
        document[kind][0]["expect"]["phase_of_the_moon"] = "full"

    output = refuse(_signed(plan, tmp_path, demand), codes=(ERROR, REFUSED))
    assert "phase_of_the_moon" in output


def test_an_incomplete_plan_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """Evidence is missing."""
    refuse(_signed(plan, tmp_path, lambda d: d.update(complete=False, applyable=False)))


def test_a_plan_marked_as_not_applyable_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """Also when nothing else speaks against it."""
    refuse(_signed(plan, tmp_path, lambda d: d.update(applyable=False)))


def test_a_plan_that_lies_about_being_applyable_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """``complete`` false and ``applyable`` true contradict each other."""
    refuse(_signed(plan, tmp_path, lambda d: d.update(complete=False)), codes=(ERROR, REFUSED))


def _at(*address: str | int) -> Callable[[dict[str, Any]], None]:
    """Put a moment that no calendar has at this place of the document."""

    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for key in address[:-1]:
            target = target[key]
        assert target[address[-1]] is not None
        target[address[-1]] = "2026-99-99T00:00:00.000Z"

    return change


@pytest.mark.parametrize(
    "address",
    [
        ("as_of",),
        ("expires_at",),
        ("policy", "cutoff"),
        ("runs", 0, "start_time"),
        ("runs", 0, "last_activity_time"),
        ("runs", 0, "expect", "start_time"),
        ("experiments", 0, "creation_time"),
        ("model_versions", 0, "last_updated_timestamp"),
    ],
    ids=lambda a: ".".join(map(str, a)),
)
def test_a_time_that_is_none_is_refused(
    plan: Plan,
    refuse: Callable[..., str],
    shared_bench: Bench,
    tmp_path: Path,
    address: tuple[str | int, ...],
) -> None:
    """It has the right form and a right digest; still it is no moment."""
    path = _signed(plan, tmp_path, _at(*address))
    shared_bench.cli("validate", path).expect(ERROR, REFUSED)
    shared_bench.cli("check", path).expect(ERROR, REFUSED)
    shared_bench.cli("show", path).expect(0, ERROR, REFUSED)
    refuse(path, codes=(ERROR, REFUSED))


def _list_a_run_twice(d: dict[str, Any]) -> None:
    d["runs"].append(d["runs"][0])
    d["summary"]["runs"]["delete"] += 1
    d["summary"]["runs"]["stale"] += 1


def _count_wrongly(d: dict[str, Any]) -> None:
    d["summary"]["runs"]["delete"] += 1


def _call_a_version_reversible(d: dict[str, Any]) -> None:
    d["model_versions"][0]["reversible"] = True


def _hide_the_irreversible(d: dict[str, Any]) -> None:
    d["summary"]["irreversible"] = 0


def _move_the_cutoff(d: dict[str, Any]) -> None:
    d["policy"]["cutoff"] = d["as_of"]


def _expect_nothing(d: dict[str, Any]) -> None:
    d["runs"][0]["expect"] = {}


def _delete_the_protected(d: dict[str, Any]) -> None:
    entry = d["protected"]["model_versions"][0]
    d["model_versions"][0].update(name=entry["name"], version=entry["version"])


@pytest.mark.parametrize(
    "change",
    [
        _list_a_run_twice,
        _count_wrongly,
        _call_a_version_reversible,
        _hide_the_irreversible,
        _move_the_cutoff,
        _expect_nothing,
        _delete_the_protected,
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(
    plan: Plan,
    refuse: Callable[..., str],
    shared_bench: Bench,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], None],
) -> None:
    """The digest fits, the meaning does not."""
    path = _signed(plan, tmp_path, change)
    shared_bench.cli("validate", path).expect(ERROR, REFUSED)
    refuse(path, codes=(ERROR, REFUSED))


def test_an_expired_plan_is_refused(
    plan: Plan, refuse: Callable[..., str], tmp_path: Path, shared_world: World
) -> None:
    """``expires_at`` lies in the past."""
    past = rfc3339(shared_world.as_of_ms - 1)
    output = refuse(_signed(plan, tmp_path, lambda d: d.update(expires_at=past)))
    assert "expire" in output.lower()


def test_expiry_counts_from_as_of(shared_bench: Bench, refuse: Callable[..., str]) -> None:
    """A plan as of eight days ago is born expired."""
    path = shared_bench.dir / "born-expired.json"
    as_of = rfc3339(shared_bench.world.as_of_ms - 8 * DAY_MS)
    shared_bench.cli("report", "-o", path, "--as-of", as_of).expect(0)
    refuse(path)


def test_a_forecast_is_written_but_refused(shared_bench: Bench, refuse: Callable[..., str]) -> None:
    """A plan whose ``as_of`` lies in the future."""
    path = shared_bench.dir / "forecast.json"
    as_of = rfc3339(shared_bench.world.as_of_ms + 60 * DAY_MS)
    shared_bench.cli("report", "-o", path, "--as-of", as_of).expect(0)
    forecast = Plan.load(path)
    assert forecast.document["applyable"] is False
    refuse(path)


def test_a_forecast_with_a_turned_flag_is_refused(
    shared_bench: Bench, refuse: Callable[..., str], tmp_path: Path
) -> None:
    """The clock decides, not the flag."""
    path = shared_bench.dir / "forecast-2.json"
    as_of = rfc3339(shared_bench.world.as_of_ms + 60 * DAY_MS)
    shared_bench.cli("report", "-o", path, "--as-of", as_of).expect(0)
    refuse(
        _signed(Plan.load(path), tmp_path, lambda d: d.update(applyable=True)),
        codes=(ERROR, REFUSED),
    )


def test_another_digest_than_expected_is_refused(plan: Plan, refuse: Callable[..., str]) -> None:
    """``--expect`` pins the plan that CI approved."""
    output = refuse(plan.path, "--expect", "sha256:" + "0" * 64)
    assert plan.plan_id[:20] in output.replace("\n", "")


@pytest.mark.parametrize("value", ["", "latest", "sha256:", "sha256:12", "md5:" + "0" * 64])
def test_an_expectation_that_is_no_digest_never_passes(
    plan: Plan, refuse: Callable[..., str], value: str
) -> None:
    """An empty variable in a CI job must not switch the check off."""
    refuse(plan.path, "--expect", value, codes=(REFUSED, USAGE))


@pytest.mark.parametrize(
    "option",
    [
        ("--ttl", "5"),
        ("--as-of", "2026-01-01T00:00:00.000Z"),
        ("--policy", "policy.toml"),
    ],
    ids=lambda o: o[0],
)
def test_a_selecting_option_beside_a_plan_is_a_usage_error(
    plan: Plan, refuse: Callable[..., str], option: tuple[str, str]
) -> None:
    """The plan is the selection."""
    output = refuse(plan.path, *option, codes=(USAGE,))
    assert option[0] in output


def test_a_ttl_in_the_environment_does_not_touch_a_plan(
    plan: Plan, shared_bench: Bench, tmp_path: Path
) -> None:
    """AE5 sets the variable for every command; beside a PLAN it selects nothing."""
    shared_bench.cli(
        "prune",
        plan.path,
        "--dry-run",
        "--journal",
        tmp_path / "j.jsonl",
        env={"MLFLOW_TRACKING_ENTITY_TTL": "5"},
    ).expect(0)


@pytest.mark.parametrize(
    "words",
    [
        ("prune", "a.json", "b.json"),
        ("prune", "--no-such-flag"),
        ("no-such-command",),
        ("show",),
        ("diff", "a.json"),
        ("schema", "no-such-schema"),
        ("report", "--as-of", "yesterday"),
        ("report", "--as-of", "2026-13-01T00:00:00Z"),
        ("report", "--as-of", ""),
        ("show", "--format", "pdf", "a.json"),
    ],
    ids=" ".join,
)
def test_usage_errors_are_64(shared_bench: Bench, words: tuple[str, ...]) -> None:
    """Not 2, which means "there is something"."""
    outcome = shared_bench.cli(*words).expect(USAGE)
    assert outcome.err.strip()
    assert not outcome.out.strip()


def test_where_an_expectation_is_required_a_saved_plan_needs_one(
    plan: Plan, shared_bench: Bench, refuse: Callable[..., str]
) -> None:
    """``MLFLOW_GC_REQUIRE_EXPECT``: anything but a clear no; a dry run deletes nothing."""
    for value in ("1", "true", "what"):
        output = refuse(plan.path, env={"MLFLOW_GC_REQUIRE_EXPECT": value})
        assert "MLFLOW_GC_REQUIRE_EXPECT" in output
    for value, words in (("1", ("--expect", plan.plan_id)), ("0", ()), ("", ()), ("1", ())):
        shared_bench.cli(
            "prune", plan.path, *words, "--dry-run", env={"MLFLOW_GC_REQUIRE_EXPECT": value}
        ).expect(0)


@pytest.mark.parametrize(
    ("env", "numbers"),
    [
        ({"MLFLOW_GC_MAX_DELETIONS": "3"}, ["4", "3"]),
        ({"MLFLOW_GC_MAX_DELETIONS": "0"}, ["4", "0"]),
        ({"MLFLOW_GC_MAX_SHARE": "44%"}, ["4 of 9", "44 %"]),
    ],
)
def test_no_plan_loosens_what_this_machine_allows(
    plan: Plan,
    shared_bench: Bench,
    refuse: Callable[..., str],
    env: dict[str, str],
    numbers: list[str],
) -> None:
    """Whatever guards the policy of a pull request sets; and ``check`` says so beforehand."""
    output = refuse(plan.path, env=env)
    assert "This machine allows less" in output
    for words in (*numbers, next(iter(env))):
        assert words in output
    found = shared_bench.cli("check", plan.path, "--format", "json", env=env).expect(0).json()
    assert "This machine allows less" in found["refusals"][0]
    roomy = {"MLFLOW_GC_MAX_DELETIONS": "4", "MLFLOW_GC_MAX_SHARE": "45"}
    shared_bench.cli("prune", plan.path, "--dry-run", env=roomy).expect(0)
    wrong = {next(iter(env)): "many"}
    refuse(plan.path, env=wrong, codes=(USAGE,))
    # Found before the server is read, and before anything is written.
    on_the_spot = shared_bench.dir / "on-the-spot.json"
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    shared_bench.cli("prune", "--yes", "-o", on_the_spot, env={**wrong, **nobody}).expect(USAGE)
    assert not on_the_spot.exists()


def test_a_pipe_is_no_journal(plan: Plan, shared_bench: Bench, refuse: Callable[..., str]) -> None:
    """Refused at once; it would wait for a reader, deaf to every signal."""
    pipe = shared_bench.dir / "pipe"
    os.mkfifo(pipe)
    assert "named pipe" in refuse(plan.path, "--journal", pipe, timeout=60)


@pytest.mark.parametrize(
    "content", ["version: 1\n", '{"type":"header","format":"mlflow-gc/journal"}\n']
)
def test_no_command_overwrites_what_it_did_not_make(
    shared_bench: Bench, tmp_path: Path, content: str
) -> None:
    """A policy, a journal: said before the server is read."""
    path = tmp_path / "precious"
    path.write_text(content)
    nowhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    for words in (("report", "-o"), ("prune", "--yes", "-o"), ("report", "--events")):
        outcome = shared_bench.cli(*words, path, env=nowhere).expect(ERROR)
        assert "not overwritten" in outcome.err
        assert path.read_text() == content


@pytest.mark.parametrize("what", ["the plan itself", "another file"])
def test_a_journal_path_that_holds_something_else_is_refused(
    plan: Plan, shared_bench: Bench, tmp_path: Path, what: str
) -> None:
    """A slip on the command line overwrites neither the plan nor anyone's notes."""
    path = plan.path
    if what == "another file":
        path = tmp_path / "notes.txt"
        path.write_text("my notes\n")
    content, before = path.read_bytes(), shared_bench.state()
    shared_bench.cli("prune", plan.path, "--journal", path).expect(ERROR, REFUSED, USAGE)
    assert path.read_bytes() == content
    assert shared_bench.state() == before


# Other servers. They take a while to start.


def test_another_server_is_refused(
    plan: Plan, refuse: Callable[..., str], other_server: LocalServer
) -> None:
    """The plan is for the server it was made on."""
    output = refuse(plan.path, env={"MLFLOW_TRACKING_URI": other_server.uri})
    assert "server" in output.lower()


def test_another_registry_is_refused(
    plan: Plan, refuse: Callable[..., str], other_server: LocalServer
) -> None:
    """The same tracking server with another model registry."""
    refuse(plan.path, env={"MLFLOW_REGISTRY_URI": other_server.uri})


def test_another_server_is_refused_by_check_too(
    plan: Plan, shared_bench: Bench, other_server: LocalServer
) -> None:
    """``check`` compares with the right server or not at all."""
    shared_bench.cli("check", plan.path, env={"MLFLOW_TRACKING_URI": other_server.uri}).expect(
        REFUSED
    )


def test_the_tracking_uri_flag_wins_over_the_environment(
    plan: Plan, refuse: Callable[..., str], other_server: LocalServer
) -> None:
    """So a plan meets the wrong server by flag as well."""
    refuse(plan.path, "--tracking-uri", other_server.uri)


def test_the_same_server_after_a_restart_on_another_port_is_accepted(
    plan: Plan, shared_bench: Bench, server: LocalServer, tmp_path: Path
) -> None:
    """Another process on the same store: the identity is not the URI."""
    again = LocalServer(tmp_path / "again", backend_store_uri=f"sqlite:///{server.database}")
    with again:
        outcome = shared_bench.cli(
            "prune",
            plan.path,
            "--dry-run",
            "--journal",
            tmp_path / "j.jsonl",
            env={"MLFLOW_TRACKING_URI": again.uri},
        )
    outcome.expect(0)


def test_a_renamed_default_experiment_is_no_other_server(
    plan: Plan, shared_bench: Bench, shared_world: World
) -> None:
    """What users can change is not what identifies a server."""
    rename = {"experiment_id": "0", "new_name": "Playground"}
    shared_world.call("POST", "experiments/update", rename)
    try:
        shared_bench.cli("prune", plan.path, "--dry-run").expect(0)
    finally:
        rename["new_name"] = "Default"
        shared_world.call("POST", "experiments/update", rename)


def test_a_plan_on_the_standard_input_is_no_way_around(
    plan: Plan, shared_bench: Bench, tmp_path: Path
) -> None:
    """Whatever ``-`` means to ``prune``, an edited plan does not get through it."""
    document = json.loads(plan.path.read_bytes())
    _edit_ttl(document)
    before = shared_bench.state()
    shared_bench.cli("prune", "-", stdin=json.dumps(document), cwd=tmp_path).expect(
        ERROR, REFUSED, USAGE
    )
    assert shared_bench.state() == before
