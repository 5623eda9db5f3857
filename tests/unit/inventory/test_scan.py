# ruff: noqa: ARG002 - the fake has the signatures of the real one
"""Scans against a server in memory that pages as MLflow does: by offset, tokens being offsets."""

from __future__ import annotations

import base64
import json
import random
import re
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import depth
from unit import worlds
from unit.worlds import OLD, POLICY, SERVER, a_run, an_experiment, as_lists

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.rest import json_parser
from mlflow_gc.domain.entities import MetricHistory
from mlflow_gc.domain.tag_selection import ALWAYS_WANTED
from mlflow_gc.domain.timestamps import DAY_MS
from mlflow_gc.inventory import run_scanner
from mlflow_gc.inventory.lookup import ancestors, read_content_digests, runs_by_id
from mlflow_gc.inventory.probe import probe
from mlflow_gc.inventory.registry import refused_names
from mlflow_gc.inventory.scan import scan
from mlflow_gc.plan.builder import build_plan
from mlflow_gc.plan.writer import render
from mlflow_gc.retention.engine import decide, experiments_to_probe


def _pairs(tags):
    return [{"key": key, "value": value} for key, value in tags.items()]


def _known(**fields):
    return {key: value for key, value in fields.items() if value is not None}


def _run_json(run):
    info = _known(
        run_id=run.run_id,
        run_name=run.run_name,
        experiment_id=run.experiment_id,
        user_id=run.user_id,
        status=run.status,
        lifecycle_stage=run.lifecycle_stage,
        start_time=run.start_time,
        end_time=run.end_time,
        artifact_uri=run.artifact_uri,
    )
    stamps = [t for t in (run.oldest_metric_time, run.newest_metric_time) if t is not None]
    data = {"tags": _pairs(run.tags), "metrics": [{"key": "m", "timestamp": t} for t in stamps]}
    return {
        "info": info,
        "data": data,
        "outputs": {"model_outputs": [{"model_id": m} for m in run.model_ids]},
    }


def _token_of(offset):
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()


def _offset_of(token):
    return json.loads(base64.b64decode(token))["offset"]


