"""The address of a server or database, and its name in messages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import Value, redact_uri

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
DIRECTLY_READABLE = frozenset(_DATABASES) - {"mssql"}
"""The kinds of databases that are read directly, without MLflow's stores."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")


@dataclass(frozen=True)
class Address:
    """A URI and its name in messages.

    Attributes:
        uri: as given, secrets included.
        shown: the URI without secrets.
        name: ``The tracking URI http://host (from flag --tracking-uri)``.
    """

    uri: str
    shown: str
    name: str

    @classmethod
    def of(cls, uri: str, value: Value, what: str) -> Address:
        """Return an address that is named after the setting of the URI."""
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
        """``postgresql``, the kind of database for SQLAlchemy; empty for other URIs."""
        kind = self.scheme.split("+", 1)[0]
        return kind if kind in _DATABASES else ""

    @property
    def is_database(self) -> bool:
        """Whether SQLAlchemy opens it."""
        return bool(self.database)

    def refuse_unreadable(self, hint: str = "") -> None:
        """Refuse what is not a database that is read directly; ``hint`` is what else can be done.

        Raises:
            UsageProblem: It can only be read through MLflow's stores, or is not a database.
        """
        if self.database not in DIRECTLY_READABLE:
            schemes = "sqlite://, postgresql:// or mysql:// (which is for MariaDB, too)"
            raise UsageProblem(
                f"{self.name} is not a database that can be read directly.",
                hint=f"It begins with {schemes}. {hint}".rstrip(),
            )


def first_line(text: str) -> str:
    """Return the first line of a library's message, truncated if too long."""
    return (text.strip().splitlines() or ["an unknown error"])[0][:500]
