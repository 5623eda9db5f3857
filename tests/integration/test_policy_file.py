"""Where the policy file is found, what is said about a bad one, and what it has no say in."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support import ROOT
from support.plans import Plan
from support.world import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli, Outcome

ERROR, REFUSED, USAGE = 1, 5, 64
VARIABLE = "MLFLOW_GC_POLICY"
HERE = "mlflow-gc.yml"


@pytest.fixture(scope="module")
def served(shared_bench: Bench) -> Bench:
    """A server with three old runs; no test here deletes anything."""
    home = shared_bench.world.experiment(age=FRESH)
    for _ in range(3):
        shared_bench.world.run(home)
    return shared_bench


def keeping(path: Path, runs: int) -> Path:
    """A policy that is told from others by how many runs it keeps."""
    path.write_text(f"version: 1\nkeep_last: {{runs: {runs}}}\n")
    return path


def report(bench: Bench, directory: Path, *args: object, **more: Any) -> Outcome:
    """Run ``report`` in a directory."""
    return bench.cli("report", "-o", directory / "plan.json", *args, cwd=directory, **more)


def retained(directory: Path) -> int:
    """How many runs the plan's policy keeps."""
    policy = Plan.load(directory / "plan.json").document["policy"]
    return int(policy["keep_last"]["runs"])


# -- where it is found ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "variable", "here", "expected"),
    [
        (1, 2, 3, 1),
        (None, 2, 3, 2),
        (None, None, 3, 3),
        (None, None, None, 0),
        (1, None, None, 1),
        (None, 2, None, 2),
    ],
)
def test_flag_before_variable_before_working_directory(
    served: Bench,
    tmp_path: Path,
    flag: int | None,
    variable: int | None,
    here: int | None,
    expected: int,
) -> None:
    """The first that is there is the only one; its place is said where nobody named it."""
    (tmp_path / "work").mkdir()
    args: list[object] = []
    env: dict[str, str | None] = {}
    if flag is not None:
        args = ["--policy", keeping(tmp_path / "flag.yml", flag)]
    if variable is not None:
        env = {VARIABLE: str(keeping(tmp_path / "variable.yml", variable))}
    if here is not None:
        keeping(tmp_path / "work" / HERE, here)
    output = report(served, tmp_path / "work", *args, env=env).expect(0)
    assert retained(tmp_path / "work") == expected
    assert (HERE in output.err) == (flag is None and variable is None and here is not None)


@pytest.mark.parametrize("name", ["mlflow-gc.yml", "mlflow-gc.yaml"])
def test_either_ending_counts_and_the_plan_says_which_file_it_was(
    served: Bench, tmp_path: Path, name: str
) -> None:
    """With the digest that sha256sum prints; the summary and every view of the plan say it, too."""
    path = keeping(tmp_path / name, 3)
    output = report(served, tmp_path).expect(0)
    assert retained(tmp_path) == 3
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    plan = Plan.load(tmp_path / "plan.json").document
    assert plan["policy_source"] == {"path": name, "digest": digest}
    assert f"Policy file {name} ({digest[:19]})" in output.out
    for form in ("text", "markdown", "html"):
        shown = served.cli("show", tmp_path / "plan.json", "--format", form).expect(0).out
        assert name in shown.replace("\\", "")
        assert digest[:19] in shown


def test_two_policy_files_are_refused(served: Bench, tmp_path: Path) -> None:
    """Nobody knows which of them was meant; a flag says it."""
    for name in ("mlflow-gc.yml", "mlflow-gc.yaml"):
        keeping(tmp_path / name, 3)
    output = report(served, tmp_path).expect(USAGE)
    assert "mlflow-gc.yml" in output.err
    assert "mlflow-gc.yaml" in output.err
    assert not (tmp_path / "plan.json").exists()
    report(served, tmp_path, "--policy", "mlflow-gc.yaml").expect(0)
    report(served, tmp_path, "--no-policy").expect(0)


@pytest.mark.parametrize("name", ["mlflow_gc.yml", ".mlflow-gc.yaml", "mlflow-gc.yml.txt"])
def test_a_near_miss_of_the_name_is_said(served: Bench, tmp_path: Path, name: str) -> None:
    """It is not read; the plan says that there was no policy file."""
    keeping(tmp_path / name, 3)
    output = report(served, tmp_path, "-q").expect(0)
    assert f"Warning: {name} is not read" in output.err
    assert retained(tmp_path) == 0
    plan = Plan.load(tmp_path / "plan.json").document
    assert plan["policy_source"] == {"path": None, "digest": None}
    output = report(served, tmp_path, "--no-policy").expect(0)
    assert name not in output.err
    assert "No policy file" in output.out


