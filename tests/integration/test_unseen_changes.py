"""Changes between report and prune that move no time stamp: nothing is deleted that is not as reviewed.

Values of metrics at a lower step or with a stamp of long ago, parameters, datasets, models that a run
read or put out, traces, assessments, and tags of this program that it does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.world import FRESH

from mlflow_gc.apply.recheck import live_evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.bench import Bench
    from support.proxy import Proxy

    Deed = Callable[[str], object]


def _deeds(bench: Bench) -> dict[str, tuple[Deed, Deed, str]]:
    """What a run looks like, what somebody does to it after the report, and words of the finding."""
    world = bench.world
    elsewhere = world.experiment("elsewhere", age=FRESH)
    models = [world.logged_model(elsewhere) for _ in range(2)]
    traces: dict[str, str] = {}

    def nothing(_: str) -> None: ...

    def made_trace(run: str) -> None:
        traces[run] = world.source_trace(elsewhere, run)

    def logged(run: str) -> None:
        world.metric(run, world.ago(100), step=9)

    contents, counted = "parameters, datasets or models", "metric_count was"
    return {
        "first parameter": (nothing, world.param, contents),
        "another parameter": (world.param, lambda r: world.param(r, "width"), contents),
        "first metric, stamped long ago": (nothing, logged, "metric_count was 0, is 1"),
        "lower step, same stamp": (logged, lambda r: world.metric(r, world.ago(100)), counted),
        "lower step, older stamp": (
            logged,
            lambda r: world.metric(r, world.ago(101), step=3),
            "metric_count was 1, is 2",
        ),
        "another metric": (logged, lambda r: world.metric(r, world.ago(101), key="auc"), counted),
        "first dataset": (nothing, world.read_dataset, contents),
        "another version of a dataset": (
            world.read_dataset,
            lambda r: world.read_dataset(r, digest="2"),
            contents,
        ),
        "first model read": (nothing, lambda r: world.use_model(r, models[0]), contents),
        "another model read": (
            lambda r: world.use_model(r, models[0]),
            lambda r: world.use_model(r, models[1]),
            contents,
        ),
        "first model put out": (nothing, lambda r: world.put_out_model(r, models[0]), contents),
        "another model put out": (
            lambda r: world.put_out_model(r, models[0]),
            lambda r: world.put_out_model(r, models[1]),
            contents,
        ),
        "first trace": (nothing, made_trace, "its traces changed"),
        "another trace": (made_trace, made_trace, "its traces changed"),
        "feedback of people": (
            made_trace,
            lambda r: world.assess(traces[r]),
            "its traces changed",
        ),
        "feedback on feedback": (
            lambda r: (made_trace(r), world.assess(traces[r])),
            lambda r: world.assess(traces[r]),
            "its traces changed",
        ),
        "evaluated": (
            made_trace,
            lambda r: world.assess(traces[r], r),
            "genai_evaluate, its assessments would be lost",
        ),
        "evaluated elsewhere": (
            nothing,
            lambda r: world.assess(world.trace(elsewhere), r),
            "genai_evaluate, its assessments would be lost",
        ),
        "tag of ours": (
            nothing,
            lambda r: world.tag_run(r, "mlflow_gc.hold", "x"),
            "malformed_tag, tag mlflow_gc.hold=x",
        ),
        "tag like ours": (
            lambda r: world.tag_run(r, "purpose", "demo"),
            lambda r: world.tag_run(r, "mlflow-gc/note", ""),
            "malformed_tag, tag mlflow-gc/note=",
        ),
    }


@pytest.mark.parametrize("reader", ["rest", "database"])
def test_what_moves_no_time_stamp_is_noticed(bench: Bench, reader: str) -> None:
    """Whoever read the server for the plan; what nobody touched is deleted all the same."""
    world = bench.world
    home = world.experiment(age=FRESH)
    deeds = _deeds(bench)
    changed = {scene: world.run(home, name=scene) for scene in deeds}
    same = {scene: world.run(home, name=f"{scene}, untouched") for scene in deeds}
    for scene, (before, _, _) in deeds.items():
        for run in (changed[scene], same[scene]):
            before(run)
    args = ("--backend-store-uri", f"sqlite:///{world.database}") if reader == "database" else ()
    plan = bench.report(*args)
    assert plan.runs == {*changed.values(), *same.values()}
    for scene, (_, deed, _) in deeds.items():
        deed(changed[scene])

    checked = bench.cli("check", plan.path, "--format", "json").expect(0).json()["runs"]
    details = {entry["id"]: entry["detail"] for entry in checked}
    assert details.keys() == {*changed.values()}
    for scene, (_, _, words) in deeds.items():
        assert words in details[changed[scene]], scene

    _, journal = bench.prune(plan)
    assert {run for _, run in journal.skips} == {*changed.values()}
    protected = {run for (_, run), code in journal.skips.items() if code == "protected"}
    assert protected == {
        run for scene, run in changed.items() if scene.startswith(("evaluated", "tag"))
    }
    assert not journal.with_outcome("restored")
    active = bench.state().active
    assert {("run", run) for run in changed.values()} <= active
    assert not {("run", run) for run in same.values()} & active


def test_a_change_between_the_re_check_and_the_deletion_is_undone(
    bench: Bench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow has no conditional delete: a parameter and a trace that came in between."""
    # However long a busy machine took to read the traces before.
    monkeypatch.setattr(live_evidence, "_TRACES_SHARE", 0)
    world = bench.world
    home, elsewhere = world.experiment(age=FRESH), world.experiment(age=FRESH)
    world.source_trace(elsewhere, world.run(home, age=FRESH))
    first, second, third = (world.run(home) for _ in range(3))
    plan = bench.report()

    def meanwhile() -> None:
        world.param(first)
        world.source_trace(elsewhere, second)

    proxy.before("POST", "runs/delete$", meanwhile)
    _, journal = bench.prune(plan, env={"MLFLOW_TRACKING_URI": proxy.uri})
    assert journal.with_outcome("restored") == {("run", first), ("run", second)}
    assert {("run", first), ("run", second)} <= bench.state().active
    assert ("run", third) not in bench.state().active


@pytest.mark.parametrize(("evaluations", "code"), [("keep", "protected"), ("delete", "changed")])
def test_a_plan_from_before_is_applied_without_these(
    bench: Bench, evaluations: str, code: str
) -> None:
    """Plans of older versions do not say what a run holds; what protects counts all the same."""
    world = bench.world
    home = world.experiment(age=FRESH)
    plain, changed, assessed = (world.run(home) for _ in range(3))
    names = {"metric_count", "content_digest", "traces_digest", "assessments_digest"}

    def forget(document: dict[str, Any]) -> None:
        for entry in document["runs"]:
            assert names <= entry["expect"].keys()
            for name in names:
                del entry["expect"][name]

    policy = bench.dir / "policy.yml"
    policy.write_text(f"version: 1\nevaluation_runs: {evaluations}\n", encoding="utf-8")
    plan = bench.report("--policy", policy).edited(bench.dir / "old.json", forget, sign=True)
    bench.cli("validate", plan.path).expect(0)
    world.param(changed)
    world.assess(world.trace(home), assessed)
    _, journal = bench.prune(plan)
    assert journal.skips == {("run", assessed): code}
    assert not {("run", plain), ("run", changed)} & bench.state().active
