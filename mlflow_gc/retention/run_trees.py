"""Protection across runs: nested trees, and models that a retained run uses."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mlflow_gc.domain.entities import Run
from mlflow_gc.domain.inventory import Inventory
from mlflow_gc.domain.reasons import Link, Reason
from mlflow_gc.retention.decision import Decision, Verdict, protect


def spread(inventory: Inventory, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Turn deletions into protections if a retained run depends on the run.

    A nested tree is deleted as a whole or not at all, across experiments, also if the parent no
    longer exists.  The run that made a logged model is retained as long as a run that uses the
    model.

    Returns:
        A decision for every run in ``decisions``.
    """
    neighbours = _neighbours(inventory)
    result = dict(decisions)
    # Breadth first from all retained runs in a fixed order: each run is reached from the nearest
    # one, and always from the same.
    queue = deque(
        (run_id, run_id)
        for run_id in sorted(neighbours)
        if run_id in decisions and decisions[run_id].verdict is not Verdict.DELETE
    )
    reached = {run_id for run_id, _ in queue}
    while queue:
        run_id, root = queue.popleft()
        for other, reason in neighbours.get(run_id, ()):
            if other in reached:
                continue
            reached.add(other)
            queue.append((other, root))
            if other in result and result[other].verdict is Verdict.DELETE:
                result[other] = protect(reason, *_chain(inventory.runs[root], decisions[root]))
    return result


def _chain(root: Run, decision: Decision) -> tuple[Link | str, ...]:
    if decision.verdict is Verdict.FRESH:
        return (Link("run", root.run_id), f"{root.status}, not stale")
    reason = decision.reason.value if decision.reason else ""
    return (Link("run", root.run_id), *(decision.via or (reason,)))


def _neighbours(inventory: Inventory) -> dict[str, list[tuple[str, Reason]]]:
    """Return, for each run with relations, the runs that are retained if it is.

    Parents that are not in the inventory are nodes, too: they connect their children, and those in
    the trash connect them to their own parents.
    """
    neighbours: dict[str, list[tuple[str, Reason]]] = defaultdict(list)
    source_runs = {
        i: m.source_run_id for i, m in inventory.logged_models.items() if m.source_run_id
    }
    for run_id, above in sorted(inventory.parents_in_trash.items()):
        neighbours[above].append((run_id, Reason.TREE))
        neighbours[run_id].append((above, Reason.TREE))
    for run_id in sorted(inventory.runs):
        run = inventory.runs[run_id]
        if parent := run.parent_run_id:
            neighbours[parent].append((run_id, Reason.TREE))
            neighbours[run_id].append((parent, Reason.TREE))
        for model_id in run.model_ids:
            source_run = source_runs.get(model_id, run_id)
            if source_run != run_id:
                neighbours[run_id].append((source_run, Reason.MODEL_IN_USE))
    for model_id, source_run in sorted(source_runs.items()):
        for run_id in inventory.logged_models[model_id].metric_run_ids:
            if run_id in inventory.runs and source_run != run_id:
                neighbours[run_id].append((source_run, Reason.MODEL_IN_USE))
    return neighbours


def nested_order(parents: Mapping[str, str | None]) -> Iterator[list[list[str]]]:
    """Group runs into nested trees, each a list of levels, deepest level first.

    Args:
        parents: for each run id the id of its parent, or None.  Parents that are not keys connect
            their children.

    Yields:
        Trees in the order of their first run in ``parents``; a run without relatives is a tree
        of its own.  Runs in a circle of parents share one level.
    """
    # Most of half a million runs have no relatives; no memory is used for those.
    tree_of = connected((run_id, parent) for run_id, parent in parents.items() if parent)
    related = {run_id: parents[run_id] for run_id in parents if run_id in tree_of}
    depths = _depths(related)
    trees: dict[str, dict[int, list[str]]] = {}
    for run_id in related:
        levels = trees.setdefault(tree_of[run_id], {})
        levels.setdefault(depths[run_id], []).append(run_id)
    for run_id in parents:
        if run_id not in related:
            yield [[run_id]]
        elif levels := trees.pop(tree_of[run_id], {}):
            yield [levels[depth] for depth in sorted(levels, reverse=True)]


def connected(groups: Iterable[Sequence[str]]) -> dict[str, str]:
    """Return for each id the least id of its connected component.

    Args:
        groups: ids that belong together; none of them is empty.
    """
    root_of: dict[str, str] = {}

    def find(node: str) -> str:
        while root_of.setdefault(node, node) != node:
            root_of[node] = node = root_of[root_of[node]]
        return node

    for first, *others in groups:
        for other in (first, *others):
            low, high = sorted((find(first), find(other)))
            root_of[high] = low
    return {node: find(node) for node in root_of}


def _depths(parents: Mapping[str, str | None]) -> dict[str, int]:
    """Return the number of ancestors of each run among ``parents``; 0 in a circle."""
    depths: dict[str, int] = {}
    for start in parents:
        path: dict[str, None] = {}
        node: str | None = start
        while node is not None and node in parents and node not in depths and node not in path:
            path[node] = None
            node = parents[node]
        if node in path:
            depths.update(dict.fromkeys(path, 0))
            continue
        depth = depths.get(node, -1) if node else -1
        for ancestor in reversed(path):
            depth += 1
            depths[ancestor] = depth
    return depths
