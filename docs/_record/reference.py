"""Write what docs/reference shows of the code: ``make reference``.

Parts of a page between ``<!-- make reference: NAME -->`` and ``<!-- end -->`` are replaced; the pages
of the JSON Schemas (see schema_pages.py) are written as a whole.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import schema_pages
import typer.main
from markdown import code, table, with_code

import mlflow_gc.settings
from mlflow_gc.apply.journal.reader import SKIP_CODES
from mlflow_gc.cli import app
from mlflow_gc.domain.reasons import Reason
from mlflow_gc.errors import ExitCode
from mlflow_gc.settings import SECRETS_DIRECTORY, Setting

FOLDER = Path(__file__).parents[1] / "reference"
_PACKAGE = Path(mlflow_gc.settings.__file__).parent
_PART = re.compile(r"(<!-- make reference: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_DIAGNOSTIC = "Diagnostic code: "
# What stands in brackets behind the help: Click's own facts, or ours: a variable, a default.
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]\.?\s*$")
_RANGE = re.compile(r"x[<>]=?|[<>]=?x")


def pages() -> dict[Path, str]:
    """Return every page of the reference with the content that the code gives it today."""
    parts = {
        "commands": _commands,
        "settings": _settings,
        "exit-codes": lambda: _codes(_docs_of(_file_of(ExitCode), "ExitCode"), ExitCode),
        "reasons": _reasons,
        "skip-codes": lambda: _table_of_codes(SKIP_CODES),
        "diagnostics": lambda: _table_of_codes(_diagnostics()),
    }
    found = {
        file: _PART.sub(lambda m: f"{m[1]}\n{parts[m[2]]()}\n{m[3]}", file.read_text("utf-8"))
        for file in FOLDER.glob("*.md")
    }
    return found | {FOLDER / name: text for name, text in schema_pages.pages().items()}


def _file_of(member: type) -> Path:
    return _PACKAGE.parent / f"{member.__module__.replace('.', '/')}.py"


def _docs_of(file: Path, scope: str = "") -> dict[str, str]:
    """Return the docstrings of a module's constants, or of a class's, by name, each as one line."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    if scope:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == scope)
    docs = {}
    for statement, following in pairwise(body):
        if isinstance(statement, ast.Assign) and isinstance(following, ast.Expr):
            docs[ast.unparse(statement.targets[0])] = " ".join(
                ast.literal_eval(following.value).split()
            )
    return docs


def _codes(docs: Mapping[str, str], members: Any) -> str:
    return _table_of_codes({str(member.value): docs[member.name] for member in members})


def _reasons() -> str:
    return _table_of_codes({r.value: f"{r.sentence[:1].upper()}{r.sentence[1:]}." for r in Reason})


def _table_of_codes(codes: Mapping[str, str]) -> str:
    return table(("Code", "Meaning"), ((code(key), with_code(text)) for key, text in codes.items()))


def _diagnostics() -> dict[str, str]:
    """Return the findings of a scan: the constants whose docstring calls them so."""
    found: dict[str, str] = {}
    for file in _PACKAGE.rglob("*.py"):
        # Only these are imported: others would bring mlflow along.
        if _DIAGNOSTIC not in file.read_text(encoding="utf-8"):
            continue
        module = ".".join(file.relative_to(_PACKAGE.parent).with_suffix("").parts)
        for name, text in _docs_of(file).items():
            if text.startswith(_DIAGNOSTIC):
                sentence = text.removeprefix(_DIAGNOSTIC)
                value = getattr(importlib.import_module(module), name)
                found[value] = sentence[:1].upper() + sentence[1:]
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------------- settings


def _all_settings() -> list[Setting]:
    return [value for value in vars(mlflow_gc.settings).values() if isinstance(value, Setting)]


def _settings() -> str:
    _, _, order = (mlflow_gc.settings.__doc__ or "").partition("\n\n")
    rows = []
    for setting in _all_settings():
        why = "no secret is one" if setting.is_secret else "it is set for a machine"
        flag = code(setting.flag) if setting.flag else f"No flag: {why}"
        meaning = f"{setting.meaning[:1].upper()}{setting.meaning[1:]}."
        rows.append((code(setting.variable), flag, with_code(meaning), with_code(setting.default)))
    return (
        f"{with_code(' '.join(order.split()))}\n\n"
        f"The secret files of Anaconda Enterprise 5 are in {code(str(SECRETS_DIRECTORY))}, one for "
        f"each, named after the variable.\n\n{table(('Variable', 'Flag', 'Meaning', 'Default'), rows)}"
    )


# ---------------------------------------------------------------------------- commands


def _commands() -> str:
    return "\n".join(_walk(typer.main.get_command(app), "mlflow-gc"))


def _walk(command: Any, name: str) -> Iterator[str]:
    """Yield the section of a command, then those of its commands, in the order of ``--help``."""
    context = command.context_class(command, info_name=name)
    # Click brackets what is in brackets already.
    usage = " ".join(command.get_usage(context).split()).removeprefix("Usage: ")
    yield f"## {code(name)}\n\n```text\n{usage.replace('[[', '[').replace(']]', ']')}\n```\n"
    for paragraph in (command.help or "").strip().split("\n\n"):
        yield f"{with_code(' '.join(paragraph.split()))}\n"
    for kind in ("argument", "option"):
        found = [p for p in command.get_params(context) if p.param_type_name == kind]
        if found:
            yield table((kind.capitalize(), "Meaning"), (_parameter(p, context) for p in found))
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, f"{name} {child_name}")


def _parameter(parameter: Any, context: Any) -> tuple[str, str]:
    """Return names and meaning of an argument or option, with its range, default and variable."""
    names, sentence = parameter.get_help_record(context)
    facts: list[str] = []
    while found := _BRACKETS.search(sentence):
        facts[:0] = re.split(r"[,;] ", found[1])
        sentence = sentence[: found.start()]
    variables = {setting.variable for setting in _all_settings()}
    default = []
    meaning = [f"{with_code(sentence.strip().rstrip('.'))}."]
    for fact in facts:
        if fact == "required":
            meaning.append("Required.")
        elif fact in variables:
            meaning.append(f"Environment variable: {code(fact)}.")
        elif _RANGE.search(fact):
            meaning.append(f"Range: {code(fact)}.")
        else:
            default.append(fact.removeprefix("default: "))
    if default:
        meaning.insert(1, f"Default: {code(', '.join(default))}.")
    # An argument that can be left out is in brackets, its type behind it is not.
    return code(re.sub(r"^\[(\S+)\](?= |$)", r"\1", names)), " ".join(meaning)


def main() -> None:
    """Write the pages, and remove those of schemas that no longer exist."""
    written = pages()
    for old in set(FOLDER.rglob("*.md")) - set(written):
        old.unlink()
    for file, text in written.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
