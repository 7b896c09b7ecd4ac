"""The importer process: recovers, then imports what the mount hands over and answers its questions.

It ends when the mount says so, or is gone. It dies, with a traceback in the log, when it cannot go on in truth;
the mount then starts another, which recovers.
"""

from __future__ import annotations

import errno
import functools
import json
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import structlog
import trio

from repofs import config, logs
from repofs.administration import keeping
from repofs.administration.office import Office
from repofs.catalog import records, usage, views
from repofs.catalog.engine import Engine, open_engine
from repofs.catalog.moves import Place
from repofs.catalog.objects import describe
from repofs.catalog.verification import Found
from repofs.errors import InvalidValue, NotFound, RepofsError, StoreFailed
from repofs.events import read_only
from repofs.health import Health
from repofs.importer import transactions
from repofs.importer.administration import Administration
from repofs.importer.arrivals import Arrivals
from repofs.importer.backups import Backups
from repofs.importer.bringing import Bringing
from repofs.importer.commits import Commits
from repofs.importer.counting import Counting
from repofs.importer.disposal import Disposal
from repofs.importer.dropbox import dropboxes
from repofs.importer.dropbox.dropboxes import Dropboxes
from repofs.importer.gathering import Gathering
from repofs.importer.herald import Herald
from repofs.importer.hooks.queue import HookQueue, delivery, tell_read_only
from repofs.importer.pipeline import Pipeline
from repofs.importer.preparing import Preparing
from repofs.importer.readers import Readers
from repofs.importer.reception import Reception
from repofs.importer.recovery import recover
from repofs.importer.scrub import Scrub
from repofs.importer.table_desk import TableDesk
from repofs.importer.thumbnails import Thumbnails
from repofs.importer.trash_desk import TrashDesk
from repofs.importer.waiting_room import WaitingRoom
from repofs.importer.wire import (
    TOGETHER,
    Administer,
    Answer,
    Arriving,
    Ask,
    AskVerified,
    Channel,
    Committed,
    Deeds,
    Done,
    Failed,
    Growing,
    Handed,
    Hangup,
    ListTables,
    Marked,
    Message,
    Move,
    NotReady,
    RegisterTable,
    Room,
    Stands,
    Stop,
    SumUp,
    TableIs,
    TableMessage,
    Trashing,
    UnregisterTable,
    View,
)
from repofs.lifecycle import State
from repofs.model import Drop, FilesetId, ObjectRef, OriginalFileId, Outcome
from repofs.people import People
from repofs.repository import import_directory
from repofs.repository.layout import Layout, load_key
from repofs.repository.log_records import LogRecords
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources
from repofs.threads import in_thread
from repofs.usage import Sum, Sums
from repofs.views import Look, Page

FINISH_SECONDS = 6.0  # at a stop, for what is in hand; what needs longer is taken back

log = structlog.get_logger(__name__)


async def serve(directory: Path, channel: Channel) -> None:
    """Be the importer of the repository in *directory* until the other end of *channel* says stop, or hangs up."""
    try:
        layout = Layout.open(directory)
        settings = config.load(layout.root)
        logs.configure(settings.log.level)
        engine = await in_thread(open_engine, layout.catalogue)
        catalogue = await in_thread(functools.partial(open_engine, layout.catalogue, read_only=True))
        counters = await in_thread(functools.partial(keeping.keep_counters, layout, engine, alone=True))
        await in_thread(layout.make_hidden)
        disposal = Disposal.of(layout, settings, engine)
        interrupted = await in_thread(recover, layout, engine)
        await in_thread(disposal.recover)
        office = await in_thread(functools.partial(Office, layout, settings, writing=engine, reading=catalogue))
        await in_thread(dropboxes.check, settings, layout)
    except RepofsError as error:
        await channel.send(NotReady(str(error)))
        return
    commits = Commits(engine)
    health = commits.health
    sources = Sources(settings.declared_sources(), layout.root)

    def who() -> People:
        return office.roster.people

    async with Readers(settings.readers) as readers:
        counting = Counting(channel)
        pipeline = Pipeline(layout, settings, commits, readers, interrupted, who, counting)
        gathering = Gathering(sources, readers, catalogue, settings.drops)
        preparing = Preparing(layout, sources, catalogue, who)
        arrivals = Arrivals(pipeline, preparing, gathering, who)
        waiting_room = WaitingRoom(arrivals, commits, catalogue)
        reception = Reception(layout, arrivals, waiting_room, sources, who)
        watching = Dropboxes(settings, layout, commits, catalogue, who, arrivals.take, arrivals.refuse)
        async with trio.open_nursery() as services:
            services.start_soon(commits.run)
            services.start_soon(counting.run)
            services.start_soon(pipeline.run)
            services.start_soon(_tell_of_failure, health, channel, settings)
            services.start_soon(health.while_sound, waiting_room.run)
            services.start_soon(health.while_sound, Backups(layout, settings.backups.keep).run)
            bringing = Bringing(Marks(load_key(layout)), sources, os.fspath(layout.linked))
            thumbnails = Thumbnails(layout, commits, catalogue, readers, bringing, pipeline.idle)
            services.start_soon(health.while_sound, thumbnails.run)
            people = Administration(channel, office, settings.people.refresh_seconds)
            await people.begin()
            await services.start(counting.begin, catalogue)
            services.start_soon(Herald(channel, catalogue, commits.committed).run)
            for hook in settings.hooks:
                services.start_soon(health.while_sound, HookQueue(hook, delivery(hook), catalogue, commits).run)
            scrub = Scrub(layout, settings, commits, catalogue, pipeline.idle, functools.partial(_tell_marked, channel))
            services.start_soon(health.while_sound, scrub.run)
            tables = TableDesk(settings, commits, catalogue, who)
            trash = TrashDesk(settings.trash, disposal, catalogue, commits.committed, who, counting)
            services.start_soon(health.while_sound, trash.run)
            desk = _Desk(
                channel,
                layout,
                pipeline,
                commits,
                catalogue,
                people,
                reception,
                watching,
                tables,
                scrub,
                trash,
                counting,
            )
            await desk.run()
            services.cancel_scope.cancel()
    await health.while_sound(in_thread, keeping.end_counters, counters, engine)


