"""Contents of experiments besides runs, logged models and traces.

Purging an experiment (``mlflow gc``) deletes its scorers, issues, review queues and label schemas
(foreign keys with ON DELETE CASCADE, 3.17).  An evaluation dataset remains, but can be found only
through its experiments.  Datasets that runs logged as inputs (``datasets``) belong to these runs.

Label schemas can be read only from a database: the endpoint that lists them creates a default one
if there is none (``_ensure_default_label_schema``, 3.14 to 3.17), and a report writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from mlflow_gc.backend.interface import Failure, Json, Page, ServerError, pages

if TYPE_CHECKING:
    from mlflow_gc.backend.rest.mlflow_api import MlflowApi

Contents = Mapping[str, tuple[str, ...]]
"""Contents by experiment id, as text (``scorers: 2``, ``review queues``), sorted."""

DATASETS = "evaluation datasets"
ISSUES = "issues"
LABEL_SCHEMAS = "label schemas"
REVIEW_QUEUES = "review queues"
SCORERS = "scorers"

COUNTED = frozenset({SCORERS, ISSUES})
"""Kinds whose number is always known; only one of the other kinds is read."""

_PAGE = 1000
_HIDDEN = {Failure.FORBIDDEN, Failure.REJECTED}
_FILE_STORE = "FEATURE_DISABLED"


def named(found: Iterable[tuple[str, str, int]]) -> dict[str, tuple[str, ...]]:
    """Return contents from (experiment id, kind, count); a count of 0 is left out."""
    texts: dict[str, list[str]] = {}
    for experiment_id, kind, count in found:
        if text := _describe(kind, count):
            texts.setdefault(experiment_id, []).append(text)
    return {i: tuple(sorted(contents)) for i, contents in texts.items()}


class RestContents:
    """Reads contents over REST, and remembers the endpoints of the server.

    If this account may not read a kind, the experiment is treated as containing it.
    """

    def __init__(self, max_parallel: int) -> None:
        self._max_parallel = max_parallel
        self._missing: set[str] = set()
        self._has_file_store = False
        self._lists_scorers_of_many = True
        self._lists_all_issues = True

    def read(self, api: MlflowApi, experiment_ids: Sequence[str]) -> Contents:
        """Return the contents of active experiments that have any.

        Review queues take a request for each experiment; no endpoint lists several.

        Raises:
            ServerError: the server cannot be read.
        """
        texts: dict[str, list[str]] = {}
        # Evaluation datasets come first: their response identifies a file store, which has no
        # contents.
        for kind, read in (
            (DATASETS, self._datasets),
            (SCORERS, self._scorers),
            (ISSUES, self._issues),
            (REVIEW_QUEUES, self._review_queues),
        ):
            if experiment_ids and not self._has_file_store and kind not in self._missing:
                for experiment_id, text in read(api, experiment_ids).items():
                    texts.setdefault(experiment_id, []).append(text)
        return {i: tuple(sorted(contents)) for i, contents in texts.items()}

    def _datasets(self, api: MlflowApi, experiment_ids: Sequence[str]) -> dict[str, str]:
        """Search many at once and bisect: few have any, and a response does not name them."""
        body = {"experiment_ids": list(experiment_ids), "max_results": 1}
        try:
            page = api.optional_page("POST", "datasets/search", "datasets", since=(3, 4), json=body)
        except ServerError as error:
            if error.code == _FILE_STORE:
                self._has_file_store = True
                return {}
            if error.failure not in _HIDDEN:
                raise
            if len(experiment_ids) == 1:
                return {experiment_ids[0]: _hidden(DATASETS)}
        else:
            if page is None:
                self._missing.add(DATASETS)
            if page is None or not page[0]:
                return {}
            if len(experiment_ids) == 1:
                return {experiment_ids[0]: DATASETS}
        middle = len(experiment_ids) // 2
        return {
            **self._datasets(api, experiment_ids[:middle]),
            **self._datasets(api, experiment_ids[middle:]),
        }

    def _scorers(self, api: MlflowApi, experiment_ids: Sequence[str]) -> dict[str, str]:
        if self._lists_scorers_of_many:
            # 3.14 to 3.16 ignore the parameter and list scorers of all active experiments.
            params = {"experiment_ids": list(experiment_ids)}
            try:
                page = api.optional_page(
                    "GET", "scorers/list", "scorers", since=(3, 4), params=params
                )
            except ServerError as error:
                # Before 3.14 the endpoint needs one experiment.
                if error.failure not in _HIDDEN:
                    raise
                self._lists_scorers_of_many = False
            else:
                return self._counted(SCORERS, page and page[0], experiment_ids)

        def of_one(experiment_id: str) -> list[Json] | None:
            params = {"experiment_id": experiment_id}
            page = api.optional_page("GET", "scorers/list", "scorers", since=(3, 4), params=params)
            return page and page[0]

        return self._one_by_one(SCORERS, of_one, experiment_ids)

    def _issues(self, api: MlflowApi, experiment_ids: Sequence[str]) -> dict[str, str]:
        def search(scope: Json) -> list[Json] | None:
            def page(token: str | None) -> Page[Json]:
                body = {**scope, "max_results": _PAGE, **({"page_token": token} if token else {})}
                found = api.optional_page(
                    "POST", "issues/search", "issues", since=(3, 11), json=body
                )
                if found is None:
                    self._missing.add(ISSUES)
                return found or ([], None)

            found = [*pages(page)]
            return None if ISSUES in self._missing else found

        # Few experiments one by one, in parallel; otherwise all issues of the server.
        if self._lists_all_issues and len(experiment_ids) > self._max_parallel:
            try:
                return self._counted(ISSUES, search({}), experiment_ids)
            except ServerError as error:
                # MLflow's basic auth allows that only for administrators.
                if error.failure not in _HIDDEN:
                    raise
                self._lists_all_issues = False
        return self._one_by_one(ISSUES, lambda i: search({"experiment_id": i}), experiment_ids)

    def _review_queues(self, api: MlflowApi, experiment_ids: Sequence[str]) -> dict[str, str]:
        def of_one(experiment_id: str) -> list[Json] | None:
            params = {"experiment_id": experiment_id, "max_results": 1}
            page = api.optional_page(
                "GET", "review-queues/list", "review_queues", since=(3, 14), params=params
            )
            return page and page[0]

        return self._one_by_one(REVIEW_QUEUES, of_one, experiment_ids)

    def _counted(
        self, kind: str, entities: list[Json] | None, experiment_ids: Sequence[str]
    ) -> dict[str, str]:
        if entities is None:
            self._missing.add(kind)
            return {}
        counts = Counter(str(entity.get("experiment_id")) for entity in entities)
        return {i: f"{kind}: {counts[i]}" for i in experiment_ids if counts[i]}

    def _one_by_one(
        self, kind: str, of_one: Callable[[str], list[Json] | None], experiment_ids: Sequence[str]
    ) -> dict[str, str]:
        """Read experiments one by one, several in parallel."""

        def describe(experiment_id: str) -> str:
            try:
                found = of_one(experiment_id)
            except ServerError as error:
                if error.failure in _HIDDEN:
                    return _hidden(kind)
                if error.failure is Failure.NOT_FOUND:  # it was deleted a moment ago
                    return ""
                raise
            if found is None:
                self._missing.add(kind)
            return _describe(kind, len(found or ()))

        first, *others = experiment_ids
        texts = {first: describe(first)}
        # Now it is known whether the server has the endpoint.
        if others and kind not in self._missing:
            with ThreadPoolExecutor(self._max_parallel) as pool:
                texts.update(zip(others, pool.map(describe, others), strict=True))
        return {i: contents for i, contents in texts.items() if contents}


def _describe(kind: str, count: int) -> str:
    if not count:
        return ""
    return f"{kind}: {count}" if kind in COUNTED else kind


def _hidden(kind: str) -> str:
    return f"{kind} that this account may not see"
