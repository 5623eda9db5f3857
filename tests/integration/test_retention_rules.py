"""Rules, ages and keep rules of docs/policy.md on a real server: plan, prune, restore.

Everything is old (100 days and more) unless a test says otherwise, so what stays, stays for a rule.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import DAY_MS, Journal, Plan, rfc3339
from support.world import FRESH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.bench import Bench
    from support.cli import Cli, Outcome
    from support.oracle import Entity
    from support.proxy import Proxy
    from support.world import World

DIFFERENT, REFUSED, USAGE = 2, 5, 64
UGLY = '[red]Zoë\'s "nightly"\n\x1b[31m<script>alert(1)</script> 夜'
"""A name with markup, quotes, a newline and an escape code."""


# -- helpers -------------------------------------------------------------------------------------


def write_policy(directory: Path, text: str, name: str = "policy.yml") -> Path:
    """A policy file: ``text`` without its indentation, after the version."""
    path = directory / name
    path.write_text("version: 1\n" + textwrap.dedent(text), encoding="utf-8")
    return path


def score(world: World, run: str, value: float | str, *, age: float = 100, key: str = "auc") -> str:
    """Log a value of a metric, so many days ago; "NaN" and "Infinity" are numbers, too."""
    body = {"run_id": run, "key": key, "value": value, "timestamp": world.ago(age), "step": 0}
    world.call("POST", "runs/log-metric", body)
    return run


def scored(world: World, home: str, value: float | str, **more: Any) -> str:
    """An old run with a metric."""
    return score(world, world.run(home, **more), value)


def of_user(world: World, run: str, user: str) -> str:
    """A run of a user, as his client sends it when it makes the run."""
    world.sql("UPDATE runs SET user_id = ? WHERE run_uuid = ?", user, run)
    return run


def at(text: str) -> int:
    """``2025-03-31T22:30`` UTC in ms since the epoch."""
    moment = datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
    return (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)


def runs_of(*ids: str) -> set[Entity]:
    """Runs as entities."""
    return {("run", run) for run in ids}


def through(proxy: Proxy) -> dict[str, str | None]:
    """The settings with which the program talks through the proxy."""
    return {"MLFLOW_TRACKING_URI": proxy.uri}


@dataclass
class Estate:
    """What a scene put into the server, and what has to become of it.

    Attributes:
        goes: on the plan, and gone after prune.
        kept: protected, with the reason.
        rests: not even stale.
    """

    deleted: set[Entity] = field(default_factory=set)
    retained: dict[Entity, str] = field(default_factory=dict)
    rests: set[Entity] = field(default_factory=set)


# -- whole policies, from report to restore ------------------------------------------------------


def _a_bank(world: World) -> tuple[str, Estate]:
    """Production never, sandboxes after a week, failures after two, the rest as usual."""
    e = Estate()
    prod = world.experiment("prod/fraud")
    never = world.run(prod, age=4000, name=UGLY)
    failed = world.run(prod, age=4000, status="FAILED")
    e.rests |= {("experiment", prod), *runs_of(never, failed)}
    empty = world.experiment("prod/empty", age=4000)
    e.rests.add(("experiment", empty))
    for name in ("sandbox/ann", "tmp/夜 [red]"):
        sand = world.experiment(name, age=FRESH)
        e.deleted |= runs_of(world.run(sand, age=7.01), world.run(sand, age=8, status="KILLED"))
        e.rests |= runs_of(world.run(sand, age=6.99), world.run(sand, age=6, status="FAILED"))
        e.rests.add(("experiment", sand))
    # Not at the beginning of the name: the expression says ^.
    no_sand = world.experiment("my/sandbox/x", age=FRESH)
    e.rests |= runs_of(world.run(no_sand, age=80), world.run(no_sand, age=10, status="FAILED"))
    e.deleted |= runs_of(world.run(no_sand, age=91), world.run(no_sand, age=15, status="FAILED"))
    # Of a rule that sets ttl alone, an experiment without runs has the same age.
    e.deleted.add(("experiment", world.experiment("sandbox/empty", age=8)))
    e.rests.add(("experiment", world.experiment("other empty", age=29)))
    e.deleted.add(("experiment", world.experiment("old empty", age=31)))
    policy = """
        defaults: {ttl: 90d, failed_ttl: 14d, empty_experiments: 30d}
        rules:
          - {name: production, match: {experiment: "prod/*"}, ttl: never}
          - {name: sandboxes, match: {experiment_regex: "^(sandbox|tmp)/"}, ttl: 7d}
    """
    return policy, e


def _nightly_in_berlin(world: World) -> tuple[str, Estate]:
    """Calendar rules count days and months as they are in Berlin."""
    e = Estate()
    home = world.experiment("nightly-fraud", tags={"team": "fraud"}, age=FRESH)
    for start, reason in (
        ("2025-04-02T10:00", "keep_daily"),
        ("2025-04-02T06:00", None),  # the same day, older
        ("2025-03-31T22:30", "keep_daily"),  # half past midnight on the 1st of April
        ("2025-03-31T21:30", "keep_monthly"),  # half past eleven on the 31st of March
        ("2025-03-10T12:00", "keep_weekly"),  # W11; all before are of W14
        ("2025-02-10T12:00", "keep_monthly"),
        ("2024-12-31T23:30", None),  # a new year has begun: the newest of 2025 is another
        ("2024-12-31T22:30", "keep_yearly"),
        ("2024-05-05T12:00", None),
    ):
        run = ("run", world.run(home, start=at(start)))
        if reason:
            e.retained[run] = reason
        else:
            e.deleted.add(run)
    e.rests.add(("experiment", home))
    # Another group has its own places; without the tag, or with another one, no rule keeps.
    twin = world.experiment("nightly-twin", tags={"team": "fraud"}, age=FRESH)
    e.retained["run", world.run(twin, start=at("2020-01-01T12:00"))] = "keep_daily"
    e.deleted |= runs_of(world.run(world.experiment("nightly-x", age=FRESH)))
    stranger = world.experiment("nightly-y", tags={"team": "fraud 2"}, age=FRESH)
    e.deleted |= runs_of(world.run(stranger))
    policy = """
        time_zone: Europe/Berlin
        rules:
          - name: nightly
            match: {experiment: "nightly-*", tags: {team: "fraud"}}
            ttl: 14d
            keep: {daily: 2, weekly: 2, monthly: 3, yearly: 2}
    """
    return policy, e


def _by_run(world: World) -> tuple[str, Estate]:
    """By user, name, status and tag of the run, first match; the experiment looks elsewhere."""
    e = Estate()
    home = world.experiment("everybody's", age=FRESH)
    e.rests |= runs_of(
        of_user(world, world.run(home), "ann@bank"),
        world.run(home, name="release 7 [red]"),
        world.run(home, tags={"tier": "gold<script>"}),
        # The first that fits decides, also where a later one says less.
        of_user(world, world.run(home, name="debug 1", age=50), "ann@bank"),
        of_user(world, world.run(home), "Bob"),  # 100 d, and the case counts
    )
    e.deleted |= runs_of(
        of_user(world, world.run(home, age=4), "bob"),
        world.run(home, age=3, name="debug 夜"),
        world.run(home, age=6, status="FAILED"),
        world.run(home, age=6, status="KILLED"),
    )
    e.rests |= runs_of(
        world.run(home, age=6),
        world.run(home, age=4, status="FAILED"),
        world.run(home, age=1, name="debug"),
        world.run(home, age=3, name="my debug"),
    )
    # All runs go by rules about runs; the experiment itself goes by the default, or not yet.
    lost = world.experiment("lost", age=150)
    e.deleted |= runs_of(world.run(lost, status="FAILED", age=149))
    e.rests.add(("experiment", lost))
    gone = world.experiment("gone", age=250)
    e.deleted |= {("experiment", gone), *runs_of(world.run(gone, age=249))}
    policy = """
        defaults: {ttl: 200d}
        rules:
          - {name: ann's, match: {user: "ann@*"}, ttl: never}
          - {name: releases, match: {run_name: "release*"}, ttl: never}
          - {name: gold, match: {tags: {tier: "gold*"}}, ttl: never}
          - {name: bob's, match: {user: "bob"}, ttl: 3d}
          - {name: debugging, match: {run_name: "debug*"}, ttl: 2d}
          - {name: failures, match: {status: [FAILED, KILLED]}, ttl: 5d}
    """
    return policy, e


def _by_model(world: World) -> tuple[str, Estate]:
    """Models by glob, regular expression and tag; the newest of each stay, by number."""
    e = Estate()

    def versions(name: str, count: int, tags: dict[str, str] | None = None) -> list[Entity]:
        world.model(name, tags=tags)
        # Made in the wrong order: what counts is the number.
        made = [world.version(name, age=100 + n) for n in range(count)]
        return [("model_version", version) for version in made]

    candidate = versions("fraud [red]'s-candidate", 4)
    e.deleted |= set(candidate[:2])
    e.retained |= {candidate[2]: "keep_last"}
    e.retained[candidate[3]] = "highest_version"
    frozen = versions("frozen", 3, {"regulated": "yes, <b>"})
    e.rests |= set(frozen)
    plain = versions("plain", 2)
    e.deleted.add(plain[0])
    e.retained[plain[1]] = "highest_version"
    archive = versions("x-archive-1", 2)
    e.rests |= set(archive)
    policy = """
        rules:
          - {name: regulated, match: {tags: {regulated: "yes*"}}, ttl: never}
          - {name: archives, match: {model_regex: "-archive-[0-9]$"}, ttl: 101d}
          - {name: candidates, match: {model: "*-candidate"}, ttl: 30d, keep: {last: 2}}
    """
    # 100 and 101 days: the highest of the archive is as old as its rule, and equal is not stale.
    return policy, e


def _some_statuses(world: World) -> tuple[str, Estate]:
    """A run in a status that is not listed is not stale; min_age is a floor under all ages."""
    e = Estate()
    home = world.experiment("home", age=FRESH)
    e.deleted |= runs_of(world.run(home, status="KILLED"), world.run(home, age=15, status="KILLED"))
    e.rests |= runs_of(world.run(home), world.run(home, status="FAILED"))
    e.retained["run", world.run(home, age=13, status="KILLED")] = "min_age"
    e.rests |= runs_of(world.run(home, age=4, status="KILLED"))
    tidy = world.experiment("tidy", age=FRESH)
    e.deleted |= runs_of(world.run(tidy, status="FAILED"))
    e.rests |= runs_of(world.run(tidy, status="KILLED"))
    policy = """
        min_age: 14d
        defaults: {ttl: 5d, statuses: [KILLED]}
        rules:
          - {name: tidy, match: {experiment: tidy}, statuses: [FAILED]}
    """
    return policy, e


def _the_best(world: World) -> tuple[str, Estate]:
    """Ties stay; NaN and nothing are never best; infinity is a number; a tree stays whole."""
    e = Estate()
    home = world.experiment("sweep", age=FRESH)
    for value in ("Infinity", 0.9, 0.9):
        e.retained["run", scored(world, home, value)] = "keep_best"
    for low in (0.1, "-Infinity"):
        e.deleted |= runs_of(scored(world, home, low))
    e.deleted |= runs_of(
        # Two are read first (the oldest are): a comparison with NaN depends on who is asked.
        *(scored(world, home, "NaN", age=age) for age in (150, 149, 100, 90)),
        world.run(home),
        score(world, scored(world, home, 5), "NaN", age=99),  # the latest counts
        score(world, world.run(home), 7, key="AUC"),
    )
    e.retained["run", score(world, world.run(home), 0.01, key="loss")] = "keep_best"
    parent = world.run(home)
    e.retained["run", score(world, world.run(home, parent=parent), -7, key="loss")] = "keep_best"
    e.retained["run", parent] = "tree"
    # A fresh run takes a place, too: of these two the older one has none left.
    other = world.experiment("other sweep", age=FRESH)
    e.rests |= runs_of(score(world, world.run(other, age=1), 0.99, age=1))
    e.retained["run", scored(world, other, 0.98)] = "keep_best"
    e.deleted |= runs_of(scored(world, other, 0.97))
    policy = """
        defaults:
          keep:
            best:
              - {metric: auc, mode: max, count: 2}
              - {metric: loss, mode: min, count: 2}
    """
    return policy, e


def _last_and_within(world: World) -> tuple[str, Estate]:
    """The rules are ORed; failed runs take places unless a rule for them comes first."""
    e = Estate()
    home = world.experiment("nightly-a", age=FRESH)
    e.retained["run", world.run(home, age=31, status="FAILED")] = "keep_last"
    e.retained["run", world.run(home, age=32)] = "keep_last"
    e.retained["run", world.run(home, age=60)] = "keep_within"
    e.deleted |= runs_of(world.run(home, age=60.01), world.run(home, age=70, status="FAILED"))
    good = world.experiment("good", age=FRESH)
    e.retained["run", world.run(good, age=40)] = "keep_last"
    e.retained["run", world.run(good, age=50)] = "keep_last"
    e.deleted |= runs_of(world.run(good, age=70), world.run(good, age=31, status="FAILED"))
    # restic's way: while some of the three years are left, the oldest stays as well.
    years = world.experiment("years", age=FRESH)
    e.retained["run", world.run(years, start=at("2025-06-05T12:00"))] = "keep_yearly"
    e.deleted |= runs_of(world.run(years, start=at("2025-06-03T12:00")))
    e.retained["run", world.run(years, start=at("2025-06-01T12:00"))] = "keep_yearly"
    policy = """
        rules:
          - {name: failures, match: {experiment: good, status: [FAILED, KILLED]}, ttl: 7d}
          - {name: years, match: {experiment: years}, keep: {yearly: 3}}
          - {name: the rest, match: {experiment: "*"}, keep: {last: 2, within: 60d}}
    """
    return policy, e


SCENES = {
    "a bank": _a_bank,
    "nightly in Berlin": _nightly_in_berlin,
    "by run": _by_run,
    "by model": _by_model,
    "some statuses": _some_statuses,
    "the best": _the_best,
    "last and within": _last_and_within,
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_from_report_to_restore(
    bench: Bench, tmp_path: Path, scene: Callable[[World], tuple[str, Estate]]
) -> None:
    """What the policy says is on the plan, with reasons, goes, and comes back; nothing else."""
    text, estate = scene(bench.world)
    plan = bench.report("--policy", write_policy(tmp_path, text))
    assert plan.entities == estate.deleted
    for entity, reason in estate.retained.items():
        assert list(plan.protection(entity)) == [reason], entity
    for entity in estate.rests:
        assert not plan.protection(entity), entity
    assert all(
        entry["reasons"] for kind in ("runs", "experiments") for entry in plan.document[kind]
    )
    bench.cli("validate", plan.path).expect(0)

    before = bench.state()
    _, journal = bench.prune(plan)
    assert bench.state().gone_since(before) == estate.deleted
    assert journal.with_outcome("deleted") == estate.deleted
    irreversible = {entity for entity in estate.deleted if entity[0] == "model_version"}
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before.active - irreversible


def test_the_plan_says_which_rule_and_which_keep_rules(bench: Bench, tmp_path: Path) -> None:
    """In words, for what goes and for what stays; hostile names of rules come as they are."""
    home = bench.world.experiment("a", age=FRESH)
    retained = scored(bench.world, home, 0.9, age=101)
    deleted = bench.world.run(home, age=150)
    ugly = json.dumps(UGLY)
    policy = write_policy(
        tmp_path,
        f"""
        rules:
          - name: {ugly}
            match: {{experiment: a}}
            ttl: 14d
            keep: {{last: 1, daily: 1, best: {{metric: auc, mode: max, count: 1}}}}
        """,
    )
    plan = bench.report("--policy", policy)
    via = plan.protection(("run", retained))["keep_last"]
    assert via[-1] == f"rule {UGLY}"
    assert any("day " in words for words in via)
    assert any("max auc" in words for words in via)
    assert f"rule {UGLY}" in " ".join(plan.run(deleted)["reasons"])
    for form in ("text", "markdown", "html"):
        shown = bench.cli("show", plan.path, "--format", form).expect(0).text
        assert "\x1b" not in shown
        # The page has a script of its own.
        assert form == "text" or "<script>alert" not in shown
    before = bench.state()
    outcome, _ = bench.prune(plan)
    assert "\x1b" not in outcome.text
    assert bench.state().gone_since(before) == runs_of(deleted)


def test_the_plan_holds_the_policy_in_full(bench: Bench, tmp_path: Path) -> None:
    """Every value of every rule, inherited ones too, and what an experiment of a rule has set."""
    policy = write_policy(
        tmp_path,
        """
        time_zone: Europe/Berlin
        defaults: {ttl: 90d, failed_ttl: 14d, zombies: 60d, empty_models: 80d, keep: {last: 3}}
        rules:
          - {name: prod, match: {experiment: "prod/*"}, ttl: never}
          - {name: sand, match: {experiment_regex: "^s"}, ttl: 1w, empty_experiments: 2d}
          - {name: keen, match: {user: ann}, keep: {best: {metric: auc, mode: max, count: all}}}
        """.replace("count: all", "count: 2"),
    )
    found = bench.report("--policy", policy).document["policy"]
    base = {
        "statuses": ["FINISHED", "FAILED", "KILLED"],
        "zombies": "60d",
        "empty_models": "80d",
        "keep": {"last": 3},
    }
    assert found["time_zone"] == "Europe/Berlin"
    assert found["default"].items() >= {**base, "ttl": "90d", "failed_ttl": "14d"}.items()
    prod, sand, keen = found["rules"]
    nevers = {"ttl": "never", "failed_ttl": "never", "empty_experiments": "never"}
    assert prod.items() >= {**base, **nevers, "zombies": "off", "empty_models": "off"}.items()
    assert prod["match"] == {"experiment": "prod/*"}
    ages = {"ttl": "7d", "failed_ttl": "7d", "empty_experiments": "2d"}
    assert sand.items() >= {**base, **ages}.items()
    best = [{"metric": "auc", "mode": "max", "count": 2}]
    assert keen.items() >= {**base, "keep": {"best": best}, "ttl": "90d"}.items()


def test_a_rule_that_matches_nothing_is_noted_in_the_plan(bench: Bench, tmp_path: Path) -> None:
    """By name, on stderr too; the plan can be applied all the same."""
    bench.world.run(bench.world.experiment("prod"))
    policy = write_policy(
        tmp_path,
        f"""
        rules:
          - {{name: {json.dumps(UGLY)}, match: {{experiment: "porod"}}, ttl: 7d}}
          - {{name: used, match: {{experiment: "prod"}}, ttl: 7d}}
        """,
    )
    path = tmp_path / "plan.json"
    output = bench.cli("report", "-o", path, "--policy", policy).expect(0)
    plan = Plan.load(path)
    (diagnostic,) = plan.document["diagnostics"]
    assert diagnostic["code"] == "unused_rule"
    assert "<script>" in diagnostic["message"]
    assert "<script>" in output.err
    assert "\x1b" not in output.err
    assert "used" not in diagnostic["message"].replace("unused", "")
    assert plan.document["applyable"]
    bench.prune(plan)


def test_a_rule_about_an_empty_model_is_not_unused(bench: Bench, tmp_path: Path) -> None:
    """It matches a registered model on the server, whether or not anything may go there."""
    bench.world.model("fraud")
    text = "rules: [{name: models, match: {model: fraud}, ttl: 7d}]\n"
    plan = bench.report("--policy", write_policy(tmp_path, text))
    assert not plan.document["diagnostics"]


def test_what_can_do_nothing_gets_a_warning(bench: Bench, tmp_path: Path) -> None:
    """On stderr, with the file and the rule; it is no mistake."""
    policy = write_policy(
        tmp_path,
        """
        defaults: {keep: {daily: 14, weekly: 2}}
        rules:
          - {name: idle age, match: {model: m}, zombies: 5d}
          - {name: idle keep, match: {experiment: e}, keep: {last: all, daily: 3}}
          - {name: all of them, match: {experiment: "*"}, ttl: 7d}
          - {name: behind it, match: {experiment: "prod/*"}, ttl: never}
        """,
    )
    output = bench.cli("report", "-o", "-", "--policy", policy).expect(0)
    mark = f"Warning: {policy}: "
    warned = [line for line in output.err.splitlines() if line.startswith(mark)]
    for words in (
        ("defaults", "keep.daily", "keep.weekly"),
        ("'idle age'", "zombies"),
        ("'idle keep'", "keep.last: all"),
        ("'behind it'", "never matches", "'all of them'"),
    ):
        assert sum(all(word in line for word in words) for line in warned) == 1, words
    assert len(warned) == 4
    assert output.json()["applyable"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("rules:\n  - {name: a, match: {experiment: a}, tll: 7d}\n", 3, "tll"),
        ("rules:\n  - {name: a, match: {}, ttl: 7d}\n", 3, "match"),
        ("rules:\n  - {name: a, ttl: 7d}\n", 3, "match"),
        ("rules:\n  - {match: {experiment: a}, ttl: 7d}\n", 3, "name"),
        ("rules:\n  - name: a\n    match: {experiment: a}\n    ttl: 0d\n", 5, "0d"),
        ("rules:\n  - name: a\n    match: {experiment: a}\n    ttl: 7\n", 5, "7"),
        ("rules:\n  - name: a\n    match: {experiment: a}\n    keep: {last: 0}\n", 5, "last"),
        ("rules:\n  - name: a\n    match: {experiment_regex: '('}\n    ttl: 7d\n", 3, "regex"),
        ("rules:\n  - name: a\n    match: {model: m, user: u}\n    ttl: 7d\n", 3, "never match"),
        ("rules:\n  - {name: a, match: {user: u}}\n  - {name: a, match: {user: v}}\n", 4, "'a'"),
        ("time_zone: Europe/Atlantis\n", 2, "Atlantis"),
        ("defaults:\n  ttl: 90d\n  ttl: 5d\n", 4, "ttl"),
        ("defaults:\n  statuses: [RUNNING]\n", 3, "statuses"),
        ("defaults:\n  keep:\n    best: {metric: auc, mode: best, count: 1}\n", 4, "mode"),
        ("grace: 0d\n", 2, "grace"),
    ],
)
def test_mistakes_are_refused_with_their_line(
    offline_cli: Cli, tmp_path: Path, text: str, line: int, words: str
) -> None:
    """By ``report`` and ``validate``, exit code 64, before any server is asked; no plan is written."""
    path = write_policy(tmp_path, text, "bad.yml")
    for command in (("report", "-o", tmp_path / "plan.json", "--policy", path), ("validate", path)):
        output = offline_cli(*command).expect(USAGE)
        assert f"bad.yml line {line}" in output.err
        assert words in output.err
    assert not (tmp_path / "plan.json").exists()


# -- where ages and policies come from -----------------------------------------------------------


@pytest.mark.parametrize("way", ["flag", "variable"])
def test_a_ttl_of_flag_or_variable_comes_before_that_of_the_file(
    bench: Bench, tmp_path: Path, way: str
) -> None:
    """Stderr says so; the rules are not touched."""
    world = bench.world
    home, ruled = world.experiment("home", age=FRESH), world.experiment("ruled", age=FRESH)
    young, mine = world.run(home, age=50), world.run(home, age=61)
    by_rule, not_by_rule = world.run(ruled, age=8), world.run(ruled, age=6)
    policy = write_policy(
        tmp_path,
        """
        defaults: {ttl: 45d}
        rules: [{name: ruled, match: {experiment: ruled}, ttl: 7d}]
        """,
    )
    path = tmp_path / "plan.json"

    def report(*args: object, env: dict[str, str | None] | None = None) -> tuple[Outcome, Plan]:
        words = ("report", "-o", path, "--as-of", world.as_of, "--policy", policy, *args)
        return bench.cli(*words, env=env).expect(0), Plan.load(path)

    output, plan = report()
    assert plan.runs == {young, mine, by_rule}
    assert "TTL" not in output.err
    if way == "flag":
        output, plan = report("--ttl", 60)
    else:
        output, plan = report(env={"MLFLOW_TRACKING_ENTITY_TTL": "60"})
    assert plan.runs == {mine, by_rule}
    assert "60 days" in output.err
    assert str(policy) in output.err
    assert plan.document["policy"]["default"]["ttl"] == "60d"
    assert not_by_rule not in plan.runs


def test_variable_and_working_directory_bring_rules_too(bench: Bench, tmp_path: Path) -> None:
    """``MLFLOW_GC_POLICY`` before ``mlflow-gc.yml``."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    five, ten = world.run(home, age=5), world.run(home, age=10)
    write_policy(tmp_path, "rules: [{name: h, match: {experiment: h*}, ttl: 8d}]", "mlflow-gc.yml")
    here = bench.cli("report", "-o", "-", cwd=tmp_path).expect(0)
    assert {run["run_id"] for run in here.json()["runs"]} == {ten}
    named = write_policy(tmp_path, "rules: [{name: h, match: {experiment: h*}, ttl: 4d}]")
    env = {"MLFLOW_GC_POLICY": str(named)}
    there = bench.cli("report", "-o", "-", cwd=tmp_path, env=env).expect(0)
    assert {run["run_id"] for run in there.json()["runs"]} == {five, ten}
    # prune without a PLAN finds it the same way.
    before = bench.state()
    bench.cli("prune", "--yes", cwd=tmp_path).expect(0)
    assert bench.state().gone_since(before) == runs_of(ten)


def test_a_plan_carries_its_policy(bench: Bench, tmp_path: Path) -> None:
    """It is applied by its own rules, where there is no policy file, or another one."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    old = [world.run(home, age=age) for age in (10, 11, 12)]
    text = "rules: [{name: h, match: {experiment: home}, ttl: 8d, keep: {last: 1}}]"
    policy = write_policy(tmp_path, text)
    plan = bench.report("--policy", policy)
    assert plan.runs == set(old[1:])
    policy.unlink()
    other = write_policy(tmp_path, "defaults: {ttl: never}", "mlflow-gc.yml")
    before = bench.state()
    env = {"MLFLOW_GC_POLICY": str(other)}
    bench.cli("check", plan.path, "--detailed-exitcode", cwd=tmp_path, env=env).expect(0)
    bench.cli("prune", plan.path, cwd=tmp_path, env=env).expect(0)
    assert bench.state().gone_since(before) == runs_of(*old[1:])


def test_a_forecast_looks_ahead_through_the_rules(bench: Bench, tmp_path: Path) -> None:
    """What will be stale then, by each rule; it cannot be applied."""
    world = bench.world
    sand, home = world.experiment("sandbox/a", age=FRESH), world.experiment("home", age=FRESH)
    soon, later = world.run(sand, age=1), world.run(home, age=1)
    policy = write_policy(
        tmp_path, "rules: [{name: sand, match: {experiment: 'sandbox/*'}, ttl: 7d}]"
    )
    ahead = rfc3339(world.as_of_ms + 10 * DAY_MS)
    path = tmp_path / "plan.json"
    output = bench.cli("report", "-o", path, "--as-of", ahead, "--policy", policy).expect(0)
    plan = Plan.load(path)
    assert plan.runs == {soon}
    assert later not in plan.runs
    assert not plan.document["applyable"]
    assert [d["code"] for d in plan.document["diagnostics"]] == ["forecast"]
    assert "future" in output.err
    before = bench.state()
    bench.prune(plan, codes=(REFUSED,))
    assert bench.state() == before


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_diff_shows_that_the_policy_changed(bench: Bench, tmp_path: Path, form: str) -> None:
    """Beside what that does to the entities."""
    run = bench.world.run(bench.world.experiment("home", age=FRESH), age=20)
    plans = []
    for number, ttl in enumerate(("30d", "10d")):
        text = f"rules: [{{name: h, match: {{experiment: h*}}, ttl: {ttl}}}]"
        policy = write_policy(tmp_path, text)
        plans.append(bench.report("--policy", policy, name=f"{number}.json"))
    base, head = (plan.path for plan in plans)
    output = bench.cli("diff", base, head, "--format", form).expect(DIFFERENT)
    assert run in output.out
    if form == "json":
        document = output.json()
        assert {"field": "rules.h.ttl", "old": "30d", "new": "10d"} in document["policy"]
        assert all(change["field"].startswith("rules.h.") for change in document["policy"])
    else:
        assert "rules" in output.out
        assert "30d" in output.out
        assert "10d" in output.out
    bench.cli("diff", base, base).expect(0)


# -- keep rules when the plan is applied ---------------------------------------------------------


def test_when_winners_are_deleted_other_runs_move_up(bench: Bench, tmp_path: Path) -> None:
    """Next of the newest, next of the day, next of the best: skipped, ``protected``."""
    world = bench.world
    last = world.experiment("last", age=FRESH)
    newest = [world.run(last, age=100 + n) for n in range(4)]
    day = world.experiment("day", age=FRESH)
    daily = [world.run(day, start=at(f"2025-06-0{n}T12:00")) for n in (4, 3, 2)]
    daily += [world.run(day, start=at("2025-06-04T11:00"))]
    best = world.experiment("best", age=FRESH)
    values = [scored(world, best, value) for value in (0.9, 0.8, 0.7)]
    model = world.model("fraud-candidate")
    versions = [world.version(model) for _ in range(5)]
    policy = write_policy(
        tmp_path,
        """
        rules:
          - {name: last, match: {experiment: last}, keep: {last: 2}}
          - {name: day, match: {experiment: day}, keep: {daily: 2}}
          - name: best
            match: {experiment: best}
            keep: {best: {metric: auc, mode: max, count: 1}}
          - {name: candidates, match: {model: "*-candidate"}, keep: {last: 2}}
        """,
    )
    plan = bench.report("--policy", policy)
    assert plan.runs == {*newest[2:], *daily[2:], *values[1:]}
    assert plan.versions == set(versions[:3])
    world.delete_run(newest[0])
    world.delete_run(daily[0])
    world.delete_run(values[0])
    world.delete_version(versions[3])
    inheriting = {*runs_of(newest[2], daily[3], values[1]), ("model_version", versions[2])}
    before = bench.state()
    _, journal = bench.prune(plan)
    assert journal.skips == dict.fromkeys(inheriting, "protected")
    assert bench.state().gone_since(before) == plan.entities - inheriting
    reported = {r["id"]: r["detail"] for r in journal.records if r["outcome"] == "skipped"}
    assert "keep_last" in reported[newest[2]]
    assert "keep_daily" in reported[daily[3]]
    assert "keep_best" in reported[values[1]]


def test_newer_runs_do_not_put_more_on_the_plan(bench: Bench, tmp_path: Path) -> None:
    """They push a kept run out of the newest; prune deletes what the plan lists all the same."""
    world = bench.world
    home = world.experiment("last", age=FRESH)
    runs = [world.run(home, age=100 + n) for n in range(4)]
    policy = write_policy(
        tmp_path, "rules: [{name: l, match: {experiment: last}, keep: {last: 2}}]"
    )
    plan = bench.report("--policy", policy)
    for _ in range(3):
        world.run(home, age=0)
    before = bench.state()
    _, journal = bench.prune(plan)
    assert not journal.skips
    assert bench.state().gone_since(before) == runs_of(*runs[2:])


def test_metrics_count_as_they_are_when_the_plan_is_applied(bench: Bench, tmp_path: Path) -> None:
    """One that got better stays, one whose better is worse now moves up; a NaN makes nobody best.

    The values are logged with the old time stamps, so that only the ranking changes, and that there
    is one more.
    """
    world = bench.world
    policy = write_policy(tmp_path, "defaults: {keep: {best: {metric: auc, mode: max, count: 1}}}")
    rises, falls, unmoved = (world.experiment(n, age=FRESH) for n in ("rises", "falls", UGLY[:20]))
    up = [scored(world, rises, value) for value in (0.9, 0.8, 0.7)]
    down = [scored(world, falls, value) for value in (0.9, 0.8, 0.7)]
    same = [scored(world, unmoved, value) for value in (0.9, 0.8, 0.7)]
    plan = bench.report("--policy", policy)
    assert plan.runs == {*up[1:], *down[1:], *same[1:]}

    def log(run: str, value: float | str) -> None:
        body = {"run_id": run, "key": "auc", "value": value, "timestamp": world.ago(100), "step": 1}
        world.call("POST", "runs/log-metric", body)

    log(up[2], 0.95)
    log(down[0], 0.1)
    log(same[1], "NaN")
    before = bench.state()
    _, journal = bench.prune(plan)
    saved = runs_of(up[2], down[1])
    changed = runs_of(same[1])
    assert journal.skips == {
        **dict.fromkeys(saved, "protected"),
        **dict.fromkeys(changed, "changed"),
    }
    assert bench.state().gone_since(before) == plan.entities - saved - changed


def test_no_value_of_a_metric_is_in_any_file(bench: Bench, tmp_path: Path) -> None:
    """The plan says which metric kept a run, and the value is nobody's business."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    values = (0.8675309, 0.1123581321)
    runs = [scored(world, home, value) for value in values]
    policy = write_policy(tmp_path, "defaults: {keep: {best: {metric: auc, mode: max, count: 1}}}")
    plan = bench.report("--policy", policy)
    assert plan.runs == {runs[1]}
    outcome, _ = bench.prune(plan)
    written = plan.path.read_text() + bench.journal_path(plan).read_text() + outcome.text
    for value in values:
        assert str(value)[2:8] not in written


def test_a_retained_run_deleted_at_the_very_moment_brings_its_heir_back(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    """The delete of the heir is under way: the look back finds that it is one of the newest."""
    world = bench.world
    home = world.experiment("last", age=FRESH)
    runs = [world.run(home, age=100 + n) for n in range(4)]
    policy = write_policy(
        tmp_path, "rules: [{name: l, match: {experiment: last}, keep: {last: 1}}]"
    )
    plan = bench.report("--policy", policy)
    assert plan.runs == set(runs[1:])
    before = bench.state()
    proxy.before("POST", "runs/delete$", lambda: world.delete_run(runs[0]))
    outcome, journal = bench.prune(plan, env=through(proxy))
    assert bench.state().gone_since(before) == runs_of(runs[0], *runs[2:])
    assert journal.with_outcome("restored") == runs_of(runs[1])
    assert "WARNING" in outcome.err


def test_a_retained_run_deleted_between_two_batches_is_seen_by_the_second(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    """Right before a deletion what protects is read again, the other runs of the group too.

    More than a hundred runs go in two batches, the oldest first.
    """
    world = bench.world
    home = world.experiment("last", age=FRESH)
    newest = world.run(home, age=99)
    runs = world.bulk_runs(home, 150)
    policy = write_policy(
        tmp_path, "rules: [{name: l, match: {experiment: last}, keep: {last: 1}}]"
    )
    plan = bench.report("--policy", policy)
    assert plan.runs == set(runs)
    before = bench.state()
    proxy.before("POST", "runs/delete$", lambda: world.delete_run(newest))
    _, journal = bench.prune(plan, env=through(proxy))
    gone = bench.state().gone_since(before)
    # bulk_runs lists the newest first.
    assert gone == runs_of(newest, *runs[1:])
    assert ("run", runs[0]) in {*journal.skips, *journal.with_outcome("restored")}


@pytest.mark.parametrize("keep", ["", "keep_last: {runs: 1}"])
def test_what_a_running_run_of_the_group_reads_is_retained(
    bench: Bench, tmp_path: Path, keep: str
) -> None:
    """A run that began after the plan uses a model: its maker stays, with keep rules or without."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    world.run(home, age=1)
    maker, other = world.run(home), world.run(home)
    model = world.logged_model(home, maker)
    plan = bench.report("--policy", write_policy(tmp_path, keep + "\n"))
    assert plan.runs == {maker, other}
    world.use_model(world.run(home, age=-0.005, status="RUNNING"), model)
    before = bench.state()
    _, journal = bench.prune(plan)
    assert journal.skips == {("run", maker): "protected"}
    assert bench.state().gone_since(before) == runs_of(other)


# -- zombies -------------------------------------------------------------------------------------

ZOMBIES = """
    defaults: {zombies: 60d}
    rules: [{name: prod, match: {experiment: "prod*"}, ttl: never}]
"""


def test_zombies_go_when_the_policy_says_so(bench: Bench, tmp_path: Path) -> None:
    """Without a start, a metric or an end for so long; also a resumed run, by its old times."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    dead = [world.run(home, age=61, status=status) for status in ("RUNNING", "SCHEDULED")]
    resumed = world.run(home, age=70)
    world.resume(resumed)
    ended = world.run(home, age=90, end=world.ago(50))
    world.resume(ended)
    alive = [
        ended,
        world.run(home, age=59, status="RUNNING"),
        world.run(home, age=90, status="RUNNING", metrics={"loss": world.ago(50)}),
        world.run(world.experiment("prod"), age=999, status="RUNNING"),
    ]
    off = bench.report(name="off.json")
    assert not off.runs
    assert all(list(off.protection(("run", run))) == ["not_terminal"] for run in [*dead, resumed])

    plan = bench.report("--policy", write_policy(tmp_path, ZOMBIES))
    assert plan.runs == {*dead, resumed}
    assert not any(plan.protection(("run", run)) for run in alive)
    assert "RUNNING" in " ".join(plan.run(dead[0])["reasons"])
    assert "60d" in json.dumps(plan.document["policy"]["default"])
    before = bench.state()
    bench.prune(plan)
    assert bench.state().gone_since(before) == plan.entities
    bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert bench.state().active == before.active
    found = world.call("GET", f"runs/get?run_id={dead[0]}", {})["run"]["info"]
    assert found["status"] == "RUNNING"


def test_an_abandoned_run_that_lives_is_retained(bench: Bench, tmp_path: Path) -> None:
    """It logged a metric, ended, or was resumed between report and prune."""
    world = bench.world
    home = world.experiment("home", age=FRESH)
    logs, ends, dead = (world.run(home, status="RUNNING") for _ in range(3))
    resumed = world.run(home)
    plan = bench.report("--policy", write_policy(tmp_path, ZOMBIES))
    assert plan.runs == {logs, ends, dead, resumed}
    world.metric(logs, world.as_of_ms)
    world.call("POST", "runs/update", {"run_id": ends, "status": "FINISHED"})
    world.resume(resumed)
    before = bench.state()
    _, journal = bench.prune(plan)
    assert journal.skips == dict.fromkeys(runs_of(logs, ends, resumed), "changed")
    assert bench.state().gone_since(before) == runs_of(dead)


def test_an_abandoned_run_that_logs_at_the_very_moment_is_rolled_back(
    bench: Bench, proxy: Proxy, tmp_path: Path
) -> None:
    """The delete is under way when the metric arrives."""
    world = bench.world
    run = world.run(world.experiment("home", age=FRESH), status="RUNNING")
    plan = bench.report("--policy", write_policy(tmp_path, ZOMBIES))
    proxy.before("POST", "runs/delete$", lambda: world.metric(run, world.as_of_ms))
    _, journal = bench.prune(plan, env=through(proxy))
    assert ("run", run) in bench.state().active
    assert journal.with_outcome("restored") == runs_of(run)


def test_the_journal_of_a_plan_by_rules_is_valid(bench: Bench, tmp_path: Path) -> None:
    """Applied twice: the second finds all in the trash, and both stand in one valid journal."""
    home = bench.world.experiment(UGLY, age=FRESH)
    run = bench.world.run(home, age=10, name=UGLY)
    text = (
        f"rules: [{{name: u, match: {{experiment: '[[]red]*', run_name: {json.dumps(UGLY[1:])}}}}}]"
    )
    text = text.replace(json.dumps(UGLY[1:]), '"*<script>*"').replace("}}]", "}, ttl: 7d}]")
    plan = bench.report("--policy", write_policy(tmp_path, text))
    assert plan.runs == {run}
    bench.prune(plan)
    _, journal = bench.prune(plan)
    assert journal.skips == {("run", run): "already_deleted"}
    bench.cli("validate", bench.journal_path(plan)).expect(0)
    assert len(Journal.load(bench.journal_path(plan)).of_type("header")) == 2
