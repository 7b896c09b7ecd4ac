"""The log of one import, from the first create of the file on: one line an event, ISO 8601 in UTC.

2026-11-22T21:15:00.120Z created by uid 1000, cp
2026-11-22T21:15:03.123Z quiet: handed to the importer
2026-11-22T21:15:03.131Z checksum SHA1-160:… of scan.tif, 4096 bytes (0.8 ms)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from repofs.model import Event


class ImportLog:
    def __init__(self, events: Iterable[Event]) -> None:
        self._events = list(events)

    def note(self, text: str) -> None:
        """Add a line, as of now."""
        self._events.append(Event(time.time_ns(), text))

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Add a line when the step is done: what it was and how long it took. A step that fails adds none."""
        began = time.perf_counter()
        yield
        self.note(f"{text} ({(time.perf_counter() - began) * 1e3:.1f} ms)")

    def lines(self) -> list[str]:
        """Return the lines so far."""
        return [str(event) for event in self._events]

    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines())
