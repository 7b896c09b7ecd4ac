"""The one way in: what is dropped waits here until it is quiet, then for its turn, and goes to the importer process.

Nothing here is durable and nothing needs to be: the closed marks on the files are the journal, and the mount drops
again at its start what was closed and not imported. No SQL, no hashing, no parsing; only tokens and clocks.

    dropped ──▶ settling ──quiet──▶ queue ──turn, claim──▶ outstanding ──Outcome──▶ told to the Source
                   ▲                  │                        │
                   └──dropped again───┘                        └──the process died──▶ suspects, one at a time
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog
import trio

from repofs.errors import DaemonUnreachable, QuotaExceeded
from repofs.events import News
from repofs.health import Health
from repofs.importer.questions import Questions
from repofs.importer.queue import FairQueue
from repofs.importer.settling import Settling
from repofs.importer.wire import (
    TOGETHER,
    Answer,
    Channel,
    Coming,
    Counted,
    Done,
    Failed,
    Growing,
    Handed,
    Hangup,
    Happened,
    Holdings,
    Marked,
    Message,
    PeopleAre,
    Room,
    Stop,
)
from repofs.lifecycle import State
from repofs.model import Drop, Outcome
from repofs.people import People
from repofs.quotas import Held

WINDOW = 256  # drops that the importer process has in hand at a time
SHARE = 192  # of these for one user: the next user never waits for a place behind large files
STOP_SECONDS = 8.0  # for what is in hand at a stop; the process gets two more to end
PAUSE_SECONDS = 0.1, 10.0  # before the process is started again: at first, at most

log = structlog.get_logger(__name__)


class Source(Protocol):
    """Where drops come from: the namespace. All are called on the event loop and must not block."""

    def claim(self, token: int) -> tuple[Drop, int] | None:
        """Seal the drop and return it with a descriptor open for reading, which is then the inbox's to close.

        None when it is no drop any more: gone, or being written again. Raises OSError when it cannot be opened now:
        the clock starts anew.
        """

    def outcome(self, outcome: Outcome) -> None:
        """Take in what became of a claimed drop, and unseal it unless it is imported."""

    def marked(self, inodes: Sequence[int]) -> None:
        """Forget the marks of these inodes: somebody else has written them."""


StartImporter = Callable[[], AbstractAsyncContextManager[tuple[Channel, People]]]
"""Starts an importer process; entered when it is ready, with who there is then. Raises DaemonUnreachable when it
cannot start."""

Adopt = Callable[[People], Awaitable[None]]
"""Lets who there is count in the mount; returns when it does."""


@dataclass(slots=True)
class _Waiting:
    """What the inbox knows of a token from its first drop to its outcome."""

    user: bytes
    delay_seconds: float
    again: bool = False  # dropped once more while its import was under way
    gone: bool = False  # unlinked or being written while its import was under way


class Accountant(Protocol):
    """Who counts bytes: the namespace. Called on the event loop; must not block."""

    def began(self) -> None:
        """A process begins; of what an earlier one was about to copy nothing comes any more."""

    def died(self) -> None:
        """It has died: what became of the drops in its hands is known to the files alone."""

    def originals_are(self, held: Sequence[Held]) -> None:
        """So much the originals held when the process began."""

    def come(self, held: Held) -> None:
        """Count bytes that are about to be copied. Raises QuotaExceeded."""

    def counted(self, changes: Sequence[Held], inodes: Sequence[int]) -> None:
        """Count what has changed; files of *inodes* are no drops any more."""


Hear = Callable[[Sequence[News]], None]
"""Takes in news of imports; some of it may come again. Must not block."""


class Inbox:
    """Drops on their way to the importer process. Every method is called on the event loop."""

    def __init__(
        self,
        source: Source,
        start: StartImporter,
        adopt: Adopt,
        hear: Hear,
        health: Health,
        accountant: Accountant,
    ) -> None:
        self._source = source
        self._start = start
        self._adopt = adopt
        self._hear = hear
        self._health = health
        health.on_failure(lambda _: self._awake())
        self._accountant = accountant
        self._waiting: dict[int, _Waiting] = {}
        # A token is in exactly one of these four, and then in _waiting too.
        self._settling: Settling[int] = Settling()
        self._queue = FairQueue()
        self._suspects: dict[int, None] = {}  # in hand when the process died: one of them may have been the cause
        self._outstanding: dict[int, None] = {}
        self._shares: Counter[bytes] = Counter()  # of outstanding, by user
        self._growing: deque[int] = deque()  # descriptors of files that are long and still written
        self.questions = Questions()
        self._stopping = False
        self._wake = trio.Event()

    # --- what the mount says -------------------------------------------------------------------

    def dropped(self, token: int, user: bytes, delay_seconds: float) -> None:
        """Start or restart the clock of *token*: it was closed, renamed, or its attributes were changed.

        While its import is under way this is remembered, and counts unless it ends imported.
        """
        if token in self._outstanding:
            waiting = self._waiting[token]
            waiting.delay_seconds, waiting.again, waiting.gone = delay_seconds, True, False
            return
        self._queue.remove(token)
        self._suspects.pop(token, None)
        self._waiting[token] = _Waiting(user, delay_seconds)
        deadline = trio.current_time() + delay_seconds
        is_next = deadline < self._settling.next_deadline()
        self._settling.start(token, deadline)
        if is_next:
            self._awake()

    def gone(self, token: int) -> None:
        """Forget *token*: it was unlinked, or is being written again."""
        if token in self._outstanding:
            self._waiting[token].again, self._waiting[token].gone = False, True
            return
        self._settling.stop(token)
        self._queue.remove(token)
        self._suspects.pop(token, None)
        self._waiting.pop(token, None)

    def grows(self, fd: int) -> None:
        """Have the file of *fd*, which is ours to close, hashed while it is written, if the process finds the time."""
        self._growing.append(fd)
        self._awake()

    def stop(self) -> None:
        """Let `run` come to its end: what is in hand is finished or given back within 10 seconds."""
        self._stopping = True
        self._awake()

    # --- the importer process ------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Import what is dropped until `stop`; a process that dies is started again. Started when the first is ready.

        Raises DaemonUnreachable when the first process cannot start.
        """
        started = False
        pause = PAUSE_SECONDS[0]
        while not self._stopping:
            try:
                async with self._start() as (channel, people):
                    self._take_back()  # not before: only now has recovery decided what of it is imported
                    await self._adopt(people)
                    if not started:
                        started = True
                        task_status.started()
                    pause = await self._live(channel, pause)
            except DaemonUnreachable as error:
                if not started:
                    raise
                log.error("the importer process cannot start", error=str(error))
                pause = _longer(pause)
            # On a disk that has failed no process can recover anything.
            with trio.move_on_after(pause if self._health.failure is None else math.inf):
                while not self._stopping:
                    await self._sleep(math.inf)

    async def _live(self, channel: Channel, pause: float) -> float:
        """Work with one process to its end; return the pause that its successor needs."""
        began = trio.current_time()
        self.questions.channel = channel
        self._accountant.began()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._feed, channel, nursery.cancel_scope)
                await self._listen(channel)
                nursery.cancel_scope.cancel()
        finally:
            self.questions.lost()
        if not self._stopping:
            self._accountant.died()
            then = "is started again" if self._health.failure is None else "is not started again"
            log.error(f"the importer process died and {then}", suspects=len(self._outstanding))
        return PAUSE_SECONDS[0] if trio.current_time() - began > PAUSE_SECONDS[1] else _longer(pause)

    async def _feed(self, channel: Channel, life: trio.CancelScope) -> None:
        """Hand over drops as they become due, as far as the window allows; at the stop, say so."""
        try:
            told = False
            while not self._stopping:
                if self._health.failure is not None and not told:
                    told = True
                    await channel.send(Failed(self._health.failure))
                await self._tell_growing(channel)
                self._collect_due()
                if not await self._hand_over(channel):
                    await self._sleep(self._settling.next_deadline() - trio.current_time())
            life.deadline = trio.current_time() + STOP_SECONDS
            await channel.send(Stop())
        except Hangup:
            return  # _listen sees it too, and ends this life

    async def _tell_growing(self, channel: Channel) -> None:
        while self._growing:
            fd = self._growing.popleft()
            try:
                await channel.send(Growing(), [fd])
            finally:
                os.close(fd)

    async def _listen(self, channel: Channel) -> None:
        """Take in what the process answers, until it is gone."""
        while True:
            try:
                message, _descriptors = await channel.receive()
            except Hangup:
                return
            if isinstance(message, PeopleAre):
                await self._adopt(message.people)  # before anything else: answers that follow rely on it
            elif isinstance(message, Coming):
                await self._make_room(channel, message)
            else:
                self._take_in(message)

    async def _make_room(self, channel: Channel, message: Coming) -> None:
        try:
            self._accountant.come(message.held)
        except QuotaExceeded as error:
            room = Room(message.id, error.message)
        else:
            room = Room(message.id, None)
        with suppress(Hangup):  # it is met again by `receive`
            await channel.send(room)

    def _collect_due(self) -> None:
        for token in self._settling.due(trio.current_time()):
            self._queue.put(self._waiting[token].user, token)

    def _next(self) -> int | None:
        """Take out the token whose turn it is; None when nothing may be handed over now."""
        if self._health.failure is not None:
            return None  # they stay drops, for the next mount
        if self._suspects:
            # Alone, so that a file that kills the process cannot take innocent neighbours down with it again.
            return None if self._outstanding else _take_first(self._suspects)
        if len(self._outstanding) >= WINDOW:
            return None
        turn = self._queue.pop(passed_over=[user for user, count in self._shares.items() if count >= SHARE])
        return None if turn is None else turn[1]

    async def _hand_over(self, channel: Channel) -> bool:
        """Hand over those whose turn it is, as many as go together; False when nothing may be handed over now."""
        claimed: list[tuple[Drop, int]] = []
        looked_at = 0
        try:
            while looked_at < TOGETHER and (token := self._next()) is not None:
                looked_at += 1
                if (one := self._claim(token)) is not None:
                    claimed.append(one)
            if claimed:
                await channel.send(Handed(tuple(drop for drop, _ in claimed)), [fd for _, fd in claimed])
            else:
                await trio.lowlevel.checkpoint()  # of thousands that wait for one file, no caller waits for all
        finally:
            for _, fd in claimed:
                os.close(fd)
        return looked_at > 0

    def _claim(self, token: int) -> tuple[Drop, int] | None:
        """Have the drop sealed and return it with its descriptor, in hand from now on; None: it is none now."""
        waiting = self._waiting[token]
        try:
            claimed = self._source.claim(token)
        except OSError as error:
            log.warning("a drop cannot be claimed now", user=waiting.user, error=str(error))
            self.dropped(token, waiting.user, waiting.delay_seconds)
            return None
        except Exception:
            log.exception("a drop could not be claimed: the next start looks at it again", user=waiting.user)
            claimed = None
        if claimed is None:
            if token not in self._settling:  # it waits for others of its fileset
                del self._waiting[token]
            return None
        self._outstanding[token] = None
        self._shares[waiting.user] += 1
        return claimed

    def _take_in(self, message: Message) -> None:
        match message:
            case Done(outcomes):
                for outcome in outcomes:
                    self._finish(outcome)
                self._awake()
            case Answer():
                self.questions.answered(message)
            case Happened(news):
                self._hear(news)
            case Marked(inodes):
                self._source.marked(inodes)
            case Failed(error):
                self._health.fail(error)
            case Counted(changes, inodes):
                self._accountant.counted(changes, inodes)
            case Holdings(held):
                self._accountant.originals_are(held)
            case _:
                raise AssertionError(f"the importer does not send {message}")

    def _finish(self, outcome: Outcome) -> None:
        """Tell the Source; what is not imported and was dropped again starts its clock once more.

        What only recovery can tell of stays in hand, and sealed.
        """
        if outcome.undecided:
            return
        waiting = self._release(outcome.token)
        self._tell(outcome)
        if outcome.state is State.IMPORTED or waiting.gone:
            return
        if waiting.again or outcome.state is State.SETTLING:
            delay = waiting.delay_seconds if outcome.members is None else 0.0
            if not waiting.again and outcome.again_seconds is not None:
                delay = outcome.again_seconds
            self.dropped(outcome.token, waiting.user, delay)

    def _tell(self, outcome: Outcome) -> None:
        """Tell the Source; what it cannot take in costs this drop its state until the next start, nobody the mount."""
        try:
            self._source.outcome(outcome)
        except Exception:
            log.exception("an outcome could not be taken in", token=outcome.token, state=outcome.state)

    def _take_back(self) -> None:
        """Give the mount again what a process that has ended had in hand."""
        for token in list(self._outstanding):
            waiting = self._release(token)
            self._tell(Outcome(token, State.SETTLING))
            if waiting.again:
                self.dropped(token, waiting.user, waiting.delay_seconds)
            elif not waiting.gone:
                self._waiting[token] = waiting
                self._suspects[token] = None

    def _release(self, token: int) -> _Waiting:
        del self._outstanding[token]
        waiting = self._waiting.pop(token)
        self._shares[waiting.user] -= 1
        if not self._shares[waiting.user]:
            del self._shares[waiting.user]
        return waiting

    def _awake(self) -> None:
        self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Wait until something happens, or *seconds* have passed (math.inf: no such limit)."""
        with trio.move_on_after(max(seconds, 0)):
            await self._wake.wait()
        self._wake = trio.Event()


def _take_first(tokens: dict[int, None]) -> int:
    token = next(iter(tokens))
    del tokens[token]
    return token


def _longer(pause: float) -> float:
    return min(2 * pause, PAUSE_SECONDS[1])
