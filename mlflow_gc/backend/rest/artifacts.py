"""The artifact store behind a tracking server, which passes files on (``mlflow-artifacts:``).

Only files are deleted, one in a request, never a folder: servers up to 3.13 delete whatever begins
with its path (docs/explanation/mlflow-facts.md#prefix-deletes-hit-siblings), and all of them what
was uploaded meanwhile.  So empty folders stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, unquote

from mlflow_gc.backend.interface import Failure, ServerError
from mlflow_gc.backend.rest.mlflow_api import MlflowApi
from mlflow_gc.backend.rest.response_errors import not_mlflow
from mlflow_gc.storage.interface import StoredFile, StoreError, StoreNotes
from mlflow_gc.storage.paths import checked, why_refused

_PATH = "/api/2.0/mlflow-artifacts/artifacts"
_OF_ONE_FILE = frozenset(
    {Failure.FORBIDDEN, Failure.NOT_FOUND, Failure.REJECTED, Failure.AMBIGUOUS}
)
_DIRECTLY = "Reach the store itself, beside the server: --artifacts-destination."


class ServerArtifacts:
    """A store over the REST API of a server.

    Args:
        api: of the tracking server.
        max_parallel: maximum number of concurrent requests.
    """

    uri = "mlflow-artifacts:/"

    def __init__(self, api: MlflowApi, max_parallel: int) -> None:
        self._api = api
        self._max_parallel = max_parallel

    def files(self, folder: str) -> Iterator[Sequence[StoredFile]]:
        """Yield all files below a folder, level by level, one request for each folder."""
        level = [checked(folder, self.uri, whole=True)]
        with ThreadPoolExecutor(self._max_parallel) as pool:
            while level:
                deeper = []
                for files, folders in pool.map(self._list, level):
                    if files:
                        yield files
                    deeper += folders
                level = deeper

    def files_of(self, folders: Sequence[str]) -> Iterator[tuple[str, Sequence[StoredFile]]]:
        names = list(dict.fromkeys(checked(folder, self.uri, whole=True) for folder in folders))
        with ThreadPoolExecutor(self._max_parallel) as pool:
            yield from zip(names, pool.map(self._all, names), strict=True)

    def _all(self, folder: str) -> list[StoredFile]:
        waiting, found = [folder], []
        while waiting:
            files, folders = self._list(waiting.pop())
            found += files
            waiting += folders
        return found

    def is_there(self, folder: str) -> bool:
        return any(self._list(checked(folder, self.uri, whole=True)))

    def _list(self, folder: str) -> tuple[list[StoredFile], list[str]]:
        """Return the files and the folders in a folder."""
        if folder and (why := _why_unclear(folder)):
            raise StoreError(f"The server cannot list {folder!r}: the path {why}.", hint=_DIRECTLY)
        files: list[StoredFile] = []
        folders: list[str] = []
        params = {"path": folder} if folder else {}
        try:
            found, _ = self._api.entries(self._api.read("GET", _PATH, params=params), "files")
            for entry in found:
                self._add(entry, folder, files, folders)
        except ServerError as error:
            raise _store_error(error) from error
        return files, folders

    def _add(
        self, entry: dict[str, Any], folder: str, files: list[StoredFile], folders: list[str]
    ) -> None:
        name, size = entry.get("path"), entry.get("file_size") or 0
        if not isinstance(name, str) or not isinstance(size, (str, int)) or "/" in name:
            raise not_mlflow(self._api.client.address, "no file in the answer")
        path = f"{folder}/{name}" if folder else name
        if why := why_refused(path):
            # Also of a//b in a bucket, for which the server would list a again and again.
            raise StoreError(f"The server lists {path!r}, which {why}.", hint=_DIRECTLY)
        if entry.get("is_dir"):
            folders.append(path)
        else:
            files.append(StoredFile(path, int(size), None))

    def delete(self, paths: Sequence[str]) -> Mapping[str, str]:
        errors = {
            path: f"Not deleted: the path {why}."
            for path in paths
            if (why := _why_not_deleted(path))
        }
        usable = sorted(set(paths) - errors.keys())
        with ThreadPoolExecutor(self._max_parallel) as pool:
            reported = dict(zip(usable, pool.map(self._delete_one, usable), strict=True))
            listings = pool.map(self._list, sorted({path.rpartition("/")[0] for path in usable}))
            there = {file.path for files, _ in listings for file in files}
        for path in there & set(usable):
            errors[path] = reported[path] or (
                "The server confirmed the deletion and lists the file still."
            )
        return errors

    def _delete_one(self, path: str) -> str | None:
        try:
            # Twice: the same file is gone after either.
            self._api.read("DELETE", f"{_PATH}/{quote(path)}", attempts=2)
        except ServerError as error:
            if error.failure not in _OF_ONE_FILE or error.is_foreign:
                raise _store_error(error) from error
            return error.explained
        return None

    def linked_parent(self, folder: str) -> str | None:  # noqa: ARG002 - of the interface
        return None

    def delete_empty_folders(self, *folders: str) -> None:
        """Do nothing: the server deletes a folder with whatever is in it by then."""

    def notes(self, folder: str) -> StoreNotes:  # noqa: ARG002 - of the interface
        """Return that nothing is known of the store behind the server."""
        return StoreNotes(
            unknown=("Whether the store behind the server keeps old versions: it does not tell.",)
        )


def _store_error(error: ServerError) -> StoreError:
    return StoreError(error.message, hint=error.hint or f"See the log of the server. {_DIRECTLY}")


def _why_unclear(path: str) -> str | None:
    """Return why the server would take a path for another one, or None.

    See docs/explanation/mlflow-facts.md#servers-decode-artifact-paths.
    """
    if "%" in path and unquote(path) != path:
        return "contains what looks like an encoded character"
    if not path.isprintable() or set("#?;\\") & set(path) or ":" in path.partition("/")[0]:
        return "contains a character that the server changes"
    return None


def _why_not_deleted(path: str) -> str | None:
    why = why_refused(path) or _why_unclear(path)
    # Right below the root are the folders of all experiments.
    return why or (None if "/" in path else "is right below the artifact root")
