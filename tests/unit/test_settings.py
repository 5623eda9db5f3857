from __future__ import annotations

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc import settings
from mlflow_gc.errors import UsageProblem
from mlflow_gc.settings import (
    ENTITY_TTL,
    MAX_PARALLEL,
    TRACKING_TOKEN,
    TRACKING_URI,
    redact_uri,
    resolve,
    resolve_connection,
    resolve_directory,
    resolve_ttl_days,
    without_secrets,
)

NAME = TRACKING_URI.variable


@pytest.fixture
def secrets(monkeypatch, tmp_path):
    """The directory of secret files, empty; no variable is set."""
    monkeypatch.setattr(settings, "SECRETS_DIRECTORY", tmp_path)
    for setting in (TRACKING_URI, TRACKING_TOKEN, ENTITY_TTL):
        monkeypatch.delenv(setting.variable, raising=False)
    return tmp_path


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
    monkeypatch, secrets, flag, environment, secret, text, origin
):
    if secret is not None:
        (secrets / NAME).write_bytes(secret.encode())
    if environment is not None:
        monkeypatch.setenv(NAME, environment)
    value = resolve(TRACKING_URI, flag)
    assert value.text == text
    assert value.origin.startswith(origin)


def test_a_secret_that_cannot_be_read_is_named(secrets):
    (secrets / NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(UsageProblem, match=NAME):
        resolve(TRACKING_URI)
    (secrets / ENTITY_TTL.variable).mkdir()
    with pytest.raises(UsageProblem, match=ENTITY_TTL.variable):
        resolve_ttl_days()


def test_a_missing_secrets_folder_is_no_error(monkeypatch, secrets):
    monkeypatch.setattr(settings, "SECRETS_DIRECTORY", secrets / "none" / "here")
    assert resolve(TRACKING_URI).text is None


def test_a_secret_is_never_described(secrets):
    (secrets / TRACKING_TOKEN.variable).write_text("hunter2\n")
    value = resolve(TRACKING_TOKEN)
    assert value.text == "hunter2"
    assert "hunter2" not in value.describe()
    where = resolve(TRACKING_URI, "http://me:hunter2@host")
    assert "hunter2" not in where.describe()


@pytest.mark.parametrize(("text", "days"), [("1", 1), (" 30\n", 30), ("007", 7), ("36500", 36500)])
@pytest.mark.usefixtures("secrets")
def test_ttl(monkeypatch, text, days):
    assert resolve_ttl_days(text)[0] == days
    monkeypatch.setenv(ENTITY_TTL.variable, text)
    assert resolve_ttl_days()[0] == days


@pytest.mark.usefixtures("secrets")
def test_ttl_is_30_by_default(monkeypatch):
    monkeypatch.setenv(ENTITY_TTL.variable, "")
    days, value = resolve_ttl_days()
    assert (days, value.origin) == (30, "default")


JUNK = [
    *("1_0", "٣", "+5", "0", "00", "1.5", "36501", "-1", "1e3", "0x10", "30d", "nan", "1 0", "３"),
    *("9" * 9, "9" * 5000, "0" * 5000 + "1", "³"),
]


@pytest.mark.parametrize("text", JUNK, ids=lambda t: t if len(t) < 10 else f"{t[0]}...{t[-1]}")
def test_ttl_junk_is_a_usage_error_that_names_its_origin(monkeypatch, secrets, text):
    with pytest.raises(UsageProblem, match=r"flag --ttl"):
        resolve_ttl_days(text)
    (secrets / ENTITY_TTL.variable).write_text(text)
    with pytest.raises(UsageProblem, match="secret file"):
        resolve_ttl_days()
    monkeypatch.setenv(ENTITY_TTL.variable, text)
    with pytest.raises(UsageProblem, match=f"environment {ENTITY_TTL.variable}"):
        resolve_ttl_days()


def test_an_empty_ttl_flag_is_a_usage_error():
    with pytest.raises(UsageProblem):
        resolve_ttl_days("")


DIRECTORY = "MLFLOW_GC_DIR"


def test_folder_of_plans_and_journals(monkeypatch, tmp_path):
    """It is created below an existing one, and its path is absolute."""
    monkeypatch.chdir(tmp_path)
    assert resolve_directory()[0] is None
    monkeypatch.setenv(DIRECTORY, " ")
    assert resolve_directory()[0] is None
    for _ in range(2):
        monkeypatch.setenv(DIRECTORY, "volume\n")
        folder, value = resolve_directory()
        assert folder == tmp_path / "volume"
        assert folder.is_dir()
        assert [*folder.iterdir()] == []
        assert value.origin == f"environment {DIRECTORY}"


@pytest.mark.parametrize("name", ["file", "file/below", "none/below", "bad\0name", "/proc/self"])
def test_folder_that_cannot_be_used_is_a_usage_error_that_names_its_origin(
    monkeypatch, tmp_path, name
):
    (tmp_path / "file").write_text("x")
    path = str(tmp_path / name)
    if "\0" in name:
        # No variable of the environment can hold it, but a secret file can.
        monkeypatch.setattr(settings, "_found", lambda s, *_: settings.Value(s, path, "secret"))
        with pytest.raises(UsageProblem, match=DIRECTORY):
            resolve_directory()
        return
    monkeypatch.setenv(DIRECTORY, path)
    with pytest.raises(UsageProblem, match=f"environment {DIRECTORY}") as caught:
        resolve_directory()
    assert caught.value.hint
    assert (tmp_path / "file").read_text() == "x"


def test_folder_that_is_read_only(monkeypatch, tmp_path):
    """Root may write everywhere: only trying shows who may write on a volume."""

    def refuse(**_where):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(settings.tempfile, "TemporaryFile", refuse)
    monkeypatch.setenv(DIRECTORY, str(tmp_path))
    with pytest.raises(UsageProblem, match="not writable: Read-only file system"):
        resolve_directory()


def test_parallel_requests(monkeypatch):
    """The flag before the variable; said by -v only where somebody set it."""
    monkeypatch.delenv(MAX_PARALLEL.variable, raising=False)
    assert resolve_connection().max_parallel.text == "16"
    assert not [line for line in resolve_connection().describe() if MAX_PARALLEL.variable in line]
    monkeypatch.setenv(MAX_PARALLEL.variable, " 4\n")
    assert resolve_connection().max_parallel.text == "4"
    assert f"{MAX_PARALLEL.variable} = 4 (from environment {MAX_PARALLEL.variable})" in (
        resolve_connection().describe()
    )
    assert resolve_connection(max_parallel="256").max_parallel.text == "256"


@pytest.mark.parametrize(
    "text", ["257", *(text for text in JUNK if text != "36501")], ids=lambda t: t[:9]
)
def test_parallel_junk_is_a_usage_error_that_names_its_origin(monkeypatch, text):
    with pytest.raises(UsageProblem, match=r"flag --max-parallel"):
        resolve_connection(max_parallel=text)
    monkeypatch.setenv(MAX_PARALLEL.variable, text)
    with pytest.raises(UsageProblem, match=f"environment {MAX_PARALLEL.variable}"):
        resolve_connection()


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


# Slips of the keyboard, and logins that cannot be told from a path: rather nothing than a secret.
@pytest.mark.parametrize(
    "uri",
    [
        "usr:hunter@host",
        "usr:hunter@host/path",
        "hunter@host",
        "//usr:hunter@host",
        "http:usr:hunter@host",
        "http:/usr:hunter@host",
        "http:\\\\usr:hunter@host",
        "ht tp://usr:hunter@host",
        "uc:http://usr:hunter@host",
        "http://usr:hunter",
        "http://usr:12hunter/",
        "http://usr:123456789",
        "http://usr:12/hunter@host",
        "http://usr:12?hunter@host",
        "http://hunter?x@host",
        "postgresql://usr:a@hunter?b@db/mlflow",
        "http://http://usr:hunter@host",
        "postgresql://usr:a@b/hunter@db/mlflow",
        "postgresql://usr:a?b@db/mlflow?password=x@hunter",
        "sqlite:////usr:hunter@host/x.db",
        "oracle://hunter@host",
        "databricks://usr:hunter@host",
        "abfss://usr:hunter@account/path",
        "http://host/?token=hunter",
        "host:5000/?token=hunter",
        "http://host/#hunter",
        "http://[usr:hunter@host",
    ],
)
def test_no_secret_is_shown_of_a_malformed_uri(uri):
    assert "hunter" not in redact_uri(uri)
    assert redact_uri(redact_uri(uri)) == redact_uri(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "models:/fraud@champion",
        "runs:/0123/model",
        "dbfs:/Users/me@corp.com/mlruns",
        "/data/me@corp/mlruns",
        "./me@corp",
        "s3://bucket/me@corp/x",
        "s3://arn:aws:s3:us-east-1:123456789012:accesspoint/x",
        "abfss://container@account.dfs.core.windows.net/path",
        "file:///home/me@corp/x",
        "https://hub.corp.com/user/me@corp.com/proxy/5000",
        "databricks://scope:prefix",
        "databricks",
        "http://[::1]:5000/x",
        "postgresql://db1:5432,db2:5432/mlflow",
        "arn:aws:sagemaker:us-east-1:123456789012:mlflow-tracking-server/x",
    ],
)
def test_what_holds_no_secret_is_shown_whole(uri):
    """Else an artifact that moved would look like one that did not."""
    assert redact_uri(uri) == uri


