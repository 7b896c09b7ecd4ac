"""The way back of an import: what was made is taken back, and the file says why. What is imported stays so."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import trio

from repofs.errors import StoreFailed, StoreFull, on_the_store
from repofs.fault_points import Step, passed
from repofs.importer import transactions
from repofs.importer.commits import FULL_SECONDS, Commits, Groups
from repofs.importer.job import Job
from repofs.importer.placement import Placement
from repofs.importer.transactions import Begun, Ending
from repofs.lifecycle import State
from repofs.model import ImportId, Outcome
from repofs.threads import in_thread

log = structlog.get_logger(__name__)


class GivingUp:
    """For the imports of one repository."""

    def __init__(self, commits: Commits, placement: Placement) -> None:
        self._commits = commits
        self._placement = placement
        self._clearing = Groups(self._clear)

    async def run(self) -> None:
        """Serve the imports until cancelled."""
        await self._clearing.run()

    async def give_up(self, job: Job, state: State, error: str) -> Outcome:
        """Take back what was made and say on the file why. Returns the outcome: *state*, or imported, when the final
        rows were committed after all, or settling, when the reason cannot be written now. What cannot be taken back now
        is tried again: until then nobody knows what the file is."""
        job.log.note(f"{state}: {error}")
        with trio.CancelScope(shield=True):
            if job.begun and not job.ended and not await self.end(job, job.begun, state, error):
                await self.forget(job.begun)
                return job.imported()  # nobody else takes an import out of its state
            job.ended = True
            passed(Step.ENDED)
        while True:
            try:
                with trio.CancelScope(shield=True), on_the_store("taking an import back"):
                    await in_thread(self._undo, job, state, error)
                    return Outcome(job.drop.token, state, error)
            except StoreFailed:
                raise
            except OSError as worse:
                log.error("a drop cannot be told why", path=job.drop.path, reason=error, error=str(worse))
                if job.undone:
                    return Outcome(job.drop.token, State.SETTLING, error)
            await trio.sleep(FULL_SECONDS)

    async def end(self, job: Job, begun: Begun, state: State, error: str) -> bool:
        """Say in the catalogue how the import ended; False when it is imported already."""
        try:
            return await self._commits.write(transactions.end, Ending(begun.id, state, error))
        except StoreFailed:
            raise
        except StoreFull as full:
            if job.finished is not None:
                raise
            log.warning("the row of an import is left to recovery", importing=begun.id, error=str(full))
            return True
        except Exception:
            if job.finished is not None:
                raise  # imported or not: only the catalogue could tell
            log.exception("the row of a failed import is left to recovery", importing=begun.id)
            return True

    async def forget(self, begun: Begun) -> None:
        """Clear away what taking back would need; recovery does it if this fails."""
        try:
            await self._clearing.do(begun.id)
        except OSError as error:
            self._commits.health.heed("clearing away", error)
            log.warning("staging is cleared at the next start", importing=begun.id, error=str(error))

    def _clear(self, committed: Sequence[ImportId]) -> Sequence[None]:
        for importing in committed:
            self._placement.finish(importing)
        return [None] * len(committed)

    def _undo(self, job: Job, state: State, error: str) -> None:
        if job.begun and job.placed:
            self._placement.take_back(job.drop, job.fd, job.begun.id)
            job.placed = False
        if job.begun:
            self._placement.let_go(job.drop, job.fd)
        job.undone = True
        if state is not State.SETTLING:
            name = str(job.begun.id) if job.begun else f"inode-{job.drop.token}"
            self._placement.refuse(job.drop, job.fd, state, error, job.log.lines(), name)
