"""Runs of ``mlflow.genai.evaluate``: deleting one wipes its assessments for good.

From MLflow 3.11 on ``runs/delete`` also deletes every assessment whose metadata names the run, and
``runs/restore`` does not bring them back.  So these runs are kept, unless the policy says otherwise;
then everybody is told before, and after.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from support import estate
from support import server as store
from support.plans import Journal
from support.proxy import FORBIDDEN, UNAUTHORIZED
from support.world import FRESH

if TYPE_CHECKING:
    from pathlib import Path

    from support.bench import Bench
    from support.oracle import Entity
    from support.proxy import Proxy
    from support.world import World

TAGS = {"mlflow.runType": "genai_evaluate"}


@dataclass(frozen=True)
class Evaluations:
    """Evaluation runs with real assessments, and company.

    Attributes:
        scored: stale; ``trace`` has its assessment.
        trace: where that stands.
        plain: stale, and no evaluation.
        fresh: an evaluation that is not stale.
        fresh_trace: where its assessment stands.
        policy: a policy file that lets evaluation runs go.
    """

    scored: str
    trace: str
    plain: str
    fresh: str
    fresh_trace: str
    policy: Path


@pytest.fixture
def evaluations(bench: Bench) -> Evaluations:
    """Two evaluations, one of them stale, and a run of another kind."""
    return _evaluations(bench.world, bench.dir)


def _letting_go(directory: Path) -> Path:
    """A policy file that lets evaluation runs go."""
    policy = directory / "policy.yml"
    policy.write_text("version: 1\nevaluation_runs: delete\n", encoding="utf-8")
    return policy


def _evaluations(world: World, directory: Path) -> Evaluations:
    home = world.experiment("evaluations", age=FRESH)
    scored = world.run(home, name="scored", tags=TAGS)
    fresh = world.run(home, age=FRESH, tags=TAGS)
    policy = _letting_go(directory)
    return Evaluations(
        scored=scored,
        trace=world.assessed_trace(home, scored),
        plain=world.run(home, name="plain"),
        fresh=fresh,
        fresh_trace=world.assessed_trace(home, fresh),
        policy=policy,
    )


def test_the_server_wipes_assessments_and_does_not_bring_them_back(
    bench: Bench, evaluations: Evaluations
) -> None:
    """What all of this is about, without the program: the fact about MLflow itself."""
    world = bench.world
    assert world.assessments(evaluations.trace) == ["correctness"]
    world.delete_run(evaluations.scored)
    assert world.assessments(evaluations.trace) == []
    world.restore_run(evaluations.scored)
    assert world.assessments(evaluations.trace) == []


def test_are_retained_by_default(bench: Bench, evaluations: Evaluations) -> None:
    """Without a word in the policy, and with ``keep`` in it, they are protected."""
    keeping = bench.dir / "keeping.yml"
    keeping.write_text("version: 1\nevaluation_runs: keep\n", encoding="utf-8")
    for args in ((), ("--policy", keeping)):
        plan = bench.report(*args)
        assert plan.runs == {evaluations.plain}
        assert set(plan.protection(("run", evaluations.scored))) == {"genai_evaluate"}
        assert plan.document["summary"]["irreversible"] == 0
    bench.prune(plan)
    assert bench.world.assessments(evaluations.trace) == ["correctness"]


def test_are_planned_as_irreversible_when_the_policy_lets_them_go(
    bench: Bench, evaluations: Evaluations
) -> None:
    """``reversible`` is false, the summary counts them, the policy stands in the plan."""
    plan = bench.report("--policy", evaluations.policy)
    assert plan.runs == {evaluations.scored, evaluations.plain}
    assert plan.run(evaluations.scored)["reversible"] is False
    assert plan.run(evaluations.plain)["reversible"] is True
    assert "IRREVERSIBLE" in " ".join(plan.run(evaluations.scored)["reasons"])
    assert "IRREVERSIBLE" not in " ".join(plan.run(evaluations.plain)["reasons"])
    assert plan.document["summary"]["irreversible"] == 1
    assert plan.document["policy"]["evaluation_runs"] == "delete"
    bench.cli("validate", plan.path).expect(0)


def test_the_policy_lifts_no_other_protection(bench: Bench, evaluations: Evaluations) -> None:
    """A keep tag and a registered model still keep an evaluation run."""
    world = bench.world
    home = world.experiment("more evaluations", age=FRESH)
    tagged = world.run(home, tags={**TAGS, "mlflow_gc.keep": "true"})
    registered = world.run(home, tags=TAGS)
    world.version(world.model(), run_id=registered)
    plan = bench.report("--policy", evaluations.policy)
    assert not plan.runs & {tagged, registered, evaluations.fresh}
    assert set(plan.protection(("run", tagged))) == {"keep_tag"}
    assert set(plan.protection(("run", registered))) == {"registered_model"}


def test_irreversibility_that_was_edited_away_is_refused(
    bench: Bench, evaluations: Evaluations
) -> None:
    """Also with a digest that fits: the count and the entry have to agree."""
    plan = bench.report("--policy", evaluations.policy)

    def hide(document: dict[str, object]) -> None:
        runs = document["runs"]
        assert isinstance(runs, list)
        for run in runs:
            run["reversible"] = True

    edited = plan.edited(bench.dir / "edited.json", hide, sign=True)
    bench.cli("validate", edited.path).expect(5)
    before = bench.state()
    bench.cli("prune", edited.path).expect(5)
    assert bench.state() == before


def _view(bench: Bench, plan: Path, form: str) -> str:
    text = bench.cli("show", plan, "--format", form).expect(0).out
    # What a script reads is no line that people see.
    text = text.partition('<script type="application/json"')[0]
    # Markdown and HTML write punctuation as character references.
    return html.unescape(text)


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_every_view_marks_them(bench: Bench, evaluations: Evaluations, form: str) -> None:
    """On the line of the run itself, and not on that of a run that can be restored."""
    plan = bench.report("--policy", evaluations.policy)
    shown = _view(bench, plan.path, form)
    lines = shown.split("</tr>" if form == "html" else "\n")
    (line,) = [x for x in lines if evaluations.scored in x]
    assert "IRREVERSIBLE" in line
    assert "assessments" in line
    (line,) = [x for x in lines if evaluations.plain in x]
    assert "IRREVERSIBLE" not in line


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_no_view_cuts_the_mark_off(bench: Bench, form: str) -> None:
    """Hundreds of ordinary runs in front of it must not hide that something goes for good."""
    world = bench.world
    home = world.experiment(age=FRESH)
    world.bulk_runs(home, 150)
    evaluation = world.run(home, age=60.0, tags=TAGS)
    world.bulk_runs(home, 150, age=50.0)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy)
    assert plan.document["summary"]["irreversible"] == 1
    assert evaluation in plan.runs
    assert "IRREVERSIBLE" in _view(bench, plan.path, form)


def test_the_summary_of_report_says_it(bench: Bench, evaluations: Evaluations) -> None:
    """Who reads only the last lines of a job's log learns of it too."""
    out = bench.cli(
        "report",
        "-o",
        bench.dir / "plan.json",
        "--as-of",
        bench.world.as_of,
        "--policy",
        evaluations.policy,
    ).expect(0)
    assert "1 of the deletions cannot be undone" in out.text
    assert "assessments" in out.text


