"""The files behind a tracking server, estimated from a sample of its runs and logged models.

A server lists one folder in a request (``mlflow-artifacts/artifacts``), so a large one cannot be
listed as a whole.  The sample is stratified by experiment, kind and stage.  Some of each stratum are
listed first; then most where most bytes are expected.  Which ones depends on their ids only: the same
server gives the same result.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from zlib import crc32

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.domain.redaction import hide
from mlflow_gc.inventory.progress import Progress, no_progress
from mlflow_gc.inventory.stored_files import Owner, StoredSize
from mlflow_gc.storage.interface import Store, StoreError
from mlflow_gc.storage.stores import ArtifactStores

REQUESTS = 2_000
"""Number of requests after which nothing more is listed: some ten seconds to a minute."""
FOLDERS = 200
"""Number of folders of one entity after which its listing ends."""
FEWEST = 5
"""Number of entities of each stratum that are listed first."""
EXPERIMENTS = 20
"""Experiments with strata of their own, those with most runs and models; the others share."""

_BATCH = 50
_FOR_A_SPREAD = 4  # the variance of Student's t is infinite for fewer
_IN_95_PERCENT = 1.96
_OF_ONE_ENTITY = {Failure.FORBIDDEN, Failure.NOT_FOUND, Failure.REJECTED}


@dataclass(frozen=True, eq=False)
class Spread:
    """What is expected of an entity that was not listed, from similar ones that were.

    Attributes:
        listed: number of those.
        files: their mean number of files.
        bytes: their mean size.
        variance: of a size, for the normal distribution in place of Student's t.
    """

    listed: int
    files: float
    bytes: float
    variance: float

    @classmethod
    def of(cls, sizes: Sequence[StoredSize]) -> Spread:
        """Return what is expected after some sizes, at least four."""
        number = len(sizes)
        mean = sum(size.bytes for size in sizes) / number
        squares = sum((size.bytes - mean) ** 2 for size in sizes)
        # The sum of squares over n - 1, times the variance of t with n - 1 degrees of freedom.
        variance = squares / (number - 3)
        return cls(number, sum(size.files for size in sizes) / number, mean, variance)


def margin(unlisted: Counter[Spread]) -> float:
    """Return half of the 95 % interval of the bytes of entities that were not listed.

    Both the mean of those listed is uncertain, and how far each of the others is from it.
    """
    variances = (n * s.variance * (n / s.listed + 1) for s, n in unlisted.items())
    return _IN_95_PERCENT * math.sqrt(sum(variances))


@dataclass
class _Stratum:
    """Similar entities, in the order in which they are listed."""

    entities: list[tuple[Owner, str]]
    tried: int = 0
    sizes: dict[Owner, StoredSize] = field(default_factory=dict)

    @property
    def expected_bytes(self) -> float:
        """The root mean square of the sizes, so that a spread counts, times the number."""
        squares = sum(size.bytes**2 for size in self.sizes.values())
        return len(self.entities) * math.sqrt(squares / len(self.sizes))

    def next(self, number: int) -> list[tuple[Owner, str]]:
        """Return the next entities to list."""
        found = self.entities[self.tried : self.tried + number]
        self.tried += len(found)
        return found


class FileSample:
    """The files of entities behind a server.

    Args:
        stores: finds the store of a URI.
        server: the server as a store; None if it has none.
        max_parallel: maximum number of concurrent requests.
    """

    def __init__(self, stores: ArtifactStores, server: Store | None, max_parallel: int) -> None:
        self._stores = stores
        self._server = server
        self._max_parallel = max_parallel
        self._added: dict[tuple[str, str, str], list[tuple[Owner, str]]] = defaultdict(list)
        self._strata: list[_Stratum] = []
        self.requests = 0
        """Number of requests that were sent."""
        self.longest: list[Owner] = []
        """Entities with too many folders, whose sizes are a minimum."""
        self.errors: list[str] = []
        """Why entities could not be listed."""

    @property
    def uri(self) -> str:
        """The URI of the server as a store; empty without one."""
        return self._server.uri if self._server else ""

    def covers(self, uri: str) -> bool:
        """Tell whether a location is behind the server, and is in no store reached from here."""
        return self._folder(uri) is not None

    def add(self, owner: Owner, experiment_id: str, stage: str, uri: str) -> bool:
        """Add an entity by the URI of its artifacts; return whether they are behind the server."""
        if (folder := self._folder(uri)) is None:
            return False
        self._added[experiment_id, owner.kind, stage].append((owner, folder))
        return True

    def _folder(self, uri: str) -> str | None:
        if self._server is None or not uri.startswith("mlflow-artifacts:"):
            return None
        try:
            place = self._stores.find(uri)
        except StoreError:
            return None
        return place.folder if place.store is self._server else None

    @property
    def entities(self) -> int:
        """The number of entities that were added."""
        return sum(map(len, self._added.values()))

    @property
    def sizes(self) -> dict[Owner, StoredSize]:
        """The sizes of the entities that were listed."""
        return {owner: size for stratum in self._strata for owner, size in stratum.sizes.items()}

    def measure(self, progress: Progress = no_progress) -> None:
        """List a sample."""
        if self._server is None:
            return
        listing = partial(_listed, self._server)
        self._strata = [_Stratum(entities) for entities in self._pooled()]
        with ThreadPoolExecutor(self._max_parallel) as pool:
            for batch in self._batches():
                listed = list(pool.map(listing, (folder for _, _, folder in batch)))
                for (stratum, owner, _), found in zip(batch, listed, strict=True):
                    if isinstance(found, StoreError):
                        self.requests += 1
                        self.errors.append(f"{found.message} {found.hint or ''}".strip())
                        continue
                    size, folders = found
                    stratum.sizes[owner] = size
                    self.requests += folders
                    if folders >= FOLDERS:
                        self.longest.append(owner)
                    progress("files", size.files)
                if any(isinstance(found, StoreError) and _is_of_all(found) for found in listed):
                    break

    def _pooled(self) -> Iterator[list[tuple[Owner, str]]]:
        """Yield the entities of each stratum, shuffled by their ids; the largest stratum first."""
        of_experiment: Counter[str] = Counter()
        for (experiment, _, _), entities in self._added.items():
            of_experiment[experiment] += len(entities)
        ranked = sorted(of_experiment, key=lambda i: (-of_experiment[i], i))
        named = set(ranked[:EXPERIMENTS])
        pooled: dict[tuple[str, str, str], list[tuple[Owner, str]]] = defaultdict(list)
        for (experiment, kind, stage), entities in self._added.items():
            pooled[experiment if experiment in named else "", kind, stage] += entities
        for _, entities in sorted(pooled.items(), key=lambda item: (-len(item[1]), item[0])):
            yield sorted(entities, key=lambda e: (crc32(e[0].id.encode()), e))

    def _batches(self) -> Iterator[list[tuple[_Stratum, Owner, str]]]:
        """Yield what to list next, until there is nothing or the requests are used up."""
        first = [
            [(s, *entity) for s in self._strata for entity in s.next(1)] for _ in range(FEWEST)
        ]
        # A server that passes nothing on gets one request.
        for round_ in (first[0][:1], first[0][1:], *first[1:]):
            if self.requests < REQUESTS:
                yield round_
        while self.requests < REQUESTS:
            batch: list[tuple[_Stratum, Owner, str]] = []
            expected = [(s.expected_bytes, s) for s in self._strata if s.sizes]
            while len(batch) < _BATCH:
                waiting = [(b, s) for b, s in expected if s.tried < len(s.entities)]
                if not waiting:
                    break
                # In proportion to the expected bytes; without any, to the number of entities.
                _, stratum = max(
                    waiting, key=lambda w: (w[0] / w[1].tried, len(w[1].entities) / w[1].tried)
                )
                batch += [(stratum, *entity) for entity in stratum.next(1)]
            if not batch:
                return
            yield batch

    def unlisted(self) -> Iterator[tuple[Owner, Spread]]:
        """Yield the entities that were not listed, with what is expected of them.

        Those of a stratum of which nothing could be listed are unknown.
        """
        everything = [size for s in self._strata for size in s.sizes.values()]
        of_all = Spread.of(everything) if len(everything) >= _FOR_A_SPREAD else None
        for stratum in self._strata:
            sizes = list(stratum.sizes.values())
            spread = Spread.of(sizes) if len(sizes) >= _FOR_A_SPREAD else of_all
            if sizes and spread:
                for owner, _ in stratum.entities:
                    if owner not in stratum.sizes:
                        yield owner, spread

    def problems(self) -> Iterator[str]:
        """Yield what could not be listed, and why, as sentences."""
        if self.errors:
            known = sum(len(s.sizes) for s in self._strata) + sum(1 for _ in self.unlisted())
            unknown = self.entities - known
            what = (
                f"Files of {unknown:,} of {self.entities:,} runs and logged models are unknown"
                if unknown
                else f"Some of {self.entities:,} runs and logged models could not be listed"
            )
            yield hide(f"{what}. {self.errors[0]}")
        if self.longest:
            yield (
                f"Some runs and logged models ({len(self.longest):,} of those listed) have {FOLDERS} "
                "folders or more, of which not all were listed: they are larger than shown."
            )


def _listed(server: Store, folder: str) -> tuple[StoredSize, int] | StoreError:
    """Return the size of what is below a folder, and the number of its folders."""
    size, folders = StoredSize(), {folder}
    try:
        for chunk in server.files(folder):
            for file in chunk:
                size.files += 1
                size.bytes += file.size_bytes
            above = chunk[0].path.rpartition("/")[0]
            while above not in folders and len(above) > len(folder):
                folders.add(above)
                above = above.rpartition("/")[0]
            if len(folders) >= FOLDERS:
                break
    except StoreError as error:
        return error
    return size, len(folders)


def _is_of_all(error: StoreError) -> bool:
    """Tell whether an error would hit every other listing, too."""
    cause = error.__cause__
    return isinstance(cause, ServerError) and cause.failure not in _OF_ONE_ENTITY
