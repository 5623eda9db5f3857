"""No output shows a secret that the process knows, in whatever form a library quotes it."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from mlflow_gc import settings
from mlflow_gc.domain import redaction
from mlflow_gc.domain.redaction import (
    FilteredStream,
    hide,
    keep_environment_secret,
    keep_secret,
    keep_uri_secret,
    login_header,
)
from mlflow_gc.errors import GcError, UsageProblem
from mlflow_gc.settings import TRACKING_TOKEN, redact_uri, resolve


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch):
    monkeypatch.setattr(redaction, "_known", set())
    monkeypatch.setattr(redaction, "_pattern", None)


ODD = "pä ss/w&ord+%41'\"=\n#canary"


@pytest.mark.parametrize(
    "form",
    [
        str,
        repr,
        json.dumps,
        quote,
        quote_plus,
        lambda s: quote(s, safe=""),
        lambda s: s.splitlines()[0],
        lambda s: s.splitlines()[1],
        lambda s: f"b{s.encode().decode()!r}",
    ],
)
def test_every_form_of_a_secret_is_hidden(form):
    keep_secret(ODD)
    shown = hide(f"Invalid header value {form(ODD)}, sent to host")
    assert "canary" not in shown or "ss" not in shown
    assert "***" in shown
    assert shown.startswith("Invalid header value ")
    assert shown.endswith("sent to host")


def test_a_short_secret_is_hidden_as_a_word_only():
    keep_secret("admin", "abc", "true")
    assert hide("admin: no administrator of admin-host, abc true") == (
        "***: no administrator of admin-host, abc true"
    )


def test_the_longer_of_two_secrets_is_hidden_whole():
    keep_secret("a-token", "a-token-and-more")
    assert hide("a-token-and-more a-token") == "*** ***"


def test_secrets_of_the_environment():
    keep_environment_secret(
        {
            "MLFLOW_TRACKING_TOKEN": "token-canary\n",
            "PGPASSWORD": "pg-canary",
            "AWS_SECRET_ACCESS_KEY": "aws-canary",
            "AZURE_CLIENT_SECRET": "azure-canary",
            "HTTPS_PROXY": "http://me:proxy-canary@proxy:3128",
            "MLFLOW_TRACKING_URI": "https://me:uri%2Dcanary@host",
            "PWD": "/home/of-nobody",
            "TOKENIZERS_PARALLELISM": "parallel",
            "AWS_ACCESS_KEY_ID": "AKIA-no-secret",
        }
    )
    for kind in ("token", "pg", "aws", "azure", "proxy", "uri"):
        assert hide(f"x {kind}-canary y") == "x *** y"
    retained = "/home/of-nobody parallel AKIA-no-secret proxy:3128"
    assert hide(retained) == retained


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:pwd-canary@host",
        "http://pwd-canary@host",
        "http://me:p@pwd-canary@host",
        "postgresql://me:pwd-canary@db/x",
        "postgresql://db/x?password=pwd-canary",
        "postgresql://me:x/pwd-canary@db/x",
        "mssql+pyodbc://?odbc_connect=Driver%3Dx%3BPWD%3Dpwd-canary",
        "s3://bucket/key?X-Amz-Signature=pwd-canary",
        "https://account.blob/x?sp=r&sig=pwd-canary",
        "https://account.blob/x%3Fsp%3Dr%26sig%3Dpwd-canary",
        "https://host/x;token=pwd-canary/y",
    ],
)
def test_the_secret_of_an_uri(uri):
    keep_uri_secret(uri)
    assert "pwd-canary" not in hide("the driver says: pwd-canary is wrong")
    assert "pwd-canary" not in hide(f"says {uri}")
    assert "pwd-canary" not in redact_uri(uri)


def test_names_in_an_uri_are_no_secrets():
    keep_uri_secret("abfss://container@account.dfs/x", "https://host:5000/team@home")
    text = "container account 5000/team host"
    assert hide(text) == text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://host/x;token=pw", "https://host/x"),
        ("https://host/x;v=1/y", "https://host/x"),
        ("https://host/x%3Fsig=pw", "https://host/x"),
        ("https://host/x%3fsig%3dpw", "https://host/x"),
        ("https://host/what%3F/y", "https://host/what%3F/y"),
        ("s3:/bucket/x;token=pw", "s3:/bucket/x"),
        ("models:/fraud;1", "models:/fraud;1"),
        ("postgresql://me:p;x=y@db/mlflow", "postgresql://db/mlflow"),
        ("postgresql://me:p%3Fx=y@db/mlflow", "postgresql://db/mlflow"),
    ],
)
def test_parameters_and_encoded_queries_are_not_shown(uri, shown):
    assert redact_uri(uri) == shown


def test_an_error_holds_no_secret_even_where_it_is_cut():
    keep_secret("0123456789" * 90)
    error = GcError(f"It says {'0123456789' * 90}!", hint="Not " + "0123456789" * 90)
    assert error.message == str(error) == "It says ***!"
    assert error.hint == "Not ***"


@pytest.mark.parametrize("text", ["canary-token\n", " canary-token\r\n", "canary-token"])
def test_white_space_around_a_token_is_no_part_of_it(monkeypatch, text, tmp_path):
    monkeypatch.setattr(settings, "SECRETS_DIRECTORY", tmp_path)
    monkeypatch.setenv(TRACKING_TOKEN.variable, text)
    assert resolve(TRACKING_TOKEN).text == "canary-token"
    monkeypatch.delenv(TRACKING_TOKEN.variable)
    (tmp_path / TRACKING_TOKEN.variable).write_text(text)
    assert resolve(TRACKING_TOKEN).text == "canary-token"


@pytest.mark.parametrize("text", ["canary\ntoken", "canary\x00token", "canary-tokën"])
def test_a_token_that_cannot_be_sent_is_named_and_not_shown(monkeypatch, text):
    # The system accepts no NUL in a variable.
    monkeypatch.setattr(os, "environ", {TRACKING_TOKEN.variable: text})
    with pytest.raises(UsageProblem) as caught:
        resolve(TRACKING_TOKEN)
    output = f"{caught.value} {caught.value.hint}"
    assert "environment MLFLOW_TRACKING_TOKEN" in output
    assert "canary" not in output


def test_a_login_header_is_what_basic_auth_sends():
    assert base64.b64decode(login_header("me", "pässword")).decode() == "me:pässword"


def test_a_stream_shows_none():
    keep_secret("stream-canary")
    below = io.BytesIO()
    stream = FilteredStream(io.TextIOWrapper(below, encoding="ascii"))
    print("a stream-canary", "ä", file=stream, flush=True)
    assert below.getvalue() == b"a *** \\xe4\n"
    with pytest.raises(TypeError):
        stream.write(b"")  # type: ignore[arg-type]


def test_the_traceback_of_a_defect_shows_none():
    code = (
        "import sys; sys.argv = ['x', '--version']\n"
        "import mlflow_gc.__main__ as m, mlflow_gc.cli\n"
        "def broken(*a, **k): raise RuntimeError('Bearer trace-canary')\n"
        "m._exit_code = broken\n"
        "m.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"MLFLOW_TRACKING_TOKEN": "trace-canary"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: Bearer ***" in done.stderr
    assert "trace-canary" not in done.stderr + done.stdout