def test_the_question_of_prune_names_them(bench: Bench, evaluations: Evaluations) -> None:
    """How many go for good stands in the question; anything but yes leaves everything there."""
    before = bench.state()
    code, shown = bench.cli.ask(
        "prune",
        "--policy",
        evaluations.policy,
        "--as-of",
        bench.world.as_of,
        "-o",
        bench.dir / "plan.json",
        answer="no\n",
        prompt="'yes'",
    )
    assert code == 5
    question = shown[shown.index("Delete ") :]
    assert "1 of these deletions are irreversible" in " ".join(question.split())
    assert "assessments" in shown
    assert "IRREVERSIBLE" in shown
    assert bench.state() == before
    assert bench.world.assessments(evaluations.trace) == ["correctness"]


def test_restore_brings_the_run_back_and_says_what_is_lost(
    bench: Bench, evaluations: Evaluations
) -> None:
    """Real assessments go with the run; the journal, and the restore, say that they did."""
    world = bench.world
    plan = bench.report("--policy", evaluations.policy)
    _, journal = bench.prune(plan)
    assert world.assessments(evaluations.trace) == []
    assert world.assessments(evaluations.fresh_trace) == ["correctness"]
    lost = {r["id"]: (r.get("undo") or {}).get("lost") for r in journal.records}
    assert lost == {evaluations.scored: "assessments", evaluations.plain: None}
    bench.cli("validate", bench.journal_path(plan)).expect(0)

    path = bench.journal_path(plan)
    dry = bench.cli("restore", path, "--dry-run").expect(0)
    assert "assessments" in dry.text
    outcome = bench.cli("restore", path, "--yes").expect(0)
    gone: set[Entity] = {("run", evaluations.scored), ("run", evaluations.plain)}
    assert gone <= bench.state().active
    assert world.assessments(evaluations.trace) == []
    assert "assessments" in outcome.text
    restored = Journal.load(path.with_name(f"{path.name}.restore.jsonl"))
    details = {r["id"]: r.get("detail") or "" for r in restored.records}
    assert "assessments" in details[evaluations.scored]
    assert "permanently" in details[evaluations.scored]
    assert "assessments" not in details[evaluations.plain]


