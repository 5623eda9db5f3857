"""Read all active runs of a server, several pages in parallel.

Paging on an MLflow server is by offset: for each page it sorts and skips all earlier rows, and
concurrent changes shift all later rows (docs/explanation/mlflow-facts.md#paging-is-by-offset).  So
runs are read in disjoint windows of their start time.  A window with more than one page continues
by key, from the last start time that was read; it is split into parts while connections are idle.
Duplicates count once.
"""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections import deque
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace

from mlflow_gc.backend.adaptive_concurrency import AdaptiveLimiter
from mlflow_gc.backend.interface import REPEATS, Failure, Gateway, ServerError
from mlflow_gc.domain.entities import Run
from mlflow_gc.domain.tag_selection import Wanted
from mlflow_gc.inventory.progress import Progress, no_progress

RUNS_A_PAGE = 2000
_FIRST_RUNS = 200
"""The first page only tells where to split: all other connections wait for it."""
_RUNS_OF_ONE_MOMENT = 10_000
"""Page size if all runs of a page have the same start time: only offsets can continue."""
_PARTS_OF_ONE_MOMENT = 4
"""Such pages are large, and all in-flight pages have to fit into memory."""
_ORDER = ("attributes.start_time ASC",)
_FILLED = 0.7
"""The expected fill of a page; full pages would often need a second one."""
_MOST_PARTS = 64


