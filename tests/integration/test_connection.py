"""What goes wrong on the way to a server: said so that a reader knows what to do, without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from sqlalchemy.exc import OperationalError
from support.proxy import HTML, HTML_404, NO_ENDPOINT, SERVER_ERROR, Fault, Proxy
from support.world import FRESH

from mlflow_gc.backend.address import Address
from mlflow_gc.backend.connect import connect
from mlflow_gc.backend.sql_connection import open_engine
from mlflow_gc.errors import GcError
from mlflow_gc.settings import TRACKING_URI, resolve, resolve_connection

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench

    from mlflow_gc.demo.server import LocalServer

FOREVER = float("inf")


def _output(uri: str) -> str:
    with pytest.raises(GcError) as caught:
        connect(resolve_connection(tracking_uri=uri)).server_metadata()
    return f"{caught.value.message} {caught.value.hint or ''}"


@pytest.mark.parametrize(
    ("fault", "words", "not_words"),
    [
        (
            Fault("403 of a proxy", status=403, body=HTML, content_type="text/html"),
            "not MLflow's own refusal",
            "more rights",
        ),
        (
            Fault(
                "403 of the host check",
                status=403,
                body=b"Invalid Host header - possible DNS rebinding attack detected",
                content_type="text/plain",
            ),
            "--allowed-hosts",
            "more rights",
        ),
        (
            Fault("400 of a host check", status=400, body=b"Invalid host header"),
            "--allowed-hosts",
            "more rights",
        ),
        (
            Fault(
                "a login",
                status=302,
                headers=(("Location", "https://sso.example.com/login?next=%2Fapi&token=canary"),),
            ),
            "token or password is missing",
            "canary",
        ),
        (
            Fault("a login here", status=303, headers=(("Location", "/oauth2/sign_in"),)),
            "token or password is missing",
            "final address",
        ),
        (
            Fault(
                "moved",
                status=301,
                headers=(
                    ("Location", "https://new.example.com/ml/api/3.0/mlflow/server-info?x=canary"),
                ),
            ),
            "final address as tracking URI: https://new.example.com/ml",
            "canary",
        ),
        (
            Fault(
                "plain HTTP to an https port",
                status=400,
                body=b"<html>The plain HTTP request was sent to HTTPS port</html>",
                content_type="text/html",
            ),
            "Use https://",
            "login",
        ),
    ],
    ids=str,
)
def test_an_answer_that_is_not_of_mlflow(
    proxy: Proxy, fault: Fault, words: str, not_words: str
) -> None:
    """Each names what is really in the way."""
    proxy.fail("GET", "", fault, times=FOREVER)
    output = _output(proxy.uri)
    assert words in output
    assert not_words not in output


def test_a_real_host_check_of_mlflow(server: LocalServer, proxy: Proxy) -> None:
    """MLflow 3.5 and newer answers to names that it was started with only."""
    proxy.set_header("Host", "mlflow.example.com")
    output = _output(proxy.uri)
    assert "--allowed-hosts" in output, server.uri


def test_a_name_that_nobody_knows() -> None:
    """Not "the connection broke"."""
    output = _output("http://no-such-host.invalid:5000")
    assert "cannot be resolved" in output
    assert "spelling" in output


def test_https_on_a_port_for_http(
    server: LocalServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port is right, the scheme is not: some servers refuse, gunicorn waits for more."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    for uri in (server.uri, proxy.uri):
        assert "use http://" in _output(uri.replace("http://", "https://"))


@pytest.mark.parametrize(
    "variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"]
)
def test_a_certificate_file_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    """The file and the variable, not "OSError"."""
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    output = _output("https://127.0.0.1:9")
    assert "none.pem" in output
    assert variable in output
    assert "OSError" not in output


@pytest.mark.parametrize(
    ("service", "uri"),
    [
        ("Databricks", "databricks"),
        ("Databricks", "databricks://team"),
        ("Databricks", "databricks-uc"),
        ("Databricks", "https://dbc-1.cloud.databricks.com"),
        ("Databricks", "https://someone:canary@adb-1.2.azuredatabricks.net/"),
        ("Azure Machine Learning", "azureml://westeurope.api.azureml.ms/mlflow/v1.0/x"),
        ("Azure Machine Learning", "https://chinaeast2.api.ml.azure.cn/mlflow/v1.0/x"),
        ("Azure Machine Learning", "https://westeurope.experiments.azureml.net/mlflow/v1.0"),
        ("Databricks", "https://dbc-1.cloud.databricks.com./"),
        ("GitLab", "https://gitlab.example.com/api/v4/projects/7/ml/mlflow/api/2.0"),
        ("Amazon SageMaker", "arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/x"),
        ("Amazon SageMaker", "https://t-1.eu-west-1.experiments.sagemaker.aws"),
        ("GitLab", "https://gitlab.example.com/api/v4/projects/7/ml/mlflow"),
    ],
)
@pytest.mark.parametrize("place", ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"])
def test_a_hosted_service_is_refused_by_name(
    bench: Bench, tmp_path: Path, service: str, uri: str, place: str
) -> None:
    """As tracking server and as registry, before anything is sent."""
    path = tmp_path / "p.json"
    outcome = bench.cli("report", "-o", path, env={place: uri}).expect(5)
    assert f"is {service}, which is not supported: " in outcome.err
    assert "canary" not in outcome.text
    assert not path.exists()


def test_usage_errors_come_first(bench: Bench, tmp_path: Path) -> None:
    """Before files are read, and before the question that nobody can answer."""
    missing = tmp_path / "none.json"
    commands: list[tuple[object, ...]] = [
        ("prune", "--ttl", "0"),
        ("prune", "--max-parallel", "0"),
        ("prune", missing, "--max-parallel", "0"),
        ("prune", missing, "--ttl", "1"),
        ("check", missing, "--max-parallel", "x"),
        ("restore", missing, "--max-parallel", "x"),
        ("mark", "--max-parallel", "x"),
        ("report", "--max-parallel", "x"),
    ]
    for args in commands:
        bench.cli(*args, cwd=tmp_path).expect(64)
    bad = {"MLFLOW_TRACKING_TOKEN": "one-canary\ntwo-canary"}
    for args in (("report",), ("prune", missing), ("check", missing), ("restore", missing)):
        outcome = bench.cli(*args, cwd=tmp_path, env=bad).expect(64)
        assert "MLFLOW_TRACKING_TOKEN" in outcome.err
        assert "canary" not in outcome.text
    # An empty one counts as not set.
    bench.cli("prune", "--ttl", "30", cwd=tmp_path).expect(5)


# Secrets ------------------------------------------------------------------------------------------


def test_a_token_with_a_line_break_works(bench: Bench, proxy: Proxy) -> None:
    """A Kubernetes secret that was made with ``echo``: the break is no part of it."""
    proxy.require_token("secret-canary")
    bench.world.run(bench.world.experiment())
    env: dict[str, str | None] = {
        "MLFLOW_TRACKING_URI": proxy.uri,
        "MLFLOW_TRACKING_TOKEN": "secret-canary\n",
    }
    plan = bench.report(env=env)
    bench.prune(plan, env=env)


def _secrets(uri: str, tmp_path: Path) -> dict[str, dict[str, str | None]]:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password canary-netrc\n")
    netrc.chmod(0o600)
    with_login = uri.replace("://", "://someone:canary%2Furi@")
    return {
        "token": {"MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_TOKEN": "canary-token"},
        "password": {
            "MLFLOW_TRACKING_URI": uri,
            "MLFLOW_TRACKING_USERNAME": "someone",
            "MLFLOW_TRACKING_PASSWORD": "canary-password",
        },
        "URI": {"MLFLOW_TRACKING_URI": with_login},
        "registry": {"MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": with_login},
        "netrc": {"MLFLOW_TRACKING_URI": uri, "NETRC": str(netrc)},
    }


@pytest.mark.parametrize("secret", ["token", "password", "URI", "registry", "netrc"])
def test_no_failing_call_shows_a_secret(
    bench: Bench, proxy: Proxy, tmp_path: Path, secret: str
) -> None:
    """A server that says it back, in an error of any call, in all that is printed and written."""
    bench.world.run(bench.world.experiment(age=FRESH))
    deleted = bench.report(name="deleted.json")
    bench.prune(deleted)
    for _ in range(2):
        run = bench.world.run(bench.world.experiment())
    policy = tmp_path / "policy.yml"
    policy.write_text("version: 1\ngrace: 14d\n")
    env = _secrets(proxy.uri, tmp_path)[secret]
    reported = ["canary-token", "canary-password", "canary-netrc", "canary/uri", "canary%2Furi"]
    # The header of user and password, too.
    reported.append("c29tZW9uZTpjYW5hcnkt")
    plan = bench.report(env=env)
    events = tmp_path / "events.jsonl"
    # Words of a server that repeats what it was sent.
    body = json.dumps(
        {"error_code": "BAD_REQUEST", "message": f"Not you: {' '.join(reported[:5])}"}
    )
    fault = Fault("an echo", status=400, body=body.encode())
    calls: list[tuple[str, str, tuple[object, ...]]] = [
        ("POST", "runs/search", ("report", "-o", tmp_path / "p.json")),
        ("GET", "registered-models/search", ("report", "-o", tmp_path / "p.json")),
        ("POST", "experiments/search", ("report", "-o", tmp_path / "p.json")),
        ("POST", "runs/delete|experiments/delete", ("prune", plan.path)),
        ("POST", "runs/search", ("check", plan.path)),
        ("POST", "runs/restore", ("restore", bench.journal_path(deleted), "--yes")),
        ("POST", "set-tag|set-experiment-tag", ("mark", "--policy", policy)),
        ("POST", "runs/search", ("policy", "explain", "--policy", policy, "--run", run)),
    ]
    for method, path, args in calls:
        proxy.forget()
        proxy.fail(method, path, fault, times=FOREVER)
        options = () if args[0] == "policy" else ("--events", events)
        outcome = bench.cli(*args, "-v", *options, env=env)
        assert outcome.code
        shown = outcome.text + events.read_text()
        shown += "".join(p.read_text() for p in tmp_path.glob("*.json*"))
        shown += "".join(p.read_text() for p in bench.dir.glob("*.json*"))
        known = {
            "token": ["canary-token"],
            "password": ["canary-password", reported[-1]],
            "URI": ["canary/uri", "canary%2Furi"],
            "registry": ["canary/uri", "canary%2Furi"],
            "netrc": ["canary-netrc", reported[-1]],
        }[secret]
        for text in known:
            assert text not in shown, f"{args} {path}"
        assert "Not you" in shown, f"{args} {path}"


# Servers of several versions ----------------------------------------------------------------------


def test_a_tracking_server_before_3_0_with_a_version_of_a_logged_model(
    bench: Bench, proxy: Proxy
) -> None:
    """The registry is that of a newer server: its plan is complete all the same."""
    world = bench.world
    home = world.experiment()
    run = world.run(home)
    world.version(world.model("new"), source="models:/m-0123456789abcdef0123456789abcdef")
    for method in ("GET", "POST"):
        proxy.fail(method, "logged-models", NO_ENDPOINT, times=FOREVER)
        proxy.fail(method, "/version$|server-info|api/3.0", NO_ENDPOINT, times=FOREVER)
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": proxy.uri}
    plan = bench.report(env=env)
    assert plan.document["complete"] is True
    assert plan.runs == {run}
    bench.prune(plan, env=env)


def test_a_logged_model_that_cannot_be_read_leaves_a_plan_incomplete(
    bench: Bench, proxy: Proxy
) -> None:
    """A server that has them, and fails: nobody knows what the version protects."""
    world = bench.world
    world.version(world.model("new"), source="models:/m-0123456789abcdef0123456789abcdef")
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": proxy.uri}
    for fault in (HTML_404, SERVER_ERROR):
        proxy.forget()
        proxy.fail("GET", "logged-models/m-", fault, times=FOREVER)
        assert not bench.report(env=env, codes=(5,)).document["complete"]


@pytest.mark.parametrize("prefix", ["/ml", "/team/ml/"])
def test_a_static_prefix_up_to_3_10(bench: Bench, proxy: Proxy, prefix: str) -> None:
    """The pages and ``/version`` are behind it, the API at the root: links lead to the pages."""
    run = bench.world.run(bench.world.experiment())
    version = Fault("the version", status=200, body=b"3.10.1", content_type="text/plain")
    proxy.fail("GET", f"^{prefix.rstrip('/')}/version$", version, times=FOREVER)
    proxy.fail("GET", "^/version$", HTML_404, times=FOREVER)
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": proxy.uri + prefix}
    plan = bench.report(env=env)
    assert plan.document["server"]["mlflow_version"] == "3.10.1"
    address = proxy.uri + prefix.rstrip("/")
    assert plan.document["server"]["tracking_uri"] == address
    page = bench.cli("show", plan.path, "--format", "html").out
    assert f"{address}/#/experiments/" in page
    bench.prune(plan, env=env)
    assert ("run", run) not in bench.state().active


def test_no_links_where_no_pages_are(bench: Bench, proxy: Proxy) -> None:
    """The root of such a server has neither the version nor the pages."""
    bench.world.run(bench.world.experiment())
    proxy.fail("GET", "^/version$", HTML_404, times=FOREVER)
    plan = bench.report(env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert plan.document["server"]["mlflow_version"] is None
    assert f"{proxy.uri}/#/" not in bench.cli("show", plan.path, "--format", "html").out


@pytest.mark.parametrize("body", [b'{"message": "deploying"}', b"{}"])
def test_other_json_is_no_server_info(bench: Bench, proxy: Proxy, body: bytes) -> None:
    """Taken for it, it would say that there are no other workspaces, whose versions protect."""
    answer = Fault("other JSON", status=200, body=body)
    proxy.fail("GET", "server-info$", answer, times=FOREVER)
    outcome = bench.cli("report", env={"MLFLOW_TRACKING_URI": proxy.uri}).expect(1)
    assert "does not speak MLflow's API" in outcome.err


@pytest.mark.parametrize("text", ["1.27.0", "2.1.0", '{"version":"3.1.0"}', "v1", "ok"])
def test_the_version_of_something_in_between_is_not_the_servers(
    bench: Bench, proxy: Proxy, text: str
) -> None:
    """Before 3.11 no assessments are lost with a run: a wrong version would let them be."""
    bench.world.run(bench.world.experiment())
    answer = Fault(text, status=200, body=text.encode(), content_type="text/plain")
    proxy.fail("GET", "/version$", answer, times=FOREVER)
    plan = bench.report(env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert plan.document["server"]["mlflow_version"] is None


# Exit codes ---------------------------------------------------------------------------------------


def test_a_plan_that_cannot_be_applied_is_5_for_every_cause(bench: Bench, proxy: Proxy) -> None:
    """Only a forecast that was asked for is none, and only where nothing else is wrong."""
    bench.world.run(bench.world.experiment())
    env: dict[str, str | None] = {"MLFLOW_TRACKING_URI": proxy.uri}
    ahead = ("--as-of", "2099-01-01T00:00:00Z")
    path = bench.dir / "forecast.json"
    bench.cli("report", "-o", path, *ahead, env=env).expect(0)
    bench.cli("report", "-o", path, *ahead, "--detailed-exitcode", env=env).expect(2)
    bench.cli("prune", path, env=env).expect(5)
    proxy.fail("GET", "model-versions/search", HTML_404, times=FOREVER)
    assert "Fix the cause" in bench.cli("report", "-o", path, env=env).expect(5).err
    bench.cli("report", "-o", path, *ahead, env=env).expect(5)


# The database -------------------------------------------------------------------------------------


def test_a_sqlite_file_is_opened_read_only(bench: Bench) -> None:
    """Whatever this program does while it reads: the file itself lets nothing in."""
    uri = f"sqlite:///{bench.world.database}"
    address = Address.of(uri, resolve(TRACKING_URI, uri), "database")
    with open_engine(address).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM experiments").scalar()
        with pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM experiments")
