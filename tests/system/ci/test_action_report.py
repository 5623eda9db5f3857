"""``uses: mlflow-gc/mlflow-gc``: a plan, its comparison, the run's page, one comment."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from support.github import GitHubApi, Runner
from support.plans import Plan
from support.repository import GitServer, commit, git, repository
from support.world import FRESH, OLD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.world import World

PULL_REQUEST = ("pull_request", {"pull_request": {"number": 7}})
MARKER = "<!-- mlflow-gc: prune-plan -->"


@pytest.fixture
def new_runner(world: World, api: GitHubApi, tmp_path: Path) -> Callable[..., Runner]:
    """Machines that know the server; each call gives a new one."""
    count = iter(range(100))

    def make(**more: object) -> Runner:
        env = {"MLFLOW_TRACKING_URI": world.uri, **more.pop("env", {})}  # type: ignore[dict-item]
        return Runner(tmp_path / f"machine-{next(count)}", api.uri, env=env, **more)  # type: ignore[arg-type]

    return make


@pytest.fixture
def origin(world: World, api: GitHubApi, tmp_path: Path) -> Path:
    """The repository of a team: a policy, and the plan that was approved last."""
    world.bulk_runs(world.experiment("first", age=FRESH), 3)
    runner = Runner(tmp_path / "before", api.uri, env={"MLFLOW_TRACKING_URI": world.uri})
    runner.action(as_of=world.as_of).expect(0)
    return repository(
        tmp_path / "origin",
        {
            "mlflow-gc.yml": "version: 1\n",
            "prune-plan.json": (runner.workspace / "prune-plan.json").read_text(),
        },
    )


def clone(origin: Path, runner: Runner, *, branch: str = "change") -> None:
    """What actions/checkout leaves: the head of the pull request, and nothing else."""
    git(origin, "checkout", "--quiet", "-B", branch, "main")
    commit(origin, {"change.txt": "a change"})
    git(origin, "checkout", "--quiet", "main")
    git(
        runner.workspace.parent,
        *("clone", "--quiet", "--depth=1", "--no-tags", "--single-branch"),
        *("--branch", branch, f"file://{origin}", str(runner.workspace)),
    )


@pytest.mark.smoke
def test_the_first_plan(world: World, new_runner: Callable[..., Runner]) -> None:
    """Nothing to compare with; outputs, files, page; no pull request, so no comment."""
    world.bulk_runs(world.experiment(age=FRESH), 4)
    world.spare_version(world.model("fraud"))
    runner = new_runner()
    job = runner.action(as_of=world.as_of).expect(0)
    plan = Plan.load(runner.workspace / "prune-plan.json")
    assert job.outputs == {
        "changes": "true",
        "plan-id": plan.plan_id,
        "plan": "prune-plan.json",
        "deletes": "5",
        "irreversible": "1",
        "applyable": "true",
        "artifact-url": f"{runner.github['server_url']}/artifacts/prune-plan",
        "journal": "",
        "exit-code": "2",
    }
    uploaded = runner.artifacts / "prune-plan"
    assert {f.name for f in uploaded.iterdir()} == {"prune-plan.json", "prune-plan.html"}
    assert Plan.load(uploaded / "prune-plan.json").document == plan.document
    assert "5 to delete, 1 of them cannot be undone" in job.summary
    assert plan.plan_id in job.summary
    assert "There is no earlier plan" in job.summary
    assert job.commands == [("notice", "There is no pull request to comment on.")]


def test_nothing_to_delete(new_runner: Callable[..., Runner]) -> None:
    """No changes, and 0 from the program."""
    job = new_runner().action().expect(0)
    assert job.outputs["changes"] == "false"
    assert job.outputs["deletes"] == "0"
    assert job.outputs["exit-code"] == "0"
    assert "nothing to delete" in job.summary


def test_a_pull_request_is_compared_with_its_base_branch(
    origin: Path, world: World, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """The plan in the base branch, fetched because a checkout brings one commit only."""
    runner = new_runner(event=PULL_REQUEST, base_ref="main")
    clone(origin, runner)
    same = runner.action(as_of=world.as_of).expect(0)
    assert same.outputs["changes"] == "false"
    assert "Nothing has changed" in same.summary
    (comment,) = api.comments
    assert comment["body"].startswith(MARKER + "\n")
    assert "Nothing has changed" in comment["body"]

    newcomer = world.run(world.experiment("second", age=FRESH), age=OLD)
    different = runner.action(as_of=world.as_of).expect(0)
    assert different.outputs["changes"] == "true"
    assert different.outputs["plan-id"] != same.outputs["plan-id"]
    assert newcomer in different.summary
    (comment,) = api.comments
    assert newcomer in comment["body"], "the same comment, brought up to date"
    assert different.outputs["plan-id"] in comment["body"]
    assert different.outputs["artifact-url"] in comment["body"]
    difference = json.loads((runner.artifacts / "prune-plan" / "plan-diff.json").read_text())
    assert newcomer in json.dumps(difference)
    assert not [c for c in different.commands if c[0] != "notice"]


def test_elsewhere_the_commit_at_hand_holds_the_earlier_plan(
    origin: Path, world: World, new_runner: Callable[..., Runner]
) -> None:
    """A scheduled run: the committed plan, although the new one is written over its file."""
    runner = new_runner()
    clone(origin, runner, branch="main-copy")
    job = runner.action(as_of=world.as_of).expect(0)
    assert "Nothing has changed" in job.summary


def test_no_plan_in_the_base_branch_yet(
    origin: Path, world: World, new_runner: Callable[..., Runner]
) -> None:
    """As on the first pull request of all."""
    git(origin, "rm", "--quiet", "prune-plan.json")
    git(origin, "commit", "--quiet", "--message", "No plan")
    runner = new_runner(event=PULL_REQUEST, base_ref="main")
    clone(origin, runner)
    job = runner.action(as_of=world.as_of).expect(0)
    assert "There is no earlier plan" in job.summary
    assert job.outputs["changes"] == "true"


def test_a_base_branch_that_cannot_be_fetched(
    origin: Path, world: World, new_runner: Callable[..., Runner]
) -> None:
    """Said on the run's page, and no reason to fail."""
    runner = new_runner(event=PULL_REQUEST, base_ref="main")
    clone(origin, runner)
    origin.rename(origin.with_name("gone"))
    job = runner.action(as_of=world.as_of).expect(0)
    assert "could not be compared" in job.summary
    assert ("warning", job.commands[0][1]) == job.commands[0]
    assert job.outputs["changes"] == "true"


