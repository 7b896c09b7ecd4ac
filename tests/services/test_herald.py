"""What the mount hears of ended imports: all that is committed, in its order, again after a restart."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from repofs.catalog import imports, users
from repofs.catalog.engine import Connection, open_engine
from repofs.events import News
from repofs.importer import herald as herald_module
from repofs.importer import transactions
from repofs.importer.commits import Commits
from repofs.importer.herald import Herald
from repofs.importer.transactions import Ending
from repofs.importer.wire import Channel, Happened
from repofs.lifecycle import State
from repofs.model import ImportId
from tests.helpers.catalogue import drop
from tests.helpers.importing import Repository

pytestmark = pytest.mark.trio


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


def begun(repository: Repository, count: int) -> list[ImportId]:
    with repository.engine.begin() as conn:
        return imports.begin(conn, [drop(_alice(conn), b"%d.tif" % n) for n in range(count)])


def _alice(conn: Connection) -> users.Experimenter:
    return users.experimenters(conn)[0]


@asynccontextmanager
async def running(repository: Repository) -> AsyncIterator[tuple[Commits, Channel]]:
    ours, theirs = (Channel(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    commits = Commits(repository.engine)
    reading = open_engine(repository.layout.catalogue, read_only=True)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.run)
            nursery.start_soon(Herald(theirs, reading, commits.committed).run)
            yield commits, ours
            nursery.cancel_scope.cancel()
    reading.dispose()
    ours.close()
    theirs.close()


async def heard(channel: Channel, count: int) -> list[News]:
    news: list[News] = []
    while len(news) < count:
        message, _ = await channel.receive()
        assert isinstance(message, Happened)
        news += message.news
    return news


async def test_each_end_is_heard_once_and_in_its_order(repository: Repository) -> None:
    numbers = begun(repository, 20)
    async with running(repository) as (commits, mount):
        for number in reversed(numbers):
            await commits.write(transactions.end, Ending(number, State.FAILED, "broken"))
        news = await heard(mount, 20)
    assert [one.importing for one in news] == numbers[::-1]
    assert [one.number for one in news] == sorted(one.number for one in news)


async def test_the_next_mount_hears_the_recent_ones(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(herald_module, "RECENT", 3)
    numbers = begun(repository, 5)
    with repository.engine.begin() as conn:
        transactions.end(conn, [Ending(number, State.FAILED, "broken") for number in numbers])
    async with running(repository) as (_, mount):
        assert [one.importing for one in await heard(mount, 3)] == numbers[2:]
