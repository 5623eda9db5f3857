"""The settings that are more than options: a variable of the environment or a secret sets them."""

from __future__ import annotations

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import mlflow_gc.settings
from code_reference.entries import Entry, code, entry_list, paragraph, text, with_code
from mlflow_gc.settings import SECRETS_DIRECTORY, Setting


def all_settings() -> list[Setting]:
    """Return the declared settings in the order of the module."""
    return [value for value in vars(mlflow_gc.settings).values() if isinstance(value, Setting)]


class SettingsDirective(SphinxDirective):
    """The order in which values are looked for, and one entry for each setting."""

    def run(self) -> list[nodes.Node]:
        """Return the paragraphs and entries."""
        _, _, order = (mlflow_gc.settings.__doc__ or "").partition("\n\n")
        return [
            paragraph(*with_code(order.strip())),
            paragraph(
                text("The secret files of Anaconda Enterprise 5 are in "),
                code(str(SECRETS_DIRECTORY)),
                text(", one for each, named after the variable."),
            ),
            entry_list(map(_entry, all_settings()), "setting"),
        ]


def _entry(setting: Setting) -> Entry:
    meaning = f"{setting.meaning[:1].upper()}{setting.meaning[1:]}."
    flag = [text("Flag: "), code(setting.flag), text(". ")] if setting.flag else []
    why = "no secret is ever one" if setting.is_secret else "it is set for a machine, not a command"
    no_flag = [] if setting.flag else [text(f"No flag: {why}. ")]
    default = [text("Default: "), *with_code(setting.default), text(".")]
    return Entry(
        anchor=setting.variable,
        name=setting.variable,
        marks=("secret",) if setting.is_secret else (),
        body=([text(meaning)],),
        facts=[*flag, *no_flag, *default],
    )
