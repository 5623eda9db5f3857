"""The files of what is in the trash, and of what is in no table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from mlflow_gc.apply.purge.files import root_of
from mlflow_gc.apply.purge.purged_kinds import WITH_FILES, folders_of
from mlflow_gc.domain.entities import Diagnostic
from mlflow_gc.domain.kinds import EXPERIMENT
from mlflow_gc.domain.quantities import Size, files_of, number_of, size_of
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.domain.redaction import hide
from mlflow_gc.domain.trash import Key, OrphanedFiles, Trash
from mlflow_gc.inventory.database_usage import DatabaseUsage
from mlflow_gc.inventory.stored_files import StoredFiles, newest
from mlflow_gc.plan.purge_builder import Measured
from mlflow_gc.retention.decision import Decision, Verdict, protect
from mlflow_gc.retention.trash import TrashDecisions
from mlflow_gc.settings import redact_uri
from mlflow_gc.storage.interface import Store, StoreError, UnreadableFolders
from mlflow_gc.storage.stores import ArtifactStores
from mlflow_gc.workflows.reporter import Reporter

_PROBES = 100
"""Most experiments whose folder is looked for in an artifact root."""

KEPT_VERSIONS = "kept_versions"
"""Diagnostic code: a store keeps deleted files as old versions."""

UNFINISHED_UPLOADS = "unfinished_uploads"
"""Diagnostic code: a store holds parts of uploads that no listing shows."""

FILES_UNKNOWN = "files_unknown"
"""Diagnostic code: files could not be listed, so that orphaned ones among them are not found."""

UNKNOWN_LAYOUT = "unknown_layout"
"""Diagnostic code: artifact stores hold files that are not where MLflow keeps its own."""


def folders_to_delete(trash: Trash, decisions: TrashDecisions) -> dict[Key, list[str]]:
    """Return the URIs of the folders whose files are deleted with each entity."""
    return {
        (kind, i): folders_of(kind, i, trash)
        for kind in (purged.kind.name for purged in WITH_FILES)
        for i in decisions.of(kind, Verdict.DELETE)
    }


def placed(
    chosen: Mapping[Key, Sequence[str]], locations: Iterable[str], stores: ArtifactStores
) -> tuple[dict[Store, dict[str, Key]], dict[Key, Decision]]:
    """Find the folders of entities; nothing is listed.

    Args:
        chosen: the URIs of the folders of each.
        locations: the artifact locations of all experiments.
        stores: of the artifacts.

    Returns:
        The entities by store and folder, and what the stores protect.
    """
    roots = _roots(locations, stores)
    withheld: dict[Key, Decision] = {}
    by_store: dict[Store, dict[str, Key]] = defaultdict(dict)
    for key, uris in chosen.items():
        try:
            for place in map(stores.find, uris):
                by_store[place.store][place.folder] = key
        except StoreError as error:
            withheld[key] = _unreachable(error.message)
    safe = {s: dict(_safe(s, of_store, roots, withheld)) for s, of_store in by_store.items()}
    return safe, withheld


def _unreachable(why: str) -> Decision:
    return protect(Reason.UNREACHABLE_STORE, Link(note=why))


def measure_trash(
    chosen: Mapping[Key, Sequence[str]],
    locations: Iterable[str],
    stores: ArtifactStores,
    reporter: Reporter,
) -> tuple[dict[Key, Decision], Measured]:
    """List the files of entities; return what the stores protect, and the sizes.

    ``locations`` are the artifact locations of all experiments.
    """
    by_store, withheld = placed(chosen, locations, stores)
    sizes: dict[Key, Size] = {}
    diagnostics: list[Diagnostic] = []
    retaining = False
    for store, safe in by_store.items():
        try:
            try:
                for folder, files in store.files_of(sorted(safe)):
                    size = Size(sum(file.size_bytes for file in files), len(files))
                    sizes[safe[folder]] = sizes.get(safe[folder], Size()) + size
                    reporter.advance("files", 1)
            except UnreadableFolders as error:
                withheld |= {safe[f]: _unreachable(why) for f, why in error.folders.items()}
            notes = [store.notes(root) for root in sorted({root_of(f) for f in safe})]
        except StoreError as error:
            withheld |= dict.fromkeys(safe.values(), _unreachable(error.message))
            continue
        if any(note.keeps_versions for note in notes):
            retaining = True
            diagnostics.append(_keeps_versions(store.uri))
        if uploads := sum(note.unfinished_uploads for note in notes):
            taken = size_of(sum(note.unfinished_bytes for note in notes))
            diagnostics.append(
                Diagnostic(
                    UNFINISHED_UPLOADS,
                    f"{store.uri} holds {number_of(uploads, 'unfinished upload', 'unfinished uploads')} "
                    f"({taken}), which no purge deletes.",
                )
            )
    return withheld, Measured(sizes=sizes, retaining=retaining, diagnostics=tuple(diagnostics))


def _keeps_versions(uri: str) -> Diagnostic:
    return Diagnostic(
        KEPT_VERSIONS,
        f"{uri} keeps deleted files as old versions: their space is returned when its lifecycle rule "
        "deletes these.",
    )


def _roots(locations: Iterable[str], stores: ArtifactStores) -> dict[tuple[str, str], list[str]]:
    """Return the folders of experiments by store and the folder in which they are."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for uri in locations:
        with suppress(StoreError):  # it protects what is in it by itself
            place = stores.find(uri)
            found[place.store.uri, place.folder.rpartition("/")[0]].append(place.folder)
    return found


