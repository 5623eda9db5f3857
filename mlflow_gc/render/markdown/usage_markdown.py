"""What takes space on a server, as Markdown."""

from __future__ import annotations

from typing import Any

from mlflow_gc.render.common.usage_tables import basis, sentences, tables
from mlflow_gc.render.markdown.gfm import code, head, inline, row

_ADDRESS = 200
_SENTENCE = 600
_NAME = 80


def show(found: dict[str, Any]) -> str:
    """Return a usage document (``mlflow-gc schema usage``) as Markdown."""
    server = found["server"]
    address = code(server["tracking_uri"] or server["database"], most=_ADDRESS)
    # The mark by which the program knows its own file.
    parts = [f'<!-- "{found["format"]}" -->\n## Usage of {address}\n\n']
    # No sentence has text of the server.
    parts += [f"{sentence}\n" for sentence in sentences(found)]
    parts += [
        f"\n**{inline(diagnostic['message'], most=_SENTENCE)}**\n"
        for diagnostic in found["diagnostics"]
    ]
    for table in tables(found):
        columns = [
            name if number < table.names else f"{name}:" for number, name in enumerate(table.head)
        ]
        parts.append(f"\n### {table.title}\n\n{head(*columns)}")
        parts += [
            row(
                *(inline(cell, most=_NAME) for cell in cells[: table.names]),
                *cells[table.names :],
            )
            for cells in table.rows
        ]
    parts += [f"\n{sentence}\n" for sentence in basis(found)]
    parts.append(f"\nMeasured at {found['measured_at']}.\n")
    return "".join(parts)