def test_only_the_plain_run_restored_says_nothing_of_assessments(
    bench: Bench, evaluations: Evaluations
) -> None:
    """The sentence is about what is restored."""
    plan = bench.report("--policy", evaluations.policy)
    bench.prune(plan)
    path = bench.journal_path(plan)
    outcome = bench.cli("restore", path, "--yes", "--only", evaluations.plain).expect(0)
    assert ("run", evaluations.plain) in bench.state().active
    assert ("run", evaluations.scored) in bench.state().trashed
    assert "assessments" not in outcome.text


def test_an_evaluation_that_was_rolled_back_is_told_to_be_without_its_assessments(
    bench: Bench, evaluations: Evaluations, proxy: Proxy
) -> None:
    """Registered at the moment of its deletion: back at once, yet not as before."""
    world = bench.world
    plan = bench.report("--policy", evaluations.policy)
    name = world.model()

    def register() -> None:
        world.version(name, run_id=evaluations.scored)

    proxy.before("POST", "runs/delete$", register)
    outcome, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert ("run", evaluations.scored) in bench.state().active
    assert world.assessments(evaluations.trace) == []
    (record,) = [r for r in journal.records if r["outcome"] == "restored"]
    assert record["id"] == evaluations.scored
    assert "assessments" in record["detail"]
    (warning,) = [w for w in outcome.err.splitlines() if "WARNING" in w]
    assert "assessments" in warning


def test_a_run_that_became_an_evaluation_is_not_deleted_by_a_plan_that_saw_none(
    bench: Bench, evaluations: Evaluations
) -> None:
    """Also where the policy lets evaluations go: the plan said that this one is reversible."""
    world = bench.world
    plan = bench.report("--policy", evaluations.policy)
    assert plan.run(evaluations.plain)["reversible"] is True
    world.tag_run(evaluations.plain, "mlflow.runType", "genai_evaluate")
    _, journal = bench.prune(plan)
    assert ("run", evaluations.plain) in bench.state().active
    assert journal.skips == {("run", evaluations.plain): "changed"}


def test_an_experiment_that_is_deleted_with_its_evaluation_says_so(bench: Bench) -> None:
    """The experiment comes back by restore, and its evaluation without the assessments."""
    world = bench.world
    home = world.experiment("all stale")
    elsewhere = world.experiment("traces", age=FRESH)
    run = world.run(home, tags=TAGS)
    trace = world.assessed_trace(elsewhere, run)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy)
    assert plan.entities == {("run", run), ("experiment", home)}
    assert plan.document["summary"]["irreversible"] == 1
    bench.prune(plan)
    assert world.assessments(trace) == []
    outcome = bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert plan.entities <= bench.state().active
    assert "assessments" in outcome.text


def test_an_experiment_with_a_retained_evaluation_is_retained(bench: Bench) -> None:
    """What keeps the run keeps the experiment: deleting that would wipe the assessments, too."""
    world = bench.world
    home = world.experiment("all stale")
    run = world.run(home, tags=TAGS)
    plan = bench.report()
    assert plan.entities == set()
    assert set(plan.protection(("experiment", home))) == {"live_run"}
    assert set(plan.protection(("run", run))) == {"genai_evaluate"}


# By evidence: the assessments, not the tag -------------------------------------------------------


def _reader(bench: Bench, reader: str) -> tuple[str, ...]:
    is_database = reader == "database"
    return ("--backend-store-uri", f"sqlite:///{bench.world.database}") if is_database else ()


