"""``diff BASE HEAD``: two reports of a real server, with the work of colleagues between them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Plan
from support.world import FRESH, KEEP_TAG, OLD

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli
    from support.world import World


class Story:
    """What happened, by name: run ids, experiment ids and versions."""

    def __init__(self, world: World) -> None:
        home = world.experiment("home")
        busy = world.experiment("busy", age=FRESH)
        world.run(busy, age=FRESH)
        self.home, self.busy = home, busy
        self.idle = world.experiment("idle")
        self.doomed = world.experiment("doomed")
        self.same = world.run(home, name="same")
        self.tagged = world.run(home, name="tagged")
        self.resumed = world.run(home, name="resumed")
        self.retained = world.run(home, name="kept")
        self.registered = world.run(home, name="registered")
        self.released = world.run(home, name="released", tags={KEEP_TAG: "true"})
        self.purged = world.run(home, name="purged")
        self.deleted = world.run(busy, name="deleted")
        self.restored = world.run(home, name="restored")
        self.fresh_again = world.run(busy, name="fresh again")
        world.delete_run(self.restored)
        self.model = world.model("fraud")
        self.aliased = world.spare_version(self.model)
        self.blue = world.spare_version(self.model, aliases=["blue"])
        self.removed = world.spare_version(self.model)
        self.described = world.spare_version(self.model, description="before")

    def go_on(self, world: World) -> None:
        """A day of work."""
        world.tag_run(self.tagged, "note", "x")
        world.resume(self.resumed)
        world.tag_run(self.retained, KEEP_TAG, "true")
        world.version(world.model("new"), run_id=self.registered, aliases=["champion"])
        world.sql("DELETE FROM tags WHERE run_uuid = ? AND key = ?", self.released, KEEP_TAG)
        world.purge_run(self.purged)
        world.delete_run(self.deleted)
        world.restore_run(self.restored)
        world.metric(self.fresh_again, world.ago(1))
        world.alias(self.aliased, "champion")
        world.call("DELETE", "registered-models/alias", {"name": self.model, "alias": "blue"})
        world.delete_version(self.removed)
        world.sql(
            "UPDATE model_versions SET description = 'after' WHERE name = ? AND version = ?",
            self.model,
            int(self.described.rpartition("/")[2]),
        )
        self._use_an_id_again(world)

    def _use_an_id_again(self, world: World) -> None:
        """As SQLite does after ``mlflow gc``: another experiment with the id of one that is gone."""
        world.sql(
            "UPDATE experiments SET name = 'another', creation_time = ?, last_update_time = ?"
            " WHERE experiment_id = ?",
            world.ago(OLD - 5),
            world.ago(OLD - 5),
            int(self.doomed),
        )


@pytest.fixture(scope="module")
def reported(shared_bench: Bench) -> tuple[Story, Plan, Plan]:
    """The story and the two plans."""
    story = Story(shared_bench.world)
    base = shared_bench.report(name="base.json")
    story.go_on(shared_bench.world)
    return story, base, shared_bench.report(name="head.json")


@pytest.fixture(scope="module")
def changes(reported: tuple[Story, Plan, Plan], offline_cli: Cli) -> dict[str, Any]:
    """The difference as JSON; nothing else is on stdout."""
    _, base, head = reported
    document: dict[str, Any] = (
        offline_cli("diff", base.path, head.path, "--format", "json").expect(2).json()
    )
    return document


def _by_category(lists: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for key in ("added", "removed"):
        for entity in lists[key]:
            found.setdefault((key, entity["category"]), set()).add(entity["id"])
    return found


def test_every_run_is_reported_as_what_became_of_it(
    reported: tuple[Story, Plan, Plan], changes: dict[str, Any]
) -> None:
    """What a plan cannot tell is not guessed: in ``busy`` another run is fresh."""
    story, _, _ = reported
    assert _by_category(changes["runs"]) == {
        ("added", "protection_lost"): {story.released},
        ("added", "appeared"): {story.restored},
        ("removed", "protection_gained"): {story.resumed, story.retained, story.registered},
        ("removed", "gone"): {story.purged},
        ("removed", "unknown"): {story.deleted, story.fresh_again},
    }
    (changed,) = changes["runs"]["changed"]
    assert changed["id"] == story.tagged
    assert [field["field"] for field in changed["fields"]] == ["expect.tags_digest"]
    assert story.same not in str(changes)


def test_protection_is_reported_with_its_chain(
    reported: tuple[Story, Plan, Plan], changes: dict[str, Any]
) -> None:
    """Of what is kept now, and of what was kept before."""
    story, _, _ = reported
    chains = {e["id"]: e.get("protection") for e in changes["runs"]["removed"]}
    assert chains[story.registered] == {
        "reason": "registered_model",
        "via": ["model_version new/1", "alias champion"],
    }
    assert chains[story.resumed] == {"reason": "not_terminal", "via": ["status RUNNING"]}
    (released,) = [e for e in changes["runs"]["added"] if e["id"] == story.released]
    assert released["protection"] == {"reason": "keep_tag", "via": [f"tag {KEEP_TAG}=true"]}


def test_versions_and_experiments(
    reported: tuple[Story, Plan, Plan], changes: dict[str, Any]
) -> None:
    """A version has no trash; and one id can stand for two experiments."""
    story, _, _ = reported
    assert _by_category(changes["model_versions"]) == {
        ("added", "protection_lost"): {story.blue},
        ("removed", "protection_gained"): {story.aliased},
        ("removed", "unknown"): {story.removed},
    }
    (changed,) = changes["model_versions"]["changed"]
    assert {"field": "description", "old": "before", "new": "after"} in changed["fields"]
    assert _by_category(changes["experiments"]) == {
        ("added", "another"): {story.doomed},
        ("removed", "another"): {story.doomed},
    }
    names = [changes["experiments"][key][0]["name"] for key in ("added", "removed")]
    assert names == ["another", "doomed"]


def test_numbers_fit_the_plans(reported: tuple[Story, Plan, Plan], changes: dict[str, Any]) -> None:
    _, base, head = reported
    for kind in ("experiments", "runs", "model_versions"):
        counts = changes["summary"][kind]
        assert counts["base"] == len(base.document[kind])
        assert counts["head"] == len(head.document[kind])
    assert changes["summary"]["irreversible"]["added"] == 1


def test_text_tells_the_irreversible_first(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli
) -> None:
    """Everything is there; the order is that of the danger; the end says how to go on."""
    story, base, head = reported
    text = offline_cli("diff", base.path, head.path).expect(2).out
    for what in (story.released, story.restored, story.retained, story.purged, story.tagged):
        assert len(re.findall(rf"^ +[-!=~] {what} ", text, re.MULTILINE)) == 1
    places = [
        text.index(words)
        for words in (
            "to delete",
            "CANNOT BE UNDONE",
            f"! {story.blue}",
            f"- {story.released}",
            f"= {story.retained}",
            f"= {story.purged}",
            f"~ {story.tagged}",
            "Review: ",
            "Apply: ",
        )
    ]
    assert places == sorted(places)
    assert f"--expect {head.plan_id}" in text


def test_on_a_terminal_the_irreversible_is_red(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli
) -> None:
    story, base, head = reported
    code, shown = offline_cli.ask("diff", base.path, head.path, answer="", prompt="\0")
    assert code == 2
    (line,) = [line for line in shown.splitlines() if f"! {story.blue}" in line]
    assert line.startswith("\x1b[1;31m")
    plain = offline_cli.ask("diff", base.path, head.path, "--no-color", answer="", prompt="\0")[1]
    assert "\x1b[1;31m" not in plain


def test_markdown_has_a_table_for_each_kind(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli
) -> None:
    story, base, head = reported
    page = offline_cli("diff", base.path, head.path, "--format", "markdown").expect(2).out
    titles = re.findall(r"<summary>(\w+ ?\w*)", page)
    assert titles == ["Model versions", "Runs", "Experiments", "Protected "][: len(titles)]
    assert len(titles) >= 3
    assert f"| `{story.purged}` " in page
    assert head.plan_id in page


def test_a_policy_that_changed_comes_before_everything(
    shared_bench: Bench, reported: tuple[Story, Plan, Plan], offline_cli: Cli
) -> None:
    """With the old and the new value; and what it means for the entities after it."""
    _, _, head = reported
    stricter = shared_bench.report("--ttl", 400, name="stricter.json")
    text = offline_cli("diff", head.path, stricter.path).expect(2).out
    assert text.index("! policy default.ttl: 30d -> 400d") < text.index("to delete")
    fields = {
        field["field"]: (field["old"], field["new"])
        for field in offline_cli("diff", head.path, stricter.path, "--format", "json").json()[
            "policy"
        ]
    }
    assert fields["ttl_days"] == (30, 400)


def test_an_edited_plan_is_compared_with_a_warning(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """On stderr, in the text and in the document; the exit code tells of differences only."""
    _, base, _ = reported

    def dry_run(document: dict[str, Any]) -> None:
        document["runs"][0]["run_name"] = "another name"

    bad = base.edited(tmp_path / "bad.json", dry_run, sign=False)
    outcome = offline_cli("diff", base.path, bad.path).expect(2)
    assert "edited" in outcome.err
    assert "The later plan was edited" in outcome.out
    assert "Apply: " not in outcome.out
    document = offline_cli("diff", base.path, bad.path, "--format", "json").expect(2).json()
    assert (document["base"]["edited"], document["head"]["edited"]) == (False, True)


def test_exit_codes(reported: tuple[Story, Plan, Plan], offline_cli: Cli, tmp_path: Path) -> None:
    """0 and 2 by the contract, 1 for what is no plan, 5 for a version nobody knows, 64 for usage."""
    _, base, head = reported
    offline_cli("diff", base.path, base.path).expect(0)
    offline_cli("diff", base.path, head.path, "-q").expect(2)
    newer = base.edited(tmp_path / "v2.json", lambda d: d.update(format_version="2.0"), sign=True)
    offline_cli("diff", base.path, newer.path).expect(5)
    broken = tmp_path / "broken.json"
    broken.write_bytes(base.path.read_bytes()[:-40])
    offline_cli("diff", broken, base.path).expect(1)
    offline_cli("diff", base.path, tmp_path / "none.json").expect(1)
    offline_cli("diff", base.path).expect(64)
    offline_cli("diff", base.path, head.path, "--format", "html").expect(64)
    offline_cli("diff", "-", "-").expect(64)


def test_one_plan_can_come_from_a_pipe(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli
) -> None:
    """As in ``git show main:prune-plan.json | mlflow-gc diff - prune-plan.json``."""
    _, base, head = reported
    piped = offline_cli("diff", "-", head.path, stdin=base.path.read_text()).expect(2)
    assert f"From - to {head.path}" in piped.out
    assert f"Review: mlflow-gc show {head.path}" in piped.out
    other = offline_cli("diff", base.path, "-", stdin=head.path.read_text()).expect(2)
    assert "Review: " not in other.out, "nobody can read it a second time"


def test_plans_of_another_server_are_told_apart(
    reported: tuple[Story, Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """In the first lines: whoever compares two servers by mistake must not read on."""
    _, base, _ = reported

    def elsewhere(document: dict[str, Any]) -> None:
        document["server"]["identity"] = "tracking:0 registry:0"

    other = base.edited(tmp_path / "other.json", elsewhere, sign=True)
    lines = offline_cli("diff", base.path, other.path).expect(2).out.splitlines()
    assert lines[1].startswith("THESE PLANS WERE MADE FOR DIFFERENT SERVERS")
