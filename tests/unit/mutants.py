"""Documents with changes anywhere in them: what a broken or hostile program may write."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st


def places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    """The places of all values in a document, as paths; the document itself has the empty one."""
    yield path
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, child in value.items() if isinstance(value, dict) else inner:
        yield from places(child, (*path, key))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    [
        "",
        "\x00",
        "\x1b[2J",
        "##vso[task.complete]",
        "\u202e",
        "<script>",
        "|`|",
        "../..",
        "2026-05-01T10:02:11.123Z",
        "2026-05-01T10:02:11.123Z\n",
        "9999-12-31T23:59:59.999Z",
        "0001-01-01T00:00:00.000Z",
        "2026-02-30T00:00:00.000Z",
        "active",
        "RUNNING",
        "never",
        "1d",
        "0s",
        "999999999999d",
        f"sha256:{'0' * 64}",
        f"sha256:{'0' * 64}\n",
    ]
)
_numbers = st.sampled_from(
    [0, 1, -1, 30, 3, 36500, 2**31, 2**53 - 1, 2**53, 2**63, 2**64, 10**30, 0.5, 1.0, -0.0, 1e300]
) | st.integers(0, 10**9)
values = st.recursive(
    st.none() | st.booleans() | _numbers | texts | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def holder_of(document: Any, place: tuple[Any, ...]) -> Any:
    """The object or list that a place is in."""
    for key in place[:-1]:
        document = document[key]
    return document


@st.composite
def mutants(draw: Any, original: Any, all_places: list[tuple[Any, ...]]) -> Any:
    """A copy with one to three changes at any of the places."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(all_places))
        try:
            holder, key = holder_of(document, place), place[-1]
            before = holder[key]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        if not isinstance(holder, (dict, list)):
            continue  # or put a text there, whose characters have places, too
        match draw(st.integers(0, 6)):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(before, dict):
                before[draw(texts)] = draw(values)
            case 2 if isinstance(before, list):
                before.append(copy.deepcopy(before[0]) if before else draw(values))
            case 3 if isinstance(before, list) and before:
                before.pop()
            case 4:
                holder[key] = draw(texts)
            case 5:
                holder[key] = draw(_numbers)
            case _:
                holder[key] = draw(values)
    return document
