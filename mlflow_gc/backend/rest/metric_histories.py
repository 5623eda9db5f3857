"""The history of a metric, of many runs per request if the server allows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from mlflow_gc.backend.interface import (
    Failure,
    Json,
    Page,
    ServerError,
    none_if_not_found,
    pages,
)
from mlflow_gc.backend.rest import json_parser
from mlflow_gc.backend.rest.mlflow_api import V2, MlflowApi, with_token
from mlflow_gc.domain.entities import MetricHistory

_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_ENTRIES_A_PAGE = 10_000
"""Metric values per response; the server's limit is 25,000, several are in flight."""
_NOT_LET_THROUGH = {
    Failure.UNSUPPORTED,
    Failure.FORBIDDEN,
    Failure.REJECTED,
    Failure.BLOCKED,
    Failure.INVALID_RESPONSE,
}
_NAN = re.compile(rb"(?<=\"value\":)\s*-?(?:NaN|Infinity)(?=[,}\s])")


class MetricHistories:
    """Reads histories, and remembers whether the server has the bulk endpoint.

    MLflow's own UI reads the histories of a hundred runs with one request
    (``/ajax-api/.../get-history-bulk``, the same from 2.14 to 3.18).  If that is blocked, or not
    under this address (``--static-prefix``), runs are read one by one.
    """

    def __init__(self) -> None:
        self._has_bulk = True

    def read(self, api: MlflowApi, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        """Return the history of a metric by run; runs without the metric are left out.

        Raises:
            ServerError: They cannot be read.
        """
        histories: dict[str, MetricHistory] = {}
        left = sorted(run_ids)
        while left and self._has_bulk:
            entries = self._bulk(api, left, key)
            if entries is None:
                break
            found = json_parser.metric_history(entries)
            if len(entries) < _ENTRIES_A_PAGE:
                histories |= found
                # These runs have the metric, so the response is not the server's.
                left = [run_id for run_id in left if run_id not in histories]
                break
            # Sorted by run: only the last one may be incomplete.
            cut_off = str(entries[-1]["run_id"])
            histories |= found
            if len(found) == 1:
                histories |= _of_run(api, cut_off, key)
            else:
                del histories[cut_off]
            left = [run_id for run_id in left if run_id not in histories]
        for run_id in left:
            histories |= _of_run(api, run_id, key)
        return histories

    def _bulk(self, api: MlflowApi, run_ids: Sequence[str], key: str) -> list[Json] | None:
        """Return the first entries of some histories; None if the endpoint is not available."""
        params = {"run_id": list(run_ids), "metric_key": key, "max_results": _ENTRIES_A_PAGE}

        def decode(content: bytes) -> Json:
            # NaN is not valid JSON.
            return api.client.decode(_NAN.sub(b"null", content))

        try:
            found = api.read_as(decode, "GET", _BULK, params=params)
            return api.entries(found, "metrics")[0]
        except ServerError as error:
            if error.failure not in _NOT_LET_THROUGH:
                raise
            self._has_bulk = False
            return None


def _of_run(api: MlflowApi, run_id: str, key: str) -> dict[str, MetricHistory]:
    params = {"run_id": run_id, "metric_key": key, "max_results": _ENTRIES_A_PAGE}

    def page(token: str | None) -> Page[Json]:
        # Before 3.10 the whole history is one page.
        found = api.read("GET", f"{V2}/metrics/get-history", params=with_token(params, token))
        return api.entries(found, "metrics")

    read = partial(json_parser.metric_history, pages(page), run_id)
    return none_if_not_found(read) or {}
