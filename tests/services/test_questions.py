"""What the mount asks of the importer process, and who there is by its word."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from repofs.administration.requests import ListPeople, RemoveUser
from repofs.deeds import Deed
from repofs.errors import AccessDenied, Busy, NotFound
from repofs.health import Health
from repofs.importer.inbox import Inbox
from repofs.importer.wire import Administer, Answer, Ask, Deeds, PeopleAre
from tests.helpers.inbox import Accountant, FakeMount, FakeProcess, Lives, Rights, people, running

pytestmark = pytest.mark.trio


async def answer_all(process: FakeProcess, answer: Callable[[Any], Answer]) -> None:
    await trio.testing.wait_all_tasks_blocked()
    for message in process.messages:
        assert isinstance(message, (Ask, Deeds))
        await process.channel.send(answer(message))


async def die_when_asked(process: FakeProcess) -> None:
    await trio.testing.wait_all_tasks_blocked()
    process.die()


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
            nursery.start_soon(die_when_asked, world.lives.last)
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

        inbox = Inbox(FakeMount(), lives, rights.adopt, FakeMount().hear, Health(), Accountant())
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
            nursery.start_soon(die_when_asked, world.lives.last)
            with pytest.raises(Busy, match="look whether it was done"):
                await world.inbox.questions.administer(1000, RemoveUser("bob"), 1000)
        with pytest.raises(Busy, match="not ready"):
            await world.inbox.questions.administer(1000, RemoveUser("bob"), 1000)
