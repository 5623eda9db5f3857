r"""A document that fits a size limit: lists are truncated between entries, with a note.

The unit is the byte of UTF-8, because it is the largest of the units that services count in: a
document that fits in bytes also fits in UTF-16 units and in characters.

================================  =============================================
a comment on GitHub               refused from 262,145 bytes on; the message and many tools say
                                  65,536 characters
a pull request's text on GitHub   65,536 characters
a comment on GitLab               1,000,000 characters
a step's summary in a job on      1 MiB, for the whole output of the step
GitHub
================================  =============================================

A document is a sequence of parts, put together by :func:`fit`:

- a ``str`` is always included;
- a :class:`Notice` is included if something was truncated;
- a :class:`Block` is a list between an opening and a closing, of which as many entries are shown
  as there is room for. Its ``weight`` says how large its share of the room is against the others';
  what a block does not need is given to the others.

Entries are complete lines, rendered as needed: the tail of a long list is never rendered. If not
everything fits, an entry of more than an eighth of the budget is left out and counted as not shown,
so that one huge name cannot displace all others. Strings, openings, closings and notes have to fit
without any entries: the builder of a document has to keep them short.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

DEFAULT = 60_000
"""Bytes: fits a comment on GitHub, with room for the frame of a CI job."""

LEAST = 8_000
"""Bytes: maximum size of a document without the entries of its lists."""

_LARGEST_ENTRY = 8  # an eighth of the budget


@dataclass(frozen=True)
class Notice:
    """Text that is included only if something was truncated."""

    text: str


@dataclass(frozen=True)
class Block:
    """A list that may be truncated.

    Attributes:
        opening: text before the entries; included even if no entry fits.
        entries: the list, the most important entry first; read once, as far as needed.
        total: number of entries.
        closing: text after the entries and the note.
        note: returns the text after a truncated list, from the number of shown and of all entries;
            longest if both are equal.
        weight: share of the room relative to other blocks, at least 1.
    """

    opening: str
    entries: Iterable[str]
    total: int
    closing: str
    note: Callable[[int, int], str]
    weight: int = 1


Part = str | Notice | Block


def fit(parts: Sequence[Part], budget: int | None) -> str:
    """Return the document within the budget, in bytes of UTF-8; None for no limit.

    Raises:
        ValueError: Not even the document without entries fits.
    """
    blocks = [part for part in parts if isinstance(part, Block)]
    budget = sys.maxsize if budget is None else budget
    fixed = sum(size(part) for part in parts if isinstance(part, str))
    frames = sum(size(block.opening) + size(block.closing) for block in blocks)
    room = budget - fixed - frames
    largest = budget // _LARGEST_ENTRY
    lists = [_read(block, room, largest) for block in blocks]
    if all(cut.complete for cut in lists) and sum(cut.need for cut in lists) <= room:
        return _document(parts, lists)
    room -= sum(size(part.text) for part in parts if isinstance(part, Notice))
    room -= sum(size(block.note(block.total, block.total)) for block in blocks)
    if room < 0:
        raise ValueError(f"{budget} bytes are too few: {budget - room} are needed without entries.")
    for cut in lists:
        cut.drop_larger_than(largest)
    _share(lists, room)
    return _document(parts, lists)


def size(text: str) -> int:
    """Return the bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


class _Cut:
    """The entries of a block to show."""

    def __init__(self, block: Block, entries: list[str], *, complete: bool) -> None:
        self.block = block
        self.entries = entries
        self.complete = complete
        """Whether these are all of the block."""
        self.sizes = list(map(size, entries))
        self.need = sum(self.sizes)

    def drop_larger_than(self, largest: int) -> None:
        """Drop entries that would displace the others."""
        if any(bytes_of_it > largest for bytes_of_it in self.sizes):
            self.entries = [entry for entry in self.entries if size(entry) <= largest]
            self.sizes = list(map(size, self.entries))
            self.need = sum(self.sizes)
            self.complete = False

    def keep(self, room: int) -> int:
        """Drop entries from the end until the rest fits; return its bytes."""
        while self.need > room:
            self.entries.pop()
            self.need -= self.sizes.pop()
            self.complete = False
        return self.need

    def text(self) -> str:
        note = "" if self.complete else self.block.note(len(self.entries), self.block.total)
        return "".join((self.block.opening, *self.entries, note, self.block.closing))


def _read(block: Block, room: int, largest: int) -> _Cut:
    """Read as many entries as would fit without other blocks."""
    entries = []
    room_for_large = room
    for entry in block.entries:
        if (bytes_of_it := size(entry)) > largest:
            room_for_large -= bytes_of_it
            if room_for_large < 0:
                continue
        else:
            room -= bytes_of_it
            if room < 0:
                break
        entries.append(entry)
    return _Cut(block, entries, complete=len(entries) == block.total)


def _share(lists: Sequence[_Cut], room: int) -> None:
    """Truncate each list to its share; unused room is given to the others, by weight."""
    wanting = list(lists)
    while wanting:
        weights = sum(cut.block.weight for cut in wanting)
        fitting = [c for c in wanting if c.need <= room * c.block.weight // weights]
        if not fitting:
            break
        room -= sum(cut.need for cut in fitting)
        wanting = [cut for cut in wanting if cut not in fitting]
    weights = sum(cut.block.weight for cut in wanting)
    # The heaviest last: it gets the remainder of the others.
    for cut in sorted(wanting, key=lambda cut: cut.block.weight):
        room -= cut.keep(room * cut.block.weight // weights)
        weights -= cut.block.weight


def _document(parts: Sequence[Part], lists: Sequence[_Cut]) -> str:
    text = {id(cut.block): cut.text() for cut in lists}
    was_cut = not all(cut.complete for cut in lists)
    return "".join(
        part
        if isinstance(part, str)
        else part.text * was_cut
        if isinstance(part, Notice)
        else text[id(part)]
        for part in parts
    )
