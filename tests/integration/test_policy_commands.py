"""``policy init``, ``explain`` and ``test``: offline, with lines, codes, and no belief in names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML
from support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from support.cli import Cli, Outcome

ERROR, USAGE = 1, 64
SCHEMA = "retention-policy.v1.schema.json"


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which ``import mlflow``, ``requests`` and any connection fail loudly."""
    directory = tmp_path_factory.mktemp("poison")
    for name in ("mlflow", "requests", "sqlalchemy", "pandas"):
        (directory / name).mkdir()
        (directory / name / "__init__.py").write_text(
            f'raise RuntimeError("{name} was imported")\n'
        )
    (directory / "sitecustomize.py").write_text(
        "import socket\n"
        "def _refuse(*args, **kwargs):\n"
        '    raise RuntimeError("the network was touched")\n'
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = _refuse\n"
    )
    return {"PYTHONPATH": f"{directory}:{ROOT}"}


def _page() -> list[str]:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def _cases(directory: Path, cases: str, policy: str = "version: 1\n", name: str = "t.yml") -> Path:
    (directory / "p.yml").write_text(policy)
    path = directory / name
    path.write_text(f"version: 1\npolicy: p.yml\nas_of: 2026-11-24\ncases:\n{cases}")
    return path


# -- init ----------------------------------------------------------------------------------------


def test_init_writes_a_valid_policy_and_its_schema(offline_cli: Cli, tmp_path: Path) -> None:
    """Where the other commands find it; nothing to warn of."""
    offline_cli("policy", "init", cwd=tmp_path).expect(0)
    assert {p.name for p in tmp_path.iterdir()} == {"mlflow-gc.yml", SCHEMA}
    assert (tmp_path / SCHEMA).read_bytes() == (ROOT / "schemas" / SCHEMA).read_bytes()
    first = (tmp_path / "mlflow-gc.yml").read_text().splitlines()[0]
    assert first == f"# yaml-language-server: $schema=./{SCHEMA}"
    output = offline_cli("validate", "mlflow-gc.yml", cwd=tmp_path).expect(0)
    assert "Warning" not in output.text
    output = offline_cli("policy", "explain", cwd=tmp_path).expect(0)
    assert "90 days" in output.out
    assert "Warning" not in output.err


def test_init_overwrites_nothing_unless_told_to(offline_cli: Cli, tmp_path: Path) -> None:
    """64 without ``--force``; with it the starter is there again."""
    path = tmp_path / "mlflow-gc.yml"
    path.write_text("version: 1\n")
    output = offline_cli("policy", "init", cwd=tmp_path).expect(USAGE)
    assert "--force" in output.err
    assert path.read_text() == "version: 1\n"
    assert {p.name for p in tmp_path.iterdir()} == {"mlflow-gc.yml"}
    offline_cli("policy", "init", "--force", cwd=tmp_path).expect(0)
    assert "rules:" in path.read_text()


def test_init_writes_to_the_given_path(offline_cli: Cli, tmp_path: Path) -> None:
    """A file elsewhere, or stdout and nothing else."""
    (tmp_path / "below").mkdir()
    offline_cli("policy", "init", "-o", "below/x.yml", cwd=tmp_path).expect(0)
    assert {p.name for p in (tmp_path / "below").iterdir()} == {"x.yml", SCHEMA}
    output = offline_cli("policy", "init", "-o", "-", cwd=tmp_path).expect(0)
    assert output.out == (tmp_path / "below" / "x.yml").read_text()
    assert {p.name for p in tmp_path.iterdir()} == {"below"}
    offline_cli("policy", "init", "-o", "none/x.yml", cwd=tmp_path).expect(ERROR)


def test_the_rules_of_the_starter_count_once_their_marks_are_taken_away(
    offline_cli: Cli, tmp_path: Path
) -> None:
    """The marks, and nothing else: as the comment above them says."""
    text = offline_cli("policy", "init", "-o", "-").expect(0).out
    head, hint, rest = text.partition("Uncomment these examples")
    assert hint
    path = tmp_path / "p.yml"
    path.write_text(head + hint + re.sub(r"^#(?=  |rules:|$)", "", rest, flags=re.MULTILINE))
    output = offline_cli("validate", path).expect(0)
    assert "Warning" not in output.text
    names = [rule["name"] for rule in YAML(typ="safe").load(path.read_text())["rules"]]
    assert names == ["production", "sandboxes", "nightly training", "candidates"]


# -- explain -------------------------------------------------------------------------------------


