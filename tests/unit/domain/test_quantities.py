"""Counts and sizes as people read them."""

from __future__ import annotations

import pytest

from mlflow_gc.domain.quantities import files_of, size_of, sizes_of


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (12_400_000_000, "12.4 GB"),
        (2_000_000 * 10**15, "2,000,000.0 PB"),
    ],
)
def test_sizes_have_the_unit_in_which_they_are_short(size: int, expected: str) -> None:
    assert size_of(size) == expected


def test_a_margin_has_the_unit_of_its_size() -> None:
    assert size_of(900_000_000, like=12_400_000_000) == "0.9 GB"
    assert size_of(1_400_000, like=900) == "1,400,000 bytes"


def test_one_is_singular() -> None:
    assert files_of(1, 1) == "1 file (1 byte)"
    assert files_of(3_120, 12_400_000_000) == "3,120 files (12.4 GB)"


def test_a_size_above_a_limit_reads_as_such() -> None:
    assert sizes_of(12_400_000_000, 10_000_000_000) == ("12.4 GB", "10.0 GB")
    assert sizes_of(10_000_000_001, 10_000_000_000) == (
        "10,000,000,001 bytes",
        "10,000,000,000 bytes",
    )
