"""Whether the disk of the repository can be relied on. Once it has failed, nothing is written until a new mount.

An error of reading or writing says that what was acknowledged before may not be there: Linux tells it once, and who
goes on writing after it builds on sand. Reading goes on. A full disk is no such error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import structlog
import trio

from repofs.errors import StoreFailed, is_store_failure

log = structlog.get_logger()


class Health:
    """Of one repository's disk, as one process knows it. Every method on the event loop."""

    def __init__(self) -> None:
        self.failure: str | None = None  # one sentence: what has happened, and what to do
        self.failed = trio.Event()
        self._listeners: list[Callable[[str], None]] = []

    def on_failure(self, listener: Callable[[str], None]) -> None:
        """Call *listener* with the sentence when the disk fails."""
        self._listeners.append(listener)

    def fail(self, sentence: str) -> None:
        """Nothing is written any more; all but the first failure is passed over."""
        if self.failure is not None:
            return
        self.failure = sentence
        log.error("the repository is read-only from now on", reason=sentence)
        self.failed.set()
        for listener in self._listeners:
            listener(sentence)

    def require(self) -> None:
        """Refuse (StoreFailed, EROFS) a change once the disk has failed."""
        if self.failure is not None:
            raise StoreFailed(self.failure)

    def heed(self, what: str, error: OSError) -> None:
        """Take *error*, of a call that was to do *what*, for a failure of the disk if it is one."""
        if isinstance(error, StoreFailed):
            self.fail(error.message)
        elif is_store_failure(error):
            self.fail(StoreFailed.because(f"{what}: {error.strerror}").message)

    async def while_sound(self, service: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run *service*, which writes, until the disk has failed."""
        with trio.CancelScope() as scope:
            self.on_failure(lambda _: scope.cancel())
            try:
                self.require()
                await service(*args)
            except* StoreFailed as failed:
                self.fail(str(_first(failed)))

    @contextmanager
    def heeding(self, what: str) -> Iterator[None]:
        """Heed errors that come out of the context, which does *what*."""
        try:
            yield
        except OSError as error:
            self.heed(what, error)
            raise


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
