"""``usage`` says what is there: compared with SQL and ``du`` of our own, on each kind of database."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Engine, event
from support import ROOT
from support.databases import DATABASES
from support.proxy import Fault, Proxy
from support.world import FRESH

from mlflow_gc.domain.timestamps import now_ms, parse_time
from mlflow_gc.inventory import file_sample
from mlflow_gc.plan import schema
from mlflow_gc.retention.policy import Policy
from mlflow_gc.retention.rules import Rule
from mlflow_gc.settings import resolve_connection
from mlflow_gc.workflows.reporter import Reporter
from mlflow_gc.workflows.usage import measure_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.bench import Bench
    from support.cli import Cli

LONG_AGO = 1_600_000_000_000
FILES_PER_RUN = {"model.bin": 3_000, "deep/er/notes.txt": 11}
ROWS_OF_RUNS = ("runs", "metrics", "latest_metrics", "params", "tags")
HOSTILE = "<script>alert(1)</script>\x1b[31m | `x`"


class Filled:
    """A database with runs in both stages, models, traces, prompts and orphans, and their files."""

    def __init__(self, uri: str, root: Path, query: Callable[[str], list[Any]]) -> None:
        self.uri, self.root, self.query = uri, root, query
        self.runs: dict[str, str] = {}


def _fill(filled: Filled, execute: Callable[[str], None]) -> None:
    """Fill through MLflow's own store, and leave what MLflow leaves."""
    from mlflow.entities import LoggedModelStatus, Metric, Param, RunTag
    from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(filled.uri, str(filled.root))
    for number, name in enumerate(("first", HOSTILE, "purged")):
        experiment = store.create_experiment(name)
        for n in range(4):
            run = store.create_run(experiment, f"user{n % 2}", 1_770_000_000_000, [], f"run{n}")
            run_id = run.info.run_id
            metrics = [Metric(f"m{k}", k, 1, s) for k in range(3) for s in range(5 * (number + 1))]
            store.log_batch(run_id, metrics, [Param("a", "1")], [RunTag("t", "x")])
            for name_of_file, size in FILES_PER_RUN.items():
                _write(Path(run.info.artifact_uri) / name_of_file, size)
            stage = "trash" if n == 0 else "active"
            if stage == "trash":
                store.delete_run(run_id)
            filled.runs[run_id] = stage
    model = store.create_logged_model(experiment, "m", run_id, [], [], None)
    store.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    _write(Path(model.artifact_location) / "MLmodel", 77)
    trashed = store.create_logged_model(experiment, "gone", run_id, [], [], None)
    _write(Path(trashed.artifact_location) / "MLmodel", 78)
    store.delete_logged_model(trashed.model_id)
    registry = Registry(filled.uri)
    registry.create_registered_model("reg")
    registry.create_model_version("reg", str(filled.root / "x"), run_id)
    registry.create_model_version("reg", str(filled.root / "y"), run_id)
    registry.delete_model_version("reg", "2")
    is_prompt = RegisteredModelTag("mlflow.prompt.is_prompt", "true")
    registry.create_registered_model("greeting", [is_prompt])
    for _ in range(2):
        tags = [ModelVersionTag(is_prompt.key, "true"), ModelVersionTag("mlflow.prompt.text", "x")]
        registry.create_model_version("greeting", "dummy-source", tags=tags)
    trace, place = f"tr-{'9' * 32}", f"{filled.root}/{experiment}/traces/tr-{'9' * 32}/artifacts"
    execute(
        "INSERT INTO trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status,"
        f" db_payload_generation) VALUES ('{trace}', {experiment}, {LONG_AGO}, 5, 'OK', 0)"
    )
    execute(f"INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', '{place}', '{trace}')")
    _write(Path(place) / "traces.json", 33)
    # What nobody's id is in, what is not of MLflow's layout, and a link to what is gone.
    home = Path(store.get_experiment(experiment).artifact_location)
    _write(home / ("f" * 32) / "artifacts" / "left.bin", 500)
    _write(home / "notes" / "mine.txt", 9)
    execute(
        "INSERT INTO inputs (input_uuid, source_type, source_id, destination_type, destination_id)"
        f" VALUES ('u1', 'DATASET', 'none', 'RUN', '{run_id}')"
    )
    execute("INSERT INTO input_tags (input_uuid, name, value) VALUES ('u1', 'a', 'b')")
    # Long enough in the trash for a purge.
    execute(f"UPDATE runs SET deleted_time = {LONG_AGO} WHERE lifecycle_stage = 'deleted'")
    execute(
        f"UPDATE logged_models SET last_updated_timestamp_ms = {LONG_AGO}"
        " WHERE lifecycle_stage = 'deleted'"
    )


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


