"""Names, tags and descriptions are hostile: shown, never interpreted, never breaking the layout."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt
from support.plans import Plan
from support.world import FRESH, KEEP_TAG

if TYPE_CHECKING:
    from support.bench import Bench
    from support.cli import Cli
    from support.world import World

MARK = "evilmark"
UGLY = {
    "escape": f"{MARK}\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]8;;http://evil.example\x1b\\link",
    "c1 control": f"{MARK}\x9b31mred\x85next",
    "newline": f"{MARK}\n::error::{MARK} pwned\r\n| pwned | row |\n# pwned",
    "carriage return": f"{MARK}\rpwned start of line\x08\x08\x0b\x0c",
    "line separator": f"{MARK}\u2028pwned\u2029pwned",
    "right to left": f"{MARK}\u202etxt.exe\u2066\u2069\u200f\u200b\ufeff",
    "html": f"{MARK}<script>alert(1)</script><img src=x onerror=alert(1)>\"'",
    "markdown": f"{MARK}|[click](javascript:alert(1)) ![x](http://evil.example/x.png) `code` **b**",
    "rich markup": f"{MARK}[red]red[/red][link=http://evil.example]x[/link][/]",
    "both quotes": f'{MARK} it\'s "both" `and` \\',
    "ci command": f"::set-output name=x::{MARK}",
    "ci command of another kind": f"##[error]{MARK} ##vso[task.complete] ##teamcity[x]",
    "unicode": f"{MARK} Überfahrt 名前 ✈ e\u0301 😀",
    "lone surrogate": f"{MARK}\ud800x",
    "long": f"{MARK} " + "long " * 2_000,
    "tab": f"{MARK}\tand\ttab",
}
"""Lone surrogates cannot be stored (SQLite wants UTF-8) and are left out below."""

STORABLE = {role: text for role, text in UGLY.items() if role != "lone surrogate"}

OURS = {"h2", "p", "strong", "ul", "li", "code", "br", "details", "summary"}
OURS |= {"table", "thead", "tbody", "tr", "th", "td"}

BIDI_AND_INVISIBLE = (
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u2028\u2029"
)


@pytest.fixture(scope="module")
def plan(shared_bench: Bench, shared_world: World) -> Plan:
    """Every ugly text as the name of an experiment, a run, a model, and in descriptions and tags."""
    world = shared_world
    home = world.experiment(age=FRESH)
    for number, text in enumerate(STORABLE.values()):
        experiment = world.experiment(f"e{number}")
        world.sql("UPDATE experiments SET name = ? WHERE experiment_id = ?", text, int(experiment))
        run = world.run(home)
        retained = (
            world.run(experiment, tags={KEEP_TAG: "x"}) if number % 2 else world.run(experiment)
        )
        for this in (run, retained):
            world.sql("UPDATE runs SET name = ?, user_id = ? WHERE run_uuid = ?", text, text, this)
            world.sql(
                "UPDATE tags SET value = ? WHERE run_uuid = ? AND key IN ('mlflow.runName', ?)",
                text,
                this,
                KEEP_TAG,
            )
        name = world.model(f"m{number}")
        version = world.spare_version(name, description="d", tags={"t": "v"})
        world.spare_version(name, aliases=[f"alias-{number}"])
        number_of_version = int(version.rpartition("/")[2])
        world.sql(
            "UPDATE model_versions SET description = ?, source = ? WHERE name = ? AND version = ?",
            text,
            f"s3://bucket/{text}",
            name,
            number_of_version,
        )
        world.sql(
            "UPDATE model_version_tags SET key = ?, value = ? WHERE name = ?", text, text, name
        )
        _rename_model(world, name, text)
    return shared_bench.report()


def _rename_model(world: World, name: str, text: str) -> None:
    for table in (
        "registered_models",
        "model_versions",
        "model_version_tags",
        "registered_model_aliases",
    ):
        world.sql(f"UPDATE {table} SET name = ? WHERE name = ?", text, name)


def _assert_harmless(text: str) -> None:
    """No control character but the newline, no bidirectional override, no line of theirs."""
    controls = re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
    assert not controls, f"{sorted(set(controls))} in the output"
    for char in BIDI_AND_INVISIBLE:
        assert char not in text, f"U+{ord(char):04X} in the output"
    for line in text.splitlines():
        assert not line.lstrip().startswith(
            ("::", "##[", "##vso", "##teamcity", "pwned", "# pwned", "| pwned")
        )


def test_all_of_them_are_in_the_plan(plan: Plan) -> None:
    """The ugly names are data like any other, and exact."""
    names = {run["run_name"] for run in plan.document["runs"]}
    assert set(STORABLE.values()) <= names
    # The server knows models of such names, and refuses to delete anything of them.
    refused = {name for name in STORABLE.values() if set(name) & set("/:")}
    versions = plan.document["model_versions"]
    assert set(STORABLE.values()) - refused <= {v["name"] for v in versions}
    assert set(STORABLE.values()) - refused <= {v["description"] for v in versions}
    retained = [v for v in plan.document["protected"]["model_versions"] if v["name"] in refused]
    assert refused == {v["name"] for v in retained if v["reason"] == "refused_name"}


def test_they_do_not_break_the_lines_of_the_file(plan: Plan) -> None:
    """One entity per line, also for tools that see more line ends than JSON does."""
    raw = plan.path.read_bytes().decode()
    assert "\r" not in raw
    entities = sum(len(plan.document[kind]) for kind in ("experiments", "runs", "model_versions"))
    opening = [line for line in raw.split("\n") if line.startswith('{"')]
    protected = sum(len(group) for group in plan.document["protected"].values())
    assert len(opening) == entities + protected


@pytest.mark.parametrize("form", ["text", "markdown", "html", "csv", "ndjson"])
def test_show_is_harmless(plan: Plan, offline_cli: Cli, form: str) -> None:
    """In every format for people, and in those that end up on terminals and in spreadsheets."""
    outcome = offline_cli("show", plan.path, "--format", form).expect(0)
    # Line ends of CSV are CR LF, and Excel wants a mark in front.
    _assert_harmless(outcome.text.removeprefix("\ufeff").replace("\r\n", "\n"))
    assert outcome.out.count(MARK) >= len(STORABLE), "they are shown, though"


def test_markdown_and_html_run_nothing(plan: Plan, offline_cli: Cli) -> None:
    """No tag, link, image or table cell of theirs."""
    markdown = offline_cli("show", plan.path, "--format", "markdown").expect(0).out
    html = offline_cli("show", plan.path, "--format", "html").expect(0).out
    for text in (markdown, html):
        assert "<script>alert" not in text
        assert "<img src=x" not in text
    rendered = MarkdownIt("commonmark").enable("table").render(markdown)
    assert "](javascript:" in rendered, "shown as it is"
    tags = set(re.findall(r"</?([a-z0-9]+)", rendered))
    assert tags <= OURS
    for table in re.findall("<table>.*?</table>", rendered, re.DOTALL):
        cells = {len(re.findall("<t[dh]", line)) for line in table.split("<tr>")[1:]}
        assert len(cells) == 1, "a bar in a name breaks the table"


def test_rich_markup_in_names_is_shown_as_it_is(plan: Plan, offline_cli: Cli) -> None:
    """Neither eaten nor an error."""
    shown = "".join(offline_cli("show", plan.path).expect(0).out.split())
    assert "[red]red[/red]" in shown


def test_on_a_terminal_only_our_own_colours(plan: Plan, offline_cli: Cli) -> None:
    """Colour sequences may be there; theirs (screen, title, link) may not."""
    code, shown = offline_cli.ask("show", plan.path, answer="", prompt="\0")
    assert code == 0
    foreign = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "\x1b" not in foreign
    assert "\x07" not in foreign
    assert "\x9b" not in foreign
    assert "\u202e" not in foreign


def test_report_diff_check_and_prune_are_harmless(
    plan: Plan, shared_bench: Bench, offline_cli: Cli
) -> None:
    """All output for people; at last the prune, with skips that name the ugly ones."""
    world, cli = shared_bench.world, shared_bench.cli
    _assert_harmless(cli("report", "-v", "-o", shared_bench.dir / "again.json").expect(0).text)
    empty = shared_bench.report("--ttl", 3000, name="empty.json")
    for form in ("text", "markdown"):
        for paths in ((empty.path, plan.path), (plan.path, empty.path)):
            outcome = offline_cli("diff", *paths, "--all", "--format", form).expect(2)
            _assert_harmless(outcome.text)
            assert outcome.out.count(MARK) >= len(STORABLE)
            assert "<script>alert" not in outcome.out or form == "text"
    for run in sorted(plan.runs)[::2]:
        world.resume(run)
    for version in plan.document["model_versions"][::2]:
        # The REST API cannot name all of these models.
        world.sql(
            "INSERT INTO registered_model_aliases (alias, version, name) VALUES ('new', ?, ?)",
            int(version["version"]),
            version["name"],
        )
    for form in ("text", "markdown"):
        shown = cli("check", plan.path, "--all", "--format", form).text
        _assert_harmless(shown)
        assert shown.count(MARK) >= len(STORABLE)
        assert "<script>alert" not in shown or form == "text"
    outcome, journal = shared_bench.prune(plan, "-v", codes=(0, 3))
    _assert_harmless(outcome.text)
    assert journal.with_outcome("deleted")
    assert journal.skips


def test_a_hostile_plan_file_is_harmless_too(
    plan: Plan, offline_cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Text in a plan need not come from a server; the digest fits, still nothing is run."""
    directory = tmp_path_factory.mktemp("hostile")

    def poison(document: dict[str, object]) -> None:
        document["server"]["tracking_uri"] = "http://x\x1b[31m\n::error::pwned\u202e"  # type: ignore[index]
        document["diagnostics"] = ["\x1b[31m[red]\n::error::pwned\u202e"]

    bad = plan.edited(directory / "bad.json", poison, sign=True)
    for words in (("show", bad.path), ("validate", bad.path), ("diff", plan.path, bad.path)):
        _assert_harmless(offline_cli(*words).text)