class Fake:
    """The reads of a gateway, over an inventory.

    Args:
        found: what the server holds.
        rng: decides page sizes and where rows lie that this user may not see.
        smallest: smallest page.
        hidden: how many of ten rows are preceded by one that a permission filter takes out.
        after_page: called after each page of runs; may change ``runs``.
    """

    def __init__(self, found, rng=None, *, smallest=1, hidden=0, after_page=lambda _fake: None):
        self.found, self.rng, self.smallest, self.hidden = found, rng, smallest, hidden
        self.max_parallel = rng.choice([1, 1, 4]) if rng else 1
        self.after_page = after_page
        self.runs = dict(found.runs)
        self.broken: set[str] = set()

    def _page(self, entities, token):
        rows = [*entities]
        places = random.Random(len(rows))
        slots = []
        for row in rows:
            if places.random() * 10 < self.hidden:
                slots += [None, None]
            slots.append(row)
        start = _offset_of(token) if token else 0
        end = start + (self.rng.randint(self.smallest, self.smallest + 3) if self.rng else 10**6)
        page = [row for row in slots[start:end] if row is not None]
        return page, (_token_of(end) if end < len(slots) else None)

    def partial_view(self):
        """Nothing is hidden, as far as the server says."""
        return

    def _check(self, what):
        if what in self.broken:
            raise ServerError(f"{what} failed.", Failure.AMBIGUOUS)

    def get_run(self, run_id, wanted=None):
        """As the search finds it."""
        return json_parser.run(_run_json(self.runs[run_id]), wanted)

    def metric_histories(self, run_ids, _key):
        """What the search shows is all there ever was."""
        stamps = {
            run_id: [t for t in (run.oldest_metric_time, run.newest_metric_time) if t is not None]
            for run_id, run in self.runs.items()
            if run_id in run_ids
        }
        return {i: MetricHistory(len(t), min(t), max(t)) for i, t in stamps.items() if t}

    def other_workspaces(self):
        """There are none."""
        return []

    def get_download_uri(self, _name, _version):
        """Nothing is known."""
        return

    def search_experiments(self, *, view, token):
        self._check("experiments")
        assert view == "ALL"
        rows = [
            {
                **_known(creation_time=e.creation_time, last_update_time=e.last_update_time),
                "experiment_id": e.experiment_id,
                "name": e.name,
                "lifecycle_stage": e.lifecycle_stage,
                "artifact_location": e.artifact_location,
                "tags": _pairs(e.tags),
            }
            for e in self.found.experiments.values()
        ]
        return self._page(map(json_parser.experiment, rows), token)

    def search_runs(
        self,
        experiment_ids,
        *,
        filter_string="",
        view="ACTIVE_ONLY",
        order_by=(),
        max_results=1000,
        token=None,
        wanted=ALWAYS_WANTED,
    ):
        self._check("runs")
        stages = {"ACTIVE_ONLY": ["active"], "DELETED_ONLY": ["deleted"]}
        stages["ALL"] = ["active", "deleted"]
        rows = [
            r
            # At once: another thread may add runs meanwhile.
            for r in tuple(self.runs.values())
            if r.experiment_id in experiment_ids and r.lifecycle_stage in stages[view]
        ]
        if filter_string.startswith("attributes.status != "):
            others = re.findall(r"attributes\.status != '(\w+)'", filter_string)
            rows = [r for r in rows if r.status not in others]
        elif ids := re.fullmatch(r"attributes\.run_id IN \((.*)\)", filter_string):
            rows = [r for r in rows if f"'{r.run_id}'" in ids[1].split(", ")]
        else:
            for condition in filter(None, filter_string.split(" AND ")):
                field, sign, bound = re.fullmatch(
                    r"attributes\.(start_time|end_time) (>=|<) (-?\d+)", condition
                ).groups()
                # As in SQL, NULL is neither greater nor less than anything.
                rows = [
                    r
                    for r in rows
                    if (time := getattr(r, field)) is not None
                    and (time >= int(bound) if sign == ">=" else time < int(bound))
                ]
        assert list(order_by) in (
            [],
            *([f"attributes.start_time {way}"] for way in ("ASC", "DESC")),
        )
        way = -1 if order_by and order_by[0].endswith("DESC") else 1
        # MLflow puts NULL last, whatever the direction.
        rows.sort(key=lambda r: (r.start_time is None, way * (r.start_time or 0), r.run_id))
        page = self._page([json_parser.run(_run_json(r), wanted) for r in rows], token)
        if view == "ACTIVE_ONLY":
            self.after_page(self)
        return page

    def search_registered_models(self, *, filter_string="", order_by=(), max_results=1, token=None):
        self._check("registered models")
        rows = [
            {
                "name": m.name,
                "tags": _pairs(m.tags),
                "aliases": [
                    {"alias": a, "version": v} for v, names in m.aliases.items() for a in names
                ],
                "last_updated_timestamp": m.last_updated_timestamp,
            }
            for m in self.found.registered_models.values()
        ]
        return self._page(() if filter_string else map(json_parser.registered_model, rows), token)

    def search_model_versions(self, *, filter_string="", token=None):
        rows = [
            _known(
                name=v.name,
                version=v.version,
                creation_timestamp=v.creation_timestamp,
                last_updated_timestamp=v.last_updated_timestamp,
                current_stage=v.current_stage,
                description=v.description,
                source=v.source,
                run_id=v.run_id,
                model_id=v.model_id,
                tags=_pairs(v.tags),
            )
            for v in self.found.model_versions.values()
        ]
        return self._page(() if filter_string else map(json_parser.model_version, rows), token)

    def _logged_model(self, model):
        info = _known(
            model_id=model.model_id,
            experiment_id=model.experiment_id,
            source_run_id=model.source_run_id,
            artifact_uri=model.artifact_uri,
            last_updated_timestamp_ms=model.last_updated_time,
        )
        return json_parser.logged_model({"info": info})

    def search_logged_models(
        self, experiment_ids, *, newest_first=False, max_results=1, token=None
    ):
        rows = [
            self._logged_model(m)
            for m in self.found.logged_models.values()
            if m.experiment_id in experiment_ids
        ]
        return self._page(rows, token)

    def get_logged_model(self, model_id, *, include_deleted=False):
        model = self.found.logged_models.get(model_id)
        return self._logged_model(model) if model else None

    def has_traces(self, experiment_ids):
        self._check("traces")
        probes = self.found.probes
        return any(probes[e].has_traces for e in experiment_ids if e in probes)

    def contents_of(self, experiment_ids):
        probes = self.found.probes
        return {e: probes[e].contents for e in experiment_ids if e in probes}


