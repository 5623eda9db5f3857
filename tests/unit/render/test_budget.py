"""A document never gets larger than asked for, and says what it left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.render.common.budget import DEFAULT, Block, Notice, fit, size

CUT = "CUT "
_entries = st.lists(st.text("aß€😀", min_size=1, max_size=80), max_size=120)


def _note(count: int, total: int) -> str:
    return f"<{count} of {total}>"


def _block(name: str, entries: list[str], weight: int = 1) -> Block:
    announced = [f"{name}{number}={entry};" for number, entry in enumerate(entries)]
    return Block(f"[{name}:", iter(announced), len(announced), f":{name}]", _note, weight)


_lists = st.dictionaries(st.sampled_from("BCDE"), st.tuples(_entries, st.integers(1, 9)))


def _parts(lists: dict[str, tuple[list[str], int]]) -> list[str | Notice | Block]:
    blocks = [_block(name, entries, weight) for name, (entries, weight) in lists.items()]
    return ["Title ", Notice(CUT), *blocks, " End"]


@given(_lists, st.integers(300, 9_000))
def test_it_fits_is_whole_at_the_borders_and_tells_what_is_missing(lists, budget):
    text = fit(_parts(lists), budget)
    assert len(text.encode()) <= budget
    assert text.startswith("Title ")
    assert text.endswith(" End")
    cut = False
    for name, (entries, _) in lists.items():
        inner = text[text.index(f"[{name}:") + 3 : text.index(f":{name}]")]
        shown = re.findall(rf"{name}(\d+)=(.+?);", inner)
        assert all(entries[int(number)] == entry for number, entry in shown)
        assert [int(number) for number, _ in shown] == sorted({int(number) for number, _ in shown})
        note = "" if len(shown) == len(entries) else _note(len(shown), len(entries))
        assert inner == "".join(f"{name}{number}={entry};" for number, entry in shown) + note
        cut |= bool(note)
    assert (CUT in text) == cut


@given(_lists)
def test_without_a_limit_all_of_it_is_there(lists):
    text = fit(_parts(lists), None)
    assert CUT not in text
    assert text == fit(_parts(lists), 10**9)
    assert text == fit(_parts(lists), size(text))
    assert text.count(";") == sum(len(entries) for entries, _ in lists.values())


@given(_lists)
def test_one_byte_less_than_all_of_it_cuts(lists):
    whole = fit(_parts(lists), None)
    if size(whole) > 300 and any(entries for entries, _ in lists.values()):
        assert CUT in fit(_parts(lists), size(whole) - 1)


def _shown(text: str, name: str) -> int:
    return len(re.findall(rf"{name}\d+=", text))


def test_a_short_list_is_whole_beside_a_long_one():
    lists = {"B": (["x" * 20] * 1000, 9), "C": (["y" * 20] * 10, 1)}
    text = fit(_parts(lists), 4000)
    assert _shown(text, "C") == 10
    assert 100 < _shown(text, "B") < 1000


def test_the_room_is_shared_by_weight():
    lists = {"B": (["x" * 10] * 5000, 3), "C": (["y" * 10] * 5000, 1)}
    text = fit(_parts(lists), DEFAULT)
    assert _shown(text, "B") / _shown(text, "C") == pytest.approx(3, rel=0.05)


def test_what_one_list_does_not_need_goes_to_the_others():
    alone = fit(_parts({"B": (["x" * 10] * 5000, 1)}), 10_000)
    lists = {"B": (["x" * 10] * 5000, 1), "C": (["y"] * 3, 8), "D": ([], 8)}
    beside = fit(_parts(lists), 10_000)
    assert _shown(beside, "B") > _shown(alone, "B") - 5
    # Nothing of note is left over: a list of small entries fills its room.
    assert size(alone) > 10_000 - 40
    assert size(beside) > 10_000 - 80


def test_one_monstrous_entry_does_not_push_out_the_others():
    entries = ["x" * 5_000, *["y" * 10] * 20]
    assert _shown(fit(_parts({"B": (entries, 1)}), 9_000), "B") == 21
    text = fit(_parts({"B": (entries, 1)}), 4_000)
    assert _shown(text, "B") == 20
    assert _note(20, 21) in text
    assert CUT in text


def test_the_tail_of_a_long_list_is_never_made():
    made = []

    def entries():
        for number in range(100_000):
            made.append(number)
            yield "x" * 100

    fit([Block("", entries(), 100_000, "", _note)], 10_000)
    assert len(made) <= 101


def test_the_size_is_that_of_utf_8_which_is_the_largest():
    """GitHub and GitLab count characters, job summaries bytes, browsers UTF-16 units."""
    text = "aß€😀\u0301"
    assert size(text) == len(text.encode())
    assert size(text) >= len(text.encode("utf-16-le")) // 2 >= len(text)


def test_too_few_bytes_for_what_must_be_there_are_an_error():
    with pytest.raises(ValueError, match="too few") as caught:
        fit(["x" * 500, Notice("n"), Block("o", ["e" * 50] * 9, 9, "c", lambda *_: "note")], 100)
    assert "507 are needed" in str(caught.value)
