"""Something of everything that a server may hold, the ugliest first, for readers to agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.world import FRESH, KEEP_TAG, PROMPT_TAG

if TYPE_CHECKING:
    from support.world import World


def assessed_in_other_case(world: World) -> tuple[list[str], str, str]:
    """Two runs that an assessment names in other letters, one that none does, and their trace."""
    home = world.experiment(age=FRESH)
    by_key, by_id, plain = (world.run(home) for _ in range(3))
    trace = world.trace(world.experiment(age=FRESH))
    world.assess(trace, by_key, key="MLflow.Assessment.sourceRunID")
    world.assess(trace, by_id.upper())
    return [by_key, by_id], plain, trace


NASTY = [
    "日本語 🦄 ß",
    'it\'s "quoted" and `ticked`',
    "back\\slash \\' \\x41 \\u0041",
    "100% %s %(name)s ?",
    "$1 $$ ; DROP TABLE runs; --",
    ":name {name} #{x} ${HOME}",
    "e\u0301 and \u00e9, \u202eright to left",
    "line\nbreak\tand\rreturn",
    " blanks around ",
    '{"json": [1, null]}',
    "<b>&amp;</b>",
    "\u2028\uffff\U0010ffff",
]
"""Names that mean something to SQL, its drivers, its collations, JSON or a terminal."""

POLICY = """\
version: 1
defaults: {ttl: 30d}
rules:
  - name: the best
    match: {experiment: "metrics*"}
    keep: {last: 1, best: {metric: auc, mode: max, count: 2}}
  - name: by tag
    match: {tags: {team: "it's*"}}
    keep: {best: {metric: loss, mode: min, count: 1}}
    zombies: 60d
