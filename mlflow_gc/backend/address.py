"""Where a server or database is, and the words for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_gc.settings import Value, redact_uri

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
DIRECTLY_READABLE = frozenset(_DATABASES) - {"mssql"}
"""The kinds of databases that are read without MLflow's stores between us and them."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")


@dataclass(frozen=True)
class Address:
    """A URI and the words for it.

    Attributes:
        uri: as given, secrets included.
        shown: what a message may say of it.
        name: ``The tracking URI http://host (from flag --tracking-uri)``.
    """

    uri: str
    shown: str
    name: str

    @classmethod
    def of(cls, uri: str, value: Value, what: str) -> Address:
        """Name a URI after the setting that it came from."""
        uri = uri.strip()
        shown = redact_uri(uri)
        return cls(uri, shown, f"The {what} {shown} (from {value.origin})")

    @property
    def scheme(self) -> str:
        """``postgresql+psycopg2``; empty for a path."""
        found = _SCHEME.match(self.uri)
        return found[1].lower() if found else ""

    @property
    def database(self) -> str:
        """``postgresql``, the kind of database that SQLAlchemy opens; empty for all else."""
        kind = self.scheme.split("+", 1)[0]
        return kind if kind in _DATABASES else ""

    @property
    def is_database(self) -> bool:
        """Whether SQLAlchemy opens it."""
        return bool(self.database)


def first_line(text: str) -> str:
    """Return the first line of what a library says, cut where it goes on for too long."""
    return (text.strip().splitlines() or ["an unknown error"])[0][:500]
