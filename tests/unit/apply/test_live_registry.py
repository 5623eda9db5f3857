"""The registry is kept up to date whatever the time stamps in it say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlflow_gc.apply.recheck import live_registry
from mlflow_gc.apply.recheck.live_registry import RegistryView
from mlflow_gc.backend.rest import json_parser

NOW = 1_800_000_000_000
HOUR = 3_600_000
MANY = 250
"""More than two pages of models."""


class Registry:
    """A server with a model registry, as far as the view asks for one."""

    def __init__(self, stamps: dict[str, int | None], *, nulls_first: bool = False) -> None:
        self.stamps = dict(stamps)
        self.nulls_first = nulls_first
        self.versions: dict[str, list[str]] = {name: [] for name in stamps}
        self.requests: list[str] = []

    def add_version(self, name: str, run_id: str, stamp: int | None = None) -> None:
        self.versions.setdefault(name, []).append(run_id)
        self.stamps[name] = stamp

    def clock_skew_ms(self) -> int:
        return 0

    def search_registered_models(
        self, *, filter_string: str = "", order_by=("name ASC",), max_results=1000, token=None
    ):
        self.requests.append("models")
        if filter_string:
            return [], None
        names = sorted(self.stamps)
        if "last_updated_timestamp DESC" in order_by:
            nulls = 1 if self.nulls_first else -1
            names.sort(
                key=lambda n: (nulls, 0) if (ms := self.stamps[n]) is None else (0, ms),
                reverse=True,
            )
        begin = int(token or 0)
        end = begin + max_results
        page = [json_parser.registered_model(self._model(name)) for name in names[begin:end]]
        return page, str(end) if end < len(names) else None

    def search_model_versions(self, *, filter_string: str = "", token=None):
        assert token is None
        self.requests.append("versions")
        if "is_prompt" in filter_string:
            return [], None
        one = re.search("name = '(.*?)'", filter_string)
        names = [one[1]] if one else list(self.versions)
        versions = [v for name in names for v in self._versions(name)]
        return [json_parser.model_version(version) for version in versions], None

    def get_logged_model(self, model_id: str, *, include_deleted: bool = False) -> None:
        del model_id, include_deleted

    def get_download_uri(self, name: str, version: str) -> None:
        raise AssertionError(f"{name} {version} is no copy")

    def _model(self, name: str) -> dict[str, Any]:
        stamp = self.stamps[name]
        return {
            "name": name,
            "latest_versions": self._versions(name)[-1:],
            **({} if stamp is None else {"last_updated_timestamp": stamp}),
        }

    def _versions(self, name: str) -> list[dict[str, Any]]:
        return [
            {"name": name, "version": str(n), "current_stage": "None", "run_id": run_id}
            for n, run_id in enumerate(self.versions[name], 1)
        ]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(live_registry, "now_ms", lambda: NOW)


def _old(count: int) -> dict[str, int | None]:
    return {f"model-{n}": NOW - 24 * HOUR - n for n in range(count)}


def _runs(view: RegistryView) -> set[str]:
    return {version.run_id for version in view.versions.values()}


@pytest.mark.parametrize(
    "bystander",
    [NOW + HOUR, NOW * 1000, None, 0, -1],
    ids=["an hour ahead", "in microseconds", "none", "0", "before 1970"],
)
@pytest.mark.parametrize("nulls_first", [False, True], ids=["NULL last", "NULL first"])
@pytest.mark.parametrize("count", [1, MANY])
def test_a_stamp_that_cannot_be_true_hides_no_change(bystander, nulls_first, count):
    registry = Registry({**_old(count), "odd": bystander}, nulls_first=nulls_first)
    view = RegistryView(registry)
    registry.add_version("model-0", "registered-meanwhile", NOW)
    registry.add_version("new", "in-a-new-model", NOW)
    registry.add_version("odd", "in-the-odd-one", bystander)
    found = _runs(view.refreshed())
    assert {"registered-meanwhile", "in-a-new-model"} <= found
    # What is stamped as if it were old lies behind the first page of a large registry.
    is_behind = count == MANY and bystander is not None and bystander <= 0
    is_behind |= count == MANY and bystander is None and not nulls_first
    assert ("in-the-odd-one" in found) is not is_behind
    assert "in-the-odd-one" in _runs(view.refreshed(completely=True))


def test_even_where_all_models_are_stamped_in_the_future():
    registry = Registry({name: NOW + HOUR + n for n, name in enumerate(_old(MANY))})
    view = RegistryView(registry)
    registry.add_version("model-0", "registered-meanwhile", NOW)
    assert "registered-meanwhile" in _runs(view.refreshed())


@pytest.mark.parametrize("behind", [HOUR, 48 * HOUR])
def test_a_server_whose_clock_is_behind_hides_nothing(behind):
    """Of up to a page of models at once, of more when all are read again."""
    for count in (99, MANY):
        registry = Registry(_old(count))
        view = RegistryView(registry)
        registry.add_version(f"model-{count - 1}", "registered-meanwhile", NOW - behind)
        registry.add_version("new", "in-a-new-model", NOW - behind)
        if count < MANY or behind == HOUR:
            assert {"registered-meanwhile", "in-a-new-model"} <= _runs(view.refreshed())
        assert {"registered-meanwhile", "in-a-new-model"} <= _runs(view.refreshed(completely=True))


def test_a_version_that_the_stamp_does_not_tell_of_is_found():
    """Two versions in the same millisecond, the second after the view was read."""
    registry = Registry({"model": NOW})
    registry.add_version("model", "first", NOW)
    view = RegistryView(registry)
    registry.add_version("model", "second", NOW)
    assert _runs(view.refreshed()) == {"first", "second"}


@pytest.mark.parametrize("count", [5, MANY])
def test_where_nothing_changed_a_refresh_costs_a_request_for_models_and_one_for_prompts(count):
    registry = Registry({**_old(count), "fresh": NOW, "odd": NOW + HOUR})
    view = RegistryView(registry)
    for _ in range(2):
        registry.requests.clear()
        view = view.refreshed()
        assert registry.requests == ["models"] * 2


def test_where_much_changed_all_versions_are_read_at_once():
    registry = Registry(_old(MANY))
    view = RegistryView(registry)
    for n in range(30):
        registry.add_version(f"model-{n}", f"run-{n}", NOW)
    registry.requests.clear()
    assert len(_runs(view.refreshed())) == 30
    assert registry.requests.count("versions") == 2
