"""The reference is complete: every command, option, setting, code and field is on the site.

What is expected is read here a second time, from ``--help`` of the program as a process and from
the files of the schemas, so that the generator cannot agree with itself.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.site import Site

from mlflow_gc import errors, settings
from mlflow_gc.apply.journal.file import SKIP_CODES
from mlflow_gc.retention.decision import Reason

SCHEMAS = sorted((ROOT / "schemas").glob("*.json"))


# ---------------------------------------------------------------------------- commands


def help_of(*command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "mlflow_gc", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def part(text: str, title: str) -> list[str]:
    """The entries of one part of a help text, each as one line: names, two blanks, words."""
    _, _, rest = text.partition(f"\n{title}:\n")
    entries: list[str] = []
    for line in rest.split("\n\n")[0].splitlines():
        if not line.startswith("   "):
            entries.append(line.strip())
        elif entries[-1].endswith("-") and "  " in entries[-1]:
            # A word was broken at its hyphen.
            entries[-1] += line.strip()
        else:
            # Below names that are too long to have their words beside them.
            entries[-1] += (" " if "  " in entries[-1] else "  ") + line.strip()
    return entries


def all_commands(*group: str) -> Iterator[tuple[tuple[str, ...], str]]:
    text = help_of(*group)
    yield group, text
    for line in part(text, "Commands"):
        yield from all_commands(*group, line.split()[0])


@pytest.fixture(scope="module")
def helps() -> dict[tuple[str, ...], str]:
    return dict(all_commands())


def test_every_command_has_a_section_with_what_it_is_for(site: Site, helps):
    page = site.page("reference/commands.html")
    assert ("policy", "explain") in helps
    for command, text in helps.items():
        assert ("-".join(command) or "mlflow-gc") in page.ids
        described = text.split("\n\n")[1].strip()
        assert " ".join(described.split()) in page.words


def test_every_option_and_argument_has_an_entry_with_its_help(site: Site, helps):
    entries = site.page("reference/commands.html").entries
    seen = 0
    for command, text in helps.items():
        prefix = "-".join(command) or "mlflow-gc"
        for line in [*part(text, "Options"), *part(text, "Arguments")]:
            names, words = re.split(r"  +", line, maxsplit=1)
            flags = re.findall(r"(?<![\w-])--[\w-]+", names)
            name = flags[0] if flags else names.split()[0].strip("[].")
            anchor = f"{prefix}-{name.strip('-').lower()}"
            assert anchor in entries, (command, line)
            entry = entries[anchor]
            assert name in entry.term
            # What stands in brackets is said in other words.
            assert re.sub(r"\s*\[[^\]]*\]\.?", "", words).rstrip(".") in entry.words
            for fact in re.findall(r"\[(?:default: )?([^\]]*)\]", words):
                for piece in fact.split(", "):
                    assert piece in f"{entry.term} {entry.words}", (anchor, piece)
            seen += 1
    assert seen == len(entries)


# ---------------------------------------------------------------------------- settings and codes


def test_every_setting_has_an_entry_with_flag_and_meaning(site: Site):
    entries = site.page("reference/settings.html").entries
    declared = [s for s in vars(settings).values() if isinstance(s, settings.Setting)]
    assert {s.variable for s in declared} == set(entries)
    for setting in declared:
        entry = entries[setting.variable].words
        assert setting.meaning[1:] in entry
        assert setting.default in entry
        assert (setting.flag or "No flag") in entry


def test_the_order_in_which_settings_are_looked_for_is_there(site: Site):
    words = " ".join(site.page("reference/settings.html").words.split())
    assert "flag, then non-empty environment variable, then AE5 secret file, then default" in words
    assert str(settings.SECRETS_DIRECTORY) in words


def table_codes(page: str, heading: str) -> set[str]:
    """What stands in the first column of the table below a heading of a hand-written page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    below = re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in below.splitlines() if line.startswith("| ")]
    return {word for cell in cells for word in re.findall(r"[\w]+", cell)}


