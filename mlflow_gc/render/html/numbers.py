"""Shares, and links to a part of the table."""

from __future__ import annotations

from urllib.parse import quote

from mlflow_gc.render.common.escape import plain


def filter_link(**state: str) -> str:
    """Return the fragment that selects entities in the table of the page.

    ``table.js`` keeps the same state in the URL.
    """
    return "#" + "&".join(f"{key}={quote(plain(value), safe='')}" for key, value in state.items())


def percent(part: int, whole: int) -> str:
    """Return a share in percent; 0 % only for nothing, 100 % only for all."""
    if not part or not whole:
        return "0 %"
    if 0 < part * 100 < whole:
        return "< 1 %"
    if part < whole and part * 100 > 99 * whole:
        return "> 99 %"
    return f"{round(part * 100 / whole)} %"
