"""What is known of a drop while it is written, settles and is imported. Kept in memory: what must outlive
the daemon is a mark on the backing inode."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from repofs.image import Members
from repofs.model import Event
from repofs.xattrs import ImportCommand

if TYPE_CHECKING:
    from repofs.namespace.journal import Restless

_MOST_EVENTS = 1000  # an appending instrument reopens its file for days


@dataclass(slots=True)
class Activity:
    """One drop's life so far; writers and bytes are those of a file, word and clock those of what it is imported as."""

    actor_uid: int  # who wrote last
    writers: int = 0  # open handles that may write
    direct: bool = False  # all since it was made went past the kernel's pages
    front: int | None = None  # bytes, all written since it was made, from its beginning on and none twice; None: not so
    dirty: bool = False  # written since the last positive mark
    ended_badly: str | None = None  # why the bytes may not be whole: a killed writer, a full disk
    word: ImportCommand | None = None  # import=now: neither its name nor the clock matters; cancel: it waits
    settling: bool = False  # the inbox has its clock
    changed: float = 0.0  # when its clock was last set anew, by time.monotonic
    insists: bool = False  # its owner wants it imported as it is, with what is there of its fileset
    members: Members | None = None  # which files form a fileset with it, once a reader was asked
    asked: float = 0.0  # when that was, by time.monotonic
    waits_for: str | None = None  # which of these it waits for
    retimed: bool = False  # its times were set during its import
    restless: Restless | None = None  # its entry in the journal
    events: list[Event] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Add a line to the import log."""
        if len(self.events) < _MOST_EVENTS:
            self.events.append(Event(time.time_ns(), text))
