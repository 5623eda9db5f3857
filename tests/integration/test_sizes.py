"""``--sizes`` says what a later purge frees; the plan decides the same with and without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.trash import make_unreadable
from support.world import FRESH

if TYPE_CHECKING:
    from support.bench import Bench

SIZES = {"size_bytes", "file_count"}
SENTENCE = "5.1 kB in 4 files"


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def _settle(bench: Bench) -> tuple[str, str, str]:
    """Two stale runs, one of them in an experiment that goes with it."""
    world, root = bench.world, bench.dir / "files"
    stays, goes = world.experiment("stays", age=FRESH), world.experiment("goes")
    runs = world.run(stays), world.run(goes)
    for experiment, run in zip((stays, goes), runs, strict=True):
        place = root / experiment
        world.sql(
            "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?",
            str(place),
            int(experiment),
        )
        uri = place / run / "artifacts"
        world.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", str(uri), run)
        _write(uri / "a.bin", 2000)
    _write(root / goes / "left" / "b.bin", 100)
    _write(root / goes / "c.bin", 1000)
    # A sibling whose name begins the same is nobody's of these.
    _write(root / f"{goes}0" / "d.bin", 7)
    return runs[0], runs[1], goes


def _without_sizes(document: dict[str, Any]) -> dict[str, Any]:
    lists = {
        kind: [{k: v for k, v in entry.items() if k not in SIZES} for entry in document[kind]]
        for kind in ("experiments", "runs")
    }
    left_out = {"plan_id", "created_at"}
    return {k: v for k, v in document.items() if k not in left_out} | lists


def test_sizes_are_those_on_the_disk_and_decide_nothing(bench: Bench) -> None:
    first, second, experiment = _settle(bench)
    plain = bench.report(name="plain.json")
    sized = bench.report("--sizes", name="sized.json")
    assert _without_sizes(sized.document) == _without_sizes(plain.document)
    assert not SIZES & plain.document["runs"][0].keys()
    found = {entry["run_id"]: entry for entry in sized.document["runs"]}
    for run in (first, second):
        assert (found[run]["size_bytes"], found[run]["file_count"]) == (2000, 1)
    (entry,) = sized.document["experiments"]
    assert (entry["experiment_id"], entry["size_bytes"], entry["file_count"]) == (
        experiment,
        1100,
        2,
    )
    assert (
        not bench.cli("diff", plain.path, sized.path, "--format", "json")
        .expect(0)
        .json()["different"]
    )
    bench.cli("validate", sized.path).expect(0)
    for output_format in ("text", "markdown", "html"):
        text = bench.cli("show", sized.path, "--format", output_format).expect(0).out
        assert SENTENCE in text.replace("`", ""), output_format
    _, journal = bench.prune(sized)
    assert len(journal.with_outcome("deleted")) == 3


def test_the_question_of_prune_says_them(bench: Bench) -> None:
    _settle(bench)
    env = {"MLFLOW_TRACKING_URI": bench.world.uri}
    code, shown = bench.cli.ask(
        "prune", "--sizes", answer="no\n", prompt="is accepted: ", env=env, cwd=bench.dir
    )
    assert code == 5, shown
    assert SENTENCE in shown.partition("Delete ")[2]


def test_what_cannot_be_listed_has_no_size(bench: Bench) -> None:
    """And the plan can be applied all the same."""
    run = bench.world.run(bench.world.experiment(age=FRESH))
    bench.world.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", "hdfs://there/x", run)
    plan = bench.report("--sizes")
    assert not SIZES & plan.document["runs"][0].keys()
    assert "sizes_unknown" in {d["code"] for d in plan.document["diagnostics"]}
    assert plan.document["applyable"]


def test_a_folder_that_cannot_be_read_has_no_size_and_the_others_have(bench: Bench) -> None:
    first, second, experiment = _settle(bench)
    make_unreadable(bench.dir / "files" / experiment / second / "artifacts" / "deep")
    plan = bench.report("--sizes")
    found = {entry["run_id"]: entry.get("size_bytes") for entry in plan.document["runs"]}
    assert found == {first: 2000, second: None}
    # Its files are counted with those of the experiment.
    assert not SIZES & plan.document["experiments"][0].keys()
    (note,) = (d["message"] for d in plan.document["diagnostics"] if d["code"] == "sizes_unknown")
    assert "of 2 runs and experiments" in note
    assert plan.document["applyable"]


def test_sizes_are_for_plans_that_are_made(bench: Bench) -> None:
    plan = bench.report()
    bench.cli("prune", plan.path, "--sizes").expect(64)
