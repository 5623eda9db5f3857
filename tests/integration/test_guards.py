"""Guards and the other limits of a policy on a real server: when the plan is made, and when it is applied."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import pytest
from support.plans import DAY_MS, Plan, rfc3339
from support.world import FRESH, OLD

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.bench import Bench
    from support.oracle import State
    from support.world import World

REFUSED = 5
HOUR_MS = 3_600_000

# What goes and what exists in the world of `served`; each limit is given as (trips, just passes).
GUARDS = [
    ("max_deletions", "total", "4", "5", ["5", "4"]),
    ("max_deletions", "experiments", "0", "1", ["1", "0"]),
    ("max_deletions", "runs", "1", "2", ["2", "1"]),
    ("max_deletions", "model_versions", "1", "2", ["2", "1"]),
    ("max_share", "total", "55%", "56%", ["5 of 9", "55 %"]),
    ("max_share", "experiments", "33%", "34%", ["1 of 3", "33 %"]),
    ("max_share", "runs", "66%", "67%", ["2 of 3", "66 %"]),
    ("max_share", "model_versions", "66%", "67%", ["2 of 3", "66 %"]),
    ("max_share", "experiment", "66%", "67%", ["2 of its 3", "66 %"]),
    ("max_share", "registered_model", "66%", "67%", ["2 of its 3", "66 %"]),
]
each_guard = pytest.mark.parametrize(
    ("group", "key", "trips", "passes", "numbers"), GUARDS, ids=[f"{g[0]}.{g[1]}" for g in GUARDS]
)


def write_policy(directory: Path, *lines: str) -> Path:
    """A policy file."""
    path = directory / "policy.yml"
    path.write_text("\n".join(["version: 1", *lines, ""]))
    return path


def guard(directory: Path, group: str, key: str, limit: str) -> Path:
    """A policy file with one guard."""
    return write_policy(directory, f"guards: {{{group}: {{{key}: {limit}}}}}")


@pytest.fixture(scope="module")
def served(shared_bench: Bench) -> Bench:
    """1 of 3 experiments (with the default one), 2 of 3 runs and 2 of 3 versions are stale."""
    world = shared_bench.world
    world.date_experiment("0", created=world.ago(OLD), updated=world.ago(OLD))
    home = world.experiment("home", age=FRESH)
    world.run(home)
    world.run(home)
    world.run(home, age=FRESH)
    world.experiment("empty")
    model = world.model("fraud")
    world.version(model)
    world.version(model)
    world.version(model, age=FRESH)
    summary = shared_bench.report(name="free.json").document["summary"]
    assert [
        (summary[kind]["delete"], summary[kind]["scanned"])
        for kind in ("experiments", "runs", "model_versions")
    ] == [(1, 3), (2, 3), (2, 3)]
    return shared_bench


@each_guard
def test_an_exceeded_guard_gives_a_plan_that_cannot_be_applied(
    served: Bench, tmp_path: Path, group: str, key: str, trips: str, passes: str, numbers: list[str]
) -> None:
    """Written in full, exit 5, the numbers and the way on in words; ``prune`` refuses it."""
    before = served.state()
    policy = guard(tmp_path, group, key, trips)
    path = tmp_path / "plan.json"
    output = served.cli("report", "-o", path, "--as-of", served.world.as_of, "--policy", policy)
    output.expect(REFUSED)
    assert f"guards.{group}.{key}" in output.err
    assert all(number in output.err for number in numbers)
    assert "Review what is deleted" in output.err
    assert "raise that guard" in output.err

    plan = Plan.load(path)
    assert plan.document["complete"]
    assert not plan.document["applyable"]
    (diagnostic,) = plan.document["diagnostics"]
    assert diagnostic["code"] == "guard"
    assert f"guards.{group}.{key}" in diagnostic["message"]
    assert (len(plan.experiments), len(plan.runs), len(plan.versions)) == (1, 2, 2)

    if key == "total":
        served.cli("validate", path).expect(0)
    refused, _ = served.prune(plan, codes=(REFUSED,))
    assert f"guards.{group}.{key}" in refused.err
    assert all(number in refused.err for number in numbers)
    assert "raise that guard" in refused.err
    assert not served.journal_path(plan).exists()
    assert served.state() == before
    del passes


@pytest.mark.parametrize("key", ["max_deletions: {total: 4}", "max_share: {registered_model: 66%}"])
def test_a_plan_made_on_the_spot_that_trips_is_refused(
    served: Bench, tmp_path: Path, key: str
) -> None:
    """``--yes`` answers a question; it does not lift a guard."""
    before = served.state()
    policy = write_policy(tmp_path, f"guards: {{{key}}}")
    refused = served.cli("prune", "--yes", "--policy", policy, cwd=tmp_path).expect(REFUSED)
    group, limit = key.rstrip("}").split(": {")
    assert f"guards.{group}.{limit.split(':')[0]}" in refused.err
    assert served.state() == before
    assert not list(tmp_path.glob("*.journal*"))
    (path,) = tmp_path.glob("prune-plan-*.json")
    assert not Plan.load(path).document["applyable"]


def test_just_within_every_guard_passes(served: Bench, tmp_path: Path) -> None:
    """The limits themselves are allowed, when the plan is made and when it is applied."""
    limits = [
        f"  {group}: {{{', '.join(f'{g[1]}: {g[3]}' for g in GUARDS if g[0] == group)}}}"
        for group in ("max_deletions", "max_share")
    ]
    policy = write_policy(tmp_path, "guards:", *limits)
    path = tmp_path / "plan.json"
    served.cli("report", "-o", path, "--as-of", served.world.as_of, "--policy", policy).expect(0)
    plan = Plan.load(path).document
    assert plan["applyable"]
    assert sum(len(limits) for limits in plan["policy"]["guards"].values()) == len(GUARDS)
    served.cli("prune", path, "--dry-run").expect(0)


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_show_says_that_a_guard_is_tripped(served: Bench, tmp_path: Path, form: str) -> None:
    """In each form that people read."""
    path = tmp_path / "plan.json"
    policy = guard(tmp_path, "max_deletions", "runs", "1")
    served.cli("report", "-o", path, "--as-of", served.world.as_of, "--policy", policy)
    shown = html.unescape(served.cli("show", path, "--format", form).expect(0).out)
    assert "max_deletions.runs" in shown
    assert "cannot be applied: a guard is exceeded" in shown.lower()
    assert "--expect" not in shown


def test_several_guards_are_all_named(served: Bench, tmp_path: Path) -> None:
    """Whoever raises one should know of the next."""
    policy = write_policy(
        tmp_path, "guards: {max_deletions: {runs: 1, total: 1}, max_share: {experiments: 0%}}"
    )
    args = ("report", "-o", tmp_path / "p.json", "--as-of", served.world.as_of)
    output = served.cli(*args, "--policy", policy).expect(REFUSED)
    for key in ("max_deletions.runs", "max_deletions.total", "max_share.experiments"):
        assert f"guards.{key}" in output.err


def test_a_tripped_plan_on_stdout_is_whole(served: Bench, tmp_path: Path) -> None:
    """Nothing but the document, and the exit code."""
    policy = guard(tmp_path, "max_deletions", "runs", "1")
    output = served.cli("report", "-o", "-", "--policy", policy).expect(REFUSED)
    assert output.json()["applyable"] is False


def test_detailed_exit_codes_do_not_hide_a_guard(served: Bench, tmp_path: Path) -> None:
    """5, not 2."""
    policy = guard(tmp_path, "max_deletions", "runs", "1")
    args = ("report", "-o", tmp_path / "p.json", "--detailed-exitcode", "--policy", policy)
    served.cli(*args).expect(REFUSED)


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["policy"]["guards"]["max_deletions"].update(runs=1000),
        lambda d: d["policy"]["guards"]["max_deletions"].clear(),
        lambda d: d["policy"]["keep_last"].update(runs=0),
        lambda d: d.update(applyable=True, diagnostics=[]),
    ],
    ids=["raised", "removed", "keep_last", "applyable"],
)
def test_edited_limits_are_refused(
    served: Bench, tmp_path: Path, edit: Callable[[dict[str, Any]], object]
) -> None:
    """They are part of what was reviewed: the digest covers them."""
    before = served.state()
    policy = write_policy(tmp_path, "guards: {max_deletions: {runs: 1}}", "keep_last: {runs: 1}")
    path = tmp_path / "plan.json"
    args = ("report", "-o", path, "--as-of", served.world.as_of, "--policy", policy)
    # One old run stays as the second newest of three, so that only the digest can object.
    served.cli(*args).expect(0, REFUSED)
    edited = Plan.load(path).edited(tmp_path / "edited.json", edit, sign=False)
    refused, _ = served.prune(edited, codes=(REFUSED,))
    assert "edited" in refused.err.replace("edited.json", "")
    assert served.state() == before


def test_a_plan_signed_as_applyable_meets_its_guards_all_the_same(
    served: Bench, tmp_path: Path
) -> None:
    """What the plan says of itself is not what protects the server."""
    before = served.state()
    policy = guard(tmp_path, "max_deletions", "runs", "1")
    path = tmp_path / "plan.json"
    args = ("report", "-o", path, "--as-of", served.world.as_of, "--policy", policy)
    served.cli(*args).expect(REFUSED)
    signed = Plan.load(path).edited(
        tmp_path / "signed.json", lambda d: d.update(applyable=True, diagnostics=[]), sign=True
    )
    refused, _ = served.prune(signed, codes=(REFUSED,))
    assert "guards.max_deletions.runs" in refused.err
    assert not served.journal_path(signed).exists()
    assert served.state() == before


# -- between the plan and its application --------------------------------------------------------


def _mixed(world: World) -> dict[str, list[str]]:
    """2 of 4 runs, 2 of 4 experiments with the default one, 2 of 4 versions go."""
    world.date_experiment("0", created=world.ago(OLD), updated=world.ago(OLD))
    home = world.experiment("home", age=FRESH)
    model = world.model("fraud")
    return {
        "planned": [world.run(home) for _ in range(2)],
        "runs": [world.run(home, age=FRESH) for _ in range(2)],
        "empty": [world.experiment() for _ in range(2)],
        "experiments": [home],
        "old": [world.version(model) for _ in range(2)],
        "versions": [world.version(model, age=FRESH) for _ in range(2)],
    }


def _lose_a_run(world: World, there: dict[str, list[str]]) -> None:
    world.delete_run(there["runs"][0])


def _lose_a_version(world: World, there: dict[str, list[str]]) -> None:
    # Not the highest one: the others have to stay deletable.
    world.delete_version(there["versions"][0])


def _lose_the_default_experiment(world: World, _: dict[str, list[str]]) -> None:
    world.delete_experiment("0")


@pytest.mark.parametrize(
    ("key", "lose", "numbers"),
    [
        ("runs", _lose_a_run, "2 of 3"),
        ("experiment", _lose_a_run, "2 of its 3"),
        ("experiments", _lose_the_default_experiment, "2 of 3"),
        ("model_versions", _lose_a_version, "2 of 3"),
        ("registered_model", _lose_a_version, "2 of its 3"),
        ("total", _lose_a_run, "6 of 11"),
        ("total", _lose_a_version, "6 of 11"),
        ("total", _lose_the_default_experiment, "6 of 11"),
    ],
)
def test_a_share_is_taken_of_what_exists_when_it_is_applied(
    bench: Bench,
    tmp_path: Path,
    key: str,
    lose: Callable[[World, dict[str, list[str]]], None],
    numbers: str,
) -> None:
    """Half was allowed and half it was; then somebody else deleted one of the others."""
    there = _mixed(bench.world)
    plan = bench.report("--policy", guard(tmp_path, "max_share", key, "50%"))
    assert len(plan.entities) == 6
    bench.prune(plan, "--dry-run")
    lose(bench.world, there)
    before = bench.state()
    # A dry run meets the same limits; it is asked once for each loss.
    for more in ((), ("--dry-run",)) if key == "total" else ((),):
        refused, _ = bench.prune(plan, *more, codes=(REFUSED,))
        assert f"guards.max_share.{key}" in refused.err
        assert numbers in refused.err
        assert "raise that guard" in refused.err
        assert bench.state() == before
        # No journal that claims anything.
        assert not bench.journal_path(plan).exists()


def test_what_grew_since_the_plan_trips_nothing(bench: Bench, tmp_path: Path) -> None:
    """The share only became smaller."""
    there = _mixed(bench.world)
    plan = bench.report("--policy", guard(tmp_path, "max_share", "runs", "50%"))
    bench.world.run(there["experiments"][0], age=FRESH)
    bench.prune(plan)
    assert not plan.entities & bench.state().active


@pytest.mark.parametrize("guarded", ["max_share: {runs: 50%, experiment: 50%, total: 50%}",
                                     "max_deletions: {runs: 6, total: 6}"])  # fmt: skip
def test_a_plan_that_was_applied_half_can_be_applied_to_its_end(
    bench: Bench, tmp_path: Path, guarded: str
) -> None:
    """What is gone counts as if it were there: 6 of 12 runs, of which 4 are gone."""
    world = bench.world
    home = world.experiment(age=FRESH)
    old = [world.run(home) for _ in range(6)]
    for _ in range(6):
        world.run(home, age=FRESH)
    plan = bench.report("--policy", write_policy(tmp_path, f"guards: {{{guarded}}}"))
    assert plan.runs == set(old)
    for run_id in old[:4]:
        world.delete_run(run_id)
    world.purge_run(old[0])
    _, journal = bench.prune(plan)
    assert journal.with_outcome("deleted") == {("run", r) for r in old[4:]}
    assert journal.skips[("run", old[0])] == "gone"
    bench.prune(plan)
    assert not plan.entities & bench.state().active


def test_zero_is_zero_and_nothing_is_within_it(bench: Bench, tmp_path: Path) -> None:
    """A guard of 0 lets a plan without deletions of that kind through, and no other."""
    world = bench.world
    home = world.experiment(age=FRESH)
    world.run(home, age=FRESH)
    policy = write_policy(
        tmp_path, "guards: {max_deletions: {runs: 0}, max_share: {runs: 0%, experiment: 0%}}"
    )
    plan = bench.report("--policy", policy)
    assert plan.document["applyable"]
    bench.prune(plan)
    world.run(home)
    assert not bench.report("--policy", policy, codes=(REFUSED,)).document["applyable"]


def test_a_server_with_nothing_trips_no_share(bench: Bench, tmp_path: Path) -> None:
    """0 of 0 is no share."""
    policy = write_policy(tmp_path, "guards: {max_share: {total: 0%, runs: 0%, experiment: 0%}}")
    bench.prune(bench.report("--policy", policy))


# -- what is kept --------------------------------------------------------------------------------


def _protected_then(bench: Bench, plan: Plan, before: State) -> dict[Any, str]:
    """Apply a plan of which nothing may go any more; the details of its skips."""
    _, journal = bench.prune(plan)
    assert bench.state() == before
    assert set(journal.skips.values()) == {"protected"}
    return {(r["kind"], r["id"]): r["detail"] for r in journal.records}


def test_runs_that_became_the_newest_since_are_retained(bench: Bench, tmp_path: Path) -> None:
    """Somebody deleted what was newer: now the planned ones are the last ones."""
    world = bench.world
    home = world.experiment(age=FRESH)
    old = [world.run(home, age=OLD + n) for n in range(2)]
    newer = [world.run(home, age=FRESH + n) for n in range(2)]
    plan = bench.report("--policy", write_policy(tmp_path, "keep_last: {runs: 2}"))
    assert plan.runs == set(old)
    for run_id in newer:
        world.delete_run(run_id)
    details = _protected_then(bench, plan, bench.state())
    assert set(details) == {("run", r) for r in old}
    assert all("keep_last" in words for words in details.values())


def test_only_as_many_as_the_policy_keeps(bench: Bench, tmp_path: Path) -> None:
    """One newer run was deleted: one of the planned ones takes its place, the older one goes."""
    world = bench.world
    home = world.experiment(age=FRESH)
    older, old = world.run(home, age=OLD + 1), world.run(home)
    newer = [world.run(home, age=FRESH + n) for n in range(2)]
    plan = bench.report("--policy", write_policy(tmp_path, "keep_last: {runs: 2}"))
    assert plan.runs == {older, old}
    world.delete_run(newer[0])
    _, journal = bench.prune(plan)
    assert journal.with_outcome("deleted") == {("run", older)}
    assert journal.skips == {("run", old): "protected"}


def test_runs_that_tie_for_the_last_place_all_are_retained(bench: Bench, tmp_path: Path) -> None:
    """In the plan, and again when others that were newer are gone."""
    world = bench.world
    home = world.experiment(age=FRESH)
    start = world.ago(OLD)
    tied = [world.run(home, start=start) for _ in range(3)]
    older = world.run(home, start=start - 1)
    policy = write_policy(tmp_path, "keep_last: {runs: 1}")
    plan = bench.report("--policy", policy)
    assert plan.runs == {older}
    assert all("keep_last" in plan.protection(("run", run_id)) for run_id in tied)
    newest = world.run(home, age=FRESH)
    later = bench.report("--policy", policy, name="later.json")
    assert later.runs == {older, *tied}
    world.delete_run(newest)
    _, journal = bench.prune(later)
    assert journal.with_outcome("deleted") == {("run", older)}
    assert set(journal.skips) == {("run", run_id) for run_id in tied}


def test_versions_that_became_the_newest_since_are_retained(bench: Bench, tmp_path: Path) -> None:
    """The next ones below, and for the highest its own reason."""
    model = bench.world.model("fraud")
    versions = [bench.world.version(model, age=a) for a in (OLD, OLD, FRESH, FRESH)]
    policy = write_policy(tmp_path, "keep_last: {model_versions: 2}")
    plan = bench.report("--policy", policy)
    assert plan.versions == {"fraud/1", "fraud/2"}
    for version in versions[2:]:
        bench.world.delete_version(version)
    details = _protected_then(bench, plan, bench.state())
    assert "keep_last" in details["model_version", "fraud/1"]
    assert "highest_version" in details["model_version", "fraud/2"]


def test_min_age_keeps_what_the_ttl_would_let_go(bench: Bench, tmp_path: Path) -> None:
    """Runs, versions and experiments; what is older goes."""
    world = bench.world
    home = world.experiment("home", age=FRESH / 6)
    young, old = world.run(home, age=10), world.run(home, age=20)
    model = world.model("fraud")
    versions = [world.version(model, age=age) for age in (10, 20, 0.5)]
    experiments = [world.experiment(age=age) for age in (10, 20)]
    policy = write_policy(tmp_path, "min_age: 14d")
    plan = bench.report("--ttl", 1, "--policy", policy)
    assert plan.runs == {old}
    assert plan.versions == {versions[1]}
    assert plan.experiments == {experiments[1]}
    for entity in (("run", young), ("model_version", versions[0]), ("experiment", experiments[0])):
        assert list(plan.protection(entity)) == ["min_age"]
    bench.prune(plan)
    assert not plan.entities & bench.state().active
    assert ("run", young) in bench.state().active


def test_min_age_counts_for_the_trash_of_an_experiment(bench: Bench, tmp_path: Path) -> None:
    """A run that was active within min_age keeps its experiment also from the trash."""
    world = bench.world
    experiment = world.experiment()
    world.delete_run(world.run(experiment, age=10))
    emptied = world.experiment()
    world.delete_run(world.run(emptied, age=20))
    plan = bench.report("--ttl", 1, "--policy", write_policy(tmp_path, "min_age: 14d"))
    assert plan.experiments == {emptied}


def test_evaluations_go_where_the_policy_says_so(bench: Bench, tmp_path: Path) -> None:
    """Marked as irreversible, and only then."""
    world = bench.world
    run_id = world.run(world.experiment(age=FRESH), tags={"mlflow.runType": "genai_evaluate"})
    assert bench.report("--policy", write_policy(tmp_path, "evaluation_runs: keep")).runs == set()
    plan = bench.report("--policy", write_policy(tmp_path, "evaluation_runs: delete"))
    assert plan.runs == {run_id}
    assert plan.run(run_id)["reversible"] is False
    assert plan.document["summary"]["irreversible"] == 1
    bench.prune(plan)
    assert ("run", run_id) not in bench.state().active


# -- how long ------------------------------------------------------------------------------------


def test_a_plan_that_never_expires(bench: Bench, tmp_path: Path) -> None:
    """However old it is."""
    world = bench.world
    run_id = world.run(world.experiment(age=FRESH), age=900)
    as_of = rfc3339(world.as_of_ms - 500 * DAY_MS)
    policy = write_policy(tmp_path, "expire_after: never")
    world.date_experiment("0", created=world.ago(OLD), updated=world.ago(OLD))
    path = tmp_path / "plan.json"
    bench.cli("report", "-o", path, "--as-of", as_of, "--policy", policy).expect(0)
    plan = Plan.load(path)
    assert plan.document["expires_at"] is None
    assert run_id in plan.runs
    bench.prune(plan)
    assert ("run", run_id) not in bench.state().active


def test_a_plan_expires_when_its_policy_says(bench: Bench, tmp_path: Path) -> None:
    """An hour after its ``as_of``, not after it was made."""
    world = bench.world
    run_id = world.run(world.experiment(age=FRESH))
    policy = write_policy(tmp_path, "expire_after: 1h")
    good = bench.report("--policy", policy, name="good.json")
    assert good.document["expires_at"] == rfc3339(world.as_of_ms + HOUR_MS)
    path = tmp_path / "late.json"
    as_of = rfc3339(world.as_of_ms - HOUR_MS)
    bench.cli("report", "-o", path, "--as-of", as_of, "--policy", policy).expect(0)
    refused, _ = bench.prune(Plan.load(path), codes=(REFUSED,))
    assert "expired" in refused.err
    assert ("run", run_id) in bench.state().active
    bench.prune(good)
    assert ("run", run_id) not in bench.state().active
