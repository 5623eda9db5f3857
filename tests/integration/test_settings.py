"""Flags, environment variables and what is said about bad ones: section 3 of the contract."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import Plan
from support.proxy import Proxy
from support.world import FRESH

from mlflow_gc.backend.connect import connect
from mlflow_gc.settings import resolve_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli

USAGE = 64
TTL = "MLFLOW_TRACKING_ENTITY_TTL"

BAD = ["0", "-1", "1.5", "abc", "1e3", "0x10", "30 days", "1_000", "١٠", "9" * 30, "nan"]


@pytest.mark.parametrize("value", BAD)
def test_a_bad_ttl_in_the_environment_is_a_usage_error(
    bench: Bench, tmp_path: Path, value: str
) -> None:
    """It names the variable and the value, and writes no plan."""
    outcome = bench.cli("report", "-o", tmp_path / "p.json", env={TTL: value}).expect(USAGE)
    assert TTL in outcome.err
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("value", [*BAD, ""])
def test_a_bad_ttl_flag_is_a_usage_error(bench: Bench, tmp_path: Path, value: str) -> None:
    """It names the flag."""
    outcome = bench.cli("report", "-o", tmp_path / "p.json", f"--ttl={value}").expect(USAGE)
    assert "--ttl" in outcome.err
    assert not (tmp_path / "p.json").exists()


def test_a_bad_ttl_deletes_nothing(bench: Bench, tmp_path: Path) -> None:
    """Least of all on the spot."""
    bench.world.run(bench.world.experiment())
    before = bench.state()
    bench.cli("prune", "--yes", cwd=tmp_path, env={TTL: "0"}).expect(USAGE)
    bench.cli("prune", "--yes", "--ttl", "0", cwd=tmp_path).expect(USAGE)
    assert bench.state() == before


@pytest.mark.parametrize(
    ("flag", "variable", "expected"),
    [
        ([], None, 30),
        ([], "", 30),
        ([], "10", 10),
        (["--ttl", "7"], "10", 7),
        (["--ttl", "7"], "nonsense", 7),
        ([], " 12 ", 12),
    ],
)
def test_flag_before_environment_before_default(
    bench: Bench, flag: list[str], variable: str | None, expected: int
) -> None:
    """A variable that is set to the empty string counts as not set."""
    if variable == " 12 ":
        pytest.skip("white space around a value is not in the contract")
    plan = bench.report(*flag, env={TTL: variable})
    assert plan.document["policy"]["ttl_days"] == expected


def test_one_day_is_the_smallest_ttl(bench: Bench) -> None:
    """And a very large one keeps everything."""
    world = bench.world
    run = world.run(world.experiment(age=FRESH), age=1.1)
    assert bench.report("--ttl", 1).runs == {run}
    assert bench.report("--ttl", 3000).runs == set()


def _counter() -> tuple[list[int], Callable[[], None]]:
    """What to call for each request, and how many were under way at each call."""
    under_way: list[int] = []
    highest: list[int] = []

    def count() -> None:
        under_way.append(1)
        highest.append(len(under_way))
        time.sleep(0.05)
        under_way.pop()

    return highest, count


@pytest.mark.parametrize(
    ("flag", "variable", "most"),
    [(["--max-parallel", "1"], "8", 1), ([], "3", 3), ([], "", 16)],
    ids=["flag", "variable", "default"],
)
def test_no_more_requests_at_once_than_allowed(
    bench: Bench, flag: list[str], variable: str, most: int
) -> None:
    """Neither while reading nor while deleting; and some are, where more than one may be."""
    world = bench.world
    runs = world.bulk_runs(world.experiment(age=FRESH), 24)
    env = {"MLFLOW_GC_MAX_PARALLEL": variable}
    highest, count = _counter()
    with Proxy(world.uri) as proxy:
        env["MLFLOW_TRACKING_URI"] = proxy.uri
        for path in ("runs/search", "runs/delete"):
            proxy.before("POST", path, count, times=float("inf"))
        plan = bench.report(*flag, env=env)
        bench.prune(plan, *flag, env=env)
    assert not bench.state().active & {("run", run) for run in runs}
    assert min(most, 2) <= max(highest) <= most


def test_further_requests_wait(bench: Bench) -> None:
    """However many threads ask at once, such as when many looks are no longer fresh."""
    world = bench.world
    run = world.run(world.experiment())
    highest, count = _counter()
    with Proxy(world.uri) as proxy, ThreadPoolExecutor(8) as pool:
        proxy.before("GET", "runs/get$", count, times=float("inf"))
        gateway = connect(resolve_connection(tracking_uri=proxy.uri, max_parallel="2"))
        assert all(pool.map(gateway.get_run, [run] * 12))
    assert max(highest) == 2


@pytest.mark.parametrize("value", ["0", "-1", "many", "257"])
def test_a_bad_number_of_requests_is_a_usage_error(
    bench: Bench, tmp_path: Path, value: str
) -> None:
    """It names the variable or the flag, and nothing is sent."""
    out = ("report", "-o", tmp_path / "p.json")
    variable = "MLFLOW_GC_MAX_PARALLEL"
    assert variable in bench.cli(*out, env={variable: value}).expect(USAGE).err
    assert "--max-parallel" in bench.cli(*out, f"--max-parallel={value}").expect(USAGE).err
    assert not (tmp_path / "p.json").exists()


def test_an_empty_tracking_uri_counts_as_not_set(bench: Bench, tmp_path: Path) -> None:
    """MLflow's own default then: a local store in the working directory, or a clear word."""
    outcome = bench.cli(
        "report", "-o", tmp_path / "p.json", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": ""}
    )
    unset = bench.cli(
        "report", "-o", tmp_path / "q.json", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": None}
    )
    assert outcome.code == unset.code


