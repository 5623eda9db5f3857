"""Counts and sizes, and their text, the same in all messages, views and journals."""

from __future__ import annotations

from dataclasses import dataclass

_UNITS = ("kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of some files, and their number."""

    size_bytes: int = 0
    file_count: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.size_bytes + other.size_bytes, self.file_count + other.file_count)


def number_of(count: int, one: str, many: str) -> str:
    """Return ``1 run`` or ``1,204 runs``: a count with the singular or the plural."""
    return f"{count:,} {one if count == 1 else many}"


def size_of(size_bytes: int, *, like: int | None = None) -> str:
    """Return ``1 byte``, ``340 bytes`` or ``12.4 GB``: a size in the units of the SI.

    ``like`` is another size, in whose unit it is returned.
    """
    scale = size_bytes if like is None else like
    if scale < 1000:
        return number_of(size_bytes, "byte", "bytes")
    power = 1
    # What would be rounded to 1,000.0 is one of the next unit.
    while round(scale / 1000**power, 1) >= 1000 and power < len(_UNITS):
        power += 1
    return f"{size_bytes / 1000**power:,.1f} {_UNITS[power - 1]}"


def sizes_of(size_bytes: int, limit_bytes: int) -> tuple[str, str]:
    """Return a size and a limit that differ, so that they also differ for people."""
    found = size_of(size_bytes), size_of(limit_bytes)
    return (f"{size_bytes:,} bytes", f"{limit_bytes:,} bytes") if found[0] == found[1] else found


def files_of(count: int, size_bytes: int) -> str:
    """Return ``1 file (340 bytes)`` or ``3,120 files (12.4 GB)``."""
    return f"{number_of(count, 'file', 'files')} ({size_of(size_bytes)})"
