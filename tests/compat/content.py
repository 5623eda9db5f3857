"""One content for servers of all versions, with what is to become of each entity in it.

What a version of MLflow does not have is left out; whatever is there has an expectation, which is
written down beside the lines that make it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.estate import NASTY
from support.world import FRESH, KEEP_TAG, OLD, PROMPT_TAG, World

if TYPE_CHECKING:
    from support.oracle import Entity

SINCE_DATASETS = (2, 4)
SINCE_STORAGE = (2, 8)
SINCE_TRACES = (2, 14)
SINCE_PROMPTS = (2, 21)
SINCE_MODELS = (3,)
SINCE_TRACES_V3 = (3, 2)
SINCE_LOST_ASSESSMENTS = (3, 11)
LONG = 250
"""Characters; MLflow stores names of runs up to this, longer ones of others."""


@dataclass
class Content:
    """What is in a server, and what is to become of it.

    Attributes:
        world: it.
        number: the version of the server, to compare with.
        deleted: what a prune deletes -> what it is.
        protected: what is stale and protected -> reason.
        retained: what is not stale, and in no list of the plan -> what it is.
        trashed: what was in the trash before -> what it is.
        revived: runs in the trash of experiments that are deleted.
    """

    world: World
    number: tuple[int, ...]
    deleted: dict[Entity, str] = field(default_factory=dict)
    protected: dict[Entity, str] = field(default_factory=dict)
    retained: dict[Entity, str] = field(default_factory=dict)
    trashed: dict[Entity, str] = field(default_factory=dict)
    revived: set[str] = field(default_factory=set)

    def deletes(self, kind: str, key: str, what: str) -> str:
        """Expect that a prune deletes it."""
        self.deleted[kind, key] = what
        return key

    def protects(self, kind: str, key: str, reason: str) -> str:
        """Expect that it is protected for a reason."""
        self.protected[kind, key] = reason
        return key

    def retains(self, kind: str, key: str, what: str) -> str:
        """Expect that no list of the plan has it."""
        self.retained[kind, key] = what
        return key

    def home(self) -> str:
        """A fresh experiment for runs."""
        return self.retains("experiment", self.world.experiment(age=FRESH), "fresh experiment")


def adapt(world: World, number: tuple[int, ...]) -> None:
    """Write only what a server of this version can store."""
    world.knows_storage = number >= SINCE_STORAGE
    world.knows_prompts = number >= SINCE_PROMPTS


def settle(world: World, number: tuple[int, ...]) -> Content:
    """Fill an empty server of a version."""
    adapt(world, number)
    content = Content(world, number)
    _runs(content)
    _activity(content)
    _trees(content)
    _experiments(content)
    _trash(content)
    _versions(content)
    _runs_behind_versions(content)
    _hostile(content)
    if number >= SINCE_MODELS:
        _logged_models(content)
    if number >= SINCE_TRACES:
        _traces(content)
    if number >= SINCE_TRACES_V3:
        _assessments(content)
    _other_contents(content)
    return content


def _runs(content: Content) -> None:
    world, home = content.world, content.home()
    for status in ("FINISHED", "FAILED", "KILLED"):
        content.deletes("run", world.run(home, status=status), f"old and {status}")
    rich = content.deletes("run", world.run(home, tags={"team": "a"}), "old, with all there is")
    world.metric(rich, world.ago(OLD), step=3)
    world.metric(rich, world.ago(OLD), key="nan", value="NaN")
    world.param(rich)
    if content.number >= SINCE_DATASETS:
        world.read_dataset(rich)
    content.retains("run", world.run(home, age=FRESH), "fresh")
    content.protects("run", world.run(home, status="RUNNING"), "not_terminal")
    content.protects("run", world.run(home, status="SCHEDULED"), "not_terminal")
    resumed = content.protects("run", world.run(home), "not_terminal")
    world.resume(resumed)
    content.protects("run", world.run(home, tags={KEEP_TAG: "true"}), "keep_tag")
    content.protects("run", world.run(home, tags={"mlflow-gc.keep": "1"}), "malformed_tag")
    content.protects(
        "run", world.run(home, tags={"mlflow.runType": "genai_evaluate"}), "genai_evaluate"
    )
    content.protects("run", world.run(home, start=0, end=5), "unknown_time")
    content.protects("run", world.run(home, end=None), "unknown_time")
    content.protects(
        "run", world.run(home, start=world.ago(100), end=world.ago(101)), "unknown_time"
    )


def _activity(content: Content) -> None:
    world, home = content.world, content.home()
    late = {"loss": world.ago(FRESH)}
    content.retains("run", world.run(home, metrics=late), "old, with a fresh metric")
    lower = content.retains("run", world.run(home), "old, with a fresh metric at a lower step")
    world.metric(lower, world.ago(OLD), step=100)
    world.metric(lower, world.ago(FRESH), step=5)
    content.protects("run", world.run(home, end=world.ago(-5)), "unknown_time")
    ahead = content.protects("run", world.run(home), "unknown_time")
    world.metric(ahead, world.ago(OLD), step=100)
    world.metric(ahead, world.ago(-5), step=5)
    # Imported today with the times of long ago.
    new = world.experiment(age=FRESH, created=world.ago(1))
    content.retains("experiment", new, "made yesterday")
    content.retains("run", world.run(new), "older than its experiment")


def _trees(content: Content) -> None:
    world, home, other = content.world, content.home(), content.home()
    parent = content.deletes("run", world.run(home), "an old tree")
    child = content.deletes("run", world.run(home, parent=parent), "an old tree")
    content.deletes("run", world.run(other, parent=child), "an old tree, in another experiment")
    live = content.retains("run", world.run(other, age=FRESH), "a fresh parent")
    content.protects("run", world.run(other, parent=live), "tree")
    above = content.protects("run", world.run(other), "tree")
    content.retains("run", world.run(home, age=FRESH, parent=above), "a fresh child")
    middle = world.run(home, parent=content.protects("run", world.run(home), "tree"))
    content.retains("run", world.run(other, age=FRESH, parent=middle), "below one in the trash")
    world.delete_run(middle)
    content.trashed["run", middle] = "in the middle of a tree"


def _experiments(content: Content) -> None:
    world = content.world
    content.retains("experiment", "0", "made with the server")
    content.deletes("experiment", world.experiment(), "old and empty")
    whole = content.deletes("experiment", world.experiment(), "all its runs are old")
    for n in range(3):
        content.deletes("run", world.run(whole, name=f"run-{n}"), "in an old experiment")
    kept = content.protects("experiment", world.experiment(tags={KEEP_TAG: "1"}), "keep_tag")
    content.protects("run", world.run(kept), "keep_tag")
    part = content.protects("experiment", world.experiment(), "live_run")
    content.protects("run", world.run(part, tags={KEEP_TAG: "1"}), "keep_tag")
    content.deletes("run", world.run(part), "beside one with a keep tag")
    gateway = world.experiment(tags={"mlflow.experiment.isGateway": "true"})
    content.protects("experiment", gateway, "gateway")
    content.protects("experiment", world.experiment(created=None, updated=None), "unknown_time")
    content.protects("experiment", world.experiment(updated=world.ago(-5)), "unknown_time")


def _trash(content: Content) -> None:
    world = content.world
    old = content.deletes("experiment", world.experiment(), "only old trash in it")
    recent = content.protects("experiment", world.experiment(), "recent_trash")
    lower = content.protects("experiment", world.experiment(), "recent_trash")
    for experiment, age in ((old, OLD), (old, OLD), (recent, FRESH), (lower, OLD)):
        run = world.run(experiment, age=age)
        if experiment == lower:
            world.metric(run, world.ago(OLD), step=100)
            world.metric(run, world.ago(FRESH), step=5)
        world.delete_run(run)
        content.trashed["run", run] = "in the trash before"
        if experiment == old:
            content.revived.add(run)
    mixed = content.home()
    gone = world.run(mixed)
    world.delete_run(gone)
    content.trashed["run", gone] = "in the trash before"
    content.deletes("run", world.run(mixed), "beside one in the trash")

    name = "nightly"
    first = world.experiment(name)
    inside, restored = world.run(first), world.run(first)
    renamed = {"experiment_id": first, "new_name": f"{name} until May"}
    world.call("POST", "experiments/update", renamed)
    world.delete_experiment(first)
    world.restore_run(restored)
    content.trashed["experiment", first] = "its name is in use again"
    content.trashed["run", inside] = "with its experiment"
    content.protects("run", restored, "experiment_deleted")
    second = content.deletes(
        "experiment", world.experiment(name), "has the name of one in the trash"
    )
    content.deletes("run", world.run(second), "in an experiment with a name used before")


def _versions(content: Content) -> None:
    world = content.world

    def version(name: str, reason: str = "", **more: object) -> str:
        made = world.version(name, **more)  # type: ignore[arg-type]
        if reason:
            return content.protects("model_version", made, reason)
        return content.deletes("model_version", made, "an old version")

    def top(name: str) -> None:
        made = world.version(name, age=FRESH)
        content.retains("model_version", made, "fresh and the highest")

    plain = world.model("plain")
    version(plain, description="to delete", tags={"a": "b"})
    version(plain, "alias", aliases=["champion"])
    version(plain, "stage", stage="Production")
    version(plain, "stage", stage="Archived")
    version(plain, "keep_tag", tags={KEEP_TAG: "1"})
    top(plain)
    kept = world.model("kept", tags={KEEP_TAG: "1"})
    version(kept, "keep_tag")
    top(kept)
    # Stale, and nothing newer above it.
    highest = world.model("highest")
    version(highest)
    version(highest, "highest_version")
    staged = world.model("staged above")
    version(staged)
    version(staged, "highest_version")
    version(staged, "stage", stage="Staging")
    # Deleted by hand before: a tombstone.
    gone = world.model("with a tombstone")
    version(gone)
    content.trashed["model_version", lost := world.version(gone)] = "deleted before"
    world.delete_version(lost)
    top(gone)
    ahead = world.model("ahead")
    version(ahead, "unknown_time", updated=world.ago(-5))
    top(ahead)
    originals = world.model("originals")
    version(originals, "copied")
    version(originals, "alias", aliases=["prod"])
    version(originals)
    top(originals)
    copies = world.model("copies")
    version(copies, source=f"models:/{originals}/1")
    version(copies, source=f"models:/{originals}@prod")
    top(copies)
    prompt = world.model("prompt", tags={PROMPT_TAG: "true"})
    for _ in range(2):
        version(prompt, "prompt", tags={PROMPT_TAG: "true", "mlflow.prompt.text": "Hello"})


def _runs_behind_versions(content: Content) -> None:
    world, home = content.world, content.home()
    name = world.model("behind")

    def behind(**more: object) -> None:
        made = world.version(name, age=FRESH, **more)  # type: ignore[arg-type]
        content.retains("model_version", made, "fresh")

    def run() -> str:
        return content.protects("run", world.run(home), "registered_model")

    behind(run_id=run())
    behind(run_id=run(), aliases=["champion"])
    behind(run_id=run(), stage="Production")
    behind(source=f"runs:/{run()}/model")
    behind(source=f"s3://bucket/1/{run()}/artifacts/model")
    behind(source=f"s3://bucket/run_{run()}-v2")
    behind(description=f"from {run().upper()}")
    behind(tags={"origin": run()})
    # A stale version protects its run until it is deleted itself.
    stale = world.version(name, run_id=run())
    content.deletes("model_version", stale, "an old version of an old run")
    copied = world.version(name, source=f"runs:/{run()}/model")
    content.protects("model_version", copied, "copied")
    copy = world.version(world.model("copy of one behind"), source=f"models:/{copied}", age=FRESH)
    content.retains("model_version", copy, "a copy")
    behind()
    inside = content.protects("experiment", world.experiment(), "registered_model")
    place = world.call("GET", "experiments/get", {"experiment_id": inside})
    behind(source=f"{place['experiment']['artifact_location']}/somewhere/else")


def _hostile(content: Content) -> None:
    world, home = content.world, content.home()
    for n, text in enumerate([*NASTY, "\x1b[31mred\x1b]0;title\x07", "x" * LONG]):
        content.deletes("run", world.run(home, name=text, tags={"note": text}), "a hostile name")
        # Leading and trailing blanks are refused by none.
        content.deletes("experiment", world.experiment(f"{n}{text}"[:LONG]), "a hostile name")
    for n, text in enumerate(
        [
            'it\'s "quoted" and `ticked`',
            "日本語 \u202eRTL",
            "\x1b[31mred",
            "100% ?#&=+;",
            "x" * LONG,
        ]
    ):
        name = world.model(f"{n}{text}"[:LONG])
        old = content.deletes("model_version", world.version(name), "a hostile name")
        content.retains("model_version", world.version(name, age=FRESH), f"above {old}")
    for n, text in enumerate(["a/b", "c:d"]):
        # Newer versions refuse every request for such a name; older ones stored it.
        name = world.model(f"stored-{n}")
        versions = [world.version(name), world.version(name, age=FRESH)]
        for table, column in _MODEL_NAMES:
            if world.columns(table):
                world.sql(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", text, name)
        old, top = (f"{text}/{v.rpartition('/')[2]}" for v in versions)
        answer = world.http.get(
            f"{world.uri}/api/2.0/mlflow/registered-models/get", params={"name": text}, timeout=60
        )
        if answer.ok:
            content.deletes("model_version", old, "a name that newer versions refuse")
        else:
            content.protects("model_version", old, "refused_name")
        content.retains("model_version", top, "fresh")


_MODEL_NAMES = (
    ("registered_models", "name"),
    ("model_versions", "name"),
    ("registered_model_tags", "name"),
    ("model_version_tags", "name"),
)


def _logged_models(content: Content) -> None:
    world, home = content.world, content.home()
    behind = content.protects("run", world.run(home), "registered_model")
    made = world.logged_model(home, behind)
    top = world.version(world.model("logged"), source=f"models:/{made}", age=FRESH)
    content.retains("model_version", top, "of a logged model")
    used, put_out, measured = (
        content.protects("run", world.run(home), "model_in_use") for _ in "123"
    )
    user = content.retains("run", world.run(home, age=FRESH), "uses models")
    world.use_model(user, world.logged_model(home, used))
    world.put_out_model(user, world.logged_model(home, put_out))
    world.measure_model(user, world.logged_model(home, measured), age=FRESH)
    maker = content.deletes("run", world.run(home), "made a model that only old runs use")
    other = content.deletes("run", world.run(home), "used a model of an old run")
    world.use_model(other, world.logged_model(home, maker))
    holder = content.protects("experiment", world.experiment(), "has_logged_models")
    content.deletes("run", maker := world.run(holder), "made a model that nobody uses")
    world.logged_model(holder, maker)


def _traces(content: Content) -> None:
    world = content.world
    traced = content.protects("experiment", world.experiment(), "has_traces")
    world.trace(traced)
    fresh = content.protects("experiment", world.experiment(), "has_traces")
    world.trace(fresh, age=FRESH)


def _assessments(content: Content) -> None:
    world, home, elsewhere = content.world, content.home(), content.home()
    source = content.deletes("run", world.run(home), "made a trace that people assessed")
    world.assess(world.source_trace(home, source))
    judged = world.run(home, tags={"mlflow.runType": "test"})
    world.assessed_trace(elsewhere, judged)
    trash = world.experiment()
    run = world.run(trash)
    world.assessed_trace(elsewhere, run)
    # Its assessments were deleted with it where they are; these came later.
    world.delete_run(run)
    content.trashed["run", run] = "assessed in the trash"
    world.assess(world.source_trace(elsewhere, run), run)
    if content.number >= SINCE_LOST_ASSESSMENTS:
        content.protects("run", judged, "genai_evaluate")
        content.protects("experiment", trash, "genai_evaluate")
    else:
        content.deletes("run", judged, "nothing is lost with it")
        content.deletes("experiment", trash, "nothing is lost with it")
        content.revived.add(run)


def _other_contents(content: Content) -> None:
    world = content.world
    for table, make in (
        ("scorers", world.scorer),
        ("issues", world.issue),
        ("review_queues", world.review_queue),
        ("evaluation_datasets", world.evaluation_dataset),
    ):
        if world.columns(table):
            experiment = content.protects("experiment", world.experiment(), "has_contents")
            make(experiment)
