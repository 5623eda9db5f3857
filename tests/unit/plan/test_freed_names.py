"""What deleted experiments are called where their names are freed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.plan.freed_names import freed_name


@given(st.text(min_size=1, max_size=600), st.integers(0, 10**18))
def test_a_freed_name_fits_and_belongs_to_one_experiment(name, number):
    freed = freed_name(name, str(number), "2026-11-29")
    assert len(freed) <= 256
    assert freed.endswith(f" (deleted 2026-11-29, id {number})")
    assert name.startswith(freed[: freed.rindex(" (deleted ")])
    assert freed != freed_name(name, str(number + 1), "2026-11-29")


def test_a_name_of_usual_length_is_whole():
    assert freed_name("nightly", "7", "2026-11-29") == "nightly (deleted 2026-11-29, id 7)"
