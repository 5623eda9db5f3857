"""All that was ever logged to a metric, of many runs at once where the server allows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from mlflow_gc.backend.interface import Failure, Json, Page, ServerError, pages
from mlflow_gc.backend.rest import json_parser
from mlflow_gc.backend.rest.mlflow_api import V2, MlflowApi, none_if_not_found, with_token
from mlflow_gc.domain.entities import MetricHistory

_BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_ENTRIES_A_PAGE = 10_000
"""Points of metrics in one response; the server's limit is 25,000, several are in flight at once."""
_NOT_LET_THROUGH = {
    Failure.UNSUPPORTED,
    Failure.FORBIDDEN,
    Failure.REJECTED,
    Failure.INVALID_RESPONSE,
}
_NAN = re.compile(rb"(?<=\"value\":)\s*-?(?:NaN|Infinity)(?=[,}\s])")


class MetricHistories:
    """Reads histories, and remembers whether the server sends those of many runs at once.

    MLflow's own pages read the histories of a hundred runs with one request
    (``/ajax-api/.../get-history-bulk``, the same from 2.14 to 3.18).  Where that is not let
    through, or not under this address (``--static-prefix``), each run is read by itself.
    """

    def __init__(self) -> None:
        self._has_bulk = True

    def read(self, api: MlflowApi, run_ids: Sequence[str], key: str) -> dict[str, MetricHistory]:
        """Return the history of a metric by run; one without such a metric is left out.

        Raises:
            ServerError: they cannot be read.
        """
        histories: dict[str, MetricHistory] = {}
        left = sorted(run_ids)
        while left and self._has_bulk:
            entries = self._bulk(api, left, key)
            if entries is None:
                break
            found = json_parser.metric_history(entries)
            if len(entries) < _ENTRIES_A_PAGE:
                return histories | found
            # Sorted by run: only of the last one there may be more.
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
        """Return the first entries of some histories; None where the endpoint is not to be had."""
        params = {"run_id": list(run_ids), "metric_key": key, "max_results": _ENTRIES_A_PAGE}

        def decode(content: bytes) -> Json:
            # A value that is no number comes as NaN, which is not JSON.
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
        # Before 3.10 all of it comes at once.
        found = api.read("GET", f"{V2}/metrics/get-history", params=with_token(params, token))
        return api.entries(found, "metrics")

    read = partial(json_parser.metric_history, pages(page), run_id)
    return none_if_not_found(read) or {}
