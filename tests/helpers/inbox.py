"""An inbox with a fake mount and a fake importer process; time is trio's."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import trio
import trio.testing

from repofs.errors import DaemonUnreachable, QuotaExceeded
from repofs.events import News
from repofs.health import Health
from repofs.importer.inbox import Inbox
from repofs.importer.wire import Channel, Done, Handed, Hangup, Message, Stop
from repofs.lifecycle import State
from repofs.model import Drop, Duplicates, Outcome, Policy
from repofs.people import Actor, People
from repofs.quotas import Held

ALICE, BOB = b"alice_2", b"bob_3"
SETTLE_SECONDS = 3.0
POLICY = Policy(SETTLE_SECONDS, Duplicates.IMPORT)


class FakeMount:
    """An inbox.Source: every token is a drop until it is gone."""

    def __init__(self) -> None:
        self.claimed: list[tuple[int, float]] = []
        self.outcomes: list[Outcome] = []
        self.no_drop: set[int] = set()
        self.unreadable: set[int] = set()
        self.faulty = False  # its code has a fault
        self.heard: list[News] = []

    def claim(self, token: int) -> tuple[Drop, int] | None:
        if self.faulty:
            raise RuntimeError("nobody foresaw this claim")
        if token in self.unreadable:
            raise OSError("too many files open")
        if token in self.no_drop:
            return None
        self.claimed.append((token, trio.current_time()))
        drop = Drop(token, ALICE, b"scan.tif", False, None, POLICY, (), 1000, "alice", 100)
        return drop, os.open("/dev/null", os.O_RDONLY)

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self.faulty:
            raise RuntimeError("nobody foresaw this outcome")

    def marked(self, inodes: Sequence[int]) -> None:
        raise AssertionError(inodes)

    def hear(self, news: Sequence[News]) -> None:
        self.heard += news


@dataclass
class FakeProcess:
    """The other end of a channel: what came, and a way to answer or to die."""

    channel: Channel
    tokens: list[int] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    life: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def receive(self) -> None:
        try:
            with self.life:
                while True:
                    await self._take_in()
        except Hangup:
            return
        finally:
            self.channel.close()

    async def _take_in(self) -> None:
        message, descriptors = await self.channel.receive()
        for fd in descriptors:
            os.close(fd)
        self.messages.append(message)
        if isinstance(message, Handed):
            self.tokens += [drop.token for drop in message.drops]
        if isinstance(message, Stop):
            self.die()

    async def done(self, token: int, state: State = State.IMPORTED) -> None:
        await self.channel.send(Done((Outcome(token, state),)))
        await trio.testing.wait_all_tasks_blocked()

    def die(self) -> None:
        self.life.cancel()


class Lives:
    """Starts fake processes, and keeps them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.all: list[FakeProcess] = []
        self.refuse = 0  # how many starts fail

    @property
    def last(self) -> FakeProcess:
        return self.all[-1]

    def __call__(self) -> AbstractAsyncContextManager[tuple[Channel, People]]:
        return self._start()

    @asynccontextmanager
    async def _start(self) -> AsyncIterator[tuple[Channel, People]]:
        if self.refuse:
            self.refuse -= 1
            raise DaemonUnreachable("the catalogue is damaged")
        ours, theirs = (Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        self.all.append(FakeProcess(theirs))
        self._nursery.start_soon(self.last.receive)
        try:
            yield ours, people(1000 + len(self.all))
        finally:
            ours.close()


def people(uid: int) -> People:
    """Return people who are one: this uid."""
    return People({uid: Actor(uid, "alice")})


class Rights:
    """Adopts who there is, while `slow` is set only when `go` is; remembers what it has adopted."""

    def __init__(self) -> None:
        self.adopted: list[People] = []
        self.slow = False
        self.go = trio.Event()

    async def adopt(self, people: People) -> None:
        if self.slow:
            await self.go.wait()
        self.adopted.append(people)


class Accountant:
    """Counts nothing; remembers what it was told. Each of `refusals` refuses one copy."""

    def __init__(self) -> None:
        self.lives = 0
        self.deaths = 0
        self.held: list[Held] = []
        self.changes: list[Held] = []
        self.refusals: list[str] = []

    def began(self) -> None:
        self.lives += 1

    def died(self) -> None:
        self.deaths += 1

    def originals_are(self, held: Sequence[Held]) -> None:
        self.held = list(held)

    def come(self, held: Held) -> None:
        if self.refusals:
            raise QuotaExceeded(self.refusals.pop(0))
        self.changes.append(held)

    def counted(self, changes: Sequence[Held], inodes: Sequence[int]) -> None:
        self.changes += changes


@dataclass
class World:
    mount: FakeMount
    lives: Lives
    rights: Rights
    inbox: Inbox
    health: Health

    async def after(self, seconds: float) -> None:
        """Let time pass: with the automatic clock, as long as the tasks need and no more."""
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        mount, lives, rights = FakeMount(), Lives(nursery), Rights()
        health = Health()
        world = World(mount, lives, rights, Inbox(mount, lives, rights.adopt, mount.hear, health, Accountant()), health)
        await nursery.start(world.inbox.run)
        yield world
        nursery.cancel_scope.cancel()
