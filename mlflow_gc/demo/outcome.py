"""The outcome of the demo: the server before and after, explained by plan and journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlflow_gc.domain.kinds import BY_NAME
from mlflow_gc.errors import GcError
from mlflow_gc.plan.document import Plan, protected_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

KINDS = ("experiment", "run", "model_version")
_PAGE = 1000
# Searches omit prompts unless the filter selects this tag.
_PROMPTS_ONLY = "tags.`mlflow.prompt.is_prompt` = 'true'"

FRESH = "not stale"
PROMPT = "prompt"


@dataclass(frozen=True)
class ServerState:
    """The active entities of an MLflow server: names by id, per kind.

    The id of a model version is ``name/number``, as in plans and journals.
    """

    names: Mapping[str, Mapping[str, str]]
    prompts: frozenset[str]


@dataclass(frozen=True)
class RetainedGroup:
    """Entities of one kind that were retained for the same reason, with an example."""

    kind: str
    reason: str
    skipped_by_prune: bool
    count: int
    example: str
    via: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """Counts per kind, and why the others were retained."""

    before: Mapping[str, int]
    deleted: Mapping[str, int]
    retained: tuple[RetainedGroup, ...]


def read_server(tracking_uri: str) -> ServerState:
    """List the active entities of a server, through MLflow's API."""
    # mlflow takes seconds to import, and the other commands do not need it.
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri, registry_uri=tracking_uri)
    experiments = {
        e.experiment_id: e.name
        for e in _pages(lambda token: client.search_experiments(page_token=token))
    }
    runs = {
        run.info.run_id: f"{run.info.run_name} ({experiments[run.info.experiment_id]})"
        for run in _pages(
            lambda token: client.search_runs(list(experiments), max_results=_PAGE, page_token=token)
        )
    }
    versions, prompts = _version_keys(client, None), _version_keys(client, _PROMPTS_ONLY)
    return ServerState(
        {
            "experiment": experiments,
            "run": runs,
            "model_version": {key: key for key in versions | prompts},
        },
        frozenset(prompts),
    )


def _version_keys(client: MlflowClient, search: str | None) -> set[str]:
    return {
        f"{version.name}/{version.version}"
        for version in _pages(lambda token: client.search_model_versions(search, page_token=token))
    }


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    """Return the items of all pages."""
    token: str | None = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return


def explain(
    before: ServerState,
    after: ServerState,
    plan: Plan,
    records: Collection[Mapping[str, Any]],
) -> Outcome:
    """Return what was deleted, and why everything else was retained.

    Args:
        before: the server before the prune.
        after: the server after the prune.
        plan: the applied plan.
        records: the records of its journal.

    Raises:
        GcError: the journal and the server disagree on what was deleted.
    """
    deleted = Counter(r["kind"] for r in records if r["outcome"] == "deleted")
    reasons: dict[tuple[str, str], tuple[str, bool, tuple[str, ...]]] = {
        ("model_version", key): (PROMPT, False, ()) for key in after.prompts
    }
    for kind in KINDS:
        for entry in protected_of(plan, BY_NAME[kind].entries):
            reasons[kind, BY_NAME[kind].id_of(entry)] = (
                entry["reason"],
                False,
                tuple(entry.get("via", ())),
            )
    for record in records:
        if record["outcome"] != "deleted":
            detail = record.get("detail")
            reasons[record["kind"], record["id"]] = (
                record["reason"] or record["outcome"],
                True,
                (detail,) if detail else (),
            )
    for kind in KINDS:
        gone = len(before.names[kind].keys() - after.names[kind].keys())
        if gone != deleted[kind]:
            message = (
                f"The journal says that {deleted[kind]} {kind}s were deleted; "
                f"{gone} are gone from the server."
            )
            raise GcError(message, hint="This should not happen: please report it.")
    return Outcome(
        before={kind: len(before.names[kind]) for kind in KINDS},
        deleted={kind: deleted[kind] for kind in KINDS},
        retained=tuple(_groups(after, reasons)),
    )


def _groups(
    after: ServerState, reasons: Mapping[tuple[str, str], tuple[str, bool, tuple[str, ...]]]
) -> Iterable[RetainedGroup]:
    for kind in KINDS:
        grouped: dict[tuple[str, bool], list[str]] = {}
        for key in after.names[kind]:
            reason, skipped, _ = reasons.get((kind, key), (FRESH, False, ()))
            grouped.setdefault((reason, skipped), []).append(key)
        # Skipped entities first, then the most frequent reasons.
        for (reason, skipped), keys in sorted(
            grouped.items(), key=lambda item: (not item[0][1], -len(item[1]), item[0][0])
        ):
            # The longest chain is the most informative; readable names come first.
            def informative(key: str, kind: str = kind) -> tuple[bool, int, str, str]:
                _, _, via = reasons.get((kind, key), ("", False, ()))
                name = after.names[kind][key]
                return (not (name.isascii() and name.isprintable()), -len(via), name, key)

            example = min(keys, key=informative)
            _, _, via = reasons.get((kind, example), ("", False, ()))
            yield RetainedGroup(kind, reason, skipped, len(keys), after.names[kind][example], via)
