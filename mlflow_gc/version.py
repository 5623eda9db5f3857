"""The name and version of this program."""

from __future__ import annotations

from typing import TypedDict

__version__ = "0.1.0"


class Tool(TypedDict):
    """The program that wrote a document."""

    name: str
    version: str


TOOL: Tool = {"name": "mlflow-gc", "version": __version__}
