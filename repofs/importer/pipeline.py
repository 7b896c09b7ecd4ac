"""The steps of one import, from a sealed drop to its Outcome.

    looked into ─ intent row ─ bytes hashed, no writer left ─ duplicate? ─ ids reserved ─ linked, logged, published,
    marked ─ synced ─ final rows: the commit point

A file that a reader finds to be one of several is given back at the first step, to be handed over with the others.

A step that fails is answered by `GivingUp`: whatever was made is taken back, and the file says what is wrong with it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from repofs.administration.user_directories import UserDirectories
from repofs.catalog.containers import Target, target_of
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.forms import now
from repofs.catalog.records import ImportRecord
from repofs.config import Settings
from repofs.errors import (
    ChangedWhileReading,
    InvalidValue,
    QuotaExceeded,
    RepofsError,
    StoreFailed,
    StoreFull,
    on_the_store,
)
from repofs.fault_points import Step, passed
from repofs.image import ALONE, Members, Recognised
from repofs.importer import files, final_rows, transactions
from repofs.importer.ahead import Ahead
from repofs.importer.commits import FULL_SECONDS, Bell, Commits, Groups
from repofs.importer.files import Examined
from repofs.importer.giving_up import GivingUp
from repofs.importer.import_log import ImportLog
from repofs.importer.job import Deaths, Job
from repofs.importer.names import Names
from repofs.importer.placement import Placement
from repofs.importer.recognising import Recogniser, Recognising
from repofs.importer.removal import Removals
from repofs.importer.short_calls import ShortCalls
from repofs.importer.transactions import Begun, Intent, Needs, Owners, Wanted
from repofs.importer.turns import Turns
from repofs.lifecycle import State
from repofs.model import Drop, Duplicates, Identity, ImportId, ObjectRef, Outcome
from repofs.people import People
from repofs.quotas import Held
from repofs.repository.layout import Layout
from repofs.repository.outside import Root
from repofs.repository.sources import Sources
from repofs.repository.template import Template
from repofs.threads import in_thread

log = structlog.get_logger(__name__)

_DEATHS_WITH_OTHERS = 10  # that convict a drop which nobody has seen alone
SUSPECT_SECONDS = 60.0  # that a drop waits for another, when both were in hand when the importer died
_FULL = "the disk of the repository, or this file with attributes, is full: it is imported by itself when there is room"

Interrupted = dict[tuple[int, int], Deaths]
"""How often the importer died with the drop of that device and inode in hand."""


class Duplicate(RepofsError):
    """The owner has imported these bytes before, and the policy refuses them."""

    code = errno.EEXIST

    def __init__(self, known: ObjectRef | None, *, then: str) -> None:
        super().__init__(f"its owner has these bytes already, in {known}{then}")
        self.fileset = known and known.id


class Counts(Protocol):
    """Who counts bytes, as the pipeline sees it."""

    async def come(self, held: Held) -> None: ...

    def add(self, changes: Sequence[Held], inodes: Sequence[int] = ()) -> None: ...


class Pipeline:
    """Imports any number of drops at a time."""

    def __init__(
        self,
        layout: Layout,
        settings: Settings,
        commits: Commits,
        readers: Recogniser,
        interrupted: Interrupted,
        people: Callable[[], People],
        counting: Counts,
    ) -> None:
        self._settings = settings
        self._counting = counting
        self._commits = commits
        self._interrupted = interrupted
        self._people = people
        sources = Sources(settings.declared_sources(), layout.root)
        self.removals = Removals(commits, sources)
        self.ahead = Ahead(settings.imports.checksum_algorithm, settings.imports.parallel)
        self._placement = Placement(layout, sources, settings.repository.reserve_bytes, self.ahead)
        self._recognising = Recognising(readers, self._placement)
        template = Template(settings.repository.template)
        directories = UserDirectories(settings.repository)
        self._owners = Owners(directories)
        self._names = Names(layout, template, directories)
        self._hashing = Turns(settings.imports.parallel)
        self._syncing = Groups(self._sync)
        self._giving_up = GivingUp(commits, self._placement)
        self._short = ShortCalls()
        self._suspects = trio.Lock()
        self._taken = 0
        self._given_back = Bell()
        self._in_hand: set[tuple[int, int, str]] = set()  # (owner, size, checksum), where duplicates are refused

    async def run(self) -> None:
        """Serve the imports until cancelled."""
        with contextlib.closing(self._placement):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._syncing.run)
                nursery.start_soon(self._giving_up.run)
                nursery.start_soon(self._commits.health.while_sound, self.removals.run)
                nursery.start_soon(self._short.run)
                nursery.start_soon(self.ahead.run)

    async def idle(self) -> None:
        """Return when nothing is being imported."""
        while self._taken:
            await self._given_back.next.wait()

    async def take(self, drop: Drop, fd: int, root: Root | None = None) -> Outcome:
        """Import *drop* and return what became of it; *fd* is closed then.

        What its stand-ins stand for is sought in *root* where it lies in no declared source.

        Raises only when the catalogue does not tell whether the drop is imported: recovery has to find out.
        """
        job = Job(drop, fd, root, ImportLog(drop.events))
        self._taken += 1
        try:
            return await self._try(job)
        except trio.Cancelled:
            with contextlib.suppress(StoreFailed):
                await self._giving_up.give_up(job, State.SETTLING, "the daemon was stopped")
            raise
        finally:
            self._count(job, [])
            self._taken -= 1
            self._given_back.ring()
            os.close(fd)

    async def refuse(self, drop: Drop, fd: int, error: str) -> Outcome:
        """Give up *drop*, a file without bytes, by *error*: its row, its log and its news are those of any import that
        has failed. *fd* is closed then. Raises as `take` does."""
        job = Job(drop, fd, None, ImportLog(drop.events))
        try:
            with contextlib.suppress(RepofsError):  # it died with it before: refused all the same
                await self._begin(job, self._identify(job))
            return await self._giving_up.give_up(job, State.FAILED, error)
        finally:
            os.close(fd)

    async def _try(self, job: Job) -> Outcome:
        try:
            return await self._outcome(job)
        except StoreFailed as error:  # nothing is taken back on such a disk: the next mount's recovery sees to it
            self._commits.health.fail(error.message)
            return Outcome(job.drop.token, State.SETTLING, error.message, undecided=job.placed)

    async def _outcome(self, job: Job) -> Outcome:
        try:
            return await self._import(job)
        except StoreFailed:
            raise
        except ChangedWhileReading as error:
            return await self._giving_up.give_up(job, State.SETTLING, str(error))
        except Duplicate as error:
            return replace(await self._giving_up.give_up(job, State.DUPLICATE, str(error)), fileset=error.fileset)
        except OSError as error:
            if isinstance(error, QuotaExceeded) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return await self._giving_up.give_up(job, State.FAILED, _sentence(error))
            return replace(await self._giving_up.give_up(job, State.SETTLING, _FULL), again_seconds=FULL_SECONDS)
        except trio.BrokenResourceError:  # of the commits: this process is about to end, by no fault of the drop
            return await self._giving_up.give_up(job, State.SETTLING, "the importer ends")
        except Exception as error:
            log.exception("an import failed unexpectedly", path=job.drop.path)
            sentence = f"the importer failed ({type(error).__name__}): the daemon's log says where; then retry"
            return await self._giving_up.give_up(job, State.FAILED, sentence)

    async def _import(self, job: Job) -> Outcome:
        drop, before = job.drop, os.fstat(job.fd)
        if drop.refusal is not None:
            await self._begin(job, self._identify(job))
            raise InvalidValue(drop.refusal)
        self._placement.require_room()
        found = await self._recognising.look(drop, job.fd, job.root, job.log)
        if isinstance(found, Members) or drop.early:
            return Outcome(drop.token, State.SETTLING, members=found if isinstance(found, Members) else ALONE)
        identity = self._identify(job)
        async with self._one_of_suspects(job):
            return await self._carry_out(job, before, found, identity)

    @contextlib.asynccontextmanager
    async def _one_of_suspects(self, job: Job) -> AsyncIterator[None]:
        """Have those that were in hand when the importer died follow one another: if it dies again it is known of
        which, and three power cuts make no file failed. But none waits long for another's large file."""
        held = False
        if job.deaths.times:
            with trio.move_on_after(SUSPECT_SECONDS):
                await self._suspects.acquire()
                held = True
        try:
            yield
        finally:
            if held:
                self._suspects.release()

    async def _carry_out(self, job: Job, before: os.stat_result, found: Recognised, identity: Identity) -> Outcome:
        begun = await self._begin(job, identity, _needs_at_once(job.drop, len(found.images)))
        target = await self._target(job, begun)
        await self._make_room(job, begun)
        examined = await self._examine(job)
        if not examined:
            await self._giving_up.end(job, begun, State.SETTLING, "it was imported before")
            return Outcome(job.drop.token, State.IMPORTED)
        files.require_unchanged(job.drop, before, examined)
        if job.drop.policy.duplicates is Duplicates.IMPORT:
            return await self._complete(job, begun, target, examined, found)
        key = (begun.owner.id, sum(file.size for file in examined), examined[0].checksum)
        if key in self._in_hand:
            raise ChangedWhileReading("the same bytes are being imported at this moment: this drop waits for that")
        self._in_hand.add(key)
        try:
            await self._require_new_bytes(job.drop, begun, examined)
            return await self._complete(job, begun, target, examined, found)
        finally:
            self._in_hand.remove(key)

    def _identify(self, job: Job) -> Identity:
        """Find out where the drop comes from, and how often the importer has died with it; return who it is."""
        job.origin = files.origin(job.drop, job.fd, self._placement.marks)
        identity = files.identity(job.drop, job.fd, job.origin)
        job.deaths = self._interrupted.pop((identity.device, identity.inode), Deaths())
        return identity

    async def _begin(self, job: Job, identity: Identity, needs: Needs | None = None) -> Begun:
        drop, origin, deaths = job.drop, job.origin, job.deaths.times
        intent = Intent(
            drop.user_directory,
            drop.path,
            identity,
            drop.actor_uid,
            drop.gid,
            drop.transfer if origin is None else origin.transfer,
            deaths + 1,
            now(),
            drop.source,
            needs,
        )
        with trio.CancelScope(shield=True):  # a row that we do not know of would look like a death
            begun = job.begun = await self._write(intent)
        passed(Step.INTENT_COMMITTED)
        by = "" if drop.actor_uid == begun.owner.uid else f", by {drop.actor}"
        job.log.note(
            f"import {begun.id} for {begun.owner.user_name} in group {begun.group.name}{by}, attempt {deaths + 1}"
        )
        most = self._settings.imports.attempts
        if deaths >= (most if job.deaths.alone else max(most, _DEATHS_WITH_OTHERS)):
            raise RepofsError(f"the importer died {deaths} times with this file: see the daemon's log, then retry")
        return begun

    async def _write(self, intent: Intent) -> Begun:
        """Write the row. One whose needs break the catalogue gets it without them: it fails by them later, with it."""
        try:
            return await self._commits.write(self._owners.begin, intent)
        except RepofsError:
            raise
        except Exception:
            if intent.needs is None:
                raise
            log.exception("what an import needs could not be reserved at once", path=intent.path)
            return await self._commits.write(self._owners.begin, replace(intent, needs=None))

    async def _make_room(self, job: Job, begun: Begun) -> None:
        """Have the bytes counted that are about to be copied. Raises QuotaExceeded."""
        if job.drop.is_one_file and job.origin is None:
            return
        here = self._short.make if job.drop.is_one_file else in_thread
        size = await here(files.coming, job.drop, job.fd, self._placement.marks)
        if size:
            held = Held(job.drop.user_directory, begun.group.gid, coming=size)
            await self._counting.come(held)
            job.coming = replace(held, coming=-size)

    async def _target(self, job: Job, begun: Begun) -> Target | None:
        target = target_of(job.drop.path, job.drop.target)
        if target is not None and job.drop.target is not None:
            owner = self._people().actor(begun.owner.uid)
            await self._commits.write(transactions.check_targets, (target, owner, begun.owner.id, begun.group.id))
        return target

    async def _examine(self, job: Job) -> list[Examined]:
        algorithm = job.drop.checksum_algorithm or self._settings.imports.checksum_algorithm
        read = functools.partial(
            files.examine, job.drop, job.fd, self._placement.bringing, algorithm, self._people().levels, job.root
        )
        with job.log.step("read whole; nobody has it open for writing"):
            if job.is_small:
                examined = await self._short.make(read)
            else:
                async with self._hashing.turn(job.drop.user_directory):
                    examined = await in_thread(read, abandon_on_cancel=True)
        passed(Step.HASHED)
        for file in examined:
            ahead = f" ({file.ahead} of them hashed while it was written)" if file.ahead else ""
            job.log.note(f"{file.name.decode(errors='backslashreplace')}: {file.size} bytes{ahead}, {file.checksum}")
        return examined

    async def _require_new_bytes(self, drop: Drop, begun: Begun, examined: list[Examined]) -> None:
        """Raise Duplicate when the owner has the bytes of every file already."""
        known = None
        for file in examined:
            query = (begun.owner.id, file.size, file.checksum)
            known = await self._commits.write(transactions.find_duplicates, query)
            if known is None:
                return
        raise Duplicate(known, then="" if drop.source else ": remove it, or allow duplicates and retry")

    async def _complete(
        self, job: Job, begun: Begun, target: Target | None, examined: list[Examined], recognised: Recognised
    ) -> Outcome:
        """Reserve, place, sync and commit. Not to be cancelled: it is short, and either whole or taken back."""
        with trio.CancelScope(shield=True):
            ids = begun.ids
            if ids is None:
                needs = Needs(len(examined), len(recognised.images), target)
                wanted = Wanted(needs, begun.owner.id, begun.group.id)
                ids = await self._commits.write(transactions.reserve, wanted)
            passed(Step.RESERVED)
            job.log.note(", ".join(final_rows.names_of(ids)))
            name_for = self._names.of(begun, job.drop, tuple(os.fsdecode(file.path) for file in examined))

            rows = final_rows.finished(job.drop, begun, target, examined, recognised, ids)
            job.placed = True
            here = self._short.make if job.drop.is_one_file else in_thread
            finished = await here(self._place, job, begun, rows, name_for)
            await self._syncing.do(begun.id)
            passed(Step.SYNCED)
            await self._record(job, finished)
            passed(Step.COMMITTED)
            self._count(job, files.changes(job.drop, begun.group.gid, examined), examined)
            await self._giving_up.forget(begun)
            passed(Step.CLEARED)
            kept = await self.removals.after(job.drop, finished)
        return job.imported(kept)

    async def _record(self, job: Job, finished: FinishedImport) -> None:
        """Write the final rows: the commit point."""
        job.finished = finished
        try:
            await self._commits.write(transactions.record, finished)
        except StoreFull:  # of a commit for which there is no room nothing is there
            job.finished = None
            raise

    def _count(self, job: Job, changes: list[Held], examined: Sequence[Examined] = ()) -> None:
        """Tell what is held more and less; and what was to come comes no more."""
        if job.coming is not None:
            changes.append(job.coming)
            job.coming = None
        if changes:
            self._counting.add(changes, [file.inode for file in examined if file.origin is None])

    def _place(self, job: Job, begun: Begun, rows: FinishedImport, name_for: Callable[[int], bytes]) -> FinishedImport:
        staged = files.named(job.drop, job.fd, {file.name for file in rows.entries})
        gid = begun.group.gid
        record = ImportRecord(rows, begun.intent, begun.owner, begun.group)
        with on_the_store("publishing an import"):
            directory = self._placement.put(job.drop, staged, begun.id, gid, job.log.text(), record, name_for)
            finished = replace(rows, import_directory=directory)
            self._placement.mark(job.drop, job.fd, gid, finished)
        return finished

    async def sync(self) -> None:
        """Make durable what has been changed in the tree."""
        await in_thread(self._placement.sync)

    def _sync(self, waiting: Sequence[ImportId]) -> Sequence[None]:
        """Make what all have published durable. An error is everybody's, whichever: it is told once, and a second call
        that succeeds says nothing of what the first has lost."""
        try:
            self._placement.sync()
        except OSError as error:
            raise StoreFailed.because(f"syncfs: {error.strerror}") from error
        return [None] * len(waiting)


def _needs_at_once(drop: Drop, images: int) -> Needs | None:
    """Return what the import of *drop* will need, if nothing that is looked at later can change that."""
    known = drop.is_one_file and drop.target is None and drop.policy.duplicates is Duplicates.IMPORT
    return Needs(1, images, target_of(drop.path)) if known else None


def _sentence(error: OSError) -> str:
    """Return what went wrong and what to do."""
    if isinstance(error, RepofsError):
        return str(error)
    return f"the importer met an error of the system ({error.strerror}): have the disk looked at, then retry"
