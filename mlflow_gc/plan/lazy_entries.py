"""The entity lists of a plan, stored as the bytes of its file.

Half a million entries take gigabytes as Python's dictionaries and a sixth of that as text.  Each is
parsed at each access: changing a parsed entry does not change the plan.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import eq
from typing import TypeVar, overload

import orjson

T = TypeVar("T")

BETWEEN = b",\n"
"""The separator of two entries."""


class _Lazy(Sequence[T]):
    """A sequence whose elements are made at each access."""

    __slots__ = ()

    @abstractmethod
    def _at(self, number: int) -> T: ...

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        numbers = range(len(self))[index]
        return self._at(numbers) if isinstance(numbers, int) else Chosen(self, numbers)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (_Lazy, list)):
            return len(self) == len(other) and all(map(eq, self, other))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]


class Entries(_Lazy[T]):
    """Entries of a plan, one per line.

    Args:
        text: the entries, separated by :data:`BETWEEN`.
        starts: offset of each entry, and of one more at the end.
        are_valid: whether they are known to match their schema.
    """

    __slots__ = ("_starts", "_text", "are_valid")

    def __init__(self, text: memoryview, starts: array[int], *, are_valid: bool = False) -> None:
        self._text = text
        self._starts = starts
        self.are_valid = are_valid

    @classmethod
    def of(cls, documents: Iterable[T]) -> Entries[T]:
        """Return documents as entries."""
        text = bytearray()
        starts = array("Q", [0])
        for document in documents:
            text += orjson.dumps(document)
            text += BETWEEN
            starts.append(len(text))
        return cls(memoryview(text), starts)

    @classmethod
    def read(
        cls,
        content: bytes,
        start: int,
        end: int,
        is_valid: Callable[[T], bool] | None = None,
    ) -> Entries[T] | None:
        """Return the entries between two offsets of a file.

        Args:
            content: the file.
            start: begin of the first entry.
            end: end of the last entry.
            is_valid: called for each entry until it returns False; if never, validation can be
                skipped.  None if nothing can tell.

        Returns:
            None if they are not formatted as by :meth:`of`; they may still be valid JSON.

        Raises:
            ValueError: A line is not JSON, or nested too deeply.
        """
        starts = array("Q")
        at, are_valid = start, is_valid is not None
        while at <= end:
            starts.append(at)
            # A comma, if another entry follows.
            stop = content.find(b"\n", at, end) - 1
            stop = end if stop < 0 else stop
            line = content[at:stop]
            entry = orjson.loads(line)
            if orjson.dumps(entry) != line or (stop < end and content[stop] != BETWEEN[0]):
                return None
            are_valid = are_valid and is_valid is not None and is_valid(entry)
            at = stop + len(BETWEEN)
        starts.append(at)
        return cls(memoryview(content), starts, are_valid=are_valid)

    @property
    def text(self) -> memoryview:
        """All entries as the text of a file."""
        return self._text[self._starts[0] : max(self._starts[-1] - len(BETWEEN), 0)]

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[T]:
        text, end = self._text, self._starts[0]
        for number in range(1, len(self._starts)):
            start, end = end, self._starts[number]
            yield orjson.loads(text[start : end - len(BETWEEN)])

    def _at(self, number: int) -> T:
        entry: T = orjson.loads(
            self._text[self._starts[number] : self._starts[number + 1] - len(BETWEEN)]
        )
        return entry

    def __repr__(self) -> str:
        return f"<{len(self):,} entries>"


class Chosen(_Lazy[T]):
    """A view of some elements of a sequence.

    Args:
        among: the sequence.
        indexes: of the elements, in the order wanted.
    """

    __slots__ = ("_among", "_indexes")

    def __init__(self, among: Sequence[T], indexes: Sequence[int]) -> None:
        self._among = among
        self._indexes = indexes

    def __len__(self) -> int:
        return len(self._indexes)

    def __iter__(self) -> Iterator[T]:
        return map(self._among.__getitem__, self._indexes)

    def _at(self, number: int) -> T:
        return self._among[self._indexes[number]]


def where(among: Sequence[T], is_wanted: Callable[[T], bool]) -> Sequence[T]:
    """Return the elements of a sequence that satisfy a predicate."""
    return Chosen(among, array("Q", (i for i, each in enumerate(among) if is_wanted(each))))