@pytest.mark.parametrize("token", ["job-token", "another"])
def test_the_token_opens_a_private_repository(
    token: str, origin: Path, world: World, api: GitHubApi, tmp_path: Path
) -> None:
    """After a checkout that left no credentials behind; a token that opens nothing is no failure."""
    host = GitServer(origin, "job-token")
    runner = Runner(
        tmp_path / "machine",
        api.uri,
        env={"MLFLOW_TRACKING_URI": world.uri, "GITHUB_SERVER_URL": host.uri},
        event=PULL_REQUEST,
        base_ref="main",
    )
    clone(origin, runner)
    git(runner.workspace, "remote", "set-url", "origin", f"{host.uri}/origin")
    job = runner.action(as_of=world.as_of, token=token, comment="false").expect(0)
    host.close()
    assert host.asked[0] is None, "first as the checkout left it"
    assert ("Nothing has changed" in job.summary) == (token == "job-token")
    assert ("could not be compared" in job.summary) == (token == "another")


def test_an_earlier_plan_from_elsewhere(world: World, new_runner: Callable[..., Runner]) -> None:
    """A file that an earlier step put there; one that is not there yet is no mistake."""
    world.bulk_runs(world.experiment(age=FRESH), 2)
    runner = new_runner()
    assert "no earlier" in runner.action(base_plan="last/p.json", as_of=world.as_of).summary
    (runner.workspace / "prune-plan.json").rename(runner.workspace / "last.json")
    job = runner.action(base_plan="last.json", as_of=world.as_of).expect(0)
    assert job.outputs["changes"] == "false"
    # The same file for both: read before it is written over.
    world.run(world.experiment(age=FRESH))
    job = runner.action(base_plan="prune-plan.json", as_of=world.as_of).expect(0)
    assert job.outputs["changes"] == "true"


def test_an_earlier_plan_that_is_none(new_runner: Callable[..., Runner]) -> None:
    """Whatever the file holds, the new plan is shown, and nothing of it gets acted on."""
    runner = new_runner()
    (runner.workspace / "last.json").write_text('{"format": "::error::x"}\n')
    job = runner.action(base_plan="last.json").expect(0)
    assert "could not be compared" in job.summary
    assert [kind for kind, _ in job.commands] == ["warning", "notice"]
    assert not (runner.artifacts / "prune-plan" / "plan-diff.json").exists()