@pytest.mark.parametrize("reader", ["rest", "database"])
def test_assessments_protect_whatever_type_a_run_has(bench: Bench, reader: str) -> None:
    """Typed by something else, or not at all; on traces anywhere, also of an experiment in the trash."""
    world = bench.world
    home = world.experiment(age=FRESH)
    elsewhere, trashed = world.experiment("elsewhere", age=FRESH), world.experiment("trashed")
    typed = world.run(home, tags={"mlflow.runType": "test"})
    issues = world.run(home, tags={"mlflow.runType": "issue_detection"})
    untyped, named, outdated = world.run(home), world.run(home), world.run(home)
    tagged = world.run(home, tags=TAGS)
    traced = world.run(home)
    traces = {
        typed: world.assessed_trace(home, typed),
        issues: world.assessed_trace(elsewhere, issues),
        untyped: world.assessed_trace(trashed, untyped),
        # On the trace of another run, and one that another assessment took the place of.
        named: world.source_trace(elsewhere, traced),
        outdated: world.assessed_trace(elsewhere, outdated),
    }
    world.assess(traces[named], named)
    world.sql("UPDATE assessments SET valid = 0 WHERE trace_id = ?", traces[outdated])
    world.delete_experiment(trashed)
    plan = bench.report(*_reader(bench, reader))
    assert plan.runs == {traced}
    for run in (*traces, tagged):
        assert set(plan.protection(("run", run))) == {"genai_evaluate"}
    bench.prune(plan)
    assert ("run", traced) not in bench.state().active
    for trace in traces.values():
        assert world.assessments(trace) == ["correctness"]


@pytest.mark.parametrize("reader", ["rest", "database"])
def test_with_the_policy_they_go_and_are_said_to_be_lost(bench: Bench, reader: str) -> None:
    """Marked in the plan, and by the journal; the tag has nothing to do with it."""
    world = bench.world
    home = world.experiment(age=FRESH)
    scored, plain = world.run(home, tags={"mlflow.runType": "test"}), world.run(home)
    trace = world.assessed_trace(home, scored)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy, *_reader(bench, reader))
    assert plan.run(scored)["reversible"] is False
    assert plan.run(plain)["reversible"] is True
    assert "IRREVERSIBLE" in " ".join(plan.run(scored)["reasons"])
    _, journal = bench.prune(plan)
    assert world.assessments(trace) == []
    lost = {r["id"]: (r.get("undo") or {}).get("lost") for r in journal.records}
    assert lost == {scored: "assessments", plain: None}


@pytest.mark.parametrize("allowed", [False, True])
def test_assessments_since_the_report_keep_a_run(bench: Bench, allowed: bool) -> None:
    """Also where the policy lets evaluations go: it was reviewed as reversible, or with fewer."""
    world = bench.world
    home, elsewhere = world.experiment(age=FRESH), world.experiment(age=FRESH)
    plain, more, scored = (world.run(home) for _ in range(3))
    traces = {run: world.assessed_trace(elsewhere, run) for run in (more, scored)}
    policy = bench.dir / "policy.yml"
    rule = "delete" if allowed else "keep"
    policy.write_text(f"version: 1\nevaluation_runs: {rule}\n", encoding="utf-8")
    plan = bench.report("--policy", policy)
    assert plan.runs == ({plain, more, scored} if allowed else {plain})
    traces[plain] = world.trace(elsewhere)
    world.assess(traces[plain], plain)
    world.assess(traces[more], more)
    _, journal = bench.prune(plan)
    if allowed:
        assert journal.skips == {("run", plain): "changed", ("run", more): "changed"}
        assert world.assessments(traces[scored]) == []
    else:
        assert journal.skips == {("run", plain): "protected"}
        assert world.assessments(traces[scored]) == ["correctness"]
    assert world.assessments(traces[plain]) == ["correctness"]
    assert world.assessments(traces[more]) == ["correctness"] * 2


def _trash(bench: Bench) -> tuple[str, str, str]:
    """An empty stale experiment with an assessed run in its trash, and the trace; and an empty one."""
    world = bench.world
    home = world.experiment("assessed trash")
    run = world.run(home)
    world.delete_run(run)
    world.date_experiment(home, updated=world.ago(100))
    return home, run, world.experiment("empty")


