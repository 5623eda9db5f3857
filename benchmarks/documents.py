"""How long it takes to write, read, check, compare and show plans of many entries.

    python benchmarks/documents.py [ENTRIES]        (default 100000; a tenth more are protected)

Makes two plans, the second a day and a colleague's work later, and prints CPU seconds of each step
and of whole commands, with their ratio to parsing one plan's JSON once, and the peak memory of each
command with its ratio to the size of a plan.  All is measured in one run, so that the ratios
hold on any machine; a made-up world with a fixed seed, entries as large as real ones.
"""

from __future__ import annotations

import gc
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import measure
import orjson
from rich.console import Console

from mlflow_gc.domain.entities import (
    Experiment,
    ModelVersion,
    Probe,
    RegisteredModel,
    Run,
    ServerInfo,
)
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.timestamps import DAY_MS, parse_time
from mlflow_gc.plan import schema
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.plan.diff import diff_plans
from mlflow_gc.plan.digest import plan_id
from mlflow_gc.plan.lazy_entries import Document
from mlflow_gc.plan.strict_json import parse_json, refuse_ambiguous
from mlflow_gc.plan.verification import KINDS, applicability, inconsistencies, load_plan, verify
from mlflow_gc.plan.writer import pieces, render, write
from mlflow_gc.render.markdown import diff_markdown
from mlflow_gc.render.terminal import diff_text, plan_text
from mlflow_gc.retention.engine import decide
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule

AS_OF = parse_time("2026-05-01T10:02:11.123Z")
HOUR_MS = 3_600_000
POLICY = Policy(as_of_ms=AS_OF, default=Rule.of_days(30))
SERVER = ServerInfo(
    "https://mlflow.example.com", "https://mlflow.example.com", "3.17.2", None, "tracking:0f1e2d3c"
)
KEEP = {"mlflow_gc.keep": "true"}


