"""``--help``, ``show``, ``diff``, ``validate`` and ``schema``: no mlflow, no network, no wait."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Plan
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli
    from support.world import World


@pytest.fixture(scope="module")
def plans(shared_bench: Bench, shared_world: World) -> tuple[Plan, Plan]:
    """Two plans, a day of work between them: one run more, one version less."""
    world = shared_world
    experiment = world.experiment("first", age=FRESH)
    world.run(experiment, name="stays")
    version = world.spare_version(world.model("fraud"))
    base = shared_bench.report(name="base.json")
    world.run(experiment, name="newcomer")
    world.alias(version, "champion")
    return base, shared_bench.report(name="head.json")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``import mlflow``, ``requests`` and any connection fail loudly."""
    directory = tmp_path_factory.mktemp("poison")
    for name in ("mlflow", "requests", "sqlalchemy", "pandas"):
        package = directory / name
        package.mkdir()
        (package / "__init__.py").write_text(f'raise RuntimeError("{name} was imported")\n')
    # Python runs this module at start: no socket ever connects.
    (directory / "sitecustomize.py").write_text(
        "import socket\n"
        "def _refuse(*args, **kwargs):\n"
        '    raise RuntimeError("the network was touched")\n'
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = _refuse\n"
    )
    return {"PYTHONPATH": str(directory)}


OFFLINE = [
    ("--help",),
    ("--version",),
    ("report", "--help"),
    ("prune", "--help"),
    ("show", "--help"),
    ("show", "BASE"),
    ("show", "BASE", "--format", "markdown"),
    ("show", "BASE", "--format", "html"),
    ("show", "BASE", "--format", "json"),
    ("show", "BASE", "--format", "csv"),
    ("show", "BASE", "--format", "ndjson"),
    ("diff", "BASE", "HEAD"),
    ("diff", "BASE", "HEAD", "--format", "json"),
    ("diff", "BASE", "HEAD", "--format", "markdown"),
    ("check", "--help"),
    ("validate", "BASE", "HEAD"),
    ("schema", "plan"),
    ("schema", "journal"),
    ("schema", "diff"),
    ("schema", "check"),
]


@pytest.mark.parametrize("words", OFFLINE, ids=" ".join)
def test_needs_neither_mlflow_nor_the_network(
    words: tuple[str, ...],
    plans: tuple[Plan, Plan],
    poisoned: dict[str, str],
    offline_cli: Cli,
) -> None:
    """With packages first on the path that raise when imported."""
    paths = {"BASE": str(plans[0].path), "HEAD": str(plans[1].path)}
    outcome = offline_cli(*(paths.get(w, w) for w in words), env=poisoned, cold=True)
    outcome.expect(2 if words[0] == "diff" else 0)
    assert outcome.out.strip()


def test_the_poison_works(poisoned: dict[str, str], offline_cli: Cli, tmp_path: Path) -> None:
    """A command that needs mlflow does stumble, so the test above can fail."""
    with pytest.raises(AssertionError, match="mlflow was imported"):
        offline_cli("report", "-o", tmp_path / "p.json", env=poisoned, cold=True).expect(0)


def test_help_lists_every_command(offline_cli: Cli) -> None:
    """Of the contract, as far as this issue goes."""
    shown = offline_cli("--help").expect(0).out
    for command in ("report", "prune", "show", "diff", "check", "validate", "schema", "demo"):
        assert command in shown