@contextmanager
def _database(kind: str, tmp_path: Path) -> Iterator[tuple[str, Callable[[str], list[Any]]]]:
    if kind == "sqlite":
        file = tmp_path / "mlflow.db"

        def query(statement: str) -> list[Any]:
            with closing(sqlite3.connect(file)) as connection, connection:
                return connection.execute(statement).fetchall()

        yield f"sqlite:///{file}", query
        return
    database = DATABASES[kind]
    programs = database.programs()
    if programs is None:
        pytest.skip(f"{database.title} is not installed")
    with database.running(programs) as uri:

        def query_server(statement: str) -> list[Any]:
            with database.rows(uri) as cursor:
                cursor.execute(statement)
                return list(cursor.fetchall()) if cursor.description else []

        yield uri, query_server


@pytest.fixture(
    scope="module",
    params=["sqlite", *(pytest.param(name, marks=pytest.mark.deep) for name in DATABASES)],
)
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Filled]:
    directory = tmp_path_factory.mktemp("usage")
    with _database(request.param, directory) as (uri, query):
        made = Filled(uri, directory / "root", query)
        _fill(made, query)
        yield made


@pytest.fixture(scope="module")
def found(filled: Filled, offline_cli: Cli) -> Any:
    outcome = offline_cli("usage", "--tracking-uri", filled.uri, "--format", "json").expect(0)
    document = json.loads(outcome.out)
    assert schema.problems(document, "usage") == []
    return document


def _row(found: Any, kind: str, stage: str) -> Any:
    return next(row for row in found["rows"] if (row["kind"], row["stage"]) == (kind, stage))


def test_rows_are_those_of_each_table(filled: Filled, found: Any) -> None:
    """Every row of every table is counted once."""
    tables = {table["name"]: table["rows"] for table in found["database"]["tables"]}
    assert {"runs", "metrics", "alembic_version"} <= tables.keys()
    for name, rows in tables.items():
        assert filled.query(f"SELECT count(*) FROM {name}")[0][0] == rows, name
    assert found["totals"]["rows"] == sum(tables.values())


@pytest.mark.parametrize(("stage", "lifecycle"), [("active", "active"), ("trash", "deleted")])
def test_rows_of_runs_are_those_of_their_stage(
    filled: Filled, found: Any, stage: str, lifecycle: str
) -> None:
    runs = f"(SELECT run_uuid FROM runs WHERE lifecycle_stage = '{lifecycle}')"
    expected = sum(
        filled.query(f"SELECT count(*) FROM {name} WHERE run_uuid IN {runs}")[0][0]
        for name in ROWS_OF_RUNS
    )
    row = _row(found, "run", stage)
    assert row["rows"] == expected
    assert row["count"] == sum(1 for each in filled.runs.values() if each == stage)


def test_prompts_are_told_from_models_and_traces_from_runs(found: Any) -> None:
    """A prompt has rows of its own, of its versions and of the tags of both."""
    prompt = _row(found, "prompt", "active")
    assert (prompt["count"], prompt["rows"]) == (1, 2 + 2 * 3)
    assert _row(found, "registered_model", "active")["count"] == 1
    assert _row(found, "model_version", "active")["count"] == 1
    trace = _row(found, "trace", "active")
    assert (trace["count"], trace["rows"]) == (1, 2)


def test_files_are_those_on_the_disk(filled: Filled, found: Any) -> None:
    sizes = [
        (Path(folder) / name).stat().st_size
        for folder, _, names in os.walk(filled.root)
        for name in names
    ]
    assert found["totals"]["files"] == len(sizes)
    assert found["totals"]["file_bytes"] == sum(sizes)
    assert found["complete"]
    # One listing of the root, not one of each experiment.
    assert len(found["stores"]) == 1
    in_trash = sum(stage == "trash" for stage in filled.runs.values())
    trash = _row(found, "run", "trash")
    assert trash["files"] == in_trash * len(FILES_PER_RUN)
    assert trash["file_bytes"] == in_trash * sum(FILES_PER_RUN.values())
    assert _row(found, "logged_model", "active")["file_bytes"] == 77
    assert _row(found, "logged_model", "trash")["file_bytes"] == 78
    assert _row(found, "trace", "active")["file_bytes"] == 33
    orphans = _row(found, "file", "orphaned")
    assert (orphans["count"], orphans["file_bytes"]) == (1, 500)
    assert _row(found, "file", "unknown")["file_bytes"] == 9


