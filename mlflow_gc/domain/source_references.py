"""References of a model version to runs, logged models and other versions.

``run_id`` is whatever the caller sent and may be empty or name another run
(docs/explanation/mlflow-facts.md#run-id-is-unreliable), so the ``source`` is read too.  Its
forms, seen on servers from 2.3 to 3.18::

    models:/m-<32 hex digits>           a logged model (MLflow 3)
    models:/<name>/<version>            a copy of another version
    runs:/<run_id>/<path>               a run's artifact
    <any URI>/<run_id>/artifacts/...    the same, resolved
    <any URI>/models/m-.../artifacts    a logged model, resolved
    anything else                       no reference (``dummy-source`` of prompts)

When in doubt, keep: anything in these, or in the tags and the description of a version, that may
be an id is returned, also if it is glued to other characters (``run_<id>``, ``<id>-v2``), encoded,
in capitals or in the form of a UUID.  The caller checks which of them exist.  A wrong guess retains
one run too many; a missed one loses a model.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from urllib.parse import unquote

from mlflow_gc.domain.entities import LoggedModel, ModelVersion, RegisteredModel
from mlflow_gc.domain.reasons import Link

_ID_LENGTH = 32
_LONG = 500
"""Longer texts (of prompts) are rare and not worth caching."""
_ENCODINGS = 3
"""Text that passed several programs may be encoded more than once."""
_DIGITS = re.compile(r"[0-9a-f]{32,}")
_LOGGED_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_UUID = re.compile("[-_]".join(f"([0-9a-f]{{{n}}})" for n in (8, 4, 4, 4, 12)))
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]*")
_LOGGED_MODEL_URI = re.compile(r"models:/+m-[0-9a-f]{32}/?")
# As in MLflow: a number at the end is a version, even if the name contains an @.
_REST = r"/*(?:[?#].*)?"
_COPY = re.compile(rf"models:/+(?P<name>[^/]+)/+0*(?P<version>[0-9]+){_REST}", re.IGNORECASE)
_COPY_BY_ALIAS = re.compile(rf"models:/+(?P<name>[^/]+)@(?P<alias>[^/@]+?){_REST}", re.IGNORECASE)
_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_SAME_STORE = {"s3a": "s3", "s3n": "s3", "file": ""}
# The host is only the way to the same files.
_WITHOUT_HOST = {"mlflow-artifacts", ""}


def logged_model_ids(version: ModelVersion) -> set[str]:
    """Return everything in a version that may be the id of a logged model."""
    found = {version.model_id} if version.model_id else set()
    return found.union(*(ids.logged_models for ids in _ids(version)))


def possible_run_ids(version: ModelVersion) -> set[str]:
    """Return everything in a version that may be the id of a run.

    MLflow's own are 32 hex digits.  Imported runs may have others; these are found as words of the
    source and the link.
    """
    uris = unquote(f"{version.source} {version.storage} {version.run_link}")
    found = {*_WORD.findall(uris), *filter(None, [version.run_id])}
    return found.union(*(ids.runs for ids in _ids(version)))


def run_ids_in_model(model: RegisteredModel) -> set[str]:
    """Return everything in a registered model itself that may be the id of a run."""
    aliases = chain.from_iterable(model.aliases.values())
    texts = chain((model.name, model.description), model.tags, model.tags.values(), aliases)
    return set().union(*(ids.runs for ids in _ids_of(texts)))


def possible_runs_behind(
    models: Iterable[RegisteredModel],
    versions: Iterable[ModelVersion],
    logged_models: Mapping[str, LoggedModel],
) -> set[str]:
    """Return everything in a registry, or in logged models it names, that may be a run id."""
    found: set[str] = set().union(*map(run_ids_in_model, models))
    for version in versions:
        found |= possible_run_ids(version)
        named = map(logged_models.get, logged_model_ids(version))
        found.update(model.source_run_id for model in named if model)
    return found


def ids_named_by(
    models: Iterable[RegisteredModel], versions: Iterable[ModelVersion]
) -> dict[str, Link]:
    """Return everything in a registry that may be the id of a run, logged model or trace.

    Each with what names it, of several with the first.
    """
    found: dict[str, Link] = {}
    for version in versions:
        named_by = Link("model_version", version.key)
        for entity_id in possible_run_ids(version) | logged_model_ids(version):
            found.setdefault(entity_id, named_by)
    for model in models:
        for run_id in run_ids_in_model(model):
            found.setdefault(run_id, Link("registered_model", model.name))
    return found


class _Ids(NamedTuple):
    runs: tuple[str, ...]
    logged_models: tuple[str, ...]


def _ids(version: ModelVersion) -> Iterator[_Ids]:
    """Return possible ids in each text of a version that is long enough."""
    texts = (version.source, version.storage, version.run_link, version.run_id, version.description)
    return _ids_of(chain(texts, version.tags, version.tags.values()))


def _ids_of(texts: Iterable[str]) -> Iterator[_Ids]:
    for text in texts:
        if len(text) >= _ID_LENGTH:
            yield _known_ids_in(text) if len(text) <= _LONG else _ids_in(text)


def _ids_in(text: str) -> _Ids:
    for _ in range(_ENCODINGS):
        text = unquote(text)
    text = _UUID.sub(r"\1\2\3\4\5", text.lower())
    runs = (
        row[begin : begin + _ID_LENGTH]
        for row in _DIGITS.findall(text)
        # In a longer row of digits an id may begin anywhere.
        for begin in range(len(row) - _ID_LENGTH + 1)
    )
    return _Ids(tuple(runs), tuple(_LOGGED_MODEL_ID.findall(text)))


# A prune decides on the same registry before and after every batch.
_known_ids_in = lru_cache(maxsize=2**16)(_ids_in)


def copied_from(version: ModelVersion) -> tuple[str, str] | None:
    """Return (name, version) of the original of a copied version, from its source, or None."""
    match = _COPY.fullmatch(version.source)
    return (match["name"], match["version"]) if match else None


def copied_from_alias(version: ModelVersion) -> tuple[str, str] | None:
    """Return (name, alias) if the source names a version by alias, or None."""
    match = _COPY_BY_ALIAS.fullmatch(version.source)
    return (match["name"], match["alias"]) if match else None


def names_other_version(version: ModelVersion) -> bool:
    """Tell whether a source is ``models:/...`` and names a version, by number, stage or alias."""
    # A registered model may have the id of a logged model in its name.
    source = version.source
    return source.lower().startswith("models:/") and not _LOGGED_MODEL_URI.fullmatch(source)


@lru_cache(maxsize=2**16)
def location(uri: str) -> str:
    """Return the normalized URI of an artifact location: equal locations may have unequal URIs.

    ``file:///a`` is ``/a``, ``s3a://`` is ``s3://``, and a proxied artifact root is the same with
    any host; doubled slashes, ``..`` and percent-encoding are normalized.
    """
    for _ in range(_ENCODINGS):
        uri = unquote(uri)
    match = _URI.fullmatch(uri.strip())
    scheme, rest = (match["scheme"].lower(), match["rest"]) if match else ("", uri.strip())
    scheme = _SAME_STORE.get(scheme, scheme)
    host = ""
    if match and rest.startswith("//"):
        host, _, rest = rest[2:].partition("/")
    parts: list[str] = []
    for part in rest.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join([f"{scheme}://{'' if scheme in _WITHOUT_HOST else host}", *parts])


def by_location(artifacts: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return ids by artifact location, from pairs of an id and a URI."""
    found: dict[str, list[str]] = defaultdict(list)
    for entity_id, uri in artifacts:
        found[location(uri)].append(entity_id)
    return found


def folders_of(version: ModelVersion) -> Iterator[str]:
    """Yield the locations of a version's files, and every folder above each."""
    for uri in filter(None, (version.source, version.storage)):
        yield from parent_locations(uri)


def parent_locations(uri: str) -> list[str]:
    """Return a location and every folder above it, longest first (:func:`location`)."""
    return with_parents(location(uri))


def with_parents(place: str) -> list[str]:
    """Return a normalized location and every folder above it, longest first."""
    parts = place.split("/")
    # Scheme and host are not folders.
    return ["/".join(parts[:n]) for n in range(len(parts), 2, -1)]
