"""The guard before every store: paths that may mean another file than the one that was listed.

``DELETE .../artifacts/%2e`` on a server deleted its whole artifact root
(docs/explanation/mlflow-facts.md#a-dot-deletes-the-artifact-root), so a path that a program on the
way may normalize is not sent.
"""

from __future__ import annotations

from mlflow_gc.storage.interface import StoreError


def why_refused(path: str, *, literal: bool = False) -> str | None:
    """Return why a path is not sent to a store, as the end of a sentence; None if it may be sent.

    Args:
        path: of a file or folder, relative to its store.
        literal: whether the store takes a path as text: ``a//b`` and ``./a`` are names of objects
            in a bucket, and other spellings of ``a/b`` and ``a`` in a file system.
    """
    segments = path.split("/")
    if "\0" in path:
        return "contains a NUL character"
    if ".." in segments:
        return "contains '..'"
    if not path or (not literal and "" in segments):
        return "contains an empty segment"
    if not literal and "." in segments:
        return "contains '.'"
    return None


def checked(folder: str, uri: str, *, literal: bool = False, whole: bool = False) -> str:
    """Return a folder that may be sent to a store.

    Args:
        folder: relative to its store.
        uri: of the store, for the message.
        literal: see :func:`why_refused`.
        whole: whether the folder may be the whole store, which is ``""``.

    Raises:
        StoreError: It may mean another folder, too.
    """
    why = why_refused(folder, literal=literal)
    if why and not (whole and not folder):
        raise StoreError(
            f"The folder {folder!r} of {uri} {why}: which files that means depends on who reads it.",
            hint="Nothing in it is read or deleted. Move its files to a plain path.",
        )
    return folder
