from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.retention.run_trees import nested_order

_names = st.sampled_from("abcdefgh")


@given(st.dictionaries(_names, st.one_of(st.none(), _names, st.just("gone")), max_size=8))
def test_trees_hold_every_run_once_and_children_come_before_parents(parents):
    trees = list(nested_order(parents))
    flat = [run for tree in trees for level in tree for run in level]
    assert sorted(flat) == sorted(parents)
    tree_of = {run: n for n, tree in enumerate(trees) for level in tree for run in level}
    level_of = {run: n for tree in trees for n, level in enumerate(tree) for run in level}
    for run, parent in parents.items():
        if parent not in parents:
            continue
        assert tree_of[run] == tree_of[parent]
        ancestors, node = [], parent
        while node in parents and node not in ancestors:
            ancestors.append(node)
            node = parents[node]
        if node not in ancestors:  # no circle above
            assert level_of[run] < level_of[parent]


def test_orphans_of_one_parent_are_one_tree():
    assert list(nested_order({"a": "gone", "b": None, "c": "gone"})) == [[["a", "c"]], [["b"]]]


def test_levels():
    parents = {"root": None, "leaf": "child", "child": "root", "other": "root"}
    assert list(nested_order(parents)) == [[["leaf"], ["child", "other"], ["root"]]]