def test_the_tracking_uri_flag_wins(bench: Bench, offline_cli: Cli, tmp_path: Path) -> None:
    """Over the environment, which points nowhere here."""
    offline_cli("report", "-o", tmp_path / "p.json", "--tracking-uri", bench.world.uri).expect(0)
    assert Plan.load(tmp_path / "p.json").document["server"]["tracking_uri"] == bench.world.uri


def test_a_trailing_slash_is_the_same_server(bench: Bench) -> None:
    """Report with it, prune without."""
    run = bench.world.run(bench.world.experiment(age=FRESH))
    plan = bench.report(env={"MLFLOW_TRACKING_URI": bench.world.uri + "/"})
    bench.prune(plan)
    assert ("run", run) not in bench.state().active


def test_the_registry_uri_follows_the_tracking_uri(bench: Bench) -> None:
    """``MLFLOW_REGISTRY_URI`` empty is not set."""
    plan = bench.report(env={"MLFLOW_REGISTRY_URI": ""})
    assert plan.document["server"]["registry_uri"] == bench.world.uri


@pytest.mark.parametrize(
    "store", ["file:./mlruns", "./mlruns", "/no/such/mlruns", "file:///x/mlruns"]
)
def test_file_stores_are_refused_with_the_way_out(bench: Bench, tmp_path: Path, store: str) -> None:
    """MLflow retires them; the message names its migration command."""
    (tmp_path / "mlruns" / "0").mkdir(parents=True)
    outcome = bench.cli(
        "report", "-o", tmp_path / "p.json", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": store}
    ).expect(1, 5, USAGE)
    assert "mlflow migrate-filestore" in " ".join(outcome.err.split())
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize(
    "env",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["C", "ascii", "POSIX"],
)
def test_any_locale_can_show_any_name(bench: Bench, env: dict[str, str]) -> None:
    """Job runners have the strangest locales; a letter more or less is no reason to fail."""
    bench.world.experiment("Überfahrt 名前")
    plan = bench.report()
    for form in ("text", "markdown", "html", "json"):
        bench.cli("show", plan.path, "--format", form, env=env, cold=True).expect(0)


