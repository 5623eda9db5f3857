"""Text and numbers in HTML; all text of a server is escaped by :func:`text`."""

from __future__ import annotations

from html import escape as escape_html
from urllib.parse import quote

from mlflow_gc.render.common.escape import plain


def text(value: object, *, most: int | None = None) -> str:
    """Return escaped text for elements and quoted attributes; ``most`` is never used for ids."""
    return escape_html(plain(str(value), most=most), quote=True)


def filter_link(**state: str) -> str:
    """Return the fragment that selects entities in the table of the page, for ``href``.

    ``table.js`` keeps the same state in the URL.
    """
    return "#" + "&amp;".join(
        f"{key}={quote(plain(value), safe='')}" for key, value in state.items()
    )


def percent(part: int, whole: int) -> str:
    """Return a share in percent; 0 % only for nothing, 100 % only for all."""
    if not part or not whole:
        return "0 %"
    if 0 < part * 100 < whole:
        return "< 1 %"
    if part < whole and part * 100 > 99 * whole:
        return "> 99 %"
    return f"{round(part * 100 / whole)} %"
