"""Text and numbers inside HTML; everything that a server sent goes through :func:`text`."""

from __future__ import annotations

from html import escape as escape_html
from urllib.parse import quote

from mlflow_gc.render.common.escape import plain


def text(words: object, *, most: int | None = None) -> str:
    """Return text that is nothing but text, between tags and in quoted attributes.

    Args:
        words: anything.
        most: cut to so many characters; never used for ids.
    """
    return escape_html(plain(str(words), most=most), quote=True)


def filter_link(**state: str) -> str:
    """Return the fragment that makes the table of the page show a selection, for ``href``.

    It is what ``table.js`` keeps in the address; values are the words that the page shows.
    """
    return "#" + "&amp;".join(
        f"{key}={quote(plain(value), safe='')}" for key, value in state.items()
    )


def percent(part: int, whole: int) -> str:
    """Return a share; never 0 % for something and never 100 % for less than all."""
    if not part or not whole:
        return "0 %"
    if 0 < part * 100 < whole:
        return "< 1 %"
    if part < whole and part * 100 > 99 * whole:
        return "> 99 %"
    return f"{round(part * 100 / whole)} %"
