from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_gc.domain.timestamps import format_ms, is_writable, now_ms, parse_time

MIN, MAX = parse_time("0001-01-01"), parse_time("9999-12-31T23:59:59.999Z")


@given(st.integers(MIN, MAX))
def test_written_and_read_again_is_the_same_millisecond(ms):
    text = format_ms(ms)
    assert len(text) == len("2026-05-01T10:02:11.123Z")
    assert parse_time(text) == ms
    assert is_writable(ms)


@given(st.integers(MIN, MAX), st.integers(MIN, MAX))
def test_the_order_of_texts_is_the_order_of_times(one, other):
    assert (one < other) == (format_ms(one) < format_ms(other))


@given(st.one_of(st.integers(max_value=MIN - 1), st.integers(min_value=MAX + 1)))
def test_what_rfc_3339_cannot_write_is_refused(ms):
    assert not is_writable(ms)
    with pytest.raises(ValueError, match="outside"):
        format_ms(ms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00.001Z", 1),
        ("1970-01-01 00:00", 0),
        ("1970-01-01t01:00:00+01:00", 0),
        ("1969-12-31T23:59:59.999z", -1),
        ("1970-01-01T00:00:00.0019Z", 1),
        (" 1970-01-02 ", 86_400_000),
        ("1970-01-01T00:00:00.5", 500),
    ],
)
def test_other_spellings(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-13-01", "2026-02-30", "2026-05-01T", "2026-05-01T25:00", "٢٠٢٦-٠٥-٠١", "5"],
)
def test_anything_else_is_no_time(text):
    with pytest.raises(ValueError):
        parse_time(text)


def test_now_is_in_milliseconds():
    assert parse_time("2025-01-01") < now_ms() < parse_time("2100-01-01")
