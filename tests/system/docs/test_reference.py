"""The reference is complete: every command, option, setting, code and field is on its pages.

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

from mlflow_gc import errors, settings
from mlflow_gc.apply.journal.reader import SKIP_CODES
from mlflow_gc.domain.reasons import Reason

REFERENCE = ROOT / "docs" / "reference"
pytestmark = pytest.mark.smoke

SCHEMAS = sorted((ROOT / "schemas").glob("*.json"))


def plain(markdown: str) -> str:
    """Markdown as a reader sees it: no code marks, escapes and addresses."""
    shown = re.sub(r"(?<!\\)\[(.*?)(?<!\\)\]\([^)]*\)", r"\1", markdown)
    return re.sub(r"\\(.)", r"\1", shown.replace("`", "")).strip()


def sections(page: str) -> dict[str, tuple[str, list[list[str]]]]:
    """The sections of a page by heading: all words, and the rows of the tables without heads."""
    found = {}
    text = (REFERENCE / page).read_text(encoding="utf-8")
    for part in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        lines = body.splitlines()
        cells = [
            [plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for number, line in enumerate(lines)
            if line.startswith("| ") and "| ---" not in "".join(lines[number : number + 2])
        ]
        found[plain(title)] = " ".join(plain(body).split()), cells
    return found


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


def test_every_command_has_a_section_with_what_it_is_for(helps):
    page = sections("commands.md")
    assert ("policy", "explain") in helps
    assert {" ".join(["mlflow-gc", *command]) for command in helps} == set(page) - {
        "Commands and options"
    }
    for command, text in helps.items():
        described = text.split("\n\n")[1].strip()
        assert plain(" ".join(described.split())) in page[" ".join(["mlflow-gc", *command])][0]


def test_every_option_and_argument_has_a_row_with_its_help(helps):
    page = sections("commands.md")
    for command, text in helps.items():
        _, rows = page[" ".join(["mlflow-gc", *command])]
        expected = [*part(text, "Options"), *part(text, "Arguments")]
        assert len(rows) == len(expected)
        for line in expected:
            names, words = re.split(r"  +", line, maxsplit=1)
            flags = re.findall(r"(?<![\w-])--[\w-]+", names)
            name = flags[0] if flags else names.split()[0]
            (row,) = [r for r in rows if name.strip("[]") in re.split("[ ,]+", r[0])]
            # What stands in brackets is said in other words.
            assert re.sub(r"\s*\[[^\]]*\]\.?", "", words).rstrip(".") in row[1]
            for fact in re.findall(r"\[(?:default: )?([^\]]*)\]", words):
                for piece in fact.split(", "):
                    assert piece in row[1].replace("Required", "required"), (command, piece)


# ---------------------------------------------------------------------------- settings and codes


def test_every_setting_has_a_row_with_flag_and_meaning():
    _, rows = sections("settings.md")["Settings"]
    declared = [s for s in vars(settings).values() if isinstance(s, settings.Setting)]
    assert [row[0] for row in rows] == [s.variable for s in declared]
    for setting, (_, flag, meaning, default) in zip(declared, rows, strict=True):
        assert plain(setting.meaning[1:]) in meaning
        assert default == plain(setting.default)
        assert flag.startswith(setting.flag or "No flag")


def test_the_order_in_which_settings_are_looked_for_is_there():
    words, _ = sections("settings.md")["Settings"]
    assert "flag, then non-empty environment variable, then AE5 secret file, then default" in words
    assert str(settings.SECRETS_DIRECTORY) in words


def table_codes(page: str, heading: str) -> set[str]:
    """What stands in the first column of the table below a heading of a hand-written page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    below = re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    cells = [line.split("|")[1] for line in below.splitlines() if line.startswith("| ")]
    return {word for cell in cells for word in re.findall(r"[\w]+", cell)}


def codes_of(page: str, heading: str) -> set[str]:
    rows = sections(page)[heading][1]
    for code, meaning in rows:
        assert len(meaning.split()) > 2, f"{code} is not explained"
    return {code for code, _ in rows}


def test_every_exit_code_is_explained_here_and_in_the_hand_written_page():
    codes = {str(int(code)) for code in errors.ExitCode}
    assert codes_of("exit-codes.md", "Exit codes") == codes
    assert codes == table_codes("reference.md", "Exit codes") - {"Code"}


def test_every_reason_is_explained_here_and_in_the_hand_written_page():
    assert codes_of("codes.md", "Reasons") == {str(r.value) for r in Reason}
    by_hand = table_codes("decisions.md", "What protects a stale entity") - {"Reason"}
    assert by_hand == {str(r.value) for r in Reason} - {Reason.CHANGED.value}


def test_every_skip_code_is_one_of_the_schema_and_explained():
    schema = json.loads((ROOT / "schemas" / "journal.v1.schema.json").read_text(encoding="utf-8"))
    allowed = schema["$defs"]["record"]["properties"]["reason"]["enum"]
    assert set(SKIP_CODES) == set(allowed) - {None}
    assert codes_of("codes.md", "Skip codes") == set(SKIP_CODES)
    assert table_codes("decisions.md", "The re-check") - {"Code"} <= set(SKIP_CODES)


def test_every_diagnostic_is_explained_here_and_in_the_hand_written_page():
    by_hand = table_codes("decisions.md", "What a plan needs to be applyable")
    assert codes_of("codes.md", "Diagnostics") == by_hand - {"Diagnostic", "in", "the", "plan"}


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


def rows_of(schema: Path) -> list[list[str]]:
    """The fields on the page that names the file of the schema."""
    (page,) = (
        f"schemas/{file.name}"
        for file in (REFERENCE / "schemas").iterdir()
        if f"`{schema.name}`" in file.read_text(encoding="utf-8")
    )
    return [row for _, rows in sections(page).values() for row in rows]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
def test_every_field_of_a_schema_has_a_row_with_its_description(schema: Path):
    fields = list(described(json.loads(schema.read_text(encoding="utf-8"))))
    rows = rows_of(schema)
    assert len(rows) == len(fields)
    for name, words in fields:
        assert any(row[0].rpartition(".")[2] == name and plain(words) in row[2] for row in rows), (
            name,
            words,
        )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.name)
def test_a_page_says_as_often_as_the_schema_that_a_field_is_required(schema: Path):
    text = schema.read_text(encoding="utf-8")

    def required(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(required, part))
        if not isinstance(part, dict):
            return 0
        own = len(set(part.get("required", ())) & set(part.get("properties", ())))
        return own + sum(required(value) for key, value in part.items() if key != "required")

    marked = sum(row[1].endswith(", required") for row in rows_of(schema))
    assert marked == required(json.loads(text))


def test_types_are_written_as_text():
    rows = {row[0]: row[1:] for row in rows_of(ROOT / "schemas" / "prune-plan.v1.schema.json")}
    assert rows["expires_at"][0] == "time or null, required"
    assert rows["format"][0] == "always mlflow-gc/prune-plan, required"
    assert rows["runs"][0] == "list of run, required"
    assert "integer or null, at least 1" in rows["policy.ttl_days"][0]
    assert "keep or delete" in rows["policy.evaluation_runs"][0]
    assert "Pattern: ^sha256:[0-9a-f]{64}$" in rows["plan_id"][1]