@pytest.mark.parametrize("reader", ["rest", "database"])
@pytest.mark.parametrize("allowed", [False, True])
def test_the_trash_of_an_experiment_counts_too(bench: Bench, reader: str, allowed: bool) -> None:
    """Deleting the experiment deletes the runs in its trash again, and their assessments."""
    world = bench.world
    home, run, empty = _trash(bench)
    trace = world.trace(world.experiment(age=FRESH))
    world.assess(trace, run)
    policy = bench.dir / "policy.yml"
    rule = "delete" if allowed else "keep"
    policy.write_text(f"version: 1\nevaluation_runs: {rule}\n", encoding="utf-8")
    plan = bench.report("--policy", policy, *_reader(bench, reader))
    if allowed:
        entry, _ = plan.document["experiments"]
        assert (entry["experiment_id"], entry["reversible"]) == (home, False)
        assert "IRREVERSIBLE" in " ".join(entry["reasons"])
        for form in ("text", "markdown", "html"):
            assert "IRREVERSIBLE" in _view(bench, plan.path, form)
    else:
        assert set(plan.protection(("experiment", home))) == {"genai_evaluate"}
    assert plan.document["summary"]["irreversible"] == int(allowed)
    bench.cli("validate", plan.path).expect(0)
    _, journal = bench.prune(plan)
    assert not journal.skips
    assert world.assessments(trace) == ([] if allowed else ["correctness"])
    assert ("experiment", empty) not in bench.state().active


@pytest.mark.parametrize("allowed", [False, True])
def test_the_trash_of_an_experiment_is_read_before_it_is_deleted(
    bench: Bench, allowed: bool
) -> None:
    """Logged since the report in the name of a run that was deleted long before."""
    world = bench.world
    home, run, empty = _trash(bench)
    trace = world.trace(world.experiment(age=FRESH))
    policy = bench.dir / "policy.yml"
    rule = "delete" if allowed else "keep"
    policy.write_text(f"version: 1\nevaluation_runs: {rule}\n", encoding="utf-8")
    plan = bench.report("--policy", policy)
    world.assess(trace, run)
    _, journal = bench.prune(plan)
    assert journal.skips == {("experiment", home): "changed" if allowed else "protected"}
    assert world.assessments(trace) == ["correctness"]
    assert ("experiment", empty) not in bench.state().active


@pytest.mark.parametrize("whose", ["of the same run", "of another run"])
def test_a_plan_lets_no_more_assessments_go_than_it_saw(bench: Bench, whose: str) -> None:
    """It lists the runs of the trash whose assessments go; since then there is one more."""
    world = bench.world
    home, run, empty = _trash(bench)
    runs = [run, world.run(home), world.run(home)]
    for more in runs[1:]:
        world.delete_run(more)
    world.date_experiment(home, updated=world.ago(100))
    trace = world.trace(world.experiment(age=FRESH))
    for assessed in runs[:2]:
        world.assess(trace, assessed)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy)
    entry, _ = plan.document["experiments"]
    assert f"run {min(runs[:2])} and 1 more" in " ".join(entry["reasons"])
    world.assess(trace, runs[0] if whose == "of the same run" else runs[2])
    _, journal = bench.prune(plan)
    assert journal.skips == {("experiment", home): "changed"}
    assert world.assessments(trace) == ["correctness"] * 3
    assert ("experiment", empty) not in bench.state().active
    outcome = bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert "assessments" not in outcome.text


def test_restore_says_what_the_trash_of_an_experiment_lost(bench: Bench) -> None:
    """The runs themselves are no part of the plan."""
    world = bench.world
    home, run, _ = _trash(bench)
    trace = world.trace(world.experiment(age=FRESH))
    world.assess(trace, run)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy)
    bench.prune(plan)
    assert world.assessments(trace) == []
    journal = bench.journal_path(plan)
    outcome = bench.cli("restore", journal, "--yes").expect(0)
    output = " ".join(outcome.text.split())
    assert "lost their assessments permanently: 1 experiment." in output
    undone = Journal.load(bench.dir / f"{journal.name}.restore.jsonl")
    details = {r["id"]: r.get("detail") or "" for r in undone.records if r["kind"] == "experiment"}
    assert {i for i, detail in details.items() if "assessments" in detail} == {home}


@pytest.mark.parametrize("reader", ["rest", "database"])
def test_assessments_are_found_as_the_database_finds_them(bench: Bench, reader: str) -> None:
    """MySQL and SQL Server compare without regard to case when MLflow wipes them."""
    _, plain, _ = estate.assessed_in_other_case(bench.world)
    plan = bench.report(*_reader(bench, reader))
    assert plan.runs == {plain}