def entries_of(site: Site, prefix: str) -> set[str]:
    entries = site.page("reference/codes.html").entries
    for key, entry in entries.items():
        assert len(entry.words.split()) > 3, f"{key} is not explained"
    return {key.removeprefix(f"{prefix}-") for key in entries if key.startswith(f"{prefix}-")}


def test_every_exit_code_is_explained_here_and_in_the_hand_written_page(site: Site):
    entries = site.page("reference/exit-codes.html").entries
    codes = {str(int(code)) for code in errors.ExitCode}
    assert {key.removeprefix("exit-") for key in entries} == codes
    assert all(entry.words for entry in entries.values())
    assert codes == table_codes("reference.md", "Exit codes") - {"Code"}


def test_every_reason_is_explained_here_and_in_the_hand_written_page(site: Site):
    assert entries_of(site, "reason") == {str(r.value) for r in Reason}
    by_hand = table_codes("decisions.md", "What protects a stale entity") - {"Reason"}
    assert by_hand == {str(r.value) for r in Reason} - {Reason.CHANGED.value}


def test_every_skip_code_is_one_of_the_schema_and_explained(site: Site):
    schema = json.loads((ROOT / "schemas" / "journal.v1.schema.json").read_text(encoding="utf-8"))
    allowed = schema["$defs"]["record"]["properties"]["reason"]["enum"]
    assert set(SKIP_CODES) == set(allowed) - {None}
    assert entries_of(site, "skip") == set(SKIP_CODES)
    assert table_codes("decisions.md", "The re-check") - {"Code"} <= set(SKIP_CODES)


def test_every_diagnostic_is_explained_here_and_in_the_hand_written_page(site: Site):
    by_hand = table_codes("decisions.md", "What a plan needs to be applyable")
    assert entries_of(site, "diagnostic") == by_hand - {"Diagnostic", "in", "the", "plan"}


# ---------------------------------------------------------------------------- schemas


def described(schema: Any) -> Iterator[tuple[str, str]]:
    """Name and description of every field of a schema, wherever it stands."""
    if isinstance(schema, list):
        for item in schema:
            yield from described(item)
    elif isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            yield name, field.get("description", "")
        for key, value in schema.items():
            if key in {"properties", "$defs"}:
                for item in value.values():
                    yield from described(item)
            elif key not in {"if", "then", "enum", "const", "required"}:
                yield from described(value)


def page_of(site: Site, schema: Path) -> str:
    """The page that names the file of the schema."""
    (name,) = (
        name
        for name in site.names
        if name.startswith("reference/schemas/") and schema.name in site.page(name).words
    )
    return name


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
def test_every_field_of_a_schema_has_an_entry_with_its_description(site: Site, schema: Path):
    document = json.loads(schema.read_text(encoding="utf-8"))
    page = site.page(page_of(site, schema))
    fields = list(described(document))
    assert len(page.entries) == len(fields)
    for name, words in fields:
        assert any(
            re.search(rf"(^|\.){re.escape(name)} ", entry.term) and words in entry.words
            for entry in page.entries.values()
        ), (name, words)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
def test_a_page_says_as_often_as_the_schema_that_a_field_is_required(site: Site, schema: Path):
    text = schema.read_text(encoding="utf-8")

    def required(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(required, part))
        if not isinstance(part, dict):
            return 0
        own = len(set(part.get("required", ())) & set(part.get("properties", ())))
        return own + sum(required(value) for key, value in part.items() if key != "required")

    page = site.page(page_of(site, schema))
    marked = sum(" required" in entry.term for entry in page.entries.values())
    assert marked == required(json.loads(text))


def test_types_are_written_as_text(site: Site):
    entries = site.page("reference/schemas/plan.html").entries
    assert "time or null required" in entries["expires_at"].term
    assert "always mlflow-gc/prune-plan required" in entries["format"].term
    assert "list of run" in entries["runs"].term
    assert "integer or null, at least 1" in entries["policy-ttl_days"].term
    assert "keep or delete" in entries["policy-evaluation_runs"].term
    assert "Pattern: ^sha256:[0-9a-f]{64}$" in entries["plan_id"].words