def test_explain_needs_neither_mlflow_nor_the_network(
    offline_cli: Cli, tmp_path: Path, poisoned: dict[str, str]
) -> None:
    """Nor do ``init`` and ``test``."""
    offline_cli("policy", "init", cwd=tmp_path, env=poisoned, cold=True).expect(0)
    offline_cli("policy", "explain", cwd=tmp_path, env=poisoned, cold=True).expect(0)
    path = _cases(tmp_path, "- {name: c, runs: [{expect: delete}]}\n")
    offline_cli("policy", "test", path, env=poisoned, cold=True).expect(0)


def test_explain_names_every_rule_of_the_example(offline_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(_page()[0])
    output = offline_cli("policy", "explain", "--policy", path).expect(0)
    for words in ("1. production", "2. sandboxes", "3. nightly training", "4. candidates"):
        assert words in output.out
    assert "Europe/Berlin" in output.out
    assert "Warning" not in output.err


HOSTILE = '"\\e[31mx\\nError: y [red]z[/red] ##[error]"'


def test_hostile_names_are_shown_and_not_obeyed(offline_cli: Cli, tmp_path: Path) -> None:
    """By ``explain``, ``validate`` and ``test``, in results, failures and warnings."""
    rule = f"{{name: {HOSTILE}, match: {{user: u}}}}"
    other = f'{{name: {HOSTILE[:-1]}2", match: {{user: u, run_name: {HOSTILE}}}}}'
    policy = f"version: 1\nrules: [{rule}, {other}]\n"
    case = f"- {{name: {HOSTILE}, runs: [{{experiment: {HOSTILE}, run_name: {HOSTILE}, user: u, expect: %s, rule: {HOSTILE}}}]}}\n"
    path = _cases(tmp_path, case % "keep", policy)
    for output in (
        offline_cli("policy", "explain", "--policy", tmp_path / "p.yml").expect(0),
        offline_cli("validate", tmp_path / "p.yml").expect(0),
        offline_cli("policy", "test", path).expect(ERROR),
        offline_cli("policy", "test", _cases(tmp_path, case % "delete", policy)).expect(0),
    ):
        assert "\x1b" not in output.text
        assert not re.search(r"^Error: y", output.text, re.MULTILINE)
        assert "[red]z[/red]" in output.text
        assert "##[error]" not in output.text


def test_two_entities_cannot_be_explained_at_once(offline_cli: Cli) -> None:
    offline_cli("policy", "explain", "--run", "a", "--model", "b").expect(USAGE)


# -- test ----------------------------------------------------------------------------------------


def test_the_example_of_the_documentation_passes(offline_cli: Cli, tmp_path: Path) -> None:
    """As printed; one rule has no case and is named."""
    (tmp_path / "mlflow-gc.yml").write_text(_page()[0])
    path = tmp_path / "mlflow-gc.tests.yml"
    path.write_text(next(block for block in _page() if "cases:" in block))
    output = offline_cli("policy", "test", path).expect(0)
    assert output.out.count("ok ") == 3
    assert output.err.count("Warning") == 1
    assert "'production'" in output.err
    offline_cli("validate", path, tmp_path / "mlflow-gc.yml").expect(0)


def test_a_failure_is_1_with_its_line(offline_cli: Cli, tmp_path: Path) -> None:
    """One file that fails among others decides; the others run all the same."""
    good = "- {name: good, runs: [{expect: delete}]}\n"
    bad = _cases(tmp_path, good + "- name: bad\n  runs:\n  - {expect: keep}\n", name="bad.yml")
    fine = _cases(tmp_path, good, name="fine.yml")
    output = offline_cli("policy", "test", bad, fine).expect(ERROR)
    assert "bad.yml line 8" in output.out
    assert "1 of 2 cases failed" in output.out
    assert f"{fine}: 1 cases, 1 expectations, all as expected" in output.out
    quiet = offline_cli("policy", "test", "-q", bad).expect(ERROR)
    assert "ok " not in quiet.out
    assert "bad.yml line 8" in quiet.out


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("- {name: c, runs: [{reason: fresh}]}\n", USAGE, "t.yml line 5"),
        ("- {name: c, trials: []}\n", USAGE, "t.yml line 5"),
        ("- {name: c\n", USAGE, "t.yml line 6"),
    ],
)
def test_a_mistake_is_64_with_its_line(
    offline_cli: Cli, tmp_path: Path, text: str, code: int, words: str
) -> None:
    path = _cases(tmp_path, text)
    assert words in offline_cli("policy", "test", path).expect(code).err


