"""The importer process: recovers, then imports what the mount hands over and answers its questions.

It ends when the mount says so, or is gone. It dies, with a traceback in the log, when it cannot go on in truth;
the mount then starts another, which recovers.
"""

from __future__ import annotations

import errno
import functools
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

import trio

from repofs import config, logs
from repofs.administration import keeping
from repofs.administration.office import Office
from repofs.catalog.engine import open_engine
from repofs.errors import RepofsError
from repofs.events import read_only
from repofs.health import Health
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
from repofs.importer.move_desk import MoveDesk
from repofs.importer.note_desk import NoteDesk
from repofs.importer.pipeline import Pipeline
from repofs.importer.preparing import Preparing
from repofs.importer.question_desk import QuestionDesk
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
    Channel,
    Committed,
    Deeds,
    Done,
    Failed,
    Growing,
    Handed,
    Hangup,
    Marked,
    Message,
    Move,
    NotReady,
    Question,
    Room,
    Stands,
    Stop,
    TableMessage,
    Trashing,
)
from repofs.lifecycle import State
from repofs.model import Drop, Outcome
from repofs.people import People
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.sources import Sources
from repofs.threads import in_thread

FINISH_SECONDS = 6.0  # at a stop, for what is in hand; what needs longer is taken back

Desk = Callable[[Any], Awaitable[Answer]]
"""Sees to a message and returns the answer."""

Desks = dict[type, Desk]
"""By kind of message."""


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
            tables, notes = TableDesk(settings, commits, catalogue, who), NoteDesk(commits)
            questions = QuestionDesk(catalogue, scrub)
            moves = MoveDesk(layout, commits, catalogue, counting, pipeline.sync)
            trash = TrashDesk(settings.trash, disposal, catalogue, commits.committed, who, counting)
            services.start_soon(health.while_sound, trash.run)
            desks: Desks = {
                **dict.fromkeys(get_args(Question), questions.see_to),
                **dict.fromkeys(get_args(TableMessage), tables.see_to),
                Trashing: trash.see_to,
                Move: moves.see_to,
                Stands: notes.stands,
                Deeds: notes.keep,
            }
            desk = _Desk(channel, pipeline, commits, people, reception, watching, counting, desks)
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
        pipeline: Pipeline,
        commits: Commits,
        people: Administration,
        reception: Reception,
        watching: Dropboxes,
        counting: Counting,
        desks: Desks,
    ) -> None:
        self._channel = channel
        self._pipeline = pipeline
        self._commits = commits
        self._people = people
        self._reception = reception
        self._watching = watching
        self._counting = counting
        self._desks = desks
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
            case Committed(), []:
                self._commits.committed.ring()
            case Administer(), []:
                nursery.start_soon(self._people.see_to, message)
            case Arriving(), [fd]:
                nursery.start_soon(self._arrive, message, fd)
            case Arriving(), []:
                busy = Answer(message.id, None, "the importer has too many files open: try again", errno.EBUSY)
                nursery.start_soon(self._answer, busy)
            case Failed(error), []:
                self._commits.health.fail(error)
            case Room(), []:
                self._counting.answered(message)
            case _, [] if type(message) in self._desks:
                nursery.start_soon(self._ask, self._desks[type(message)], message)
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

    async def _ask(self, desk: Desk, message: Message) -> None:
        await self._answer(await desk(message))

    async def _arrive(self, asked: Arriving, directory: int) -> None:
        await self._answer(await self._reception.see_to(asked, directory))

    async def _answer(self, message: Message) -> None:
        await self._counting.tell()  # before: whoever hears of an import has counted it
        with suppress(Hangup):  # the receiving side sees it too, and ends all
            await self._channel.send(message)
