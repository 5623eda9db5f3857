"""What stands between the program and a server: a real nginx, TLS, and an HTTP proxy.

Each gives the same plan, or one sentence with the remedy; none a plan that is wrong.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import ROOT, nginx
from support.certificates import Authority, Certificate
from support.proxy import Fault
from support.world import FRESH

from mlflow_gc.backend.connect import connect
from mlflow_gc.demo.server import LocalServer, free_port
from mlflow_gc.errors import GcError
from mlflow_gc.settings import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.bench import Bench
    from support.proxy import Proxy

TRUST = "MLFLOW_TRACKING_SERVER_CERT_PATH"
CLIENT = "MLFLOW_TRACKING_CLIENT_CERT_PATH"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that issued the certificate of the server."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another one."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def _output(uri: str) -> str:
    """What the first contact says, where it fails."""
    with pytest.raises(GcError) as caught:
        connect(resolve_connection(tracking_uri=uri)).server_metadata()
    return f"{caught.value.message} {caught.value.hint or ''}"


def _http(locations: str, *, server: str = "", http: str = "") -> str:
    return f"{http} server {{ listen PORT; {server} {locations} }}"


def _to(upstream: str, *directives: str) -> str:
    return f"location / {{ proxy_pass {upstream}; {' '.join(directives)} }}"


def _tls(certificate: Certificate, upstream: str, server: str = "") -> str:
    return (
        f"server {{ listen PORT ssl http2; ssl_certificate {certificate.certificate};"
        f" ssl_certificate_key {certificate.key}; {server} {_to(upstream)} }}"
    )


def _fill(bench: Bench) -> set[str]:
    """Stale and fresh content; gives the stale runs."""
    world = bench.world
    home = world.experiment("credit / risk %2F")
    world.run(home, age=FRESH)
    stale = {world.run(home, metrics={"loss": world.ago(100)}) for _ in range(3)}
    model = world.model("fraud detector")
    for _ in range(2):
        world.version(model)
    return stale


# The same plan ------------------------------------------------------------------------------------


def _example() -> str:
    """The configuration of nginx in the documentation."""
    text = (ROOT / "docs/how-to/reverse-proxy.md").read_text()
    found = re.search(r"```nginx\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_documented_nginx(bench: Bench, tmp_path: Path, authority: Authority) -> None:
    """TLS of a private authority, HTTP/2, gzip and a path prefix: plan, check, prune and restore."""
    stale = _fill(bench)
    direct = bench.report(name="direct.json")
    certificate = authority.issue("127.0.0.1")
    config = _example()
    for was, now in (
        ("listen 443 ", "listen PORT "),
        ("/etc/nginx/mlflow.crt", str(certificate.certificate)),
        ("/etc/nginx/mlflow.key", str(certificate.key)),
        ("http://127.0.0.1:5000/", f"{bench.world.uri}/"),
    ):
        assert config.count(was) == 1, was
        config = config.replace(was, now)
    with nginx.running(tmp_path / "nginx", config) as front:
        for prefix in ("/ml", "/ml/"):
            env: dict[str, str | None] = {
                "MLFLOW_TRACKING_URI": front.tls_uri + prefix,
                TRUST: str(authority.path),
            }
            plan = bench.report(env=env)
            assert plan.runs == direct.runs == stale
            assert plan.document["complete"] is True
        bench.cli("check", plan.path, "--detailed-exitcode", env=env).expect(0)
        _, journal = bench.prune(plan, env=env)
        assert len(journal.records) >= len(stale)
        bench.cli("restore", bench.journal_path(plan), "--yes", env=env).expect(0)
    assert {("run", run) for run in stale} <= bench.state().active


@pytest.mark.parametrize("variable", [TRUST, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_client_certificate(
    bench: Bench, tmp_path: Path, authority: Authority, variable: str
) -> None:
    stale = _fill(bench)
    demand = f"ssl_client_certificate {authority.path}; ssl_verify_client on;"
    config = _tls(authority.issue("127.0.0.1"), bench.world.uri, demand)
    with nginx.running(tmp_path / "nginx", config) as front:
        env: dict[str, str | None] = {
            "MLFLOW_TRACKING_URI": front.tls_uri,
            variable: str(authority.path),
            CLIENT: str(authority.issue("client").both),
        }
        assert bench.report(env=env).runs == stale


def test_no_check_of_the_certificate_is_one_warning(
    bench: Bench, tmp_path: Path, authority: Authority
) -> None:
    """Not one of the library for each request."""
    _fill(bench)
    config = _tls(authority.issue("127.0.0.1", since_days=-9, until_days=-1), bench.world.uri)
    with nginx.running(tmp_path / "nginx", config) as front:
        env = {"MLFLOW_TRACKING_URI": front.tls_uri, "MLFLOW_TRACKING_INSECURE_TLS": "true"}
        outcome = bench.cli("report", "-o", tmp_path / "p.json", env=env, process=True).expect(0)
    assert outcome.err.count("MLFLOW_TRACKING_INSECURE_TLS") == 1
    assert "Unverified" not in outcome.err


def test_long_urls(bench: Bench, tmp_path: Path) -> None:
    """The limits of nginx, 8 kB, and of gunicorn, 4 kB, have room for every request."""
    world = bench.world
    home = world.experiment()
    for _ in range(120):
        world.run(home, metrics={"loss": world.ago(100)})
    with nginx.running(tmp_path / "nginx", _http(_to(world.uri))) as front:
        plan = bench.report(env={"MLFLOW_TRACKING_URI": front.uri})
        paths = [line[3] for line in front.requests()]
    assert len(plan.runs) == 120
    assert max(map(len, paths)) < 4000
    assert not any("metrics/get-history?" in path for path in paths)  # one request for each run


def test_a_cache_does_not_respond(bench: Bench, tmp_path: Path) -> None:
    """It would repeat what it was before an alias made a version worth keeping."""
    _fill(bench)
    cache = f"proxy_cache_path {tmp_path / 'cache'} keys_zone=all:1m;"
    rule = "proxy_cache all; proxy_cache_methods GET HEAD POST; proxy_cache_valid any 1h;"
    config = _http(_to(bench.world.uri, rule), http=cache)
    with nginx.running(tmp_path / "nginx", config) as front:
        env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": front.uri}
        plan = bench.report(env=env)
        assert len(plan.document["model_versions"]) == 1
        body = {"name": "fraud detector", "alias": "champion", "version": "1"}
        bench.world.call("POST", "registered-models/alias", body)
        _, _journal = bench.prune(plan, env=env)
    assert ("model_version", "fraud detector/1") in bench.state().active
    assert not [("run", run) for run in plan.runs if ("run", run) in bench.state().active]


# TLS that fails -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "since", "until", "words"),
    [
        ("127.0.0.1", -9, -1, ("has expired", "renewed")),
        ("127.0.0.1", 2, 9, ("not yet valid", "clock")),
        ("mlflow.example.com", -1, 9, ("not valid for '127.0.0.1'", "Use a name")),
    ],
)
def test_a_certificate_that_is_not_valid(
    bench: Bench,
    tmp_path: Path,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    since: int,
    until: int,
    words: tuple[str, str],
) -> None:
    monkeypatch.setenv(TRUST, str(authority.path))
    certificate = authority.issue(name, since_days=since, until_days=until)
    with nginx.running(tmp_path / "nginx", _tls(certificate, bench.world.uri)) as front:
        output = _output(front.tls_uri)
    assert words[0] in output
    assert words[1] in output
    assert "_ssl.c" not in output


def test_an_authority_that_nobody_knows(
    server: LocalServer,
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The setting to make, or the one that names another authority."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    with nginx.running(tmp_path / "nginx", _tls(authority.issue("127.0.0.1"), server.uri)) as front:
        assert f"Set {TRUST} to a PEM file" in _output(front.tls_uri)
        for variable in ("REQUESTS_CA_BUNDLE", TRUST):
            monkeypatch.setenv(variable, str(stranger.path))
            assert f"The file in {variable} has to contain" in _output(front.tls_uri)
        assert "Use https://" in _output(front.uri)


def test_client_certificates_that_are_refused(
    server: LocalServer,
    tmp_path: Path,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TRUST, str(authority.path))
    demand = f"ssl_client_certificate {authority.path}; ssl_verify_client on;"
    config = _tls(authority.issue("127.0.0.1"), server.uri, demand)
    with nginx.running(tmp_path / "nginx", config) as front:
        assert f"wants a client certificate: set {CLIENT}" in _output(front.tls_uri)
        expired = authority.issue("client", since_days=-9, until_days=-1)
        for certificate in (stranger.issue("client"), expired):
            monkeypatch.setenv(CLIENT, str(certificate.both))
            assert "does not accept the client certificate" in _output(front.tls_uri)


@pytest.mark.parametrize(
    ("variable", "content", "words"),
    [
        (TRUST, "missing", "there is no such file"),
        (TRUST, "text", "no certificate"),
        (TRUST, "key", "no certificate"),
        ("REQUESTS_CA_BUNDLE", "missing", "there is no such file"),
        (CLIENT, "missing", "there is no such file"),
        (CLIENT, "text", "no certificate"),
        (CLIENT, "certificate", "contains no key"),
        (CLIENT, "key", "no certificate"),
        (CLIENT, "encrypted", "its key is encrypted"),
        (CLIENT, "mixed", "not that of its certificate"),
    ],
)
def test_a_certificate_file_that_cannot_be_used(
    bench: Bench, tmp_path: Path, authority: Authority, variable: str, content: str, words: str
) -> None:
    """A usage error with the setting; nothing is sent, and nobody is asked for a password."""
    one, other = authority.issue("one"), authority.issue("other")
    path = tmp_path / "file.pem"
    contents = {
        "text": b"This is no certificate.\n",
        "key": one.key.read_bytes(),
        "certificate": one.certificate.read_bytes(),
        "encrypted": authority.issue("three", password="pem-canary").both.read_bytes(),
        "mixed": one.certificate.read_bytes() + other.key.read_bytes(),
    }
    if content != "missing":
        path.write_bytes(contents[content])
    env: dict[str, str | None] = {
        "MLFLOW_TRACKING_URI": "https://127.0.0.1:9",
        variable: str(path),
    }
    outcome = bench.cli("report", "-o", tmp_path / "p.json", env=env).expect(64)
    assert words in outcome.err
    assert f"(from {variable})" in outcome.err


def test_settings_of_tls_that_contradict_each_other(bench: Bench, authority: Authority) -> None:
    env: dict[str, str | None] = {
        "MLFLOW_TRACKING_URI": "https://127.0.0.1:9",
        "MLFLOW_TRACKING_INSECURE_TLS": "true",
        TRUST: str(authority.path),
    }
    assert TRUST in bench.cli("report", env=env).expect(64).err


# What a proxy refuses -----------------------------------------------------------------------------

_PAGE = "default_type text/html; return 200 '<html><title>Sign in</title></html>';"


@pytest.mark.parametrize(
    ("locations", "words"),
    [
        ("location / { return 302 /login?next=$request_uri; }", "token or password is missing"),
        (f"location / {{ {_PAGE} }}", "token or password is missing"),
        ("location / { return 301 https://$host$request_uri; }", "tracking URI: https://127.0.0.1"),
        ("location / { return 403; }", "Check its rules"),
        ("location / { return 404; }", "pass all paths below /api/"),
        ("location / { return 405; }", "allow the methods GET, POST and DELETE"),
        ("location / { return 413; }", "client_max_body_size"),
        ("location / { return 414; }", "large_client_header_buffers"),
        ("location / { return 429; }", "limit_req"),
        ("location / { return 503; }", "check whether it runs"),
        ("location / { return 504; }", "proxy_read_timeout"),
        ("location / { return 444; }", "The connection to"),
        ("location / { proxy_pass http://127.0.0.1:9; }", "cannot reach it"),
    ],
)
def test_a_refusal_of_everything(tmp_path: Path, locations: str, words: str) -> None:
    """Within a few requests."""
    with nginx.running(tmp_path / "nginx", _http(locations)) as front:
        assert words in _output(front.uri)
        assert len(front.requests()) <= 7


def test_a_port_for_http_2_alone(tmp_path: Path) -> None:
    config = "server { listen PORT http2; location / { return 204; } }"
    with nginx.running(tmp_path / "nginx", config) as front:
        output = _output(front.uri)
    assert "does not speak HTTP/1.1" in output
    assert "\\x" not in output


@pytest.mark.parametrize(
    ("locations", "words"),
    [
        # An allow-list that was written before the endpoints that protect something.
        ("location /api/2.0/ { TO } location / { return 404; }", "/api/3.0/"),
        ("location / { TO } location ~ server-info { return 404; }", "server-info"),
        ("location / { TO } location ~ users/ { return 404; }", "users/get"),
        ("location / { TO } location ~ traces { return 404; }", "traces"),
        ("location / { TO } location ~ logged-models { return 404; }", "logged-models"),
        # Its own page for MLflow's errors.
        (
            (
                "location / { TO proxy_intercept_errors on; error_page 404 /404.html; }"
                " location = /404.html { internal; return 404 '<html>Nothing here.</html>'; }"
            ),
            "proxy_intercept_errors off",
        ),
        ("location / { TO client_max_body_size 60; }", "client_max_body_size 1m"),
        ("location / { TO } location ~ runs/search { return 302 /login; }", "redirects to"),
    ],
)
def test_what_a_proxy_hides_makes_no_plan(
    bench: Bench, tmp_path: Path, locations: str, words: str
) -> None:
    """No plan that can be applied, and why."""
    _fill(bench)
    path = tmp_path / "p.json"
    config = _http(locations.replace("TO", f"proxy_pass {bench.world.uri};"))
    with nginx.running(tmp_path / "nginx", config) as front:
        env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": front.uri}
        outcome = bench.cli("report", "-o", path, env=env).expect(1, 5)
    assert words in outcome.err
    assert outcome.code == 5 or not path.exists()


@pytest.mark.parametrize(
    "locations",
    [
        "location / { TO } location /ajax-api/ { return 403; }",
        "location / { TO } location = /version { return 302 /login; }",
        "location / { TO } location = /version { return 404; }",
    ],
)
def test_what_a_proxy_may_hide(bench: Bench, tmp_path: Path, locations: str) -> None:
    stale = _fill(bench)
    config = _http(locations.replace("TO", f"proxy_pass {bench.world.uri};"))
    with nginx.running(tmp_path / "nginx", config) as front:
        assert bench.report(env={"MLFLOW_TRACKING_URI": front.uri}).runs == stale


@pytest.mark.parametrize("answer", ["405", "501", "404", "302 /login", "301 https://$host/"])
def test_delete_refused(bench: Bench, tmp_path: Path, answer: str) -> None:
    """Runs, which take POST, are deleted; the first version ends it, with the remedy."""
    _fill(bench)
    plan = bench.report()
    rule = f"if ($request_method = DELETE) {{ return {answer}; }}"
    with nginx.running(tmp_path / "nginx", _http(_to(bench.world.uri, rule))) as front:
        env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": front.uri}
        outcome, _journal = bench.prune(plan, env=env, codes=(1,))
        sent = front.requests_with("DELETE")
    assert len(sent) == 1
    assert ("model_version", "fraud detector/1") in bench.state().active
    assert "To go on" in outcome.err
    if answer in {"405", "501"}:
        assert "to DELETE /api/2.0/mlflow/model-versions/delete" in outcome.err
        assert "allow the methods GET, POST and DELETE" in outcome.err
    bench.prune(plan)
    assert ("model_version", "fraud detector/1") not in bench.state().active


def test_a_firewall_that_refuses_one_entity(bench: Bench, tmp_path: Path) -> None:
    """The others are deleted; the remedy is told once."""
    stale = _fill(bench)
    plan = bench.report()
    rule = "if ($request_method = DELETE) { return 403; }"
    with nginx.running(tmp_path / "nginx", _http(_to(bench.world.uri, rule))) as front:
        env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": front.uri}
        outcome, _ = bench.prune(plan, env=env, codes=(3,))
    assert "not MLflow's own refusal" in outcome.err
    assert not {("run", run) for run in stale} & bench.state().active


def test_a_time_out_while_the_server_deletes(bench: Bench, proxy: Proxy, tmp_path: Path) -> None:
    """The server finishes what the proxy no longer waits for: deleted, and found so."""
    stale = _fill(bench)
    plan = bench.report()
    slow = Fault("slower than the proxy waits", delay=1.5)
    proxy.fail("POST", "runs/delete$", slow)
    with nginx.running(
        tmp_path / "nginx", _http(_to(proxy.uri, "proxy_read_timeout 1s;"))
    ) as front:
        env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": front.uri}
        _, journal = bench.prune(plan, env=env)
        assert "504" in [line[1] for line in front.requests()]
    assert not {("run", run) for run in stale} & bench.state().active
    assert {r["id"] for r in journal.records if r["outcome"] == "deleted"} >= stale


# HTTP proxies -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _http_proxy(directory: Path, *settings: str) -> Iterator[int]:
    """Start tinyproxy; gives its port."""
    program = shutil.which("tinyproxy")
    if program is None:
        pytest.skip("tinyproxy is not installed (Debian: apt-get install tinyproxy-bin)")
    port = free_port()
    config = directory / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "MaxClients 50", *settings]
    config.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [program, "-d", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while not nginx.accepts(port):
            assert process.poll() is None, "tinyproxy ended"
            assert time.monotonic() < deadline, "tinyproxy does not listen"
            time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


def test_through_an_http_proxy_with_a_login(
    bench: Bench, tmp_path: Path, authority: Authority
) -> None:
    stale = _fill(bench)
    config = _tls(authority.issue("127.0.0.1"), bench.world.uri)
    with (
        nginx.running(tmp_path / "nginx", config) as front,
        _http_proxy(tmp_path, "BasicAuth someone proxy-canary") as port,
    ):
        right = f"http://someone:proxy-canary@127.0.0.1:{port}"
        for uri, variable in ((bench.world.uri, "HTTP_PROXY"), (front.tls_uri, "https_proxy")):
            env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": uri, TRUST: str(authority.path)}
            assert bench.report("-v", env={**env, variable: right}).runs == stale
            for login in ("", "someone:wrong-canary@"):
                wrong = f"http://{login}127.0.0.1:{port}"
                out = tmp_path / "p.json"
                outcome = bench.cli("report", "-o", out, env={**env, variable: wrong}).expect(1)
                assert "wants another login" in outcome.err
                assert variable in outcome.err
                assert "canary" not in outcome.text
            # Reached without it.
            env |= {variable: "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
            assert bench.report(env=env).runs == stale


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("http://someone:proxy-canary@127.0.0.1:9", "Connection refused"),
        ("http://someone:proxy-canary@no-such-host.invalid:3128", "Failed to resolve"),
        ("someone:proxy-canary@127.0.0.1:9", "it is not the address of a proxy"),
        ("http://someone:kanari/canary@127.0.0.1:9", "it is not the address of a proxy"),
        ("socks5://someone:proxy-canary@127.0.0.1:9", "PySocks"),
    ],
)
def test_a_proxy_that_cannot_be_used(bench: Bench, tmp_path: Path, value: str, words: str) -> None:
    """The variable, and no secret."""
    out = tmp_path / "p.json"
    outcome = bench.cli("report", "-v", "-o", out, env={"HTTP_PROXY": value}).expect(1)
    assert words in outcome.err
    assert "(from HTTP_PROXY)" in outcome.err
    assert "NO_PROXY" in outcome.err
    assert "canary" not in outcome.text
