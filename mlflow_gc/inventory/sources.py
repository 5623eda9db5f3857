"""What a model version names: runs, logged models and other versions.

``run_id`` is whatever the caller sent and may be empty or name another run (HAZARDS 0.8), so the
``source`` is read too.  Its forms, seen on servers from 2.3 to 3.18::

    models:/m-<32 hex digits>           a logged model (MLflow 3)
    models:/<name>/<version>            a copy of another version
    runs:/<run_id>/<path>               a run's artifact
    <any URI>/<run_id>/artifacts/...    the same, resolved
    <any URI>/models/m-.../artifacts    a logged model, resolved
    anything else                       names nothing (``dummy-source`` of prompts)

Reading is generous: every word of the URI that could be an id is offered, and the caller looks
which of them exist.  A wrong guess keeps a run too many; a missed one loses a model.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from mlflow_gc.inventory.entities import ModelVersion

_LOGGED_MODEL_ID = re.compile(r"(?<![0-9A-Za-z_-])m-[0-9a-f]{32}(?![0-9A-Za-z_-])")
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")
_COPY = re.compile(r"models:/+(?P<name>[^/@]+)/(?P<version>[0-9]+)/?")
_COPY_BY_ALIAS = re.compile(r"models:/+(?P<name>[^/@]+)@(?P<alias>[^/]+)/?")


def logged_model_ids(version: ModelVersion) -> set[str]:
    """Return the ids of logged models that a version's source names."""
    text = unquote(f"{version.source} {version.storage}")
    return {*_LOGGED_MODEL_ID.findall(text), *filter(None, [version.model_id])}


def possible_run_ids(version: ModelVersion) -> set[str]:
    """Return every word of a version's source and link that could be a run id."""
    text = unquote(f"{version.source} {version.storage} {version.run_link}")
    return {*_WORD.findall(text), *filter(None, [version.run_id])}


def copied_from(version: ModelVersion) -> tuple[str, str] | None:
    """Return (name, version) that a version was copied from, as its source says, or None."""
    match = _COPY.fullmatch(version.source)
    return (match["name"], match["version"]) if match else None


def copied_from_alias(version: ModelVersion) -> tuple[str, str] | None:
    """Return (name, alias) when the source names a version by alias, or None."""
    match = _COPY_BY_ALIAS.fullmatch(version.source)
    return (match["name"], match["alias"]) if match else None


def names_other_version(version: ModelVersion) -> bool:
    """Tell whether a source is ``models:/...`` and names a version, in whatever way."""
    return version.source.startswith("models:/") and not _LOGGED_MODEL_ID.search(version.source)


def parent_locations(source: str) -> list[str]:
    """Return the source and every folder above it, longest first, without trailing slashes."""
    parts = source.rstrip("/").split("/")
    return ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