def _safe(
    store: Store,
    of_store: Mapping[str, Key],
    roots: Mapping[tuple[str, str], Sequence[str]],
    withheld: dict[Key, Decision],
) -> Iterator[tuple[str, Key]]:
    """Yield the folders that may be listed; note why the others protect.

    An artifact root that has a folder of none of its experiments is not mounted, or is that of
    another server.
    """
    problems: dict[str, str | None] = {}
    for folder, key in of_store.items():
        root = root_of(folder)
        if root not in problems:
            # Those with the highest ids are the last that were made.
            folders = roots.get((store.uri, root), ())[-_PROBES:]
            if not folders and key[0] == EXPERIMENT.name:
                folders = [root]  # of archived traces, where no experiment is located
            problems[root] = _root_problem(store, root, folders)
        try:
            linked = store.linked_parent(folder)
        except UnreadableFolders as error:
            withheld[key] = _unreachable(error.message)
            continue
        problem = f"{linked} is a symbolic link" if linked else problems[root]
        if problem:
            withheld[key] = _unreachable(problem)
        else:
            yield folder, key


def _root_problem(store: Store, root: str, folders: Iterable[str]) -> str | None:
    """Return why nothing below an artifact root may be deleted, for people; None if it may.

    ``folders`` are those of experiments in it.
    """
    problem = (
        f"{store.uri} has no files of any experiment below {root!r}; is it mounted? "
        "If there never were files, use --keep-files"
    )
    for folder in folders:
        try:
            if store.is_there(folder):
                return None
        except UnreadableFolders as error:
            problem = error.message
        except StoreError as error:
            return error.message
    return problem


def with_orphans(
    measured: Measured, files: StoredFiles, database: DatabaseUsage, reporter: Reporter
) -> Measured:
    """List everything, and add the files of entities that are in no table, and what else is there.

    Args:
        measured: the files of the trash.
        files: knows all locations.
        database: knows all entities.
        reporter: is told the progress.
    """
    found: dict[str, OrphanedFiles] = {}
    unknown, example = Size(), ""
    for owner, place, file in files.without_entity(database.experiment_of):
        if not owner.is_orphan:
            unknown += Size(file.size_bytes, 1)
            example = example or redact_uri(f"{place.store.uri.rstrip('/')}/{file.path}")
            continue
        parts = file.path.split("/")
        folder = "/".join(parts[: parts.index(owner.id) + 1])
        uri = redact_uri(f"{place.store.uri.rstrip('/')}/{folder}")
        known = found.get(uri)
        if known is None:
            reporter.advance("files", 1)
            entity = f"{owner.kind} {owner.id}"
            found[uri] = OrphanedFiles(uri, entity, file.size_bytes, 1, file.modified_ms)
            continue
        found[uri] = OrphanedFiles(
            uri,
            known.entity,
            known.size_bytes + file.size_bytes,
            known.file_count + 1,
            newest(known.newest_ms, file.modified_ms),
        )
    notes = [Diagnostic(FILES_UNKNOWN, text) for text in (*files.unlisted(), *files.problems)]
    if unknown.file_count:
        sentence = (
            "No purge deletes what is not where MLflow keeps its files: "
            f"{files_of(unknown.file_count, unknown.size_bytes)}, for example {example}."
        )
        notes.append(Diagnostic(UNKNOWN_LAYOUT, hide(sentence)))
    keeping = [root.uri for root in files.roots if root.notes.keeps_versions]
    if not measured.retaining:
        notes += map(_keeps_versions, keeping)
    return replace(
        measured,
        orphans=found,
        retaining=measured.retaining or bool(keeping),
        diagnostics=(*measured.diagnostics, *notes),
    )