def test_what_cannot_be_read_is_1(offline_cli: Cli, tmp_path: Path) -> None:
    """The file, or the policy that it names."""
    assert "none.yml" in offline_cli("policy", "test", tmp_path / "none.yml").expect(ERROR).err
    path = _cases(tmp_path, "- {name: c}\n")
    (tmp_path / "p.yml").unlink()
    assert "p.yml" in offline_cli("policy", "test", path).expect(ERROR).err


def test_what_tests_nothing_is_said(offline_cli: Cli, tmp_path: Path) -> None:
    """A case without an expectation; a setting of the policy without an effect."""
    policy = "version: 1\nmin_age: 9d\ndefaults: {ttl: 3d}\n"
    case = "- {name: idle, runs: [{age: 60d}]}\n- {name: busy, runs: [{expect: delete}]}\n"
    output = offline_cli("policy", "test", _cases(tmp_path, case, policy)).expect(0)
    assert "the case 'idle' expects nothing" in output.err
    assert "'busy'" not in output.err
    assert f"{tmp_path / 'p.yml'}: defaults: ttl: 3d is shorter than min_age: 9d" in output.err


def test_another_policy_can_be_tested(offline_cli: Cli, tmp_path: Path) -> None:
    path = _cases(tmp_path, "- {name: c, runs: [{age: 60d, expect: delete}]}\n")
    other = tmp_path / "other.yml"
    other.write_text("version: 1\ndefaults: {ttl: 90d}\n")
    offline_cli("policy", "test", path).expect(0)
    offline_cli("policy", "test", path, "--policy", other).expect(ERROR)


# -- validate and schema -------------------------------------------------------------------------


def test_validate_knows_tests_by_their_content(offline_cli: Cli, tmp_path: Path) -> None:
    """Whatever the file is called."""
    path = _cases(tmp_path, "- {name: c}\n- {name: d}\n", name="policy.yaml")
    output = offline_cli("validate", path, tmp_path / "p.yml").expect(0)
    assert "valid policy tests, 2 cases" in output.out
    assert f"{tmp_path / 'p.yml'}: valid policy\n" in output.out


def test_validate_finds_what_test_would(offline_cli: Cli, tmp_path: Path) -> None:
    """Every mistake with its line, also two things of one name."""
    path = _cases(tmp_path, "- name: c\n  runs:\n  - {id: a}\n  - {id: a}\n")
    tested = offline_cli("policy", "test", path).expect(USAGE)
    assert "t.yml line 8" in tested.err
    assert "t.yml line 8" in offline_cli("validate", path).expect(USAGE).err


def test_validate_names_every_mistake_on_a_line_of_its_own(
    offline_cli: Cli, tmp_path: Path
) -> None:
    """However many: the other commands name the first ones."""
    path = tmp_path / "p.yml"
    path.write_text("version: 1\n" + "".join(f"unknown_{n}: 1\n" for n in range(30)))
    output = offline_cli("validate", path).expect(USAGE)
    lines = [line for line in output.err.splitlines() if "unknown key" in line]
    assert [line.startswith(f"{path} line {n}: ") for n, line in enumerate(lines, 2)] == [True] * 30
    assert "mlflow-gc validate" in offline_cli("policy", "explain", "--policy", path).expect(64).err


def test_validate_warns_on_stderr(offline_cli: Cli, tmp_path: Path) -> None:
    """It is valid all the same; ``explain`` and ``report`` say it, too."""
    path = tmp_path / "p.yml"
    path.write_text(
        "version: 1\nrules:\n- {name: a, match: {experiment: '*'}}\n"
        "- {name: b, match: {experiment: x}}\n"
    )
    for words in (("validate", path), ("policy", "explain", "--policy", path)):
        output: Outcome = offline_cli(*words).expect(0)
        assert "'b' never matches" in output.err
        assert "never matches" not in output.out
    output = offline_cli("report", "-o", tmp_path / "x.json", "--policy", path).expect(ERROR)
    assert "'b' never matches" in output.err


def test_a_mistake_in_a_rule_is_64_with_its_line(offline_cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text("version: 1\nrules:\n- name: a\n  match: {user: u}\n  keep: {last: 0}\n")
    for words in (("validate", path), ("policy", "explain", "--policy", path)):
        assert "p.yml line 5" in offline_cli(*words).expect(USAGE).err


def test_the_schema_of_tests_is_printed(offline_cli: Cli) -> None:
    output = offline_cli("schema", "policy-tests").expect(0).out
    assert output == (ROOT / "schemas" / "policy-tests.v1.schema.json").read_text()
    assert json.loads(output)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