def test_inputs_select(world: World, new_runner: Callable[..., Runner]) -> None:
    """ttl, policy and the plan's place."""
    experiment = world.experiment(age=FRESH)
    world.run(experiment, age=10)
    runner = new_runner()
    assert runner.action(as_of=world.as_of).outputs["deletes"] == "0"
    job = runner.action(as_of=world.as_of, ttl="7", plan="plans/a b.json").expect(0)
    assert job.outputs["deletes"] == "1"
    assert Plan.load(runner.workspace / "plans" / "a b.json").plan_id == job.outputs["plan-id"]
    (runner.workspace / "other.yml").write_text("version: 1\ndefaults: {ttl: 7d}\n")
    assert runner.action(as_of=world.as_of, policy="other.yml").outputs["deletes"] == "1"
    # The working directory's own policy is found, as on a desk.
    (runner.workspace / "mlflow-gc.yml").write_text("version: 1\ndefaults: {ttl: 7d}\n")
    assert runner.action(as_of=world.as_of).outputs["deletes"] == "1"


# What goes wrong


def test_an_exceeded_guard_fails_the_job_and_shows_the_plan(
    world: World, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """5: the reviewer sees which guard it is, in the comment, too."""
    world.bulk_runs(world.experiment(age=FRESH), 4)
    runner = new_runner(event=PULL_REQUEST)
    (runner.workspace / "mlflow-gc.yml").write_text(
        "version: 1\nguards: {max_deletions: {runs: 3}}\n"
    )
    job = runner.action(as_of=world.as_of).expect(5)
    assert job.failed
    assert job.failed.name == "Report"
    assert job.outputs["applyable"] == "false"
    assert job.outputs["exit-code"] == "5"
    for text in (job.summary, api.comments[0]["body"]):
        assert "the plan cannot be applied" in text
        assert "max" in text
    assert (runner.artifacts / "prune-plan" / "prune-plan.html").exists()
    assert [kind for kind, _ in job.commands] == ["error"]


def test_a_server_that_does_not_answer(new_runner: Callable[..., Runner]) -> None:
    """1, with the program's words on the run's page; an older plan in the workspace is not taken for new."""
    runner = new_runner(
        env={
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        }
    )
    (runner.workspace / "prune-plan.json").write_text("{}")
    job = runner.action().expect(1)
    assert "127.0.0.1:9" in job.summary
    assert job.outputs["plan-id"] == ""
    assert job.outputs["exit-code"] == "1"
    assert [kind for kind, _ in job.commands] == ["error"]
    assert not list(runner.artifacts.iterdir())


@pytest.mark.parametrize("uri", ["", "  "])
def test_an_empty_secret_is_no_server(uri: str, new_runner: Callable[..., Runner]) -> None:
    """MLflow would take its own default and find nothing to delete."""
    job = new_runner(env={"MLFLOW_TRACKING_URI": uri}).action().expect(64)
    assert "MLFLOW_TRACKING_URI is not set" in job.commands[0][1]


@pytest.mark.parametrize(
    "inputs",
    [{"mode": "prune"}, {"name": "../x"}, {"name": "a b"}, {"name": ""}, {"name": "-x"}],
    ids=str,
)
def test_inputs_that_cannot_be_used(
    inputs: dict[str, str], new_runner: Callable[..., Runner]
) -> None:
    """Refused before anything is done."""
    job = new_runner().action(**inputs).expect(64)
    assert [kind for kind, _ in job.commands] == ["error"]


def test_a_wrong_ttl_is_explained(new_runner: Callable[..., Runner]) -> None:
    """64, in the program's own words."""
    job = new_runner().action(ttl="soon").expect(64)
    assert "--ttl" in job.summary


def test_modules_in_the_workspace_are_not_imported(new_runner: Callable[..., Runner]) -> None:
    """A pull request must not get to run in the process that has the credentials."""
    runner = new_runner(env={"PYTHONPATH": "evil"})
    (runner.workspace / "evil").mkdir()
    for directory in (runner.workspace, runner.workspace / "evil"):
        for name in ("typer", "json", "orjson", "sitecustomize"):
            (directory / f"{name}.py").write_text("raise SystemExit(99)")
    runner.action().expect(0)


# Hostile text


def test_names_from_the_server_command_nobody(
    world: World, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """The runner acts on nothing, outputs hold nothing, Markdown shows them as text."""
    hostile = [
        "::error::pwned",
        "##[error]pwned",
        "x\n::set-output name=plan-id::pwned",
        "plan-id=pwned\nplan-id<<EOF",
        "</details><script>alert(1)</script>",
        f"{MARKER}@everyone",
        "$(touch pwned) `touch pwned`",
        "</pre>\n# pwned",
    ]
    experiment = world.experiment(hostile[0], age=FRESH)
    for name in hostile:
        world.run(experiment, name=name, age=OLD)
        world.experiment(f"{name} ", age=OLD)
    runner = new_runner(event=PULL_REQUEST)
    job = runner.action(as_of=world.as_of).expect(0)
    assert job.commands == []
    assert set(job.outputs.values()) <= {
        *("true", "16", "0", "2", "", "prune-plan.json"),
        Plan.load(runner.workspace / "prune-plan.json").plan_id,
        f"{api.uri}/artifacts/prune-plan",
    }
    assert not (runner.workspace / "pwned").exists()
    (comment,) = api.comments
    for text in (comment["body"].removeprefix(MARKER), job.summary):
        assert_text_only(text)


def assert_text_only(text: str) -> None:
    """A reader of Markdown finds no HTML but folded sections, and nobody is mentioned."""
    assert text.count("<details>") == text.count("</details>")
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "html_block":
            left = re.sub(r"</?(?:details|summary|strong)>|[\w :,]+", "", token.content)
            assert not left.strip(), token.content
        for child in token.children or ():
            # What is code is not looked at for mentions and markup.
            assert child.type != "html_inline" or child.content == "<br>", child.content
            assert child.type != "text" or "@" not in child.content, child.content
            assert child.type != "image", child.content
            assert child.type != "link_open" or "/artifacts/" in str(child.attrs["href"])


def test_what_the_program_says_of_names_is_quoted(
    world: World, new_runner: Callable[..., Runner]
) -> None:
    """The log on the run's page is text, in a block that nothing closes."""
    runner = new_runner()
    (runner.workspace / "policy.yml").write_text('version: 1\n"</pre><img src=x>": 1\n')
    job = runner.action(policy="policy.yml", as_of=world.as_of).expect(64)
    assert "&lt;/pre" in job.summary
    assert job.summary.count("</pre>") == 1
    assert "<img" not in job.summary


# The comment


def test_the_comment_is_found_on_a_later_page(
    world: World, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """Among 250 others; those of other people, deleted accounts and other plans are left alone."""
    for number in range(120):
        api.add("ann", f"talk {number}")
    api.add("mallory", f"{MARKER}\nlooks like it, and mallory may edit it")
    api.add(None, None)
    api.add("github-actions[bot]", f"see {MARKER}")
    api.add("github-actions[bot]", "<!-- mlflow-gc: prune-plan-2 -->\nanother plan")
    ours = api.add("github-actions[bot]", f"{MARKER}\nold text")
    for number in range(130):
        api.add("ann", f"more talk {number}")
    before = [dict(c) for c in api.comments]
    new_runner(event=PULL_REQUEST).action(as_of=world.as_of).expect(0)
    changed = [c["id"] for c, old in zip(api.comments, before, strict=True) if c != old]
    assert changed == [ours]
    assert [method for method, _ in api.requests] == ["GET", "GET", "PATCH"]


def test_two_plans_have_two_comments(
    world: World, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """Told apart by their names, as are their artifacts."""
    runner = new_runner(event=PULL_REQUEST)
    for name in ("staging", "production", "staging"):
        runner.action(name=name, plan=f"{name}.json", as_of=world.as_of).expect(0)
    assert [c["body"].split("\n")[0] for c in api.comments] == [
        "<!-- mlflow-gc: staging -->",
        "<!-- mlflow-gc: production -->",
    ]
    assert {a.name for a in runner.artifacts.iterdir()} == {"staging", "production"}


@pytest.mark.parametrize(("status", "kind"), [(403, "notice"), (404, "notice"), (500, "warning")])
def test_a_comment_that_cannot_be_written_fails_nothing(
    status: int, kind: str, api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """No permission, as in pull requests from forks, or GitHub is ill."""
    api.refuse = status
    job = new_runner(event=PULL_REQUEST).action().expect(0)
    assert [found for found, _ in job.commands] == [kind]
    assert job.outputs["plan-id"]


def test_no_comment_when_nobody_wants_one(
    api: GitHubApi, new_runner: Callable[..., Runner]
) -> None:
    """``comment: false`` asks GitHub nothing."""
    new_runner(event=PULL_REQUEST).action(comment="false").expect(0)
    assert not api.requests


def test_a_comment_of_another_account(api: GitHubApi, new_runner: Callable[..., Runner]) -> None:
    """A token of one's own comes with a login of its own."""
    api.login = "prune-bot"
    runner = new_runner(event=PULL_REQUEST)
    for _ in range(2):
        runner.action(comment_author="prune-bot").expect(0)
    assert len(api.comments) == 1


def test_a_large_plan_fits(world: World, api: GitHubApi, new_runner: Callable[..., Runner]) -> None:
    """Names as long as names can be; cut, and it says so."""
    experiment = world.experiment("e" * 240, age=FRESH)
    world.bulk_runs(experiment, 400, name="€" * 200)
    job = new_runner(event=PULL_REQUEST).action(as_of=world.as_of).expect(0)
    (comment,) = api.comments
    assert len(comment["body"].encode()) <= 65_536
    assert len(job.summary) > len(comment["body"]), "the run's page has more room"
    assert comment["body"].count("<details") == comment["body"].count("</details>")
