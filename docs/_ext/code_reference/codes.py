"""Exit codes, and the codes that stand in plans and journals; their words are docstrings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import mlflow_gc
from code_reference.entries import Entry, entry_list, with_code
from mlflow_gc.apply.journal.file import SKIP_CODES
from mlflow_gc.errors import ExitCode
from mlflow_gc.retention.decision import Reason

_DIAGNOSTIC = "Diagnostic code: "


def exit_codes() -> dict[str, str]:
    """Return what each exit code means."""
    docs = _docs_of(ExitCode.__module__, ExitCode.__name__)
    return {str(int(member)): docs[member.name] for member in ExitCode}


def reasons() -> dict[str, str]:
    """Return why something is kept, by the code that a plan shows."""
    docs = _docs_of(Reason.__module__, Reason.__name__)
    return {str(member.value): docs[member.name] for member in Reason}


def skip_codes() -> Mapping[str, str]:
    """Return why something was not deleted or restored, by the code that a journal shows."""
    return SKIP_CODES


def diagnostics() -> dict[str, str]:
    """Return the findings of a scan by code: the constants whose docstring calls them so."""
    found: dict[str, str] = {}
    package = Path(mlflow_gc.__file__).parent
    # Only these are imported: others would bring mlflow along.
    files = [f for f in package.rglob("*.py") if _DIAGNOSTIC in f.read_text(encoding="utf-8")]
    for file in files:
        module = ".".join(file.relative_to(package.parent).with_suffix("").parts)
        for name, words in _docs_of(module, "").items():
            if words.startswith(_DIAGNOSTIC):
                value = getattr(importlib.import_module(module), name)
                sentence = words.removeprefix(_DIAGNOSTIC)
                found[value] = f"{sentence[:1].upper()}{sentence[1:]}"
    return dict(sorted(found.items()))


def _docs_of(module: str, scope: str) -> dict[str, str]:
    """Return the docstrings of constants or enum members, by name, each as one line."""
    docs = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {
        name: " ".join(lines).strip() for (where, name), lines in docs.items() if where == scope
    }


class _CodesDirective(SphinxDirective):
    """One entry for each code."""

    prefix: ClassVar[str]

    def run(self) -> list[nodes.Node]:
        """Return the entries."""
        entries = [
            Entry(anchor=f"{self.prefix}-{key}", name=key, body=(with_code(words),))
            for key, words in self.codes().items()
        ]
        return [entry_list(entries, "code")]

    def codes(self) -> Mapping[str, str]:
        """Return the codes with their meaning."""
        raise NotImplementedError


class ExitCodesDirective(_CodesDirective):
    """Exit codes."""

    prefix = "exit"

    def codes(self) -> Mapping[str, str]:
        """Return the codes with their meaning."""
        return exit_codes()


class ReasonsDirective(_CodesDirective):
    """Reasons of a plan's ``protected``."""

    prefix = "reason"

    def codes(self) -> Mapping[str, str]:
        """Return the codes with their meaning."""
        return reasons()


class SkipCodesDirective(_CodesDirective):
    """Reasons of a journal's skips."""

    prefix = "skip"

    def codes(self) -> Mapping[str, str]:
        """Return the codes with their meaning."""
        return skip_codes()


class DiagnosticsDirective(_CodesDirective):
    """Codes of a plan's ``diagnostics``."""

    prefix = "diagnostic"

    def codes(self) -> Mapping[str, str]:
        """Return the codes with their meaning."""
        return diagnostics()