def test_no_policy_can_be_said_on_purpose(served: Bench, tmp_path: Path) -> None:
    """Before the variable and the working directory; not beside --policy, nor beside a PLAN."""
    path = keeping(tmp_path / HERE, 3)
    output = report(served, tmp_path, "--no-policy", env={VARIABLE: str(path)}).expect(0)
    assert "is not used (--no-policy)" in output.err
    assert retained(tmp_path) == 0
    report(served, tmp_path, "--no-policy", "--policy", path).expect(USAGE)
    output = served.cli("prune", tmp_path / "plan.json", "--no-policy").expect(USAGE)
    assert "--no-policy cannot be combined with a PLAN" in output.err


def test_no_variable_overrides_never(served: Bench, tmp_path: Path) -> None:
    """A TTL that is set for all commands of a machine does not switch deletion on."""
    (tmp_path / HERE).write_text("version: 1\ndefaults: {ttl: never}\n")
    env = {"MLFLOW_TRACKING_ENTITY_TTL": "30"}
    output = report(served, tmp_path, env=env).expect(0)
    assert "is not used: mlflow-gc.yml says defaults.ttl: never" in output.err
    assert Plan.load(tmp_path / "plan.json").entities == set()
    report(served, tmp_path, "--ttl", 30).expect(0)
    assert Plan.load(tmp_path / "plan.json").entities == set()


@pytest.mark.parametrize("blank", ["", " ", "\t "])
def test_a_blank_variable_counts_as_not_set(served: Bench, tmp_path: Path, blank: str) -> None:
    """AE5 sets it so for every command; the working directory's file then counts."""
    keeping(tmp_path / HERE, 4)
    report(served, tmp_path, env={VARIABLE: blank}).expect(0)
    assert retained(tmp_path) == 4


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_verbose_says_where_it_came_from(served: Bench, tmp_path: Path, way: str) -> None:
    """The file, and the flag or variable."""
    path = keeping(tmp_path / "some.yml", 1)
    args = ["--policy", path] if way == "flag" else []
    output = report(served, tmp_path, "-v", *args, env={VARIABLE: str(path)}).expect(0)
    assert "some.yml" in output.err
    assert ("flag --policy" if way == "flag" else f"environment {VARIABLE}") in output.err


def test_quiet_still_mentions_a_file_that_nobody_named(served: Bench, tmp_path: Path) -> None:
    """It changed what is on the plan."""
    keeping(tmp_path / HERE, 1)
    output = report(served, tmp_path, "-q").expect(0)
    assert HERE in output.err
    assert output.out == ""


def test_a_named_file_that_is_not_there_is_an_error(served: Bench, tmp_path: Path) -> None:
    """Never the next one in its place: somebody counts on these limits."""
    keeping(tmp_path / HERE, 1)
    for args, env in (
        (["--policy", tmp_path / "none.yml"], {}),
        ([], {VARIABLE: str(tmp_path / "none.yml")}),
    ):
        output = report(served, tmp_path, *args, env=env).expect(ERROR)
        assert "none.yml" in output.err
        assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("kind", ["dangling link", "directory"])
def test_a_file_in_the_working_directory_that_cannot_be_read_is_an_error(
    served: Bench, tmp_path: Path, kind: str
) -> None:
    """It is there, so somebody counts on its limits; leaving them out would be silent."""
    if kind == "directory":
        (tmp_path / HERE).mkdir()
    else:
        (tmp_path / HERE).symlink_to(tmp_path / "moved.yml")
    output = report(served, tmp_path).expect(ERROR)
    assert HERE in output.err
    assert not (tmp_path / "plan.json").exists()


def test_prune_without_a_plan_finds_it_the_same_way(served: Bench, tmp_path: Path) -> None:
    """Otherwise the guards would hold for reports only."""
    (tmp_path / HERE).write_text("version: 1\nguards: {max_deletions: {runs: 1}}\n")
    before = served.state()
    output = served.cli("prune", "--yes", cwd=tmp_path).expect(REFUSED)
    assert "guards.max_deletions.runs" in output.err
    assert HERE in output.err
    assert served.state() == before


