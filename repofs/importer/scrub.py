"""Originals verified in the background, each once in so many days: one at a time, never faster than the settings say,
and only while nothing is imported.

The catalogue is the queue: what was verified, or imported, longest ago is the next. So nothing is lost by a restart.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import structlog
import trio

from repofs.catalog import verification
from repofs.catalog.engine import Engine
from repofs.catalog.forms import iso
from repofs.catalog.verification import Found, Summary
from repofs.config import Settings
from repofs.importer import transactions
from repofs.importer.commits import Commits
from repofs.inspection.looking import Looking
from repofs.inspection.recording import Finding, Recording
from repofs.inspection.verify import due, recorded
from repofs.repository.gently import Budget, idle_priority
from repofs.repository.layout import Layout
from repofs.threads import in_thread

LOOK_SECONDS = 3600.0  # at most between two looks for what is due; what could not be looked at is tried again then
FIRST_SECONDS = 60.0  # that the start of a repository has for itself

log = structlog.get_logger(__name__)

Tell = Callable[[Sequence[int]], Awaitable[None]]
"""Tells the mount of inodes whose marks are others by now."""


class Scrub:
    """Of one importer process."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        commits: Commits,
        catalogue: Engine,
        idle: Callable[[], Awaitable[None]],
        tell: Tell,
    ) -> None:
        """*idle* returns when nothing is imported."""
        self._every = timedelta(days=settings.verify.every_days)
        self._pause_seconds = min(LOOK_SECONDS, self._every.total_seconds() / 10)
        self._budget = Budget(settings.verify.bytes_per_second)
        self._commits = commits
        self._catalogue = catalogue
        self._idle = idle
        self._tell = tell
        self._looking = Looking(layout, settings, self._pace)
        self._recording = Recording(layout, self._write, self._told)
        self._running = False

    async def run(self) -> None:
        """Verify what is due, again and again, until cancelled. Nothing that is met with ends it, nor the imports."""
        if not self._every:
            return
        await trio.sleep(min(FIRST_SECONDS, self._pause_seconds))
        while True:
            self._running = True
            try:
                await in_thread(self._pass)
            except trio.BrokenResourceError:
                return  # the catalogue takes nothing more: the importer ends
            except Exception:
                log.exception("originals cannot be verified now", again_in_seconds=self._pause_seconds)
            finally:
                self._running = False
            await trio.sleep(self._pause_seconds)

    def _pass(self) -> None:
        """Verify all that is due now. In a thread, which is cancelled where it asks for the event loop."""
        counts = dict[str, int]()
        with idle_priority():
            for finding in recorded(self._findings(), self._recording):
                counts[finding.state] = counts.get(finding.state, 0) + 1
                _note(finding)
        if counts:
            log.info("originals were verified", **counts)

    def _findings(self) -> Iterator[Finding]:
        for held in due(self._catalogue, None, self._before()):
            self._pace(0)  # one that is missing has no bytes to wait at
            yield self._looking.look(held)

    def _before(self) -> str:
        return iso(datetime.now(UTC) - self._every)

    # --- called in the thread ---

    def _pace(self, count: int) -> None:
        trio.from_thread.run(self._wait, count)

    def _write(self, found: Sequence[Found]) -> Sequence[bool]:
        return trio.from_thread.run(self._commits.write, transactions.found, found)

    def _told(self, inodes: Sequence[int]) -> None:
        trio.from_thread.run(self._tell, inodes)

    async def _wait(self, count: int) -> None:
        await trio.sleep(self._budget.spend(count))
        await self._idle()

    # --- asked for ---

    async def facts(self) -> dict[str, object]:
        """Return how far verification is, as `repofs status --json` prints it."""
        summary = await in_thread(self._summary)
        return {
            "every_days": self._every / timedelta(days=1),
            "running": self._running,
            "files": summary.files,
            "due": summary.due,
            "never": summary.never,
            "oldest": summary.oldest,
            "newest": summary.newest,
            "found": {str(state): count for state, count in summary.found.items()},
        }

    def _summary(self) -> Summary:
        with self._catalogue.begin() as conn:
            return verification.summary(conn, self._before())


def _note(finding: Finding) -> None:
    if finding.state is not finding.held.stands:
        tell = log.info if finding.well else log.warning
        tell(
            "an original was verified",
            original=finding.held.original_id,
            path=finding.held.dropped,
            state=finding.state,
            error=finding.error,
        )
