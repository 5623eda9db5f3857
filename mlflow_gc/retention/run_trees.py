"""How keeping one run keeps others: nested trees, and models that a kept run uses."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping

from mlflow_gc.domain.entities import Inventory, Run
from mlflow_gc.domain.reasons import Link
from mlflow_gc.retention.decision import Decision, Reason, Verdict, protect


def spread(inventory: Inventory, decisions: Mapping[str, Decision]) -> dict[str, Decision]:
    """Turn deletions into protections wherever a kept run depends on the run.

    A tree of nested runs stays or goes as a whole, across experiments, also where the parent
    itself is gone already.  The run that made a logged model stays as long as a run that uses
    the model.

    Returns:
        A decision for every run in ``decisions``.
    """
    neighbours = _neighbours(inventory)
    result = dict(decisions)
    # Breadth first from all kept runs in a fixed order: each run is reached from the nearest
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
    """Return, for each run in a relation, which runs stay if it stays.

    Parents that are not in the inventory are nodes too: they hold their children together, and
    those that are in the trash hold them to what they are nested in themselves.
    """
    neighbours: dict[str, list[tuple[str, Reason]]] = defaultdict(list)
    makers = {i: m.source_run_id for i, m in inventory.logged_models.items() if m.source_run_id}
    for run_id, above in sorted(inventory.parents_in_trash.items()):
        neighbours[above].append((run_id, Reason.TREE))
        neighbours[run_id].append((above, Reason.TREE))
    for run_id in sorted(inventory.runs):
        run = inventory.runs[run_id]
        if parent := run.parent_run_id:
            neighbours[parent].append((run_id, Reason.TREE))
            neighbours[run_id].append((parent, Reason.TREE))
        for model_id in run.model_ids:
            maker = makers.get(model_id, run_id)
            if maker != run_id:
                neighbours[run_id].append((maker, Reason.MODEL_IN_USE))
    for model_id, maker in sorted(makers.items()):
        for run_id in inventory.logged_models[model_id].metric_run_ids:
            if run_id in inventory.runs and maker != run_id:
                neighbours[run_id].append((maker, Reason.MODEL_IN_USE))
    return neighbours


def nested_order(parents: Mapping[str, str | None]) -> Iterator[list[list[str]]]:
    """Group runs into nested trees, each a list of levels, deepest level first.

    Args:
        parents: for each run id the id of its parent, or None.  Parents that are no keys count
            as what holds their children together.

    Yields:
        Trees in the order of their first run in ``parents``; a run without relatives is a tree
        of its own.  Runs in a circle of parents share one level.
    """
    root_of: dict[str, str] = {}

    def find(node: str) -> str:
        root = node
        while root_of.setdefault(root, root) != root:
            root = root_of[root]
        while root_of[node] != root:
            root_of[node], node = root, root_of[node]
        return root

    # Of half a million runs most have no relatives, and then nothing is kept about them.
    for run_id, parent in parents.items():
        if parent:
            root_of[find(run_id)] = find(parent)
    related = {run_id: parents[run_id] for run_id in parents if run_id in root_of}
    depths = _depths(related)
    trees: dict[str, dict[int, list[str]]] = {}
    for run_id in related:
        levels = trees.setdefault(find(run_id), {})
        levels.setdefault(depths[run_id], []).append(run_id)
    for run_id in parents:
        if run_id not in related:
            yield [[run_id]]
        elif levels := trees.pop(find(run_id), {}):
            yield [levels[depth] for depth in sorted(levels, reverse=True)]


def _depths(parents: Mapping[str, str | None]) -> dict[str, int]:
    """Return how many ancestors among ``parents`` each run has; a circle counts as depth 0."""
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