# -- beside a plan -------------------------------------------------------------------------------


def test_beside_a_plan_it_is_a_usage_error(served: Bench, tmp_path: Path) -> None:
    """The plan is the selection, and carries its policy."""
    report(served, tmp_path).expect(0)
    policy = keeping(tmp_path / "p.yml", 1)
    before = served.state()
    output = served.cli("prune", tmp_path / "plan.json", "--policy", policy).expect(USAGE)
    assert "--policy" in output.err
    assert served.state() == before


@pytest.mark.parametrize("content", ["version: 1\nguards: {max_deletions: {total: 0}}\n", "{"])
def test_beside_a_plan_files_that_lie_around_are_not_read(
    served: Bench, tmp_path: Path, content: str
) -> None:
    """Neither that of the working directory nor that of the variable, not even a broken one."""
    report(served, tmp_path).expect(0)
    (tmp_path / HERE).write_text(content)
    env = {VARIABLE: str(tmp_path / HERE)}
    for command in (("prune", "--dry-run"), ("check",), ("show",), ("validate",)):
        words = (*command, tmp_path / "plan.json")
        output = served.cli(*words, cwd=tmp_path, env=env).expect(0)
        assert HERE not in output.err


# -- what is said about a bad one ----------------------------------------------------------------

BAD = {
    "empty": ("", 1),
    "list": ("- 1\n", 1),
    "unknown key": ("version: 1\nmax_deletions: 5\n", 2),
    "key twice": ("version: 1\nguards: {}\nguards: {max_deletions: {runs: 0}}\n", 3),
    "share without %": ("version: 1\nguards:\n  max_share:\n    runs: 30\n", 4),
    "bool": ("version: 1\nguards:\n  max_deletions:\n    runs: true\n", 4),
    "beyond 64 bits": (
        "version: 1\nguards:\n  max_deletions:\n    runs: 99999999999999999999\n",
        4,
    ),
    "beyond 2^53": ("version: 1\nkeep_last:\n  runs: 9007199254740993\n", 3),
    "long age": ("version: 1\nmin_age: 999999999w\n", 2),
    "long expiry": ("version: 1\nexpire_after: 999999999w\n", 2),
    "tab": ("version: 1\n\tmin_age: 1d\n", 2),
    "python": ("version: 1\nmin_age: !!python/object/apply:os.mkdir [pwned]\n", 2),
    "escape": ('version: 1\n"\\e[31m\\nError: x": 1\n', 2),
    "no UTF-8": (b"version: 1\n# \xff\n", 2),
    "NUL": (b"version: 1\n\0\n", 2),
}


@pytest.mark.parametrize(("content", "line"), BAD.values(), ids=BAD)
def test_a_bad_policy_is_a_usage_error_with_its_line(
    served: Bench, tmp_path: Path, content: str | bytes, line: int
) -> None:
    """By ``report``, ``prune --yes`` and ``validate`` alike; no plan, nothing deleted or run."""
    path = tmp_path / "bad.yml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = served.state()
    for words in (
        ("report", "--policy", path),
        ("prune", "--yes", "--policy", path),
        ("validate", path),
    ):
        output = served.cli(*words, cwd=tmp_path).expect(USAGE)
        assert re.search(rf"bad\.yml line {line}\b", output.err), output
        assert "\x1b" not in output.text
        assert {p.name for p in tmp_path.iterdir()} == {"bad.yml"}
    assert served.state() == before


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_policy_that_cannot_be_read_is_an_error(served: Bench, tmp_path: Path, kind: str) -> None:
    """1, as for any file."""
    path = tmp_path / "bad.yml"
    if kind == "directory":
        path.mkdir()
    for words in (("report", "--policy", path), ("validate", path)):
        assert "bad.yml" in served.cli(*words, cwd=tmp_path).expect(ERROR).err
    assert not (tmp_path / "prune-plan.json").exists()


def test_validate_praises_a_good_one(offline_cli: Cli, tmp_path: Path) -> None:
    """Offline; one bad file among good ones decides the exit code."""
    good = keeping(tmp_path / "good.yml", 1)
    other = keeping(tmp_path / "other.yaml", 2)
    output = offline_cli("validate", good, other).expect(0)
    assert output.out.count("valid policy") == 2
    (tmp_path / "bad.yml").write_text("version: 3\n")
    output = offline_cli("validate", good, tmp_path / "bad.yml", other).expect(USAGE)
    assert output.out.count("valid policy") == 2


