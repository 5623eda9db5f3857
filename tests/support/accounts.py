"""Servers with MLflow's app ``basic-auth``."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = "admin"


def password(account: str) -> str:
    """The password of an account of the tests; MLflow wants 12 characters."""
    return f"a-password-of-{account}"


def settings(directory: Path, *, default_permission: str) -> dict[str, str]:
    """Write the configuration of the app; returns what the environment of the server needs."""
    config = directory / "auth.ini"
    config.write_text(
        "[mlflow]\n"
        f"default_permission = {default_permission}\n"
        f"database_uri = sqlite:///{directory / 'auth.db'}\n"
        # Passwords are checked slowly on purpose; the server forgets a check when one is changed.
        "auth_cache_ttl_seconds = 3600\n"
        f"admin_username = {ADMIN}\n"
        f"admin_password = {password(ADMIN)}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        encoding="utf-8",
    )
    return {"MLFLOW_AUTH_CONFIG_PATH": str(config), "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests"}


def check_passwords_fast(directory: Path) -> None:
    """Replace the hashes of all passwords: one that is slow on purpose is checked per request."""
    with (
        contextlib.closing(sqlite3.connect(directory / "auth.db", timeout=60)) as database,
        database,
    ):
        for (name,) in database.execute("SELECT username FROM users").fetchall():
            found = hashlib.pbkdf2_hmac("sha256", password(name).encode(), b"salt", 1).hex()
            database.execute(
                "UPDATE users SET password_hash = ? WHERE username = ?",
                (f"pbkdf2:sha256:1$salt${found}", name),
            )