@dataclass(frozen=True)
class _Window:
    """A range of start times of runs in some experiments, still to read.

    Attributes:
        experiment_ids: the experiments.
        since: first start time, ms; None from the beginning, runs without start time included.
        until: end of the range, exclusive, ms; None without end.
        token: token of the next page, if the start time cannot continue.
        size: page size.
        seen: the tokens of previous pages.
        stop: an offset; later rows belong to another window.
    """

    experiment_ids: Sequence[str]
    since: int | None = None
    until: int | None = None
    token: str | None = None
    size: int = RUNS_A_PAGE
    seen: frozenset[str] = frozenset()
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it contains all runs of its experiments."""
        return self.since is None and self.until is None and self.token is None

    @property
    def filter_string(self) -> str:
        """The range in MLflow's filter grammar."""
        parts = []
        if self.since is not None:
            parts.append(f"attributes.start_time >= {self.since}")
        if self.until is not None:
            parts.append(f"attributes.start_time < {self.until}")
        return " AND ".join(parts)

    def parts(self, count: int) -> list[_Window]:
        """Split it into at most ``count`` parts of equal duration."""
        if self.since is None or self.until is None:
            return [self]
        span = self.until - self.since
        count = max(min(count, span), 1)
        bounds = [self.since + span * n // count for n in range(count + 1)]
        return [
            replace(self, since=since, until=until) for since, until in itertools.pairwise(bounds)
        ]


def read_runs(
    gateway: Gateway,
    experiment_ids: Sequence[Sequence[str]],
    runs: MutableMapping[str, Run],
    wanted: Wanted | None,
    progress: Progress = no_progress,
) -> None:
    """Read the active runs of groups of experiments; those of one group are searched together.

    Raises:
        ServerError: A page could not be read; ``runs`` contains the earlier ones.
    """
    _RunScan(gateway, runs, wanted, progress).read(
        [_Window(ids, size=_FIRST_RUNS) for ids in experiment_ids]
    )


class _RunScan:
    """A queue of windows, and the threads that read them."""

    def __init__(
        self,
        gateway: Gateway,
        runs: MutableMapping[str, Run],
        wanted: Wanted | None,
        progress: Progress,
    ) -> None:
        self._gateway = gateway
        self._runs = runs
        self._wanted = wanted
        self._progress = progress
        self._limiter = AdaptiveLimiter(gateway.max_parallel)
        self._waiting: deque[_Window] = deque()
        self._busy = 0
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._cut_groups: list[tuple[Sequence[str], str]] = []
        self._error: BaseException | None = None

    def read(self, windows: Sequence[_Window]) -> None:
        """Read all windows and the rest of each."""
        self._waiting.extend(windows)
        if self._gateway.max_parallel == 1:
            self._work()
        else:
            self._work_in_threads()
        if self._error:
            raise self._error
        for experiment_ids, token in self._cut_groups:
            self._read_rest(experiment_ids, token)

    def _work_in_threads(self) -> None:
        # Daemon threads: an interrupt ends the process without waiting for pages in flight.
        threads = [
            threading.Thread(target=self._work, name=f"runs-{n}", daemon=True)
            for n in range(self._gateway.max_parallel)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self._give_up(None)
            raise

    def _work(self) -> None:
        while window := self._next():
            left: Sequence[_Window] = ()
            try:
                left = self._read(window)
            except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
                self._give_up(error)
            finally:
                with self._changed:
                    self._busy -= 1
                    if not self._error:
                        self._waiting.extend(left)
                    self._changed.notify_all()

    def _next(self) -> _Window | None:
        with self._changed:
            while not self._waiting and self._busy:
                self._changed.wait()
            if not self._waiting:
                return None
            self._busy += 1
            return self._waiting.popleft()

    def _give_up(self, error: BaseException | None) -> None:
        with self._changed:
            self._error = self._error or error
            self._waiting.clear()

    def _read(self, window: _Window) -> Sequence[_Window]:
        """Read one page and return the rest of its window."""
        with self._limiter.request() as response:
            page, token = self._search(window)
            response.size = len(page) if len(page) >= window.size // 2 else 0
        with self._taking:
            known = len(self._runs)
            self._runs.update((run.run_id, run) for run in page)
            self._progress("runs", len(self._runs) - known)
        if not token:
            return ()
        if window.is_whole:
            self._cut_groups.append((window.experiment_ids, token))
        last = page[-1].start_time if page else None
        since = -1 if window.since is None else window.since
        if window.stop is None and last is not None and last > max(since, -1):
            return self._cut(window, page, last)
        # No start time to continue from: all are equal, or an empty page with a token (servers with
        # permissions filter pages).
        if token in window.seen:
            raise ServerError(REPEATS, Failure.INVALID_RESPONSE)
        return self._go_on_at(token, window)

    def _go_on_at(self, token: str, window: _Window) -> list[_Window]:
        """Return the rest of a window that only tokens can continue, in parts.

        If a token is an offset, tokens of later pages can be built.  Each part follows its own
        tokens up to the start of the next one, because a server may return shorter pages.
        """
        size = _RUNS_OF_ONE_MOMENT
        left = replace(window, token=token, seen=window.seen | {token}, size=size)
        offset = _offset_of(token)
        if offset is None:
            return [left]
        if window.stop is not None:
            return [left] if offset < window.stop else []
        parts = min(self._idle() + 1, _PARTS_OF_ONE_MOMENT)
        starts = [offset + n * size for n in range(parts)]
        return [
            *(replace(left, token=_token_of(start), stop=start + size) for start in starts[:-1]),
            replace(left, token=_token_of(starts[-1])),
        ]

    def _search(self, window: _Window) -> tuple[list[Run], str | None]:
        return self._gateway.search_runs(
            window.experiment_ids,
            wanted=self._wanted,
            filter_string=window.filter_string,
            order_by=_ORDER,
            max_results=window.size,
            token=window.token,
        )

    def _cut(self, window: _Window, page: Sequence[Run], last: int) -> list[_Window]:
        """Return the rest of a window that was read up to a start time, in parts.

        The server sorts all runs of a window for each page of it (``SELECT DISTINCT`` in
        ``_search_runs``), so a part should contain about a page, and no thread should be idle.
        """
        left = _Window(window.experiment_ids, last, window.until)
        if left.until is None:
            newest, _ = self._gateway.search_runs(
                window.experiment_ids,
                order_by=["attributes.start_time DESC"],
                max_results=1,
            )
            until = newest[0].start_time if newest else None
            if until is None or until <= last:
                return [left]
            left = replace(left, until=until)
            # Runs that start from now on come last.
            return [*left.parts(self._parts(page, left)), _Window(window.experiment_ids, until)]
        return left.parts(self._parts(page, left))

    def _parts(self, page: Sequence[Run], left: _Window) -> int:
        """Return the number of parts to split a window into, estimated from its previous page."""
        if left.since is None or left.until is None:
            return 1
        first = next((run.start_time for run in page if run.start_time is not None), left.since)
        span = max(left.since - first, 1)
        expected = len(page) * (left.until - left.since) / span
        pages = min(int(expected / (_FILLED * RUNS_A_PAGE)) + 1, _MOST_PARTS)
        return max(pages, self._idle() + 1)

    def _idle(self) -> int:
        """Return the number of idle threads."""
        with self._changed:
            return max(self._gateway.max_parallel - self._busy - len(self._waiting), 0)

    def _read_rest(self, experiment_ids: Sequence[str], first_token: str) -> None:
        """Read the runs that are in no window: those without a start time.

        MLflow sorts them after all others, so they begin at the offset of the number of known runs.
        If the tokens of the server are not offsets, such runs are read only if they matter
        (``probe.py`` and the re-check before a delete).
        """
        if _offset_of(first_token) is None:
            return
        ids = set(experiment_ids)
        known = sum(
            run.experiment_id in ids and run.start_time is not None for run in self._runs.values()
        )
        token: str | None = _token_of(known)
        while token:
            page, token = self._search(_Window(experiment_ids, token=token))
            self._runs.update((run.run_id, run) for run in page)


def _offset_of(token: str) -> int | None:
    """Return the offset in a page token of MLflow's own stores, or None."""
    try:
        parsed = json.loads(base64.b64decode(token, validate=True))
    except ValueError:
        return None
    return parsed["offset"] if isinstance(parsed, dict) and [*parsed] == ["offset"] else None


def _token_of(offset: int) -> str:
    return base64.b64encode(json.dumps({"offset": offset}).encode()).decode()