async def _tell_marked(channel: Channel, inodes: Sequence[int]) -> None:
    with suppress(Hangup):  # the receiving side sees it too, and ends all
        await channel.send(Marked(tuple(inodes)))


async def _tell_of_failure(health: Health, channel: Channel, settings: config.Settings) -> None:
    """Once the disk has failed, let the mount and the hooks know."""
    await health.failed.wait()
    assert health.failure is not None
    with suppress(Hangup):  # the receiving side sees it too, and ends all
        await channel.send(Failed(health.failure))
    await tell_read_only(settings.hooks, read_only(health.failure))


class _Desk:
    """Takes messages in, and has each seen to."""

    def __init__(
        self,
        channel: Channel,
        layout: Layout,
        pipeline: Pipeline,
        commits: Commits,
        catalogue: Engine,
        people: Administration,
        reception: Reception,
        watching: Dropboxes,
        tables: TableDesk,
        scrub: Scrub,
        trash: TrashDesk,
        counting: Counting,
    ) -> None:
        self._channel = channel
        self._layout = layout
        self._records = LogRecords(load_key(layout))
        self._commits = commits
        self._pipeline = pipeline
        self._catalogue = catalogue
        self._people = people
        self._reception = reception
        self._watching = watching
        self._tables = tables
        self._scrub = scrub
        self._trash = trash
        self._counting = counting
        self._ended, self._untold = trio.open_memory_channel[Outcome](math.inf)  # no more than the mount hands over

    async def run(self) -> None:
        """Return when all that is in hand is done after a Stop, or at once when the mount has gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell)
            with self._ended:
                await self._serve()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            try:
                nursery.start_soon(self._people.run)
                nursery.start_soon(self._commits.health.while_sound, self._watching.run)
                while True:
                    message, descriptors = await self._channel.receive()
                    if isinstance(message, Stop):
                        break
                    self._see_to(message, descriptors, nursery)
                self._people.end()
                self._watching.end()
                nursery.cancel_scope.deadline = trio.current_time() + FINISH_SECONDS
            except Hangup:
                nursery.cancel_scope.cancel()

    def _see_to(self, message: Message, descriptors: list[int], nursery: trio.Nursery) -> None:
        match message, descriptors:
            case Handed(drops), _:
                for drop, fd in zip(drops, descriptors, strict=False):
                    nursery.start_soon(self._import, drop, fd)
                for drop in drops[len(descriptors) :]:  # this process has too many files open
                    again = Outcome(drop.token, State.SETTLING, "the importer has too many files open")
                    self._ended.send_nowait(again)
            case Growing(), [fd]:
                self._pipeline.ahead.grows(fd)
            case Growing(), []:
                pass  # this process has too many files open: it is hashed at its end
            case Ask(), []:
                nursery.start_soon(self._describe, message)
            case View(), []:
                nursery.start_soon(self._view, message)
            case Committed(), []:
                self._commits.committed.ring()
            case AskVerified(), []:
                nursery.start_soon(self._verified, message)
            case SumUp(), []:
                nursery.start_soon(self._sum_up, message)
            case Stands(), []:
                nursery.start_soon(self._stands, message)
            case Move(), []:
                nursery.start_soon(self._move, message)
            case Administer(), []:
                nursery.start_soon(self._people.see_to, message)
            case Arriving(), [fd]:
                nursery.start_soon(self._arrive, message, fd)
            case Arriving(), []:
                busy = Answer(message.id, None, "the importer has too many files open: try again", errno.EBUSY)
                nursery.start_soon(self._answer, busy)
            case ((ListTables() | RegisterTable() | UnregisterTable() | TableIs()), []):
                nursery.start_soon(self._see_to_table, message)
            case Trashing(), []:
                nursery.start_soon(self._see_to_trash, message)
            case Failed(error), []:
                self._commits.health.fail(error)
            case Room(), []:
                self._counting.answered(message)
            case Deeds(), []:
                nursery.start_soon(self._keep, message)
            case _:
                raise AssertionError(f"the mount does not send {message} with {len(descriptors)} descriptors")

    async def _import(self, drop: Drop, fd: int) -> None:
        self._ended.send_nowait(await self._pipeline.take(drop, fd))

    async def _tell(self) -> None:
        """Tell how imports have ended, those that ended together in one message, until there are no more."""
        async for outcome in self._untold:
            together = [outcome]
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                while len(together) < TOGETHER:
                    together.append(self._untold.receive_nowait())
            await self._answer(Done(tuple(together)))

    async def _arrive(self, asked: Arriving, directory: int) -> None:
        await self._answer(await self._reception.see_to(asked, directory))

    async def _see_to_table(self, message: TableMessage) -> None:
        await self._answer(await self._tables.see_to(message))

    async def _see_to_trash(self, message: Trashing) -> None:
        await self._answer(await self._trash.see_to(message))

    async def _describe(self, ask: Ask) -> None:
        try:
            facts = await in_thread(self._facts, ObjectRef.parse(ask.what))
        except (NotFound, InvalidValue) as error:
            await self._answer(Answer(ask.id, None, error.message, error.code))
        else:
            await self._answer(Answer(ask.id, json.dumps(facts)))

    async def _view(self, asked: View) -> None:
        page = await in_thread(self._page, asked.look)
        await self._answer(Answer(asked.id, msgspec.json.encode(page).decode()))

    async def _verified(self, asked: AskVerified) -> None:
        await self._answer(Answer(asked.id, json.dumps(await self._scrub.facts())))

    async def _sum_up(self, asked: SumUp) -> None:
        sums = await in_thread(self._sums, asked.sums)
        await self._answer(Answer(asked.id, msgspec.json.encode(sums).decode()))

    async def _stands(self, found: Stands) -> None:
        try:
            await self._commits.write(transactions.found, [Found(OriginalFileId(found.original), found.state)])
        except Exception as error:  # noqa: BLE001 -- the mount tells it again, and it is no reason to leave imports undone
            await self._refuse(found.id, "how a source stands could not be written", error)
        else:
            await self._answer(Answer(found.id, "null"))

    async def _move(self, move: Move) -> None:
        try:
            places, changes = await self._commits.write(transactions.move, move)
            self._counting.add(changes)
            await self._give(places, move.gid)
        except OSError as error:
            await self._answer(Answer(move.id, None, str(error), error.errno or errno.EIO))
        except Exception as error:  # noqa: BLE001 -- nothing was moved, and it is no reason to leave imports undone
            await self._refuse(move.id, "filesets could not be moved to another group", error)
        else:
            await self._answer(Answer(move.id, json.dumps(len(places))))

    async def _give(self, places: list[Place], gid: int) -> None:
        """Give import directories to the group: all that can be, then raise the first OSError that came of one."""
        failed = None
        for fileset, user_directory, directory in places:
            try:
                record = await in_thread(self._record, fileset)
                await in_thread(import_directory.give, self._layout, user_directory, directory, gid, record)
            except OSError as error:  # the others are to be where the catalogue says
                log.error(
                    "an import directory keeps its group", path=user_directory + b"/" + directory, error=str(error)
                )
                failed = failed or error
        await self._pipeline.sync()
        if failed is not None:
            raise failed

    def _record(self, fileset: FilesetId) -> bytes:
        with self._catalogue.begin() as conn:
            return self._records.lines(records.written(records.of_move(conn, fileset)))

    def _facts(self, what: ObjectRef) -> dict[str, object]:
        with self._catalogue.begin() as conn:
            return describe(conn, what)

    def _page(self, look: Look) -> Page:
        with self._catalogue.begin() as conn:
            return views.page(conn, look)

    def _sums(self, asked: Sums) -> list[Sum]:
        with self._catalogue.begin() as conn:
            return usage.sums(conn, asked)

    async def _keep(self, message: Deeds) -> None:
        try:
            written = await self._commits.write(transactions.keep, message.deeds)
        except Exception as error:  # noqa: BLE001 -- they are the mount's again, and no reason to leave imports undone
            await self._refuse(message.id, "deeds could not be written into the audit trail", error)
        else:
            await self._answer(Answer(message.id, json.dumps(written)))

    async def _refuse(self, number: int, what: str, error: Exception) -> None:
        """Answer that *what*, by *error*; that the disk has failed is logged already, however often it is met."""
        if not isinstance(error, StoreFailed):
            log.error(what, exc_info=error)
        await self._answer(Answer(number, None, f"the catalogue refused it: {error}", errno.EIO))

    async def _answer(self, message: Message) -> None:
        await self._counting.tell()  # before: whoever hears of an import has counted it
        with suppress(Hangup):  # the receiving side sees it too, and ends all
            await self._channel.send(message)