# -- what it has no say in -----------------------------------------------------------------------


def test_it_cannot_switch_deletion_on(served: Bench, tmp_path: Path) -> None:
    """A report with the widest policy deletes nothing, and prune still asks."""
    (tmp_path / HERE).write_text(
        "version: 1\nevaluation_runs: delete\nexpire_after: never\nguards: {}\n"
    )
    before = served.state()
    report(served, tmp_path).expect(0)
    served.cli("prune", cwd=tmp_path).expect(REFUSED)
    assert served.state() == before


def test_it_cannot_set_what_flags_set(served: Bench, tmp_path: Path) -> None:
    """The TTL stays a flag or variable: in a policy it is an unknown key."""
    path = tmp_path / "p.yml"
    for key in ("ttl: 1d", "ttl_days: 1", "as_of: 2020-01-01", "keep_tag: x", "apply: true"):
        path.write_text(f"version: 1\n{key}\n")
        assert "unknown key" in served.cli("validate", path).expect(USAGE).err


# -- the schema ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schema(shared_bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``schema policy`` prints."""
    path = tmp_path_factory.mktemp("schema") / "policy.schema.json"
    path.write_text(shared_bench.cli("schema", "policy").expect(0).out)
    return path


def test_the_schema_is_the_published_one(schema: Path) -> None:
    """Byte for byte."""
    assert (
        schema.read_bytes() == (ROOT / "schemas" / "retention-policy.v1.schema.json").read_bytes()
    )


def test_the_help_names_every_schema(offline_cli: Cli) -> None:
    """The policy's, too."""
    output = offline_cli("schema", "--help").expect(0).out
    assert all(name in output for name in ("plan", "policy", "journal", "diff"))


GOOD: dict[str, Any] = {
    "version": 1,
    "min_age": "14d",
    "keep_last": {"runs": 5, "model_versions": 3},
    "evaluation_runs": "keep",
    "guards": {
        "max_deletions": {"total": 1, "experiments": 2, "runs": 3, "model_versions": 0},
        "max_share": {
            "total": "1%",
            "experiments": "0%",
            "runs": "100%",
            "model_versions": "9%",
            "experiment": "10%",
            "registered_model": "99%",
        },
    },
    "expire_after": "never",
    "max_scan_duration": "2h",
    "max_clock_skew": "5m",
}
NOT_GOOD: list[dict[str, Any]] = [
    {},
    {"version": 2},
    {"version": 1, "x": 1},
    {"version": 1, "min_age": "0d"},
    {"version": 1, "min_age": 14},
    {"version": 1, "min_age": "never"},
    {"version": 1, "keep_last": {"runs": -1}},
    {"version": 1, "keep_last": {"runs": True}},
    {"version": 1, "evaluation_runs": "yes"},
    {"version": 1, "guards": {"max_share": {"runs": 30}}},
    {"version": 1, "guards": {"max_share": {"runs": "101%"}}},
    {"version": 1, "guards": {"max_share": {"runs": "30%\n"}}},
    {"version": 1, "guards": {"max_deletions": {"experiment": 1}}},
    {"version": 1, "guards": {"max_deletions": {"runs": 1.5}}},
    {"version": 1, "guards": None},
]


@pytest.mark.ajv
def test_another_validator_agrees(schema: Path, offline_cli: Cli, tmp_path: Path) -> None:
    """From the JavaScript world, in its strict mode; JSON is YAML, so one file serves both."""
    ajv = ROOT / "tests" / "ajv"
    if shutil.which("node") is None or not (ajv / "node_modules").is_dir():
        pytest.skip("node, or the packages of tests/ajv, are not installed")
    path = tmp_path / "p.yml"
    for document, code in ((GOOD, 0), *((bad, 1) for bad in NOT_GOOD)):
        path.write_text(json.dumps(document))
        theirs = subprocess.run(
            ["node", ajv / "validate.mjs", schema, path],
            capture_output=True,
            text=True,
            check=False,
        )
        assert theirs.returncode == code, f"{document}: {theirs.stderr}"
        offline_cli("validate", path).expect(USAGE if code else 0)
