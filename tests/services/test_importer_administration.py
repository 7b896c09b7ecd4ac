"""What the mount hears of people from the importer process: all of it once, then what differs, before any answer."""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest
import structlog
import trio

from repofs.administration.office import Office
from repofs.administration.requests import ListPeople, RemoveUser, Request
from repofs.administration.roster import Roster
from repofs.errors import AlreadyExists
from repofs.importer.administration import Administration
from repofs.importer.wire import Administer, Answer, Channel, Message, PeopleAre, Ready
from repofs.people import Actor, People

pytestmark = pytest.mark.trio
REFRESH_SECONDS = 60.0


def people(*uids: int) -> People:
    return People({uid: Actor(uid, f"user{uid}") for uid in uids})


class FakeOffice:
    """Knows what a test says; removing a user makes it know nobody."""

    def __init__(self) -> None:
        self.set(people(1))
        self.error: OSError | None = None

    def set(self, people: People, *doubts: str) -> None:
        self.roster = Roster([], {}, [], frozenset(), people, doubts)

    def refreshed(self) -> Roster:
        return self.roster

    def see_to(self, request: Request, uid: int, audit_uid: int) -> dict[str, object]:
        if self.error is not None:
            raise self.error
        if isinstance(request, RemoveUser):
            self.set(people())
        return {"uid": uid, "audit_uid": audit_uid}


@dataclass
class Importer:
    office: FakeOffice
    administration: Administration
    mount: Channel

    async def heard(self) -> Message:
        """Return the next message; it must be there without waiting for time to pass."""
        with trio.fail_after(1):
            return (await self.mount.receive())[0]


@asynccontextmanager
async def running() -> AsyncIterator[Importer]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    office = FakeOffice()
    administration = Administration(theirs, cast(Office, office), REFRESH_SECONDS)
    async with trio.open_nursery() as nursery:
        await administration.begin()
        nursery.start_soon(administration.run)
        yield Importer(office, administration, ours)
        administration.end()
    ours.close()
    theirs.close()


async def test_who_there_is_comes_with_the_news_that_all_is_ready() -> None:
    async with running() as importer:
        assert await importer.heard() == Ready(people(1))


async def test_what_does_not_differ_is_not_told() -> None:
    async with running() as importer:
        await importer.heard()
        importer.office.set(people(1))
        await importer.administration.see_to(Administer(1, ListPeople(), 0, 0))
        assert await importer.heard() == Answer(1, json.dumps({"uid": 0, "audit_uid": 0}))


async def test_a_change_is_told_before_its_answer() -> None:
    async with running() as importer:
        await importer.heard()
        await importer.administration.see_to(Administer(7, RemoveUser("user1"), 5, 6))
        assert await importer.heard() == PeopleAre(people())
        assert await importer.heard() == Answer(7, json.dumps({"uid": 5, "audit_uid": 6}))


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (AlreadyExists("alice is there"), errno.EEXIST, "alice is there"),
        (OSError(errno.ENOSPC, "No space left on device", "/r/alice_2"), errno.ENOSPC, "No space left on device"),
    ],
)
async def test_a_change_that_cannot_be_made_is_answered(error: OSError, code: int, sentence: str) -> None:
    async with running() as importer:
        await importer.heard()
        importer.office.error = error
        await importer.administration.see_to(Administer(7, RemoveUser("user1"), 0, 0))
        answer = await importer.heard()
        assert isinstance(answer, Answer) and (answer.json, answer.errno) == (None, code)
        assert sentence in (answer.error or "")


async def test_a_doubt_is_logged_once_and_again_when_it_comes_back() -> None:
    async with running() as importer:
        with structlog.testing.capture_logs() as logged:
            for doubts in (("odd",), ("odd",), (), ("odd", "strange")):
                importer.office.set(people(1), *doubts)
                await importer.administration.see_to(Administer(1, ListPeople(), 0, 0))
    assert sorted(one["doubt"] for one in logged) == ["odd", "odd", "strange"]


async def test_looks_are_taken_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.services.test_importer_administration.REFRESH_SECONDS", 0.01)
    async with running() as importer:
        await importer.heard()
        for uid in (2, 3):
            importer.office.set(people(uid))
            with trio.fail_after(10):
                assert (await importer.mount.receive())[0] == PeopleAre(people(uid))