def _plan(fake):
    found = scan(fake)
    waiting = experiments_to_probe(decide(found, POLICY))
    found = probe(fake, found, waiting, since_ms=POLICY.cutoff_ms)
    return as_lists(build_plan(found, decide(found, POLICY), POLICY, SERVER))


def _bytes(plan):
    return render({**plan, "created_at": ""})


@given(worlds.inventories(), st.integers(0, 2**32), st.integers(1, 4))
def test_any_page_size_gives_the_same_plan(found, seed, smallest):
    whole = _bytes(_plan(Fake(found)))
    paged = Fake(found, random.Random(seed), smallest=smallest)
    assert _bytes(_plan(paged)) == whole


@given(worlds.inventories(), st.integers(0, 2**32), st.integers(0, 9))
def test_empty_and_short_pages_with_a_token_are_not_the_end(found, seed, hidden):
    whole = _bytes(_plan(Fake(found)))
    filtered = Fake(found, random.Random(seed), hidden=hidden)
    assert _bytes(_plan(filtered)) == whole


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 2**32))
def test_many_runs_of_one_millisecond_are_all_read(starts, seed):
    runs = [a_run(f"{n:032x}", start_time=OLD + start) for n, start in enumerate(starts)]
    found = worlds.inventory(an_experiment(), *runs)
    assert set(scan(Fake(found, random.Random(seed))).runs) == set(found.runs)


