from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import (
    ENTITY_TTL,
    TRACKING_TOKEN,
    TRACKING_URI,
    redact_uri,
    resolve,
    resolve_ttl_days,
)

NAME = TRACKING_URI.variable


@pytest.mark.parametrize(
    ("flag", "environment", "secret", "text", "origin"),
    [
        ("f", "e", "s\n", "f", "flag --tracking-uri"),
        (None, "e", "s\n", "e", f"environment {NAME}"),
        (None, None, "s\r\n", "s", "secret file"),
        (None, "", "s", "s", "secret file"),
        (None, " \t", "s", "s", "secret file"),
        (None, None, None, None, "default"),
        (None, "", None, None, "default"),
        (None, None, "\n", None, "default"),
        (None, None, " inner space \n", " inner space ", "secret file"),
    ],
)
def test_flag_then_environment_then_secret_then_default(
    tmp_path, flag, environment, secret, text, origin
):
    if secret is not None:
        (tmp_path / NAME).write_bytes(secret.encode())
    environ = {} if environment is None else {NAME: environment}
    value = resolve(TRACKING_URI, flag, environ=environ, secrets_directory=tmp_path)
    assert value.text == text
    assert value.origin.startswith(origin)


def test_a_secret_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(UsageProblem, match=NAME):
        resolve(TRACKING_URI, environ={}, secrets_directory=tmp_path)
    (tmp_path / ENTITY_TTL.variable).mkdir()
    with pytest.raises(UsageProblem, match=ENTITY_TTL.variable):
        resolve_ttl_days(environ={}, secrets_directory=tmp_path)


def test_a_missing_secrets_folder_is_no_error(tmp_path):
    found = resolve(TRACKING_URI, environ={}, secrets_directory=tmp_path / "none" / "here")
    assert found.text is None


def test_a_secret_is_never_described(tmp_path):
    (tmp_path / TRACKING_TOKEN.variable).write_text("hunter2\n")
    value = resolve(TRACKING_TOKEN, environ={}, secrets_directory=tmp_path)
    assert value.text == "hunter2"
    assert "hunter2" not in value.describe()
    where = resolve(TRACKING_URI, "http://me:hunter2@host", environ={})
    assert "hunter2" not in where.describe()


@pytest.mark.parametrize(("text", "days"), [("1", 1), (" 30\n", 30), ("007", 7), ("36500", 36500)])
def test_ttl(tmp_path, text, days):
    assert resolve_ttl_days(text, environ={}, secrets_directory=tmp_path)[0] == days
    found = resolve_ttl_days(environ={ENTITY_TTL.variable: text}, secrets_directory=tmp_path)
    assert found[0] == days


def test_ttl_is_30_by_default(tmp_path):
    days, value = resolve_ttl_days(
        environ={ENTITY_TTL.variable: ""}, secrets_directory=tmp_path / "none"
    )
    assert (days, value.origin) == (30, "default")


JUNK = [
    *("1_0", "٣", "+5", "0", "00", "1.5", "36501", "-1", "1e3", "0x10", "30d", "nan", "1 0", "３"),
    *("9" * 9, "9" * 5000, "0" * 5000 + "1", "³"),
]


@pytest.mark.parametrize("text", JUNK, ids=lambda t: t if len(t) < 10 else f"{t[0]}...{t[-1]}")
def test_ttl_junk_is_a_usage_error_that_names_its_origin(tmp_path, text):
    with pytest.raises(UsageProblem, match=r"flag --ttl"):
        resolve_ttl_days(text, environ={}, secrets_directory=tmp_path)
    with pytest.raises(UsageProblem, match=f"environment {ENTITY_TTL.variable}"):
        resolve_ttl_days(environ={ENTITY_TTL.variable: text}, secrets_directory=tmp_path)
    (tmp_path / ENTITY_TTL.variable).write_text(text)
    with pytest.raises(UsageProblem, match="secret file"):
        resolve_ttl_days(environ={}, secrets_directory=tmp_path)


def test_an_empty_ttl_flag_is_a_usage_error(tmp_path):
    with pytest.raises(UsageProblem):
        resolve_ttl_days("", environ={}, secrets_directory=tmp_path)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("http://host:5000/", "http://host:5000/"),
        ("https://me:pw@host/mlflow/", "https://host/mlflow"),
        ("https://me:p%40w@host", "https://host"),
        ("https://me:p@w@host", "https://host"),
        ("https://token@host#frag", "https://host"),
        (
            "postgresql+psycopg2://me:pw@db:5432/mlflow?sslpassword=x",
            "postgresql+psycopg2://db:5432/mlflow",
        ),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("sqlite:////data/a@b/mlflow.db", "sqlite:////data/a@b/mlflow.db"),
        ("s3://bucket/key?X-Amz-Signature=pw", "s3://bucket/key"),
        ("dummy-source", "dummy-source"),
        ("models:/fraud/1", "models:/fraud/1"),
        ("", ""),
    ],
)
def test_redacted_uris(uri, shown):
    assert redact_uri(uri) == shown


# SQLAlchemy takes everything up to the "@" for the password, without any quoting.
@pytest.mark.parametrize("password", ["hunter/2", "hunter?2", "hunter#2", "a/b?hunter"])
def test_a_password_with_odd_characters_does_not_get_out(password):
    shown = redact_uri(f"postgresql://me:{password}@db/mlflow")
    assert "hunter" not in shown
    assert "me:" not in shown


@given(st.text(st.characters(codec="ascii")))
def test_redacting_twice_is_redacting_once(uri):
    assert redact_uri(redact_uri(uri)) == redact_uri(uri)