"""
"""A policy that asks for metrics and tags."""


def settle(world: World) -> None:
    """Fill a server: what goes, what stays, and why, and what MLflow can only just show."""
    _runs(world)
    _metrics(world)
    _trees_and_trash(world)
    _registry(world)
    _logged_models(world)
    world.trace(world.experiment("traced"))
    _contents(world)
    world.experiment("empty", tags={"a": "", "b": NASTY[0]})
    world.delete_experiment(world.experiment("in the trash"))
    world.experiment("before 1.28", created=None, updated=None)
    world.experiment("at the epoch", created=0, updated=0)


def _contents(world: World) -> None:
    judged = world.experiment("judged")
    world.scorer(judged)
    world.scorer(judged, NASTY[0])
    world.issue(judged)
    world.label_schema(judged)
    world.review_queue(world.experiment("reviewed"))
    world.evaluation_dataset(judged, world.experiment("evaluated"))
    world.default_label_schema(world.experiment("opened"))


def _runs(world: World) -> None:
    home = world.experiment("älter")
    for text in NASTY:
        tags = {"note": text, f"key/{len(text)}": text, "mlflow.note.content": text * 40}
        world.run(home, name=text, tags=tags)
    world.run(home, tags={"empty": "", "mlflow.user": "somebody"})
    world.run(home, start=0, end=5)
    world.run(home, start=world.ago(100), end=0)
    world.run(home, end=None)
    world.run(home, status="FAILED", end=world.ago(-5))
    for status in ("RUNNING", "SCHEDULED", "KILLED"):
        world.run(home, status=status)
    world.resume(world.run(home))
    fresh = world.experiment("fresh", age=FRESH)
    world.run(fresh, age=FRESH)
    world.run(fresh, tags={KEEP_TAG: "until:2099-01-01"})
    world.run(fresh, tags={"mlflow_gc.ttl": "20d", "team": NASTY[1]})
    bare = world.run(fresh, tags={"kept": "1"})
    world.sql("UPDATE tags SET value = NULL WHERE tags.key = 'kept' AND run_uuid = ?", bare)
    world.sql("UPDATE runs SET name = NULL, artifact_uri = NULL WHERE run_uuid = ?", bare)
    nameless = world.run(fresh)
    world.sql("UPDATE runs SET name = '' WHERE run_uuid = ?", nameless)
    world.sql("DELETE FROM tags WHERE run_uuid = ?", nameless)
    world.tag_experiment(fresh, "gone", "1")
    world.sql("UPDATE experiment_tags SET value = NULL WHERE experiment_tags.key = 'gone'")


def _metrics(world: World) -> None:
    home = world.experiment("metrics", age=FRESH)
    values = ["0.5", "0.75", "NaN", "Infinity", "-Infinity", "1e308", "-0.0", "5e-324"]
    for n, value in enumerate(values):
        run = world.run(home, tags={"team": NASTY[1]})
        # Where case does not count, a run cannot have both of them.
        for key in ("AUC" if n == 1 else "auc", "loss", "a/b: c"):
            for step in range(2):
                body = {"run_id": run, "key": key, "value": value, "step": step}
                world.call("POST", "runs/log-metric", {**body, "timestamp": world.ago(90 + n)})
    world.run(home, metrics={"early": 0, "late": world.ago(40), "auc": world.ago(50)})
    world.run(home, metrics={"in time": world.ago(FRESH)})


def _trees_and_trash(world: World) -> None:
    first, second = world.experiment("trees"), world.experiment("more trees", age=FRESH)
    parent = world.run(first, metrics={"loss": world.ago(90)})
    child = world.run(first, parent=parent)
    world.run(second, parent=child)
    live = world.run(second, status="RUNNING")
    world.run(second, parent=live, name=NASTY[3])
    world.run(second, parent="no such run")
    trashed = world.experiment("with trash")
    world.delete_run(world.run(trashed))
    recent = world.experiment("with recent trash")
    world.delete_run(world.run(recent, age=FRESH))
    world.delete_run(world.run(recent, age=100, metrics={"late": world.ago(1)}))
    world.delete_run(world.run(recent, start=world.ago(100), end=world.ago(2)))


def _registry(world: World) -> None:
    home = world.experiment("registered", age=FRESH)
    name = world.model("fraud", tags={"a": "b", "n": "", "gone": "1"})
    world.sql(
        "UPDATE registered_model_tags SET value = NULL WHERE registered_model_tags.key = 'gone'"
    )
    first = world.version(name, run_id=world.run(home), aliases=["champion"], tags={"t": NASTY[0]})
    world.alias(first, "another")
    original = world.version(name, source=f"runs:/{world.run(home)}/model", description=NASTY[7])
    world.version(name, source="s3://b/x", description="goes", tags={"a": NASTY[1], "b": ""})
    world.version(name, stage="Production")
    world.delete_version(world.version(name, source="s3://b/deleted"))
    behind = world.run(home)
    world.version(name, source=f"s3://b/1/{behind}/artifacts/model")
    bare = world.version(name)
    world.sql(
        "UPDATE model_versions SET description = NULL, source = NULL, run_id = NULL,"
        " run_link = NULL, storage_location = NULL, user_id = NULL WHERE name = ? AND version = ?",
        name,
        int(bare.rpartition("/")[2]),
    )
    world.version(name, age=FRESH)
    world.copy_version(original, world.model("copies"))
    orphan = world.version(world.model("renamed later"), source=f"runs:/{world.run(home)}/model")
    world.copy_version(orphan, "copies")
    world.rename_model("renamed later", NASTY[4])
    world.prompt("greeting", versions=3)
    # As soon as one version has the tag, a search hides the others (3.17).
    half = world.model("half a prompt")
    world.version(half)
    world.version(half, tags={PROMPT_TAG: "true"}, source="dummy-source")
    world.tag_version(world.version(half), PROMPT_TAG, "false")
    empty = world.model("empty", age=200)
    world.sql("UPDATE registered_models SET last_updated_time = NULL WHERE name = ?", empty)
    world.model("odd", tags={KEEP_TAG: "true"})


def _logged_models(world: World) -> None:
    home = world.experiment("logged", age=FRESH)
    made, used, idle = (world.run(home) for _ in range(3))
    model, other = world.logged_model(home, made), world.logged_model(home, used)
    world.version("fraud", source=f"models:/{model}", aliases=["logged"])
    world.put_out_model(idle, other)
    world.use_model(world.run(home, age=FRESH), other)
    world.use_model(world.run(home), model)
    free = world.logged_model(home)
    for model_id, updated in ((other, world.ago(50)), (free, world.ago(150))):
        world.sql(
            "UPDATE logged_models SET last_updated_timestamp_ms = ? WHERE model_id = ?",
            updated,
            model_id,
        )
    body = {"tags": [{"key": "k", "value": NASTY[0]}]}
    world.call("PATCH", f"logged-models/{free}/tags", {"model_id": free, **body})
    gone = world.logged_model(home, world.run(home))
    world.call("DELETE", f"logged-models/{gone}", {"model_id": gone})
    world.version("fraud", source=f"models:/{gone}")
    world.logged_model(world.experiment("only a model"))