def test_the_bytes_of_the_database_are_those_it_tells_itself(filled: Filled, found: Any) -> None:
    database = found["database"]
    parts = found["totals"]["table_bytes"] + found["totals"]["index_bytes"]
    # Each share is rounded.
    assert abs(parts - database["table_bytes"] - database["index_bytes"]) <= 2 * len(found["rows"])
    if filled.uri.startswith("postgresql"):
        ((total,),) = filled.query(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace"
        )
        assert database["table_bytes"] + database["index_bytes"] == total
    elif filled.uri.startswith("sqlite"):
        size = Path(filled.uri.removeprefix("sqlite:///")).stat().st_size
        assert database["total_bytes"] == size
        used = database["table_bytes"] + database["index_bytes"] + database["reusable_bytes"]
        # The table of tables is nobody's.
        assert size - 200_000 < used <= size
    else:
        assert database["sizes_are_estimates"]


def test_trash_is_freed_and_nothing_else(found: Any) -> None:
    """Without a policy nothing that is orphaned."""
    for row in found["rows"]:
        taken = row["table_bytes"] + row["index_bytes"] + row["file_bytes"]
        freed = row["freed_at_once_bytes"], row["freed_later_bytes"], row["not_freed_bytes"]
        assert sum(freed) == taken
        assert freed == (
            (row["file_bytes"], taken - row["file_bytes"], 0)
            if row["stage"] == "trash"
            else (0, 0, taken)
        )
    assert _row(found, "link", "orphaned")["rows"] == 2
    assert _row(found, "model_version", "tombstone")["count"] == 1


def test_links_with_ends_of_every_type(filled: Filled, offline_cli: Cli, found: Any) -> None:
    """Those that MLflow writes and names; one of another type is taken to exist, and said."""
    run = next(run for run, stage in filled.runs.items() if stage == "active")
    model, lost = "m-" + "0" * 32, "e" * 32
    ends = {"model": model, "run": lost, "skill": "s/1", "prompt_version": "p/1"}
    insert = (
        "INSERT INTO entity_associations (association_id, source_type, source_id, destination_type,"
        " destination_id, created_time) VALUES ('{0}', '{0}', '{1}', 'run', '{2}', 1)"
    )
    for kind, i in ends.items():
        filled.query(insert.format(kind, i, run))
    try:
        outcome = offline_cli("usage", "--tracking-uri", filled.uri, "--format", "json").expect(0)
    finally:
        filled.query("DELETE FROM entity_associations")
    after = json.loads(outcome.out)
    counts = [
        {row["stage"]: row["count"] for row in document["rows"] if row["kind"] == "link"}
        for document in (found, after)
    ]
    assert counts[1] == {**counts[0], "active": 2, "orphaned": counts[0]["orphaned"] + 2}
    (message,) = (d["message"] for d in after["diagnostics"] if d["code"] == "unknown_links")
    assert "1 link has" in message
    assert "'skill'" in message
    assert "prompt_version" not in message


def test_the_largest_are_named(found: Any) -> None:
    largest = found["largest"]
    assert largest["experiments"][0]["name"] == "purged"
    assert {owner["user_id"] for owner in largest["owners"]} == {"user0", "user1"}
    assert [model["name"] for model in largest["registered_models"]] == ["reg"]
    assert {month["month"] for month in found["growth"]} >= {"2026-02"}


