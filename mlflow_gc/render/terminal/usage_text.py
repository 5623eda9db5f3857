"""What takes space on a server, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlflow_gc.render.common.lines import NAME, Column, Span, cut, line, rows, spans
from mlflow_gc.render.common.usage_tables import basis, sentences, tables

if TYPE_CHECKING:
    from rich.console import Console


def show(found: dict[str, Any], console: Console) -> None:
    """Print a usage document (``mlflow-gc schema usage``)."""
    server = found["server"]
    line(console, f"Usage of {server['tracking_uri'] or server['database']}", "bold")
    line(console, f"Measured at {found['measured_at']}.")
    line(console, "")
    for sentence in sentences(found):
        line(console, sentence)
    for diagnostic in found["diagnostics"]:
        spans(console, [("Warning: ", "yellow"), (diagnostic["message"], None)])
    for table in tables(found):
        line(console, "")
        line(console, table.title, "bold")
        columns = [Column(least=NAME // 2)] * table.names
        columns += [Column(right=True)] * (len(table.head) - table.names)
        head: list[str | Span] = [(name, "dim") for name in table.head]
        cells = [
            [*(cut(cell, NAME) for cell in row[: table.names]), *row[table.names :]]
            for row in table.rows
        ]
        rows(console, columns, [head, *cells])
    line(console, "")
    for sentence in basis(found):
        line(console, sentence, "dim")
