"""What a purge has to delete, by the rows and files of a server and our promises alone.

Written from docs/how-to/purge.md and MLflow's own tables (their foreign keys), without the program: where
both disagree, one of them is wrong.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Table

    from support.trash import State

Row = dict[str, Any]
Key = tuple[str, str]
_SERVER = "mlflow-artifacts:/"
_ORPHAN = re.compile(r"(?:(?P<run>[0-9a-f]{32})|models/(?P<model>m-[0-9a-f]{32})"
                     r"|traces/(?P<trace>tr-[0-9a-f]{32}))/")  # fmt: skip
_TRACE_TAGS = {"mlflow.artifactLocation", "mlflow.trace.archiveLocation"}
_LINK_ENDS = {
    "RUN": "run",
    "RUN_INPUT": "run",
    "RUN_OUTPUT": "run",
    "MODEL_INPUT": "logged_model",
    "MODEL_OUTPUT": "logged_model",
    "DATASET": "dataset",
    "run": "run",
    "trace": "trace",
    "experiment": "experiment",
    "evaluation_dataset": "evaluation_dataset",
}
_IDS = {
    "run": ("runs", "run_uuid"),
    "logged_model": ("logged_models", "model_id"),
    "experiment": ("experiments", "experiment_id"),
    "trace": ("trace_info", "request_id"),
    "dataset": ("datasets", "dataset_uuid"),
    "evaluation_dataset": ("evaluation_datasets", "dataset_id"),
}


@dataclass
class Scope:
    """What a purge deletes.

    Attributes:
        entities: the ids, by kind.
        rows: by table.
        nulled: rows that stay without a reference, by table, with the name of its column.
        files: by their paths below the artifact root.
        orphans: folders, of which all files are in ``files``.
        links: rows of ``rows`` that are deleted because an end of theirs is missing.
    """

    entities: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    nulled: dict[str, list[tuple[Row, str]]] = field(default_factory=lambda: defaultdict(list))
    files: set[str] = field(default_factory=set)
    orphans: set[str] = field(default_factory=set)
    links: list[Row] = field(default_factory=list)


class Oracle:
    """Decides about the trash of a server.

    Args:
        state: of the server.
        tables: of its database.
        modified_ms: of each file.
        as_of_ms: the clock of the plan.
        days: in the trash, after which something is purged, and of which links and files are orphaned.
    """

    def __init__(
        self,
        state: State,
        tables: Sequence[Table],
        modified_ms: Mapping[str, int],
        as_of_ms: int,
        days: int = 30,
    ) -> None:
        self._tables = tables
        self._modified_ms = modified_ms
        self._before_ms = as_of_ms - days * 86_400_000
        self._rows: dict[str, list[Row]] = {
            table.name: [
                dict(zip(table.columns.keys(), row, strict=True)) for row in state.rows[table.name]
            ]
            for table in tables
        }

    def scope(self) -> Scope:
        """Decide about everything."""
        found = Scope()
        found.entities["run"] = {i for i in self._old("runs") if not self._is_run_needed(i)}
        found.entities["logged_model"] = {
            i for i in self._old("logged_models") if not self._is_model_needed(i)
        }
        found.entities["experiment"] = {
            str(i) for i in self._old("experiments") if self._is_free(i, found)
        }
        found.entities["trace"] = {
            row["request_id"]
            for row in self._rows["trace_info"]
            if str(row["experiment_id"]) in found.entities["experiment"]
        }
        found.entities["model_version"] = {
            f"{row['name']}/{row['version']}" for row in self._tombstones()
        }
        self._add_rows(found)
        self._add_files(found)
        return found

    # -- which entities --------------------------------------------------------------------------

    def _old(self, table: str) -> Iterator[Any]:
        """In the trash for longer than this, and its owner has not marked it to be kept."""
        key, time = {
            "runs": ("run_uuid", "deleted_time"),
            "logged_models": ("model_id", "last_updated_timestamp_ms"),
            "experiments": ("experiment_id", "last_update_time"),
        }[table]
        for row in self._rows[table]:
            is_kept = str(row["experiment_id"]) in self._kept
            if row["lifecycle_stage"] == "deleted" and not is_kept:
                moment = row[time]
                if moment is not None and moment < self._before_ms:
                    yield row[key]

    @cached_property
    def _kept(self) -> set[str]:
        """Experiments with the tag."""
        rows = self._rows["experiment_tags"]
        return {str(row["experiment_id"]) for row in rows if row["key"] == "mlflow_gc.keep"}

    @cached_property
    def _named(self) -> set[str]:
        """All ids, and other words, in what existing model versions say about their origin."""
        found: set[str] = set()
        for row in self._rows["model_versions"]:
            if row["current_stage"] != "Deleted_Internal":
                for text in (row["run_id"], row["source"], row["storage_location"]):
                    found.update(re.split(r"[/:?#]", text or ""))
        return found

    @cached_property
    def _active(self) -> dict[str, set[str]]:
        """Ids of what is not in the trash."""
        return {
            table: {
                str(row[key]) for row in self._rows[table] if row["lifecycle_stage"] == "active"
            }
            for table, key in (_IDS[kind] for kind in ("run", "logged_model", "experiment"))
        }

    def _is_run_needed(self, run: str) -> bool:
        tags = {row["key"] for row in self._rows["tags"] if row["run_uuid"] == run}
        made = {
            row["model_id"] for row in self._rows["logged_models"] if row["source_run_id"] == run
        }
        measured = {
            row["model_id"] for row in self._rows["logged_model_metrics"] if row["run_id"] == run
        }
        return (
            "mlflow_gc.keep" in tags
            or run in self._named
            or bool((made | measured) & self._active["logged_models"])
            or bool(self._nested_in(run) & self._active["runs"])
            or self._shares_its_folder("runs", "run_uuid", run)
        )

    def _nested_in(self, run: str) -> set[str]:
        found = {run}
        while True:
            more = {
                row["run_uuid"]
                for row in self._rows["tags"]
                if row["key"] == "mlflow.parentRunId" and row["value"] in found
            } - found
            if not more:
                return found - {run}
            found |= more

    def _is_model_needed(self, model: str) -> bool:
        readers = {
            row["source_id"]
            for row in self._rows["inputs"]
            if row["source_type"] == "RUN_INPUT" and row["destination_id"] == model
        }
        return (
            model in self._named
            or bool(readers & self._active["runs"])
            or self._shares_its_folder("logged_models", "model_id", model)
        )

    def _shares_its_folder(self, table: str, key: str, entity: str) -> bool:
        """Whether something else has its files within this folder, or around it."""
        (own,) = (self._folder_of(row) for row in self._rows[table] if row[key] == entity)
        homes = [_path(row["artifact_location"]) for row in self._rows["experiments"]]
        others = [path for i, path in self._locations if i != entity]
        within = [path for path in (*homes, *others) if f"{path}/".startswith(f"{own}/")]
        around = [path for path in others if f"{own}/".startswith(f"{path}/")]
        return bool(within or around)

    @staticmethod
    def _folder_of(row: Row) -> str:
        return _path(row.get("artifact_uri") or row["artifact_location"])

    @cached_property
    def _locations(self) -> list[tuple[str, str]]:
        """Ids and folders of all runs, logged models and traces."""
        return [
            *((r["run_uuid"], self._folder_of(r)) for r in self._rows["runs"]),
            *((r["model_id"], self._folder_of(r)) for r in self._rows["logged_models"]),
            *(
                (r["request_id"], _path(r["value"]))
                for r in self._rows["trace_tags"]
                if r["key"] in _TRACE_TAGS
            ),
        ]

    def _is_free(self, experiment: int, found: Scope) -> bool:
        """Whether all in it is deleted, nothing was made in it since, and nothing uses it."""
        (row,) = (r for r in self._rows["experiments"] if r["experiment_id"] == experiment)
        inside = {
            (kind, r[_IDS[kind][1]])
            for kind in ("run", "logged_model")
            for r in self._rows[_IDS[kind][0]]
            if r["experiment_id"] == experiment
        }
        scorers = {
            r["scorer_id"] for r in self._rows["scorers"] if r["experiment_id"] == experiment
        }
        return (
            all(i in found.entities[kind] for kind, i in inside)
            and not [
                r
                for r in self._rows["trace_info"]
                if r["experiment_id"] == experiment and r["timestamp_ms"] > row["last_update_time"]
            ]
            and not [r for r in self._rows["endpoints"] if r["experiment_id"] == experiment]
            and not [r for r in self._rows["guardrails"] if r["scorer_id"] in scorers]
        )

    def _tombstones(self) -> Iterator[Row]:
        kept = {
            row["name"]
            for row in self._rows["registered_model_tags"]
            if row["key"] == "mlflow_gc.keep"
        }
        highest: dict[str, int] = {}
        for row in self._rows["model_versions"]:
            highest[row["name"]] = max(highest.get(row["name"], 0), row["version"])
        for row in self._rows["model_versions"]:
            if (
                row["current_stage"] == "Deleted_Internal"
                and row["last_updated_time"] < self._before_ms
                and row["version"] < highest[row["name"]]
                and row["name"] not in kept
            ):
                yield row

    # -- which rows ------------------------------------------------------------------------------

    def _add_rows(self, found: Scope) -> None:
        gone: dict[str, list[Row]] = defaultdict(list)
        for kind in ("run", "logged_model", "experiment"):
            table, key = _IDS[kind]
            gone[table] = [r for r in self._rows[table] if str(r[key]) in found.entities[kind]]
        gone["model_versions"] = [*self._tombstones()]
        # What refers to a row is deleted after it, or refers to nothing then.
        for table in self._tables:
            for key in table.foreign_key_constraints:
                pairs = [(element.parent.name, element.column.name) for element in key.elements]
                parents = {
                    tuple(str(row[name]) for _, name in pairs)
                    for row in gone[key.referred_table.name]
                }
                for row in self._rows[table.name]:
                    if tuple(str(row[name]) for name, _ in pairs) not in parents:
                        continue
                    if (key.ondelete or "").upper() == "SET NULL":
                        found.nulled[table.name] += [(row, name) for name, _ in pairs]
                    elif row not in gone[table.name]:
                        gone[table.name].append(row)
        self._add_unbound_rows(found, gone)
        for name, rows in found.nulled.items():
            found.nulled[name] = [pair for pair in rows if pair[0] not in gone[name]]
        found.rows = defaultdict(list, {name: rows for name, rows in gone.items() if rows})

    def _add_unbound_rows(self, found: Scope, gone: dict[str, list[Row]]) -> None:
        """Add what MLflow has no foreign key for."""
        ids = {kind: {str(row[key]) for row in gone[t]} for kind, (t, key) in _IDS.items()}
        all_ids = {k: {str(row[key]) for row in self._rows[t]} for k, (t, key) in _IDS.items()}
        for table in ("inputs", "entity_associations"):
            for row in self._rows[table]:
                ends = [(row["source_type"], row["source_id"])]
                ends.append((row["destination_type"], row["destination_id"]))
                # Of the others nobody knows: they exist.
                known = [(_LINK_ENDS[kind], i) for kind, i in ends if kind in _LINK_ENDS]
                is_old = row.get("created_time", 0) < self._before_ms
                if any(i in ids[kind] for kind, i in known):
                    gone[table].append(row)
                elif is_old and any(i not in all_ids[kind] for kind, i in known):
                    gone[table].append(row)
                    found.links.append(row)
        inputs = {row["input_uuid"] for row in gone["inputs"]}
        gone["input_tags"] = [r for r in self._rows["input_tags"] if r["input_uuid"] in inputs]
        gone["review_queue_items"] += [
            row
            for row in self._rows["review_queue_items"]
            if row["item_type"] == "trace"
            and row["item_id"] in ids["trace"]
            and row not in gone["review_queue_items"]
        ]
        scorers = {row["scorer_id"] for row in gone["scorers"]}
        gone["endpoint_bindings"] += [
            row
            for row in self._rows["endpoint_bindings"]
            if row["resource_type"] == "scorer" and row["resource_id"] in scorers
        ]
        for table in self._tables:
            if (
                "experiment_id" in table.c
                and not table.foreign_keys
                and table.name != "experiments"
            ):
                for row in self._rows[table.name]:
                    # Assessments have one, too, and belong to their trace.
                    if str(row["experiment_id"]) in ids["experiment"]:
                        gone[table.name].append(row)

    # -- which files -----------------------------------------------------------------------------

    def _add_files(self, found: Scope) -> None:
        folders = {
            self._folder_of(row)
            for kind in ("run", "logged_model")
            for row in self._rows[_IDS[kind][0]]
            if row[_IDS[kind][1]] in found.entities[kind]
        }
        taken = tuple(f"{path}/" for i, path in self._locations if not i.startswith("tr-"))
        for row in self._rows["trace_tags"]:
            if row["key"] in _TRACE_TAGS and row["request_id"] in found.entities["trace"]:
                # Anybody may write a tag.
                own = f"/{row['request_id']}/artifacts"
                path = _path(row["value"])
                is_own = path.endswith(own) and ".." not in path.split("/")
                if is_own and not path.startswith(taken):
                    folders.add(path)
        found.files = {
            f for f in self._modified_ms if f.startswith(tuple(f"{p}/" for p in folders))
        }
        known = {
            str(row[key])
            for table, key in (_IDS[kind] for kind in ("run", "logged_model", "trace"))
            for row in self._rows[table]
        }
        orphans: dict[str, set[str]] = defaultdict(set)
        for home in {_path(row["artifact_location"]) for row in self._rows["experiments"]}:
            for file in self._modified_ms:
                if not file.startswith(f"{home}/"):
                    continue
                match = _ORPHAN.match(file, len(home) + 1)
                if match and (i := match[match.lastgroup or ""]) not in known | self._named:
                    orphans[file[: match.end() - 1]].add(file)
                    assert i in file
        for folder, files in orphans.items():
            is_within = any(f"{folder}/".startswith(f"{path}/") for _, path in self._locations)
            if max(self._modified_ms[f] for f in files) < self._before_ms and not is_within:
                found.orphans.add(folder)
                found.files |= files


def _path(uri: str) -> str:
    """The folder below the artifact root that a location is."""
    assert uri.startswith(_SERVER), uri
    return "/".join(part for part in uri.removeprefix(_SERVER).split("/") if part not in {"", "."})


def tuples(rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """Rows as a state has them, in its order."""
    return sorted((tuple(row.values()) for row in rows), key=repr)
