"""Whose credentials are sent, and what is unsafe about sending them."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest
import requests

from mlflow_gc.backend.credentials import GivenCredentials, account_of, host_credentials, unsafe
from mlflow_gc.errors import UsageProblem


def _basic(user: str, password: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


@pytest.fixture
def _netrc(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login netrc-user password netrc-password\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize(
    ("uri", "header", "sent"),
    [
        ("http://127.0.0.1:9", "Bearer a-token", "Bearer a-token"),
        ("http://127.0.0.1:9", _basic("me", "pw"), _basic("me", "pw")),
        ("http://you:pw@127.0.0.1:9", None, _basic("you", "pw")),
        ("http://you:p%40w@127.0.0.1:9", "Bearer a-token", _basic("you", "p@w")),
        ("http://127.0.0.1:9", None, _basic("netrc-user", "netrc-password")),
        ("http://localhost:9", None, None),
    ],
)
def test_a_netrc_replaces_no_credentials_that_were_given(uri, header, sent):
    """Requests lets it replace all of them; it is for who gives none."""
    headers = {"Authorization": header} if header else {}
    request = requests.Request("GET", uri, headers=headers, auth=GivenCredentials())
    prepared = requests.Session().prepare_request(request)
    assert prepared.headers.get("Authorization") == sent


@pytest.mark.parametrize(
    ("header", "account"),
    [
        (_basic("me", "p:w"), "me"),
        (_basic("mé", "pw"), "mé"),
        (_basic("mé", "pw", "latin-1"), "mé"),
        (_basic("me", "pw").encode(), "me"),
        (_basic("", "pw"), None),
        ("Bearer abc", None),
        ("Basic !", None),
        ("", None),
        (None, None),
    ],
)
def test_the_account_of_a_header(header, account):
    assert account_of(header) == account


def test_line_breaks_around_secrets_are_taken_off(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me\n")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", " pw \r\n")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", " token\n")
    found = host_credentials("http://127.0.0.1:9")
    assert (found.username, found.password, found.token) == ("me", " pw ", "token")
    assert host_credentials("http://127.0.0.1:9", "ours").token == "ours"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", " \n")
    assert host_credentials("http://127.0.0.1:9").token is None


def _creds(host, *, token=None, username=None, password=None, verify=True):
    return SimpleNamespace(
        host=host, token=token, username=username, password=password, verify=verify
    )


def test_a_safe_connection_is_nothing_to_talk_about():
    for host in ("http://localhost:5000", "http://127.0.0.1", "http://[::1]:1", "https://host"):
        assert not unsafe([_creds(host, token="t")])
    assert not unsafe([_creds("http://host")])
    assert not unsafe([_creds("https://a", token="t"), _creds("https://a:5000", token="t")])
    assert not unsafe([_creds("https://me:pw@a"), _creds("https://you:pw@b")])


@pytest.mark.parametrize(
    ("creds", "words"),
    [
        ([_creds("http://host", token="canary")], "The token is sent to http://host without TLS"),
        ([_creds("http://me:canary@host")], "The password is sent to http://host without TLS"),
        ([_creds("http://10.0.0.1", username="me", password="canary")], "The password"),
        ([_creds("https://host", verify=False)], "MLFLOW_TRACKING_INSECURE_TLS"),
        (
            [_creds("https://a", token="canary"), _creds("https://b", token="canary")],
            "The token is sent to two servers: https://a and https://b",
        ),
    ],
)
def test_what_is_unsafe_is_said(creds, words):
    (output,) = unsafe(creds)
    assert words in output
    assert "canary" not in output


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("[mlflow]\nmlflow_tracking_username = a\nmlflow_tracking_password = se%41cret\n", "%%"),
        ("mlflow_tracking_password = secret\n", "[mlflow]"),
        ("[mlflow]\nsecret\n", "[mlflow]"),
        ("[mlflow]\nmlflow_tracking_password = \udcfcsecret\n", "[mlflow]"),
    ],
)
def test_a_credentials_file_that_cannot_be_read_is_named(monkeypatch, tmp_path, text, remedy):
    """Without a part of the password, which the message of the parser quotes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text(text, errors="surrogateescape")
    with pytest.raises(UsageProblem, match=r"~/\.mlflow/credentials") as caught:
        host_credentials("http://127.0.0.1:9")
    assert remedy in str(caught.value.hint)
    assert "secret" not in caught.value.message
    assert "41cret" not in caught.value.message


def test_a_netrc_that_is_no_text_is_named(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_bytes(b"machine 127.0.0.1 login b\xfcb password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UsageProblem, match=r"\.netrc") as caught:
        host_credentials("http://127.0.0.1:9")
    assert "secret" not in caught.value.message
