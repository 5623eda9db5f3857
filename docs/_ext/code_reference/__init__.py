"""Sphinx extension: reference pages that are read off the program, so that they cannot drift.

Directives, each for the whole content of a page: ``commands``, ``settings``, ``exit-codes``,
``reasons``, ``skip-codes``, ``diagnostics`` and ``json-schema NAME``.  For every published schema
there is a page of its own, written when the build begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from code_reference import codes, commands, schema_pages, settings

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives, and have the pages of the schemas written."""
    app.add_directive("commands", commands.CommandsDirective)
    app.add_directive("settings", settings.SettingsDirective)
    app.add_directive("exit-codes", codes.ExitCodesDirective)
    app.add_directive("reasons", codes.ReasonsDirective)
    app.add_directive("skip-codes", codes.SkipCodesDirective)
    app.add_directive("diagnostics", codes.DiagnosticsDirective)
    app.add_directive("json-schema", schema_pages.JsonSchemaDirective)
    app.connect("builder-inited", schema_pages.write_pages)
    app.connect("env-get-outdated", _always_outdated)
    return {"version": "1", "parallel_read_safe": True}


def _always_outdated(_app: Sphinx, env: Any, *_: object) -> list[str]:
    """Read these pages anew in every build: what they show is not in their files."""
    return [name for name in env.found_docs if name.startswith("reference/")]