def test_each_of_three_hundred_experiments_is_on_the_map(offline_cli: Cli, tmp_path: Path) -> None:
    """The largest with what is in them, those after them by themselves; the page stays small.

    Of models and owners twenty are named, and each month has what was made in it.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _database("sqlite", tmp_path) as (uri, query):
        SqlAlchemyStore(uri, str(tmp_path / "root"))
        owners: Counter[str] = Counter()
        months: Counter[str] = Counter()
        for n in range(1, 300):
            owner, month = f"user-{n % 25}", f"2026-{n % 4 + 1:02}"
            owners[owner] += 100_000 + 100 * n
            months[month] += 100_000 + 100 * n
            start = parse_time(f"{month}-15T00:00:00Z")
            home, run = tmp_path / "root" / str(n), f"{n:032x}"
            query(
                "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage,"
                f" creation_time) VALUES ({n}, 'project-{n}', '{home}', 'active', {LONG_AGO})"
            )
            query(
                "INSERT INTO runs (run_uuid, experiment_id, user_id, lifecycle_stage, status,"
                f" start_time, artifact_uri) VALUES ('{run}', {n}, '{owner}', 'active', 'FINISHED',"
                f" {start}, '{home}/{run}/artifacts')"
            )
            _write(home / run / "artifacts" / "model.bin", 100_000 + 100 * n)
        for n in range(1, 26):
            model = f"m-{n:032x}"
            place = tmp_path / "root" / "299" / "models" / model / "artifacts"
            query(
                "INSERT INTO logged_models (model_id, experiment_id, name, artifact_location, status,"
                " creation_timestamp_ms, last_updated_timestamp_ms, lifecycle_stage)"
                f" VALUES ('{model}', 299, 'm{n}', '{place}', 2, {LONG_AGO}, {LONG_AGO}, 'active')"
            )
            _write(place / "MLmodel", n)
        server = ("--tracking-uri", uri)
        document = offline_cli("usage", *server, "--format", "json").expect(0).json()
        page = offline_cli("usage", *server, "--format", "html").expect(0).out
    assert schema.problems(document, "usage") == []
    largest = document["largest"]
    others = largest["other_experiments"]
    assert (len(largest["experiments"]), len(others["experiments"]), others["count"]) == (
        20,
        200,
        280,
    )
    names = [e["name"] for e in largest["experiments"] + others["experiments"]]
    assert names == [f"project-{n}" for n in range(299, 79, -1)]
    assert all(
        sum(e["stages"].values()) == e["database_bytes"] + e["file_bytes"]
        for e in others["experiments"]
    )
    named = [(owner["user_id"], owner["file_bytes"]) for owner in largest["owners"]]
    assert named == owners.most_common(20)
    assert [model["name"] for model in largest["logged_models"]] == [
        f"m{n}" for n in range(25, 5, -1)
    ]
    growth = {month["month"]: month["file_bytes"] for month in document["growth"]}
    assert {month: size for month, size in growth.items() if month in months} == months
    assert growth["2020-09"] == sum(range(26))
    panel = page[page.index('id="others"') :]
    assert ">project-100<" in panel
    assert "80 smaller experiments" in panel
    assert len(page.encode()) < 400_000


def test_no_statement_is_for_one_entity(tmp_path: Path) -> None:
    """As many for 90 runs in 30 experiments, with models, as for three in one."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    policy, counts = Policy(as_of_ms=now_ms(), default=Rule.of_days(30)), []
    statements: list[str] = []
    with _database("sqlite", tmp_path) as (uri, query):
        store = SqlAlchemyStore(uri, str(tmp_path / "root"))
        for number in (1, 29):
            for _ in range(number):
                experiment = store.create_experiment(
                    f"experiment {len(store.search_experiments())}"
                )
                for stage in ("active", "active", "deleted"):
                    info = store.create_run(experiment, "user", LONG_AGO, [], "r").info
                    _write(Path(info.artifact_uri) / "a.bin", 1)
                    if stage == "deleted":
                        store.delete_run(info.run_id)
                    else:
                        store.create_logged_model(experiment, "m", info.run_id, [], [], None)
            query(f"UPDATE runs SET deleted_time = {LONG_AGO} WHERE lifecycle_stage = 'deleted'")
            with _listening(statements):
                found = measure_usage(
                    resolve_connection(tracking_uri=uri), Reporter(), policy=policy
                )
            counts.append(len(statements))
            statements.clear()
    assert _row(found, "run", "active")["count"] == 60
    assert _row(found, "run", "trash")["freed_at_once_bytes"] == 30
    assert counts[0] == counts[1] > 20