SECRET = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=6)


@given(
    st.sampled_from(["http", "https", "postgresql+psycopg2", "mysql", "htps", "oracle"]),
    SECRET,
    st.sampled_from(["host", "host:5000/mlflow", "host/db?sslmode=require", ""]),
)
def test_no_password_of_any_characters_is_shown(scheme, password, place):
    shown = redact_uri(f"{scheme}://usr:{password}@{place}")
    # The longest piece that is neither the address nor the scheme anyway.
    pieces = [p for p in re.split(r"[@/:?#]", password) if len(p) >= 6]
    assert not [p for p in pieces if p in shown.removeprefix(scheme) and p not in place]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("postgresql://usr:hunter@db/x", 'FATAL: "hunter" is wrong'),
        ("postgresql://usr:hun%20ter@db/x", "FATAL: hun ter"),
        ("postgresql://usr:hun%40ter@db/x", "at postgresql://usr:hun%40ter@db/x or hun@ter"),
        ("postgresql://usr:p@hunter@db/x", 'could not translate host name "hunter@db"'),
        ("postgresql://db/x?password=hunter", "invalid option hunter"),
        ("mssql+pyodbc:///?odbc_connect=Driver%3DX%3BPWD%3Dhunter", "no hunter"),
        ("https://hunter@host", "bad hunter"),
        ("usr:hunter@host", "no store for usr:hunter@host"),
        ("http://usr:hunter", "bad port hunter"),
    ],
)
def test_words_of_others_lose_the_secrets_of_the_uri(uri, words):
    output = without_secrets(words, uri)
    assert output
    assert not re.search(r"hun.{0,3}ter", output)


def test_words_of_others_keep_what_helps():
    words = 'connection to server at "db", port 5432 failed: no password for user "usr"'
    assert without_secrets(words, "postgresql://usr:hunter2@db:5432/mlflow") == words