@depth.examples(5)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(0, 2),
    st.integers(0, 2**32),
)
def test_one_millisecond_is_read_in_parts(starts, size, hidden, seed):
    """Also where the server hands out shorter pages than were asked for, or empty ones."""
    runs = [a_run(f"{n:032x}", start_time=OLD + start // 3) for n, start in enumerate(starts)]
    found = worlds.inventory(an_experiment(), *runs)
    fake = Fake(found, random.Random(seed), hidden=hidden)
    fake.max_parallel = 4
    with patch.object(run_scanner, "_RUNS_OF_ONE_MOMENT", size):
        assert set(scan(fake).runs) == set(found.runs)


@depth.examples(3.3)
@given(st.integers(2, 25), st.integers(2, 5), st.integers(0, 2**32))
def test_runs_that_come_and_go_meanwhile_lose_no_others(count, smallest, seed):
    rng = random.Random(seed)
    runs = [a_run(f"{n:032x}", start_time=OLD + 7 * n) for n in range(count)]
    left = {r.run_id for r in runs}

    def meddle(fake):
        what = rng.random()
        if what < 0.4 and left:
            victim = rng.choice(sorted(left))
            left.discard(victim)
            del fake.runs[victim]
        elif what < 0.8 and len(fake.runs) < 60:
            run_id = f"{rng.getrandbits(100):032x}"
            fake.runs[run_id] = a_run(run_id, start_time=OLD + 7 * rng.randint(-5, count) + 3)

    found = worlds.inventory(an_experiment(), *runs)
    seen = scan(Fake(found, rng, smallest=smallest, after_page=meddle)).runs
    assert left <= set(seen)


def test_a_live_run_without_a_start_time_keeps_its_experiment():
    """NULL comes last and no ``start_time >=`` finds it, but the look into the experiment does."""
    runs = [a_run(f"{n:032x}", start_time=OLD + n, end_time=OLD + 99) for n in range(9)]
    unstarted = a_run("e" * 32, start_time=None, end_time=None, status="RUNNING")
    found = worlds.inventory(an_experiment(), *runs, unstarted)
    plan = _plan(Fake(found, random.Random(1), smallest=2))
    assert not plan["experiments"], "an experiment goes although a run in it stays"
    (retained,) = plan["protected"]["experiments"]
    assert retained["reason"] == "live_run"
    assert f"run {unstarted.run_id}" in retained["via"]


def test_a_part_that_fails_makes_the_plan_incomplete():
    found = worlds.inventory(an_experiment(), a_run())
    for what in ("runs", "registered models", "traces"):
        fake = Fake(found)
        fake.broken = {what}
        plan = _plan(fake)
        assert not plan["complete"], what
        assert not plan["applyable"]
        assert not plan["experiments"] or what == "registered models"


def test_a_server_that_repeats_a_page_for_ever_is_noticed():
    class Stuck(Fake):
        def search_model_versions(self, **_):
            return [], "again"

    plan = _plan(Stuck(worlds.inventory(an_experiment())))
    assert not plan["complete"]


def test_an_account_that_may_not_see_everything_gets_no_applyable_plan():
    class Partial(Fake):
        def partial_view(self):
            return "You may not read experiment 3."

    plan = _plan(Partial(worlds.inventory(an_experiment())))
    assert (plan["complete"], plan["applyable"]) == (False, False)
    assert plan["diagnostics"][0]["message"] == "You may not read experiment 3."


class _Strict:
    """A server that refuses names with a slash, and knows no other model."""

    def __init__(self, failure=Failure.REJECTED):
        self.asked, self.failure = [], failure

    def get_registered_model(self, name):
        self.asked.append(name)
        if "/" in name:
            raise ServerError("Names cannot contain '/' or ':'", self.failure)


def test_a_server_is_asked_only_about_names_that_some_server_refuses():
    """One that takes them (MLflow 2.14) deletes them, too."""
    server = _Strict()
    assert refused_names(server, ["plain", "a.b", "a/b", "a:b", "..", ".x"]) == {"a/b"}
    assert server.asked == ["..", "a/b", "a:b"]


def test_another_failure_says_nothing_about_a_name():
    with pytest.raises(ServerError):
        refused_names(_Strict(Failure.AMBIGUOUS), ["a/b"])


def test_what_runs_in_the_trash_are_nested_in_is_read_up_to_the_next_active_run():
    """A tree is one tree, whichever of its runs was deleted alone."""
    root, upper, lower, leaf, purged = worlds.RUN_IDS[:5]
    trashed = {"lifecycle_stage": "deleted"}
    found = worlds.inventory(
        an_experiment("1"),
        an_experiment("2", lifecycle_stage="deleted"),
        a_run(root, start_time=worlds.NEW),
        a_run(upper, parent=root, **trashed),
        a_run(lower, parent=upper, experiment_id="2", **trashed),
        a_run(leaf, parent=lower),
        a_run(worlds.RUN_IDS[5], parent=purged),
    )
    seen = scan(Fake(found))
    assert seen.parents_in_trash == {lower: upper, upper: root}
    decision = decide(seen, POLICY).runs[leaf]
    assert decision.chain == (f"run {root}", "FINISHED, not stale")


def test_no_id_ends_the_quotes_of_a_filter():
    """A journal that was edited may name anything; what MLflow cannot have is not there."""
    seen = []

    class Records:
        def search_runs(self, experiment_ids, *, filter_string, view, wanted, token=None):
            seen.append(filter_string)
            return [], None

    wrong = ["x' OR '1", "../a", "", "a b"]
    assert not list(runs_by_id(Records(), [*wrong, "ab12"], ["1"]))
    assert seen == ["attributes.run_id IN ('ab12')"]
    assert not list(runs_by_id(Records(), wrong, ["1"]))
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("run", "since", "is_asked"),
    [
        ({}, None, False),  # the server has no models
        ({}, OLD + 30 * DAY_MS, False),
        ({}, OLD, True),
        ({}, 0, True),  # it is not known when the first model was made
        ({"newest_metric_time": OLD + 29 * DAY_MS}, OLD + 30 * DAY_MS, True),
        ({"status": "RUNNING"}, OLD + 30 * DAY_MS, True),
        ({"start_time": OLD - 1}, OLD + 30 * DAY_MS, True),  # imported
    ],
)
def test_a_run_is_asked_for_its_inputs_if_it_can_have_read_a_model(run, since, is_asked):
    found = worlds.inventory(an_experiment(), a_run(worlds.RUN_IDS[0], **run))
    fake = Fake(found)
    asked = []
    fake.get_run = lambda run_id, wanted: asked.append(run_id) or Fake.get_run(fake, run_id, wanted)
    read = read_content_digests(
        fake, found.runs.values(), experiments=found.experiments, models_since_ms=since
    )
    assert asked == [*found.runs] * is_asked
    assert all(r.details.content_digest for r in read.values())


@pytest.mark.parametrize(
    ("parents", "above"),
    [
        ({}, ["b"]),
        ({"b": "c", "c": "d"}, ["b", "c", "d"]),
        ({"b": "c", "c": "b"}, ["b", "c"]),
        ({"b": "a"}, ["b"]),
        ({"b": ""}, ["b"]),
    ],
)
def test_what_a_run_is_nested_in_at_any_depth(parents, above):
    run = a_run("a", tags={"mlflow.parentRunId": "b"})
    assert [*ancestors(run, parents.get)] == above
    assert [*ancestors(a_run("a"), parents.get)] == []
