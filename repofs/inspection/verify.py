"""Which originals agree with their checksums, one after another, without a list of them all.

What is found is written each second: who is interrupted has lost no more, and goes on with what is longest ago.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from repofs.catalog import verification
from repofs.catalog.engine import Engine
from repofs.catalog.originals import Held
from repofs.catalog.verification import Which
from repofs.config import Settings
from repofs.inspection.looking import Looking
from repofs.inspection.recording import Finding, Recording
from repofs.model import OriginalFileId
from repofs.repository.gently import Budget
from repofs.repository.layout import Layout

_BATCH = 256  # rows read, and findings written, at a time
_WRITE_SECONDS = 1.0  # that a finding waits for others


def due(catalogue: Engine, which: Which, before: str) -> Iterator[Held]:
    """Yield the originals that were neither verified nor imported since *before*, never and longest ago first."""
    last = None
    while True:
        with catalogue.begin() as conn:
            batch = verification.due(conn, which, before, last, _BATCH)
        if not batch:
            return
        yield from batch
        last = batch[-1]


def these(catalogue: Engine, numbers: Sequence[OriginalFileId]) -> Iterator[Held]:
    """Yield these originals, in no order."""
    for begin in range(0, len(numbers), _BATCH):
        with catalogue.begin() as conn:
            batch = verification.these(conn, numbers[begin : begin + _BATCH])
        yield from batch


def recorded(findings: Iterable[Finding], recording: Recording) -> Iterator[Finding]:
    """Write *findings* as they come, many at a time, and yield each once it is written."""
    waiting: list[Finding] = []
    began = time.monotonic()
    for finding in findings:
        waiting.append(finding)
        if len(waiting) == _BATCH or time.monotonic() - began > _WRITE_SECONDS:
            yield from recording.record(waiting)
            waiting = []
            began = time.monotonic()
    yield from recording.record(waiting)


class Verifier:
    """Looks at originals of one repository. Blocking; needs the rights of the daemon."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        recording: Recording,
        bytes_per_second: float | None,
        told: Callable[[int], None],
    ) -> None:
        """*bytes_per_second*: how much to read at most; None: as fast as it goes. *told* is told how much was."""
        self._told = told
        self._budget = Budget(bytes_per_second)
        self._stopped = threading.Event()
        self._looking = Looking(layout, settings, self._pace)
        self._recording = recording
        self._parallel = settings.imports.parallel

    def _pace(self, count: int) -> None:
        self._told(count)
        if self._stopped.wait(self._budget.spend(count)):
            raise _Stopped

    def stop(self) -> None:
        """Let `verify` come to its end soon: what was found is written, what is being read is left."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def verify(self, held: Iterable[Held], *, quick: bool = False) -> Iterator[Finding]:
        """Look at each of *held* and yield what was found once it is written, until `stop`."""
        look = functools.partial(self._looking.look, quick=quick)
        with ThreadPoolExecutor(self._parallel) as pool:
            try:
                yield from recorded(self._ahead(pool, look, held), self._recording)
            except BaseException:
                self.stop()  # else leaving the pool waits for all that is being read
                raise

    def _ahead(
        self, pool: ThreadPoolExecutor, look: Callable[[Held], Finding], held: Iterable[Held]
    ) -> Iterator[Finding]:
        """Yield what *look* finds of each of *held*, in their order, a few of them ahead."""
        looks: deque[Future[Finding]] = deque()
        for one in held:
            if self.stopped:
                break
            looks.append(pool.submit(look, one))
            if len(looks) > 2 * self._parallel:
                with suppress(_Stopped):
                    yield looks.popleft().result()
        while looks:
            with suppress(_Stopped):
                yield looks.popleft().result()


class _Stopped(Exception):
    """Whoever has asked for it wants no more."""
