"""The way of a drop to the importer process and back, with a fake mount and a fake process; time is trio's."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing

from repofs.administration.requests import ListPeople, RemoveUser
from repofs.deeds import Deed
from repofs.errors import AccessDenied, Busy, DaemonUnreachable, NotFound
from repofs.importer import inbox as inbox_module
from repofs.importer.inbox import SHARE, WINDOW, Inbox
from repofs.importer.wire import Administer, Answer, Ask, Channel, Deeds, Done, Handed, Hangup, Message, PeopleAre, Stop
from repofs.lifecycle import State
from repofs.model import Drop, Duplicates, Outcome, Policy
from repofs.people import Actor, People

pytestmark = pytest.mark.trio

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
            self.tokens.append(message.drop.token)
        if isinstance(message, Stop):
            self.die()

    async def done(self, token: int, state: State = State.IMPORTED) -> None:
        await self.channel.send(Done(Outcome(token, state)))
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


@dataclass
class World:
    mount: FakeMount
    lives: Lives
    rights: Rights
    inbox: Inbox

    async def after(self, seconds: float) -> None:
        """Let time pass: with the automatic clock, as long as the tasks need and no more."""
        await trio.sleep(seconds)
        await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def running() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        mount, lives, rights = FakeMount(), Lives(nursery), Rights()
        world = World(mount, lives, rights, Inbox(mount, lives, rights.adopt))
        await nursery.start(world.inbox.run)
        yield world
        nursery.cancel_scope.cancel()


async def test_quiet_for_its_settle_time_then_handed_over(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        began = trio.current_time()
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        await world.after(SETTLE_SECONDS - 0.1)
        assert world.lives.last.tokens == []
        await world.after(0.2)
        assert world.lives.last.tokens == [1]
        assert world.mount.claimed[0][1] == pytest.approx(began + SETTLE_SECONDS)
        await world.lives.last.done(1)
        assert world.mount.outcomes == [Outcome(1, State.IMPORTED)]


async def test_every_change_restarts_the_clock(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for _ in range(5):
            world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
            await world.after(2.0)
        assert world.lives.last.tokens == []
        await world.after(1.5)
        assert world.lives.last.tokens == [1]


async def test_gone_is_never_claimed(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        world.inbox.gone(1)
        world.inbox.gone(2)
        await world.after(60)
        assert world.mount.claimed == []


async def test_what_is_no_drop_any_more_is_passed_over(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.mount.no_drop.add(1)
        world.inbox.dropped(1, ALICE, 1.0)
        world.inbox.dropped(2, ALICE, 1.0)
        await world.after(2)
        assert world.lives.last.tokens == [2]


async def test_a_claim_that_fails_is_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.mount.unreadable.add(1)
        world.inbox.dropped(1, ALICE, 1.0)
        await world.after(1.5)
        assert world.lives.last.tokens == []
        world.mount.unreadable.clear()
        await world.after(1.0)
        assert world.lives.last.tokens == [1]


async def test_a_fault_of_the_source_costs_one_drop_and_not_the_mount(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 1.0)
        await world.after(1.5)
        world.mount.faulty = True
        await world.lives.last.done(1)
        world.inbox.dropped(2, ALICE, 1.0)
        await world.after(1.5)
        world.mount.faulty = False
        world.inbox.dropped(3, ALICE, 1.0)
        await world.after(1.5)
        assert world.lives.last.tokens == [1, 3]


async def test_dropped_again_during_its_import(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for state, again in ((State.IMPORTED, False), (State.FAILED, True), (State.SETTLING, True)):
            token = 1 + len(world.lives.last.tokens)
            world.inbox.dropped(token, ALICE, 0.0)
            await world.after(0.1)
            world.inbox.dropped(token, ALICE, SETTLE_SECONDS)
            await world.lives.last.done(token, state)
            before = len(world.lives.last.tokens)
            await world.after(SETTLE_SECONDS + 1)
            assert world.lives.last.tokens[before:] == ([token] if again else []), state
            if again:
                await world.lives.last.done(token)


async def test_failed_waits_for_a_word_and_settling_tries_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        world.inbox.dropped(2, ALICE, SETTLE_SECONDS)
        await world.after(SETTLE_SECONDS + 0.1)
        await world.lives.last.done(1, State.FAILED)
        await world.lives.last.done(2, State.SETTLING)
        await world.after(60)
        assert world.lives.last.tokens == [1, 2, 2]


async def test_gone_during_its_import_is_not_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        world.inbox.gone(1)
        await world.lives.last.done(1, State.SETTLING)
        await world.after(60)
        assert world.lives.last.tokens == [1]


async def test_ten_thousand_drops_of_one_user_leave_room_for_another(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in range(10_000):
            world.inbox.dropped(token, ALICE, 0.0)
        await world.after(0.1)
        assert len(world.lives.last.tokens) == SHARE
        world.inbox.dropped(77_777, BOB, 0.0)
        await world.after(0.1)
        assert world.lives.last.tokens[-1] == 77_777


async def test_no_more_than_the_window_is_in_hand(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in range(4 * WINDOW):
            world.inbox.dropped(token, b"user%d" % (token % 3), 0.0)
        await world.after(0.1)
        assert len(world.lives.last.tokens) == WINDOW
        await world.lives.last.done(world.lives.last.tokens[0])
        assert len(world.lives.last.tokens) == WINDOW + 1


async def test_after_a_death_what_was_in_hand_comes_again_one_by_one(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in (1, 2, 3):
            world.inbox.dropped(token, ALICE, 0.0)
        await world.after(0.1)
        world.inbox.dropped(4, BOB, 100.0)
        world.lives.last.die()
        await world.after(1)
        assert world.mount.outcomes == [Outcome(token, State.SETTLING) for token in (1, 2, 3)]
        second = world.lives.last
        for tokens in ([1], [1, 2], [1, 2, 3]):
            assert second.tokens == tokens
            await second.done(tokens[-1])
        await world.after(100)
        assert second.tokens == [1, 2, 3, 4]


async def test_a_process_that_keeps_dying_is_started_more_and_more_seldom(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        starts = []
        while trio.current_time() < 120:
            if len(world.lives.all) > len(starts):
                starts.append(trio.current_time())
                world.lives.last.die()
            world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
            await world.after(0.05)
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert pauses[0] < 1
    assert min(pauses[-5:]) >= inbox_module.PAUSE_SECONDS[1]


async def test_the_first_start_that_fails_is_the_daemons(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        lives.refuse = 1
        with pytest.raises(DaemonUnreachable, match="damaged"):
            await Inbox(mount, lives, Rights().adopt).run()


async def test_later_starts_that_fail_are_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        world.lives.refuse = 3
        world.lives.last.die()
        await world.after(60)
        assert len(world.lives.all) == 2
        assert world.lives.last.tokens == [1]


async def test_stop_ends_when_the_process_has_finished(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        inbox = Inbox(mount, lives, Rights().adopt)
        await nursery.start(inbox.run)
        inbox.dropped(1, ALICE, 100.0)
        inbox.stop()
    assert isinstance(lives.last.messages[-1], Stop)
    assert mount.claimed == []


async def test_stop_does_not_wait_for_a_process_that_hangs(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProcess, "die", lambda self: None)
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        inbox = Inbox(mount, lives, Rights().adopt)
        await nursery.start(inbox.run)
        inbox.dropped(1, ALICE, 0.0)
        await trio.sleep(0.1)
        began = trio.current_time()
        inbox.stop()
    assert trio.current_time() - began == pytest.approx(inbox_module.STOP_SECONDS)
    assert mount.outcomes == [Outcome(1, State.SETTLING)]


async def answer_all(process: FakeProcess, answer: Callable[[Any], Answer]) -> None:
    await trio.testing.wait_all_tasks_blocked()
    for message in process.messages:
        assert isinstance(message, (Ask, Deeds))
        await process.channel.send(answer(message))


async def test_questions_get_their_own_answers(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        answers: dict[str, str] = {}

        async def ask(what: str) -> None:
            answers[what] = await world.inbox.questions.ask(what)

        async with trio.open_nursery() as nursery:
            for what in ("Fileset:17", "Image:101"):
                nursery.start_soon(ask, what)
            await answer_all(world.lives.last, lambda ask: Answer(ask.id, f'"{ask.what}"'))
        assert answers == {"Fileset:17": '"Fileset:17"', "Image:101": '"Image:101"'}


async def test_what_is_not_there(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world, trio.open_nursery() as nursery:
        nursery.start_soon(answer_all, world.lives.last, lambda ask: Answer(ask.id, None, "there is no Image:9"))
        with pytest.raises(NotFound, match="there is no Image:9"):
            await world.inbox.questions.ask("Image:9")


async def test_questions_while_no_process_can_answer(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        async with trio.open_nursery() as nursery:

            async def die() -> None:
                await trio.testing.wait_all_tasks_blocked()
                world.lives.last.die()

            nursery.start_soon(die)
            with pytest.raises(Busy, match="restarted"):
                await world.inbox.questions.ask("Image:9")
        with pytest.raises(Busy, match="not ready"):
            await world.inbox.questions.ask("Image:9")


DEEDS = (Deed(1, 5001, "remove", path=b"alice_2/x.tif"),)


async def test_deeds_are_kept_once_the_process_says_so(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world, trio.open_nursery() as nursery:
        nursery.start_soon(answer_all, world.lives.last, lambda deeds: Answer(deeds.id, "1"))
        await world.inbox.questions.keep(DEEDS)
        [message] = world.lives.last.messages
        assert isinstance(message, Deeds)
        assert message.deeds == DEEDS


async def test_deeds_that_cannot_be_written_are_still_the_mounts(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_all, world.lives.last, lambda deeds: Answer(deeds.id, None, "the disk is full"))
            with pytest.raises(Busy, match="the disk is full"):
                await world.inbox.questions.keep(DEEDS)
        world.lives.last.die()
        with pytest.raises(Busy, match="cannot be written now"):
            await world.inbox.questions.keep(DEEDS)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="not ready"):
            await world.inbox.questions.keep(DEEDS)


# --- people --------------------------------------------------------------------------------------


async def test_who_there_is_counts_before_the_mount_answers_and_after_each_start(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with trio.open_nursery() as nursery:
        lives, rights = Lives(nursery), Rights()
        rights.slow = True
        started = trio.Event()

        async def start() -> None:
            await nursery.start(inbox.run)
            started.set()

        inbox = Inbox(FakeMount(), lives, rights.adopt)
        nursery.start_soon(start)
        await trio.testing.wait_all_tasks_blocked()
        assert not started.is_set()
        rights.go.set()
        await started.wait()
        lives.last.die()
        await trio.sleep(1)
        assert rights.adopted == [people(1001), people(1002)]
        inbox.stop()


async def test_a_change_is_answered_when_the_mount_has_adopted_it(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        answers: list[str] = []

        async def administer() -> None:
            answers.append(await world.inbox.questions.administer(1000, RemoveUser("bob"), 1001))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(administer)
            await trio.testing.wait_all_tasks_blocked()
            [asked] = world.lives.last.messages
            assert asked == Administer(1, RemoveUser("bob"), 1000, 1001)
            world.rights.slow = True
            await world.lives.last.channel.send(PeopleAre(people(7)))
            await world.lives.last.channel.send(Answer(1, '{"user": "bob"}'))
            await trio.testing.wait_all_tasks_blocked()
            assert answers == []
            world.rights.go.set()
        assert answers == ['{"user": "bob"}']
        assert world.rights.adopted[-1] == people(7)


async def test_a_refused_change_is_told_as_what_it_was(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world, trio.open_nursery() as nursery:

        async def refuse() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await world.lives.last.channel.send(Answer(1, None, "eve may not", errno.EACCES))

        nursery.start_soon(refuse)
        with pytest.raises(AccessDenied, match="eve may not"):
            await world.inbox.questions.administer(1000, ListPeople(), 1000)


async def test_a_change_whose_process_died_may_have_been_made(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        async with trio.open_nursery() as nursery:

            async def die() -> None:
                await trio.testing.wait_all_tasks_blocked()
                world.lives.last.die()

            nursery.start_soon(die)
            with pytest.raises(Busy, match="look whether it was done"):
                await world.inbox.questions.administer(1000, RemoveUser("bob"), 1000)
        with pytest.raises(Busy, match="not ready"):
            await world.inbox.questions.administer(1000, RemoveUser("bob"), 1000)
