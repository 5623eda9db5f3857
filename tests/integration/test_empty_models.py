"""Things without content: experiments without runs, and registered models without versions.

The second kind goes for good: MLflow deletes a registered model with all that is in it, and has no
trash for it.  So it is off by default, and the last look asks for versions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.plans import DAY_MS, Plan, rfc3339
from support.proxy import EMPTY_200, JSON_ARRAY, SERVER_ERROR_AFTER, Fault
from support.server import open_database
from support.world import FRESH, PROMPT_TAG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.bench import Bench
    from support.proxy import Proxy
    from support.world import World

KEEP, TTL, AFTER = "mlflow_gc.keep", "mlflow_gc.ttl", "mlflow_gc.delete_after"
REFUSED = 5
UGLY = "[red]leeres 'Modell' \"夜\"\n\x1b[31m<script>alert(1)<img src=x>"
"""MLflow allows anything but a slash and a colon."""
ON = "defaults: {empty_models: 30d}"


def write_policy(directory: Path, *lines: str) -> Path:
    """A policy file."""
    path = directory / "policy.yml"
    path.write_text("\n".join(["version: 1", *lines, ""]))
    return path


def models(bench: Bench) -> set[str]:
    """The registered models in the server."""
    with open_database(bench.world.database) as db:
        return {str(name) for (name,) in db.execute("SELECT name FROM registered_models")}


def date_model(world: World, name: str, *, created: float = 100, updated: float = 100) -> str:
    """Set the times that the server stamps, in days before the clock of the reports."""
    world.sql(
        "UPDATE registered_models SET creation_time = ?, last_updated_time = ? WHERE name = ?",
        world.ago(created),
        world.ago(updated),
        name,
    )
    return name


def describe_model(world: World, name: str, text: str) -> None:
    """Edit the description of a registered model."""
    world.call("PATCH", "registered-models/update", {"name": name, "description": text})


def emptied(world: World, name: str, *, alias: str | None = None) -> str:
    """An old registered model whose only version was deleted."""
    version = world.version(world.model(name))
    world.delete_version(version)
    if alias is not None:
        # Deleting a version takes its aliases along; older servers left them behind.
        world.sql(
            "INSERT INTO registered_model_aliases (name, alias, version) VALUES (?, ?, 1)",
            name,
            alias,
        )
    return date_model(world, name)


def to_delete(plan: Plan) -> set[str]:
    """The registered models that a plan deletes."""
    return {entry["name"] for entry in plan.document["registered_models"]}


def protected(plan: Plan) -> dict[str, str]:
    """The registered models that a plan protects, with the reason."""
    found = plan.document["protected"]["registered_models"]
    return {entry["name"]: entry["reason"] for entry in found}


def fates(bench: Bench, plan: Plan) -> dict[str, str]:
    """Registered model -> reason code of its skip."""
    assert plan.path.exists()
    lines = bench.journal_path(plan).read_text().splitlines()
    records = [r for r in map(json.loads, lines) if r["type"] == "record"]
    return {
        r["id"]: r["reason"] if r["outcome"] == "skipped" else r["outcome"]
        for r in records
        if r["kind"] == "registered_model"
    }


# -- experiments ---------------------------------------------------------------------------------


def test_experiments_without_runs_have_an_age_of_their_own(bench: Bench, tmp_path: Path) -> None:
    """``empty_experiments``, from creation, last update and all activity; ``never`` is never."""
    world = bench.world
    policy = write_policy(
        tmp_path,
        "defaults: {ttl: 90d, empty_experiments: 30d}",
        "rules:",
        "  - {name: shelf, match: {experiment: 'shelf/*'}, empty_experiments: never}",
        "  - {name: sand, match: {experiment: 'sand/*'}, ttl: 7d}",
    )
    deleted = {world.experiment(UGLY, age=31), world.experiment("sand/old", age=8)}
    world.experiment("young", age=29)
    world.experiment("renamed lately", age=31, updated=world.ago(29))
    world.experiment("sand/young", age=6)
    world.experiment("shelf/1", age=1000)
    filled, trashed, full = (world.experiment(age=80) for _ in range(3))
    world.run(filled, age=80)
    # All its runs are in the trash: it is empty, and they were active long ago, or not so long.
    world.delete_run(world.run(trashed, age=70))
    deleted.add(trashed)
    world.delete_run(world.run(full, age=20))
    plan = bench.report("--policy", policy)
    assert plan.experiments == deleted
    assert list(plan.protection(("experiment", full))) == ["recent_trash"]
    assert not plan.protection(("experiment", filled))
    assert not plan.runs
    bench.cli("validate", plan.path).expect(0)
    before = bench.state()
    bench.prune(plan)
    assert bench.state().gone_since(before) == {("experiment", e) for e in deleted}
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before.active
    assert bench.state().trashed == before.trashed


# -- registered models: what goes ----------------------------------------------------------------


def test_empty_models_are_retained_unless_a_policy_says_otherwise(
    bench: Bench, tmp_path: Path
) -> None:
    """Not even noticed, whatever else is set, and whatever a tag asks for."""
    world = bench.world
    world.model("empty", age=4000)
    world.model("eager", age=4000, tags={TTL: "1d"})
    on = "rules: [{name: others, match: {model: 'other*'}, empty_models: 1d}]"
    for lines in ([], ["defaults: {ttl: 1d}"], [on]):
        plan = bench.report("--policy", write_policy(tmp_path, *lines))
        assert not to_delete(plan)
        assert not protected(plan)
    assert plan.document["policy"]["default"]["empty_models"] == "off"
    assert plan.document["policy"]["rules"][0]["empty_models"] == "1d"


def _estate(world: World) -> tuple[set[str], dict[str, str], set[str]]:
    """Models that go, models that are protected and why, and models that are not stale."""
    deleted = {
        world.model(UGLY, tags={"note": UGLY}),
        emptied(world, "emptied"),
        world.model("no keep", tags={KEEP: "false"}),
        world.model("kept until", tags={KEEP: "until:2020-01-01"}),
        world.model("tmp-a", age=4),
    }
    retained = {
        world.model("kept", tags={KEEP: "true"}): "keep_tag",
        world.model("kept for long", tags={KEEP: "until:2999-12-31"}): "keep_tag",
        world.model("misspelt", tags={TTL: "3 weeks"}): "malformed_tag",
        world.model("announced", tags={AFTER: rfc3339(world.as_of_ms + DAY_MS)}): "grace",
        world.model("a prompt", tags={PROMPT_TAG: "true"}): "prompt",
        emptied(world, "dangling", alias="champion"): "alias",
    }
    rests = {
        world.model("young", age=29),
        date_model(world, world.model("edited"), updated=29),
        date_model(world, world.model("odd"), created=29, updated=100),
        world.model("patient", tags={TTL: "200d"}),
        # Deleting a model is irreversible: no tag asks for less.
        world.model("eager", age=10, tags={TTL: "7d"}),
        world.model("for ever", tags={TTL: "never"}),
        world.model("shelf-1", age=4000),
        world.model("tmp-b", age=2),
    }
    for name in ("full", "tmp-full"):
        world.version(world.model(name, age=4000), age=FRESH)
        rests.add(name)
    return deleted, retained, rests


POLICY = (
    ON,
    "rules:",
    "  - {name: shelf, match: {model: 'shelf*'}, ttl: never}",
    "  - {name: tmp, match: {model_regex: '^tmp-'}, empty_models: 3d}",
)


def test_from_report_to_prune_and_no_way_back(bench: Bench, tmp_path: Path) -> None:
    """Irreversible on the plan and in words; gone; and restore tells what is known of them."""
    deleted, retained, rests = _estate(bench.world)
    describe_model(bench.world, "emptied", "was the 夜 <b>champion</b>")
    date_model(bench.world, "emptied")
    path = tmp_path / "plan.json"
    args = ("report", "-o", path, "--as-of", bench.world.as_of)
    output = bench.cli(*args, "--policy", write_policy(tmp_path, *POLICY)).expect(0)
    plan = Plan.load(path)
    assert to_delete(plan) == deleted
    assert protected(plan) == retained
    assert not rests & {*to_delete(plan), *protected(plan)}
    entries = plan.document["registered_models"]
    assert not any(entry["reversible"] for entry in entries)
    assert all("has no versions" in entry["reasons"] for entry in entries)
    summary = plan.document["summary"]
    assert summary["irreversible"] == len(deleted)
    assert summary["registered_models"]["delete"] == len(deleted)
    assert summary["registered_models"]["protected"] == len(retained)
    assert "cannot be undone" in output.out
    assert "\x1b" not in output.text
    bench.cli("validate", path).expect(0)
    for form in ("text", "markdown", "html"):
        shown = bench.cli("show", path, "--format", form).expect(0).out
        assert "IRREVERSIBLE" in shown.upper()
        assert "emptied" in shown
        assert "\x1b" not in shown
        assert form == "text" or "<script>alert" not in shown

    before, alive = models(bench), bench.state().active
    bench.prune(plan)
    assert models(bench) == before - deleted
    assert fates(bench, plan) == dict.fromkeys(deleted, "deleted")
    assert bench.state().active == alive
    bench.cli("validate", bench.journal_path(plan)).expect(0)
    again = bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert "cannot be restored" in again.text
    assert "emptied" in again.text
    assert models(bench) == before - deleted
    lines = map(json.loads, bench.journal_path(plan).read_text().splitlines())
    known = {r["id"]: r["undo"] for r in lines if r["type"] == "record"}
    assert known["emptied"]["description"] == "was the 夜 <b>champion</b>"
    assert known[UGLY]["tags"] == {"note": UGLY}
    # Applied again: what is gone is gone.
    bench.prune(plan)
    assert fates(bench, plan) == dict.fromkeys(deleted, "gone")


def test_the_question_counts_them(bench: Bench, tmp_path: Path) -> None:
    """Before anyone says yes: how many cannot be undone, and of what kind."""
    world = bench.world
    for name in ("one", "two"):
        world.model(name)
    world.run(world.experiment(age=FRESH))
    policy = write_policy(tmp_path, ON)
    code, shown = bench.cli.ask(
        "prune", "--policy", policy, answer="no\n", prompt="yes", cwd=tmp_path
    )
    assert code == REFUSED
    shown = " ".join(shown.split())
    question = shown[: shown.rindex("yes")]
    assert "2" in question[question.rindex("undone") - 60 :]
    assert "cannot be undone" in question
    assert "registered model" in question
    assert models(bench) == {"one", "two"}


def test_guards_count_them(bench: Bench, tmp_path: Path) -> None:
    """``max_deletions`` and ``max_share`` of registered models."""
    world = bench.world
    for number in range(3):
        world.model(f"empty {number}")
    world.version(world.model("full"), age=FRESH)
    path = tmp_path / "plan.json"
    for guard, code in (
        ("max_deletions: {registered_models: 2}", REFUSED),
        ("max_share: {registered_models: 74%}", REFUSED),
        ("max_deletions: {registered_models: 3}", 0),
        ("max_share: {registered_models: 75%}", 0),
    ):
        policy = write_policy(tmp_path, ON, f"guards: {{{guard}}}")
        output = bench.cli("report", "-o", path, "--policy", policy).expect(code)
        key = guard.split(":")[0]
        assert (f"guards.{key}.registered_models" in output.err) == bool(code)


# -- what happens after the plan -----------------------------------------------------------------


def test_what_came_to_be_after_the_plan_saves_the_model(bench: Bench, tmp_path: Path) -> None:
    """A version, a keep tag, a ttl tag, an edit, a deletion by hand; the rest goes."""
    world = bench.world
    deeds: dict[str, tuple[str, Callable[[str], object]]] = {
        "got a version [red]": ("protected", world.version),
        "got an old version": ("protected", lambda m: world.version(m, age=100)),
        "got the keep tag": ("protected", lambda m: world.tag_model(m, KEEP, "true")),
        "was named for ever": ("protected", lambda m: world.tag_model(m, TTL, "never")),
        "misspelt ttl": ("protected", lambda m: world.tag_model(m, TTL, UGLY)),
        "later": ("protected", lambda m: world.tag_model(m, AFTER, rfc3339(world.ago(-1)))),
        "became a prompt": ("protected", lambda m: world.tag_model(m, PROMPT_TAG, "true")),
        "got another tag": ("changed", lambda m: world.tag_model(m, "note", UGLY)),
        "was described": ("changed", lambda m: describe_model(world, m, UGLY)),
        "was deleted": (
            "gone",
            lambda m: world.call("DELETE", "registered-models/delete", {"name": m}),
        ),
        "was renamed": ("gone", lambda m: world.rename_model(m, "a new name")),
        "agreed": ("deleted", lambda m: world.tag_model(m, KEEP, "false")),
        "untouched": ("deleted", lambda _: None),
    }

    def again(name: str) -> None:
        world.call("DELETE", "registered-models/delete", {"name": name})
        date_model(world, world.model(name), created=60, updated=60)

    deeds["was made again"] = "changed", again
    for name in deeds:
        world.model(name)
    plan = bench.report("--policy", write_policy(tmp_path, ON))
    assert to_delete(plan) == set(deeds)
    for name, (_, deed) in deeds.items():
        deed(name)
    before = models(bench)
    bench.prune(plan)
    assert fates(bench, plan) == {name: code for name, (code, _) in deeds.items()}
    assert models(bench) == before - {"agreed", "untouched"}


def test_a_version_registered_while_the_prune_runs_saves_its_model(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    """Right before its own delete each model is read once more: when the others are gone already."""
    world = bench.world
    names = [world.model(f"model {n}") for n in range(3)]
    run = world.run(world.experiment(age=FRESH))
    plan = bench.report("--policy", write_policy(tmp_path, ON))
    # The last one gets its version when the first one is being deleted.
    registered: list[str] = []
    proxy.before(
        "DELETE", "registered-models/delete$", lambda: registered.append(world.version(names[2]))
    )
    before = bench.state()
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert fates(bench, plan) == {names[0]: "deleted", names[1]: "deleted", names[2]: "protected"}
    assert models(bench) == {names[2]}
    assert ("model_version", registered[0]) in bench.state().active
    assert bench.state().gone_since(before) == {("run", run)}


def test_a_version_registered_at_the_last_re_check_saves_its_model(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    """The answer to the very last question before the delete is what counts."""
    world = bench.world
    name = world.model("late")
    plan = bench.report("--policy", write_policy(tmp_path, ON))
    proxy.before("GET", "registered-models/get$", lambda: world.version(name))
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert fates(bench, plan) == {name: "protected"}
    assert models(bench) == {name}
    last = [s.path for s in proxy.seen][-1]
    assert not proxy.requests("DELETE", "registered-models/delete$"), last


@pytest.mark.parametrize(
    ("fault", "sent"), [(SERVER_ERROR_AFTER, 1), (EMPTY_200, 2), (JSON_ARRAY, 2)], ids=str
)
def test_an_unclear_answer_to_the_delete_is_looked_into(
    bench: Bench, proxy: Proxy, tmp_path: Path, fault: Fault, sent: int
) -> None:
    """Told as deleted is what is gone; it is sent again only if the model is still there."""
    name = bench.world.model("gone")
    plan = bench.report("--policy", write_policy(tmp_path, ON))
    proxy.fail("DELETE", "registered-models/delete$", fault)
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert models(bench) == set()
    assert fates(bench, plan) == {name: "deleted"}
    assert len(proxy.requests("DELETE", "registered-models/delete$")) == sent


def test_over_a_database_too(bench: Bench, tmp_path: Path) -> None:
    """A database URI needs no server."""
    world = bench.world
    deleted, retained = world.model(UGLY), world.model("stays")
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": f"sqlite:///{world.database}"}
    plan = bench.report("--policy", write_policy(tmp_path, ON), env=env)
    assert to_delete(plan) == {deleted, retained}
    world.version(retained)
    bench.prune(plan, env=env)
    assert models(bench) == {retained}
    assert fates(bench, plan) == {deleted: "deleted", retained: "protected"}