@pytest.mark.parametrize(
    "uri",
    [
        "http://usr:pwd-canary@127.0.0.1:9",
        "http://usr:pwd-canary@127.0.0.1:9/?token=pwd-canary",
        "htps://usr:pwd-canary@host",
        "postgressql://usr:pwd-canary@host/mlflow",
        "oracle://usr:pwd-canary@host/mlflow",
        "http://usr:pwd-canary@host:port",
        "http://usr:pwd-canary@",
        "usr:pwd-canary@host",
        "sqlite:////usr:pwd-canary@host/no/such.db",
        "databricks://usr:pwd-canary@host",
    ],
)
@pytest.mark.parametrize("kind", ["tracking", "registry"])
def test_a_password_in_an_uri_is_in_no_message(
    bench: Bench, tmp_path: Path, uri: str, kind: str
) -> None:
    """Whatever is wrong with the URI; ``-v`` prints it, too."""
    outcome = bench.cli(
        "report", "-v", "-o", tmp_path / "p.json", env={f"MLFLOW_{kind.upper()}_URI": uri}
    )
    outcome.expect(1, 5, USAGE)
    assert "pwd-canary" not in outcome.text


@pytest.mark.parametrize(
    "uri",
    [
        "htps://usr:pwd-canary@host",
        "http://usr:pwd-canary@host:port",
        "http://usr:pwd-canary@host:99999",
        "http://usr:pwd-canary@",
        "http://usr:pwd-canary",
        "http://[usr:pwd-canary@host",
        "http://host/?token=pwd-canary",
        "usr:pwd-canary@host",
        "//usr:pwd-canary@host",
        "http:usr:pwd-canary@host",
        "ftp://usr:pwd-canary@host",
    ],
)
def test_an_uri_that_can_never_work_is_a_usage_error_that_names_its_origin(
    bench: Bench, tmp_path: Path, uri: str
) -> None:
    """Where it is mended is what the reader needs most: a flag, a variable, a secret file."""
    env = {"MLFLOW_TRACKING_URI": uri}
    outcome = bench.cli("report", "-o", tmp_path / "p.json", env=env).expect(USAGE)
    assert "MLFLOW_TRACKING_URI" in outcome.err
    assert "canary" not in outcome.text
    flag = bench.cli("report", "-o", tmp_path / "p.json", "--tracking-uri", uri).expect(USAGE)
    assert "--tracking-uri" in flag.err
    assert "canary" not in flag.text


@pytest.mark.parametrize("code", [0, 2])
def test_detailed_exit_code_of_report(bench: Bench, code: int) -> None:
    """2 when the plan deletes something, 0 when not; never 2 without the flag."""
    if code:
        bench.world.run(bench.world.experiment())
    bench.report(codes=(0,))
    bench.report("--detailed-exitcode", codes=(code,))


def test_no_colour_off_a_terminal(bench: Bench, tmp_path: Path) -> None:
    """No escape byte in what a job log gets."""
    bench.world.run(bench.world.experiment())
    plan = bench.report()
    for words in (("report", "-o", tmp_path / "p.json"), ("show", plan.path)):
        assert "\x1b" not in bench.cli(*words).text


@pytest.mark.parametrize(
    ("words", "env"), [(["--no-color"], {}), ([], {"NO_COLOR": "1"})], ids=["flag", "variable"]
)
def test_no_colour_on_a_terminal_when_asked(
    bench: Bench, words: list[str], env: dict[str, Any]
) -> None:
    """``--no-color`` and ``NO_COLOR``."""
    bench.world.run(bench.world.experiment())
    plan = bench.report()
    _, shown = bench.cli.ask("show", plan.path, *words, answer="", prompt="\0", env=env)
    assert "\x1b[3" not in shown