@contextmanager
def _listening(statements: list[str]) -> Iterator[None]:
    """Note the statements of all engines."""

    def note(*args: Any) -> None:
        statements.append(args[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_the_page_shows_the_titles_and_columns_of_the_output(
    filled: Filled, offline_cli: Cli
) -> None:
    """Numbers and names are those of another server; every other line is printed today."""
    page = (ROOT / "docs/how-to/usage.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    shown = {" ".join(line.split()) for line in "\n".join(blocks).splitlines()}
    fixed = {line for line in shown if line and not re.search(r"\d|\[", line)}
    assert len(fixed) > 6
    output = offline_cli("usage", "--tracking-uri", filled.uri).expect(0).out
    printed = {" ".join(line.split()) for line in output.splitlines()}
    # The page shows SQLite; other databases estimate the sizes of tables.
    elsewhere = () if filled.uri.startswith("sqlite:") else ("Counts,",)
    assert {line for line in fixed if not line.startswith(("Usage of", *elsewhere))} <= printed


@pytest.mark.parametrize("output_format", ["text", "markdown", "html"])
def test_views_show_the_totals_and_escape_names(
    filled: Filled, offline_cli: Cli, output_format: str
) -> None:
    outcome = offline_cli("usage", "--tracking-uri", filled.uri, "--format", output_format)
    text = outcome.expect(0).out
    assert "Database: " in text
    assert "Largest experiments" in text
    assert "\x1b" not in text
    assert ("<script>alert" in text) == (output_format == "text")
    assert "pwd-canary" not in text


def test_a_run_without_time_of_deletion_is_not_freed(filled: Filled, offline_cli: Cli) -> None:
    run = next(run for run, stage in filled.runs.items() if stage == "trash")
    ((before,),) = filled.query(f"SELECT deleted_time FROM runs WHERE run_uuid = '{run}'")
    filled.query(f"UPDATE runs SET deleted_time = NULL WHERE run_uuid = '{run}'")
    try:
        outcome = offline_cli("usage", "--tracking-uri", filled.uri, "--format", "json").expect(0)
    finally:
        filled.query(f"UPDATE runs SET deleted_time = {before} WHERE run_uuid = '{run}'")
    found = json.loads(outcome.out)
    assert _row(found, "run", "trash")["not_freed_bytes"] > sum(FILES_PER_RUN.values())
    assert "no_deletion_time" in {d["code"] for d in found["diagnostics"]}


def test_stale_is_what_report_would_delete(bench: Bench) -> None:
    world = bench.world
    home = world.experiment(age=FRESH)
    stale, _ = world.run(home, metrics={"m": world.ago(90)}), world.run(home, age=FRESH)
    world.model("spare")
    world.spare_version("spare")
    world.version("spare")
    args = ("usage", "--backend-store-uri", f"sqlite:///{world.database}", "--format", "json")
    plain = bench.cli(*args).expect(0).json()
    assert {row["stage"] for row in plain["rows"]} == {"active"}
    found = bench.cli(*args, "--stale").expect(0).json()
    plan = bench.report()
    assert plan.runs == {stale}
    row = _row(found, "run", "stale")
    assert (row["count"], row["freed_later_bytes"]) == (1, 0)
    assert (
        row["rows"] + _row(found, "run", "active")["rows"] == _row(plain, "run", "active")["rows"]
    )
    assert _row(found, "model_version", "stale")["count"] == len(plan.versions) == 1


def test_what_purge_would_not_delete_is_not_freed(filled: Filled, found: Any) -> None:
    """It is too young."""
    trash = [run for run, stage in filled.runs.items() if stage == "trash"]
    young = f"WHERE run_uuid = '{trash[0]}'"
    filled.query(f"UPDATE runs SET deleted_time = {now_ms()} {young}")
    try:
        policy = Policy(as_of_ms=now_ms(), default=Rule.of_days(30))
        connection = resolve_connection(tracking_uri=filled.uri)
        protected = measure_usage(connection, Reporter(), policy=policy)
    finally:
        filled.query(f"UPDATE runs SET deleted_time = {LONG_AGO} {young}")
    before, after = (_row(document, "run", "trash") for document in (found, protected))
    files = sum(FILES_PER_RUN.values())
    assert before["freed_at_once_bytes"] - after["freed_at_once_bytes"] == files
    assert before["not_freed_bytes"] == 0
    assert after["not_freed_bytes"] > files
    assert after["count"] == before["count"] == len(trash)


# Where something cannot be read -----------------------------------------------------------------


def test_what_cannot_be_listed_is_said_and_the_rest_is_shown(
    filled: Filled, offline_cli: Cli
) -> None:
    aside = filled.root.with_name("aside")
    filled.root.rename(aside)
    try:
        outcome = offline_cli("usage", "--tracking-uri", filled.uri, "--format", "json").expect(0)
    finally:
        shutil.rmtree(filled.root, ignore_errors=True)
        aside.rename(filled.root)
    found = json.loads(outcome.out)
    assert found["totals"]["files"] == 0
    assert found["totals"]["rows"]
    assert "root_empty" in {d["code"] for d in found["diagnostics"]}


def test_tables_that_an_account_may_not_read_are_named(
    filled: Filled, offline_cli: Cli, found: Any
) -> None:
    """PostgreSQL shows them; their bytes count, and belong to nothing."""
    if not filled.uri.startswith("postgresql"):
        pytest.skip("Other databases do not show them.")
    filled.query("CREATE ROLE reader LOGIN PASSWORD 'reader-canary'")
    filled.query("GRANT SELECT ON alembic_version, experiments, runs, metrics TO reader")
    uri = f"postgresql+psycopg2://reader:reader-canary@{filled.uri.rpartition('@')[2]}"
    outcome = offline_cli("usage", "--tracking-uri", uri, "--format", "json").expect(0)
    assert "reader-canary" not in outcome.out + outcome.err
    partly = json.loads(outcome.out)
    (message,) = (d["message"] for d in partly["diagnostics"] if d["code"] == "unreadable_tables")
    assert "params" in message
    # What may need something in the trash cannot be read, so nothing is promised.
    assert "purge_unknown" in {d["code"] for d in partly["diagnostics"]}
    assert partly["totals"]["freed_at_once_bytes"] == partly["totals"]["freed_later_bytes"] == 0
    assert "metrics" not in message.replace("latest_metrics", "").replace("_metrics", "")
    # What such a table may know is no orphan: 77 and 78 bytes of models, 33 of a trace, 9 of no
    # layout.
    assert _row(partly, "file", "unknown")["file_bytes"] == 77 + 78 + 33 + 9
    assert _row(partly, "file", "orphaned")["file_bytes"] == 500
    # The bytes of all tables are in the rows, whoever may read them.
    for document in (partly, found):
        total = document["totals"]["table_bytes"] + document["totals"]["index_bytes"]
        database = document["database"]
        assert abs(total - database["table_bytes"] - database["index_bytes"]) < 100


def test_it_writes_a_file_and_overwrites_only_its_own(
    filled: Filled, offline_cli: Cli, tmp_path: Path
) -> None:
    args = ("usage", "--tracking-uri", filled.uri, "-q")
    for output_format in ("json", "html", "markdown"):
        path = tmp_path / f"usage.{output_format}"
        for _ in range(2):
            outcome = offline_cli(*args, "--format", output_format, "-o", path).expect(0)
            assert outcome.out == ""
        assert path.read_text()
        assert path.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "policy.yml"
    other.write_text("version: 1\n")
    offline_cli(*args, "-o", other).expect(1)
    assert other.read_text() == "version: 1\n"


def test_files_behind_a_server_are_measured_where_it_keeps_them(bench: Bench) -> None:
    """And the database has to be that of the server."""
    run = bench.world.run(bench.world.experiment("served"))
    database = f"sqlite:///{bench.world.database}"
    args = ("usage", "--backend-store-uri", database, "--format", "json")
    without = bench.cli(*args).expect(0).json()
    assert not without["complete"]
    assert "--artifacts-destination" in json.dumps(without["diagnostics"])
    assert without["server"]["tracking_uri"] == bench.world.uri
    ((uri, experiment),) = _select(
        bench, f"SELECT artifact_uri, experiment_id FROM runs WHERE run_uuid = '{run}'"
    )
    if not uri.startswith("mlflow-artifacts:"):
        uri = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
        _select(bench, f"UPDATE runs SET artifact_uri = '{uri}'")
        _select(
            bench,
            "UPDATE experiments SET artifact_location = 'mlflow-artifacts:/' || experiment_id",
        )
    root = bench.dir / "destination"
    _write(root / uri.removeprefix("mlflow-artifacts:/") / "a.bin", 123)
    found = bench.cli(*args, "--artifacts-destination", str(root)).expect(0).json()
    assert _row(found, "run", "active")["file_bytes"] == 123


def _select(bench: Bench, statement: str) -> list[Any]:
    with closing(sqlite3.connect(bench.world.database)) as connection, connection:
        return connection.execute(statement).fetchall()


def test_the_database_of_another_server_is_refused(bench: Bench, tmp_path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"sqlite:///{tmp_path}/other.db"
    SqlAlchemyStore(uri, str(tmp_path))
    outcome = bench.cli("usage", "--backend-store-uri", uri).expect(5)
    assert "is not of the server" in outcome.err


@pytest.mark.parametrize("output_format", ["json", "text", "markdown", "html"])
def test_a_server_alone_tells_entities_and_files(bench: Bench, output_format: str) -> None:
    """And what is missing; a file whose id it does not tell is no orphan."""
    world, root = bench.world, bench.dir / "files"
    home = world.experiment("served")
    runs = [world.run(home) for _ in range(3)]
    world.delete_run(runs[0])
    model = world.logged_model(home, runs[1])
    world.sql("UPDATE experiments SET artifact_location = ? WHERE name = 'served'", str(root))
    world.sql("UPDATE runs SET artifact_uri = ? || '/' || run_uuid || '/artifacts'", str(root))
    for run in runs:
        _write(root / run / "artifacts" / "a.bin", 10)
    _write(root / ("f" * 32) / "artifacts" / "a.bin", 7)
    outcome = bench.cli("usage", "--format", output_format).expect(0)
    assert "--backend-store-uri" in outcome.out.replace("`", "")
    if output_format != "json":
        return
    found = json.loads(outcome.out)
    assert schema.problems(found, "usage") == []
    assert found["database"] is None
    assert _row(found, "run", "active")["file_bytes"] == 20
    trash = _row(found, "run", "trash")
    assert (trash["count"], trash["freed_at_once_bytes"]) == (1, 10)
    assert _row(found, "file", "unknown")["not_freed_bytes"] == 7
    assert _row(found, "logged_model", "active")["count"] == 1
    (largest,) = found["largest"]["logged_models"]
    assert (largest["model_id"], largest["name"]) == (model, "model")
    assert not [row for row in found["rows"] if row["stage"] == "orphaned"]


# Behind a server, without its database ----------------------------------------------------------


def _serve(bench: Bench, sizes: list[int], *, deleted: int = 0) -> list[str]:
    """Make runs whose files the server passes on, each with one file of a size."""
    world = bench.world
    home = world.experiment("served")
    runs = world.bulk_runs(home, len(sizes))
    # The row of Default outlives the test.
    world.sql(
        "UPDATE experiments SET artifact_location = 'mlflow-artifacts:/usage/served'"
        " WHERE name = 'served'"
    )
    world.sql(
        "UPDATE runs SET artifact_uri = 'mlflow-artifacts:/usage/served/' || run_uuid || '/artifacts'"
    )
    root = world.database.parent / "artifacts" / "usage" / "served"
    shutil.rmtree(root, ignore_errors=True)
    for number, (run, size) in enumerate(zip(runs, sizes, strict=True)):
        _write(root / run / "artifacts" / "model" / "a.bin", size)
        if number < deleted:
            world.delete_run(run)
    return runs


def test_a_few_files_behind_a_server_are_exact(bench: Bench) -> None:
    _serve(bench, [100, 200, 300, 400], deleted=1)
    found = bench.cli("usage", "--format", "json").expect(0).json()
    assert schema.problems(found, "usage") == []
    assert found["complete"]
    assert found["sample"] == {"listed": 4, "entities": 4, "margin_bytes": 0, "requests": 8}
    assert found["totals"]["file_bytes"] == 1000
    trash = _row(found, "run", "trash")
    assert (trash["files"], trash["freed_at_once_bytes"]) == (1, 100)
    assert "estimate" not in json.dumps(found["rows"])
    text = bench.cli("usage").expect(0).out
    assert "all of them were listed" in text
    assert "±" not in text


@pytest.mark.parametrize("output_format", ["json", "text", "markdown", "html"])
def test_many_files_behind_a_server_are_estimated_with_their_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, output_format: str
) -> None:
    monkeypatch.setattr(file_sample, "REQUESTS", 40)
    sizes = [1_000 + 7 * n for n in range(120)]
    _serve(bench, sizes, deleted=20)
    args = ("usage", "--format", output_format)
    out = bench.cli(*args).expect(0).out
    if output_format != "json":
        assert "±" in out
        assert "of 120 runs" in out
        return
    found = json.loads(out)
    assert schema.problems(found, "usage") == []
    assert not found["complete"]
    sample = found["sample"]
    assert 10 < sample["listed"] < 120 == sample["entities"]
    assert sample["requests"] <= 40 + 100
    totals = found["totals"]
    assert totals["files"] == 120
    # Whichever runs are listed: ids are random here (how good an interval is, has a test of its own).
    assert 20 * sizes[0] + 100 * sizes[20] <= totals["file_bytes"]
    assert totals["file_bytes"] <= 20 * sizes[19] + 100 * sizes[-1]
    assert 0 < totals["estimate"]["margin_bytes"] < 0.3 * sum(sizes)
    trash = _row(found, "run", "trash")
    assert 20 * sizes[0] <= trash["freed_at_once_bytes"] <= 20 * sizes[19]
    assert trash["estimate"]["entities"] == 20
    (served,) = (e for e in found["largest"]["experiments"] if e["name"] == "served")
    assert served["estimate"]["entities"] == 120
    again = bench.cli(*args).expect(0).json()
    assert again["totals"] == totals


def test_a_server_that_passes_nothing_on_is_said_once(bench: Bench, proxy: Proxy) -> None:
    _serve(bench, [1] * 30)
    body = (
        b"To enable artifacts server functionality, run `mlflow server` with `--serve-artifacts`."
    )
    refuses = Fault("no artifacts", status=503, body=body, content_type="text/plain")
    proxy.fail("GET", "mlflow-artifacts", refuses, times=float("inf"))
    outcome = bench.cli("usage", "--tracking-uri", proxy.uri, "--format", "json").expect(0)
    found = outcome.json()
    (message,) = (d["message"] for d in found["diagnostics"] if d["code"] == "files_unknown")
    assert "30 of 30" in message
    assert "--artifacts-destination" in message
    assert not found["files_measured"]
    assert not found["complete"]
    assert _row(found, "run", "active")["count"] == 30


# Promise and truth ------------------------------------------------------------------------------


@pytest.mark.deep
@pytest.mark.parametrize("is_packed", [True, False])
def test_postgresql_returns_what_was_promised(
    offline_cli: Cli, tmp_path: Path, is_packed: bool
) -> None:
    """Just that from packed tables; more from others, because what is retained is packed, too.

    Keys reach the indexes in no order, which leaves their pages little more than half full.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _database("postgresql", tmp_path) as (uri, query):
        store = SqlAlchemyStore(uri, str(tmp_path))
        for n in range(90):
            start = 1_700_000_000_000 + n * 1_000_000
            info = store.create_run("0", "user", start, [], "r").info
            run = info.run_id
            _write(Path(info.artifact_uri) / "a.bin", 1)
            query(
                "INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)"
                f" SELECT 'm' || k, random(), {start} + s, s, false, '{run}'"
                " FROM generate_series(1, 100) s, generate_series(1, 10) k"
            )
            if n % 3 == 0:
                store.delete_run(run)
        query(f"UPDATE runs SET deleted_time = {LONG_AGO} WHERE lifecycle_stage = 'deleted'")
        if is_packed:
            _vacuum_full(uri)

        def taken() -> int:
            ((total,),) = query(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'public'::regnamespace"
            )
            return int(total)

        before = taken()
        server = ("--tracking-uri", uri)
        found = offline_cli("usage", *server, "--format", "json").expect(0).json()
        promised = _row(found, "run", "trash")["freed_later_bytes"]
        outcome = offline_cli("purge", "--yes", "--vacuum", *server).expect(0)
        assert "Deletes 30 runs" in outcome.out
        freed = before - taken()
    assert promised > before / 4
    if is_packed:
        assert freed == pytest.approx(promised, rel=0.05)
    else:
        assert 1.2 * promised < freed < 2 * promised


def _vacuum_full(uri: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(uri.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (FULL, ANALYZE)")