@pytest.mark.parametrize(
    ("reader", "metadata"),
    [
        ("rest", '{{"why": {{"mlflow.assessment.sourceRunId": "{run}"}}}}'),
        ("database", '{{"why": {{"mlflow.assessment.sourceRunId": "{run}"}}}}'),
        ("database", '{{"mlflow.assessment.sourceRunId": "{run}", "score": NaN}}'),
        ("database", '{{"mlflow.assessment.sourceRunId": "{run}", "text": "\\ud83e"}}'),
        (
            "database",
            '{{"mlflow.assessment.sourceRunId": "{run}", "mlflow.assessment.sourceRunId": "x"}}',
        ),
        ("database", '"mlflow.assessment.sourceRunId": "{run}"'),
    ],
)
def test_an_assessment_names_a_run_wherever_the_text_stands(
    bench: Bench, reader: str, metadata: str
) -> None:
    """MLflow deletes what has key and id as a text, whatever is around them."""
    world = bench.world
    home = world.experiment(age=FRESH)
    run, plain = world.run(home), world.run(home)
    trace = world.trace(world.experiment(age=FRESH))
    world.assess(trace, run)
    world.sql("UPDATE assessments SET assessment_metadata = ?", metadata.format(run=run))
    assert bench.report(*_reader(bench, reader)).runs == {plain}
    world.delete_run(run)
    with store.open_database(world.database) as db:
        assert not db.execute("SELECT * FROM assessments").fetchall(), "which the server does"


def test_a_loss_before_a_kill_is_reported(bench: Bench, proxy: Proxy) -> None:
    """The deletion has no record: what was going to be lost stands in what was intended."""
    world = bench.world
    home = world.experiment(age=FRESH)
    run = world.run(home)
    trace = world.trace(world.experiment(age=FRESH))
    world.assess(trace, run)
    policy = _letting_go(bench.dir)
    plan = bench.report("--policy", policy)
    proxy.fail("POST", "runs/delete$", replace(UNAUTHORIZED, carried_out=True))
    bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri}, codes=(1,))
    assert world.assessments(trace) == []
    outcome = bench.cli("restore", bench.journal_path(plan), "--yes").expect(0)
    assert ("run", run) in bench.state().active
    assert "without their assessments" in " ".join(outcome.text.split())


def test_an_owner_does_not_shorten_what_loses_assessments(bench: Bench) -> None:
    """Of an experiment whose trash would lose them, either."""
    world = bench.world
    home, run, empty = _trash(bench)
    for experiment in (home, empty):
        world.tag_experiment(experiment, "mlflow_gc.ttl", "10d")
        world.date_experiment(experiment, updated=world.ago(20))
    world.assess(world.trace(world.experiment(age=FRESH)), run)
    policy = _letting_go(bench.dir)
    assert bench.report("--policy", policy, "--ttl", "30").experiments == {empty}
    assert bench.report("--policy", policy, "--ttl", "15").experiments == {home, empty}


def test_restore_leaves_active_what_the_trash_would_cost_its_assessments(bench: Bench) -> None:
    """A run of the old trash of an experiment, assessed since the experiment was deleted."""
    world = bench.world
    home, run, _ = _trash(bench)
    other = world.run(home)
    world.delete_run(other)
    trace = world.trace(world.experiment(age=FRESH))
    plan = bench.report()
    bench.prune(plan)
    assert ("experiment", home) not in bench.state().active
    world.assess(trace, run)
    outcome = bench.cli("restore", bench.journal_path(plan), "--yes")
    assert world.assessments(trace) == ["correctness"]
    active = bench.state().active
    assert {("experiment", home), ("run", run)} <= active
    assert ("run", other) not in active
    assert "assessments" in outcome.text


@pytest.mark.parametrize("what", ["report", "prune"])
def test_traces_that_may_not_be_read_keep_what_is_stale(
    bench: Bench, proxy: Proxy, what: str
) -> None:
    """Nobody knows then whether assessments would be lost; the plan says so."""
    world = bench.world
    run, home = world.run(world.experiment(age=FRESH)), world.experiment()
    through = {"MLFLOW_TRACKING_URI": proxy.uri}
    if what == "prune":
        plan = bench.report()
        assert plan.entities == {("run", run), ("experiment", home)}
    proxy.fail("POST", "traces/search$", FORBIDDEN, times=float("inf"))
    if what == "report":
        plan = bench.report(env=through)
        assert plan.entities == set()
        assert [d["code"] for d in plan.document["diagnostics"]] == ["traces_unread"]
        assert set(plan.protection(("run", run))) == {"traces_unread"}
    else:
        _, journal = bench.prune(plan, env=through, codes=(0, 3))
        assert journal.skips["run", run] == "protected"
    assert {("run", run), ("experiment", home)} <= bench.state().active