def test_version_is_that_of_the_plans(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """``--version`` and the file say the same."""
    assert plans[0].document["tool"]["version"] in offline_cli("--version").expect(0).out


# show


def test_show_names_what_is_deleted_and_what_is_retained_and_why(
    plans: tuple[Plan, Plan], offline_cli: Cli
) -> None:
    """Entities, reasons, counts, and what cannot be undone."""
    base, head = plans
    shown = offline_cli("show", base.path).expect(0).out
    assert "stays" in shown
    assert "fraud" in shown
    assert "undone" in shown or "irreversib" in shown.lower()
    assert "champion" in offline_cli("show", head.path).expect(0).out


def test_show_json_is_the_plan_itself(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """The same document, and nothing else on stdout."""
    outcome = offline_cli("show", plans[0].path, "--format", "json").expect(0)
    assert outcome.json()["plan_id"] == plans[0].plan_id


def test_show_markdown_and_html_are_what_they_say(
    plans: tuple[Plan, Plan], offline_cli: Cli
) -> None:
    """Tables and headings; a document that loads nothing from elsewhere."""
    markdown = offline_cli("show", plans[0].path, "--format", "markdown").expect(0).out
    assert markdown.lstrip().startswith("#")
    assert "| " in markdown
    html = offline_cli("show", plans[0].path, "--format", "html").expect(0).out
    assert html.lstrip().lower().startswith("<!doctype html>")
    assert "src=" not in html
    addresses = re.findall(r"""href=["']([^"']*)""", html)
    base = "http://127.0.0.1:"
    assert all(a.startswith(("#", base)) for a in addresses), "links, and nothing that is loaded"
    assert "<link" not in html


def test_show_csv_and_json_lines_list_every_entity(
    plans: tuple[Plan, Plan], offline_cli: Cli
) -> None:
    """What goes and what stays, each once, in both."""
    for plan in plans:
        document = plan.document
        kinds = ("experiments", "runs", "model_versions", "registered_models")
        deleted = sum(len(document[kind]) for kind in kinds)
        retained = sum(len(document["protected"][kind]) for kind in kinds)
        lines = offline_cli("show", plan.path, "--format", "ndjson").expect(0).out
        rows = [json.loads(line) for line in lines.splitlines()]
        assert [row["action"] for row in rows].count("delete") == deleted > 0
        assert [row["action"] for row in rows].count("keep") == retained
        assert {row["id"] for row in rows} >= plan.runs | plan.versions | plan.experiments
        table = offline_cli("show", plan.path, "--format", "csv").expect(0).out
        read = list(csv.DictReader(io.StringIO(table.removeprefix("\ufeff"), newline="")))
        assert [row["id"] for row in read] == [row["id"] for row in rows]


def test_markdown_keeps_to_its_budget(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """Bytes, at least some thousand of them; other formats have none."""
    words = ("show", plans[0].path, "--format", "markdown")
    whole = offline_cli(*words, "--all").expect(0).out
    assert offline_cli(*words).expect(0).out == whole
    assert offline_cli(*words, "--budget", 8_000).expect(0).out == whole
    for wrong in ((*words, "--budget", 100), (*words, "--budget", 9_000, "--all")):
        assert "--budget" in offline_cli(*wrong).expect(64).err
    offline_cli("show", plans[0].path, "--budget", 9_000).expect(64)


def test_diff_has_the_formats_that_it_has(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """And says which, for one that it has not."""
    for form in ("html", "csv", "ndjson"):
        wrong = offline_cli("diff", plans[0].path, plans[1].path, "--format", form).expect(64)
        assert "'text', 'markdown', 'json'" in wrong.err


def test_show_says_when_a_plan_is_expired(
    plans: tuple[Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """Offline, yet with a clock; it is still shown."""

    def expire(document: dict[str, object]) -> None:
        document["expires_at"] = "2020-01-01T00:00:00.000Z"

    old = plans[0].edited(tmp_path / "old.json", expire, sign=True)
    assert "expire" in offline_cli("show", old.path).expect(0).text.lower()


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
@pytest.mark.parametrize("kind", ["edited", "contradiction", "unknown guard"])
def test_a_plan_that_prune_refuses_does_not_look_approved(
    kind: str, form: str, plans: tuple[Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """On stdout, which is what a pipeline posts: why, no command to apply it, no borrowed digest."""

    def spoil(document: dict[str, Any]) -> None:
        if kind == "edited":
            document["runs"][0]["user_id"] = "somebody else"
        elif kind == "contradiction":
            document["summary"]["irreversible"] += 1
        else:
            document["policy"]["guards"]["max_deletions"]["unheard_of"] = 1

    bad = plans[0].edited(tmp_path / "bad.json", spoil, sign=kind != "edited")
    words = ("show", bad.path, "--format", form)
    shown = offline_cli(*words).expect(0).out
    assert "cannot be applied:" in shown.lower()
    assert not re.search(r"mlflow-gc (prune|check)|--expect", shown)
    if kind == "edited":
        digests = set(re.findall(r"sha256:[0-9a-f]{64}", shown.partition('id="data"')[0]))
        assert f"plan_id  {bad.plan_id}" not in shown
        assert f"Plan `{bad.plan_id}`" not in shown
        assert 'id="plan-id"' not in shown
        assert len(digests) == 2, "in the sentence that says which is which, and nowhere else"
    difference = offline_cli(
        "diff", plans[1].path, bad.path, "--format", form.replace("html", "text")
    )
    assert "CANNOT BE APPLIED: " in difference.expect(2).out
    assert "--expect" not in difference.out


def test_quiet_show_shows(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """The plan is what it is asked for; there is no progress to leave out."""
    shown = offline_cli("show", plans[0].path).expect(0).out
    assert offline_cli("show", "-q", plans[0].path).expect(0).out == shown


# help and usage


@pytest.mark.parametrize("words", [(), ("policy",), ("journal",)], ids=str)
def test_a_command_that_is_missing_is_answered_with_help(
    words: tuple[str, ...], offline_cli: Cli
) -> None:
    """In lines, on stdout, as ``--help`` prints it; no command is a usage error all the same."""
    bare = offline_cli(*words).expect(64)
    assert bare.out == offline_cli(*words, "--help").expect(0).out
    assert bare.out == offline_cli(*words, "-h").expect(0).out
    assert bare.err == ""


@pytest.mark.parametrize(
    ("words", "helpful"),
    [
        (("show",), "mlflow-gc show --help"),
        (("prune", "--no-such-flag"), "mlflow-gc prune --help"),
        (("policy", "test"), "mlflow-gc policy test --help"),
        (("--no-such-flag",), "mlflow-gc --help"),
        (("no-such-command",), "mlflow-gc --help"),
    ],
    ids=str,
)
def test_a_usage_error_names_the_help_of_its_command(
    words: tuple[str, ...], helpful: str, offline_cli: Cli
) -> None:
    """What it offers can be run, and helps."""
    output = offline_cli(*words).expect(64)
    assert output.err.splitlines()[-1] == f"Try: {helpful}"
    assert "Usage: mlflow-gc" in offline_cli(*helpful.split()[1:]).expect(0).out


@pytest.mark.parametrize(
    "command", ["report", "prune", "show", "diff", "check", "restore", "mark", "validate"]
)
def test_help_names_the_exit_codes(command: str, offline_cli: Cli) -> None:
    """Of the commands that pipelines run."""
    shown = " ".join(offline_cli(command, "--help").expect(0).out.split())
    assert re.search(r"Exit codes: 0 .*; 1 .*64 usage error", shown)


def test_the_shell_completes_commands(offline_cli: Cli) -> None:
    """What bash asks for after ``mlflow-gc pru<Tab>``."""
    env = {
        "_MLFLOW_GC_COMPLETE": "complete_bash",
        "COMP_WORDS": "mlflow-gc pru",
        "COMP_CWORD": "1",
    }
    assert offline_cli(env=env).expect(0).out.split() == ["prune"]
    # Typer would look which shell started the tests.
    no_detection = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown = offline_cli("--show-completion", "bash", env=no_detection, process=True).expect(0)
    assert "_MLFLOW_GC_COMPLETE" in shown.out


# one kind of file in place of another


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """As a prune begins it."""
    path = tmp_path / "it.journal.jsonl"
    path.write_text('{"type":"header","format":"mlflow-gc/journal","format_version":"1.0"}\n')
    return path


def test_a_journal_is_no_plan_and_a_plan_no_journal(
    plans: tuple[Plan, Plan], journal: Path, offline_cli: Cli
) -> None:
    """Each command says which of the two it was given, and what to do with that."""
    plan = plans[0].path
    for words in (
        ("show", journal),
        ("diff", plan, journal),
        ("prune", journal),
        ("check", journal),
    ):
        output = offline_cli(*words).expect(1)
        assert f"{journal} is a journal, not a plan." in output.err
        assert f"mlflow-gc restore {journal}" in output.err
    for words in (("restore", plan), ("journal", "merge", plan, "-o", plan)):
        assert f"{plan} is a prune plan, not a journal." in offline_cli(*words).expect(1).err
    policy = offline_cli("policy", "explain", "--policy", plan)
    assert f"{plan} is a prune plan, not a policy." in policy.expect(1).err


def test_detailed_exit_codes_of_show(
    plans: tuple[Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """2 when the plan deletes something, 0 when not; 0 both without the flag."""
    offline_cli("show", plans[0].path).expect(0)
    offline_cli("show", plans[0].path, "--detailed-exitcode").expect(2)

    def drop(document: dict[str, object]) -> None:
        for kind in ("experiments", "runs", "model_versions"):
            document[kind] = []
            counts = document["summary"][kind]  # type: ignore[index]
            counts["stale"] -= counts["delete"]
            counts["delete"] = 0
        document["summary"]["irreversible"] = 0  # type: ignore[index]

    empty = plans[0].edited(tmp_path / "empty.json", drop, sign=True)
    offline_cli("show", empty.path, "--detailed-exitcode").expect(0)


# diff


def test_a_plan_does_not_differ_from_itself(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """Exit 0; and JSON says it without an entity."""
    base = plans[0].path
    offline_cli("diff", base, base).expect(0)
    text = offline_cli("diff", base, base, "--format", "json").expect(0).out
    assert "stays" not in text
    assert not plans[0].runs & set(_strings(json.loads(text)))


def test_reports_that_differ_in_created_at_only_do_not_differ(
    plans: tuple[Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """``created_at`` and ``tool`` are not what a plan means."""

    def later(document: dict[str, object]) -> None:
        document["created_at"] = "2026-01-01T00:00:00.000Z"

    other = plans[0].edited(tmp_path / "other.json", later, sign=False)
    offline_cli("diff", plans[0].path, other.path).expect(0)


def test_diff_names_what_was_added_and_removed(plans: tuple[Plan, Plan], offline_cli: Cli) -> None:
    """By entity, and exit 2."""
    base, head = plans
    (added,) = head.runs - base.runs
    (removed,) = base.versions - head.versions
    (retained,) = base.runs & head.runs
    for words in ([], ["--format", "json"]):
        outcome = offline_cli("diff", base.path, head.path, *words).expect(2)
        assert added in outcome.out
        assert removed.partition("/")[0] in outcome.out
        assert retained not in outcome.out
    assert "champion" in offline_cli("diff", base.path, head.path).out, "why it was removed"
    document = offline_cli("diff", base.path, head.path, "--format", "json").json()
    assert added in _strings(document)


def test_diff_the_other_way_round_swaps_the_signs(
    plans: tuple[Plan, Plan], offline_cli: Cli
) -> None:
    """Added becomes removed."""
    base, head = plans
    forth = offline_cli("diff", base.path, head.path).expect(2).out
    back = offline_cli("diff", head.path, base.path).expect(2).out
    assert forth != back


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [s for inner in value.values() for s in _strings(inner)]
    if isinstance(value, list):
        return [s for inner in value for s in _strings(inner)]
    return [value] if isinstance(value, str) else []


# validate and schema


def test_validate_names_every_bad_file(
    plans: tuple[Plan, Plan], offline_cli: Cli, tmp_path: Path
) -> None:
    """Good and bad ones in one call."""
    bad = tmp_path / "bad.json"
    bad.write_text(plans[0].path.read_text().replace('"stays"', '"went"'))
    outcome = offline_cli("validate", plans[0].path, bad, plans[1].path).expect(1, 5)
    assert "bad.json" in outcome.text.replace("\n", "")


@pytest.mark.parametrize("name", ["plan", "journal", "diff", "check"])
def test_schemas_describe_every_field(name: str, offline_cli: Cli) -> None:
    """Every property at every level has a description (or refers to one that has)."""
    schema = offline_cli("schema", name).expect(0).json()
    missing: list[str] = []

    def walk(node: object, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.get("properties", {}).items():
                described = isinstance(value, dict) and ("description" in value or "$ref" in value)
                if not described and value is not True:
                    missing.append(f"{path}/{key}")
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for number, value in enumerate(node):
                walk(value, f"{path}/{number}")

    walk(schema, "")
    assert not missing


def test_a_broken_pipe_is_no_traceback(plans: tuple[Plan, Plan]) -> None:
    """The reader of the pipe is gone before the first byte comes."""
    base = plans[0].path
    script = f'"{sys.executable}" -m mlflow_gc show "{base}" --format json | true'
    result = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