def world(entries: int) -> Inventory:
    """Return a server of which a plan deletes about so many entities: nine tenths runs."""
    rng = random.Random(entries)
    ids = [str(number + 1) for number in range(max(2, entries // 100))]
    names = {i: f"{rng.choice(('prod', 'sandbox', 'nightly'))}/churn-{i}" for i in ids}
    runs = {}
    for number in range(entries * 9 // 10 + entries // 10):
        run_id = f"{rng.getrandbits(128):032x}"
        start = AS_OF - rng.randrange(40 * DAY_MS, 800 * DAY_MS)
        experiment_id = ids[number % len(ids)]
        runs[run_id] = Run(
            run_id=run_id,
            run_name=f"{rng.choice(('bold', 'calm', 'wise'))}-{rng.choice(('ant', 'owl'))}-{number}",
            experiment_id=experiment_id,
            user_id=rng.choice(("ada", "grace", "ci-bot")),
            status=rng.choice(("FINISHED", "FINISHED", "FAILED", "KILLED")),
            lifecycle_stage="active",
            start_time=start,
            end_time=start + HOUR_MS,
            newest_metric_time=start + HOUR_MS,
            oldest_metric_time=start,
            artifact_root=f"mlflow-artifacts:/{experiment_id}",
            has_own_folder=True,
            tags=KEEP if number % 10 == 9 else {"team": "churn"},
        )
    versions = {}
    for number in range(entries // 10):
        name = f"churn-model-{number // 100}"
        versions[name, str(number % 100 + 1)] = ModelVersion(
            name=name,
            version=str(number % 100 + 1),
            creation_timestamp=AS_OF - 300 * DAY_MS,
            last_updated_timestamp=AS_OF - 300 * DAY_MS,
            current_stage="None",
            description="Trained on last month's customers, without those who left.",
            source=f"s3://models.example.com/{name}/{number}/artifacts",
            run_id="",
            run_link="",
            model_id="",
            tags={"validated": "yes", "team": "churn"},
        )
    models = {name for name, _ in versions}
    return Inventory(
        experiments={
            i: Experiment(
                experiment_id=i,
                name=names[i],
                lifecycle_stage="active",
                artifact_location=f"mlflow-artifacts:/{i}",
                creation_time=AS_OF - 900 * DAY_MS,
                last_update_time=AS_OF - 900 * DAY_MS,
            )
            for i in ids
        },
        runs=runs,
        registered_models={
            name: RegisteredModel(
                name, tags={}, aliases={}, last_updated_timestamp=AS_OF - 300 * DAY_MS
            )
            for name in models
        },
        model_versions=versions,
        logged_models={},
        probes={i: Probe() for i in ids},
    )


def later(inventory: Inventory) -> Inventory:
    """Return the server after some work: of a hundredth of the runs, a third each keeps,
    a third was deleted, a third got another tag; and some versions have an alias now.
    """
    rng = random.Random(1)
    runs = dict(inventory.runs)
    for number, run_id in enumerate(rng.sample(sorted(runs), len(runs) // 100)):
        if number % 3 == 0:
            runs[run_id] = replace(runs[run_id], tags=KEEP)
        elif number % 3 == 1:
            del runs[run_id]
        else:
            runs[run_id] = replace(runs[run_id], tags={"team": "fraud"})
    models = dict(inventory.registered_models)
    for name in sorted(models)[:3]:
        models[name] = replace(models[name], aliases={"3": ("champion",)})
    return replace(inventory, runs=runs, registered_models=models)


def plan_of(inventory: Inventory, *, days: int) -> Document:
    """Return the plan of a server, some days after the first."""
    policy = replace(POLICY, as_of_ms=AS_OF + days * DAY_MS)
    return build_plan(inventory, decide(inventory, policy), policy, SERVER)


def steps(base: Path, head: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is measured inside this process."""
    content = base.read_bytes()
    plan, other = load_plan(base), load_plan(head)
    changes = diff_plans(plan, other)

    gc.freeze()  # as loading does in a command

    def console() -> Console:
        return Console(file=io.StringIO(), soft_wrap=True)

    gc.disable()  # as it is while a plan is loaded
    yield "parse JSON once (orjson)", lambda: orjson.loads(content)
    yield "parse, refuse what is ambiguous", lambda: parse_json(content, "The plan")
    yield "refuse what is ambiguous, thoroughly", lambda: refuse_ambiguous(content, "The plan")
    gc.enable()
    yield "render", lambda: render(plan)
    yield "write", lambda: write(pieces(plan), base)
    if schema.quick_validator("plan"):
        yield "schema, jsonschema_rs", lambda: schema.problems(plan, "plan")
    yield "schema, jsonschema", lambda: list(schema.thorough_validator("plan").iter_errors(plan))
    yield "digest", lambda: plan_id(plan)
    yield "load a plan", lambda: load_plan(base)
    yield "contradictions", lambda: inconsistencies(plan)
    yield "verify", lambda: verify(plan, base)
    yield "diff", lambda: diff_plans(plan, other)
    yield "diff, JSON", lambda: orjson.dumps(changes, option=orjson.OPT_INDENT_2)
    yield "diff, text", lambda: diff_text.diff(changes, applicability(plan), console())
    yield "diff, Markdown", lambda: diff_markdown.diff(changes, applicability(plan))
    yield "show, text", lambda: plan_text.show(plan, console(), path="p.json", everything=False)


def seconds(call: Callable[[], object]) -> float:
    """Return CPU seconds, the better of two; for what takes long, of one."""
    best = float("inf")
    for _ in range(2):
        gc.collect()
        began = time.process_time()
        kept = call()
        best = min(best, time.process_time() - began)
        del kept
        if best > 3:
            break
    return best


def in_a_child(*words: str) -> tuple[float, float]:
    """Run Python; return CPU seconds and peak memory in bytes."""
    cost = measure.run(sys.executable, *words)
    if cost.code not in {0, 2}:
        raise SystemExit(f"{' '.join(words)} failed:\n{cost.out[-2000:]}")
    if words[0] == __file__:
        print(cost.out, end="", flush=True)
    return cost.cpu, cost.peak_mb * 1024**2


def make(base: Path, head: Path, entries: int) -> None:
    """Write two plans of so many entries."""
    inventory = world(entries)
    write(pieces(plan_of(inventory, days=0)), base)
    write(pieces(plan_of(later(inventory), days=1)), head)


def print_steps(base: Path, head: Path) -> None:
    """Print what each step takes."""
    plan = load_plan(base)
    print(
        f"{sum(len(plan[kind]) for kind in KINDS):,} entries, "
        f"{sum(len(plan['protected'][kind]) for kind in KINDS):,} protected, "
        f"{base.stat().st_size / 1e6:,.1f} MB"
    )
    unit = 0.0
    for name, call in steps(base, head):
        took = seconds(call)
        unit = unit or took
        print(f"{name:<42} {took:6.2f} s CPU {took / unit:8.1f}")


def main(folder: Path, entries: int) -> None:
    """Measure steps, then whole commands, and print."""
    base, head = folder / "base.json", folder / "head.json"
    in_a_child(__file__, "make", str(base), str(head), str(entries))
    in_a_child(__file__, "steps", str(base), str(head))
    parse = "import gc, sys, orjson; gc.disable(); orjson.loads(open(sys.argv[1], 'rb').read())"
    unit, _ = in_a_child("-c", parse, str(base))
    size = base.stat().st_size
    b, h = str(base), str(head)
    for words in (
        ("--version",),
        ("validate", b),
        ("show", b),
        ("show", b, "--format", "html"),
        ("diff", b, h),
        ("diff", b, h, "--format", "json"),
        ("diff", b, h, "--format", "markdown"),
    ):
        took, peak = in_a_child("-m", "mlflow_gc", *words)
        name = " ".join(Path(word).name for word in words)
        print(
            f"{name:<42} {took:6.2f} s CPU {took / unit:8.1f} "
            f"{peak / 1e6:8,.0f} MB peak, {peak / size:4.1f} times the plan"
        )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", base_file, head_file, number]:
            make(Path(base_file), Path(head_file), int(number))
        case ["steps", base_file, head_file]:
            print_steps(Path(base_file), Path(head_file))
        case numbers:
            with tempfile.TemporaryDirectory() as scratch:
                main(Path(scratch), int(numbers[0]) if numbers else 100_000)
