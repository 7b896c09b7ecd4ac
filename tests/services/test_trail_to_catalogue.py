"""The audit trail from the mount's side into the catalogue, through a real importer process."""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from repofs.catalog import audit
from repofs.events import News
from repofs.health import Health
from repofs.importer.inbox import Inbox
from repofs.importer.link import importer_process
from repofs.model import Drop, Outcome
from repofs.namespace.trail import Trail
from repofs.people import People
from repofs.threads import in_thread
from tests.helpers import processes
from tests.helpers.importing import Repository
from tests.helpers.inbox import Accountant
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

SECONDS = 30.0  # that an importer may take to start on a busy machine


class NoDrops:
    """An inbox.Source without any."""

    def claim(self, token: int) -> tuple[Drop, int] | None:
        return None

    def outcome(self, outcome: Outcome) -> None:
        raise AssertionError(outcome)

    def marked(self, inodes: Sequence[int]) -> None:
        raise AssertionError(inodes)

    def hear(self, news: Sequence[News]) -> None:
        raise AssertionError(news)


async def nobody(_people: People) -> None:
    """Adopt nobody: no mount asks here who somebody is."""


@asynccontextmanager
async def inbox_of(repository: Repository) -> AsyncIterator[Inbox]:
    mount = NoDrops()
    inbox = Inbox(
        mount, functools.partial(importer_process, repository.layout.root), nobody, mount.hear, Health(), Accountant()
    )
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(inbox.run)
            yield inbox
            inbox.stop()


def paths(repository: Repository) -> list[bytes | None]:
    with repository.engine.begin() as conn:
        return [one.path for one in audit.entries(conn)]


async def test_deeds_reach_the_catalogue_also_past_a_killed_importer(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "repository")
    trail = Trail()
    async with inbox_of(repository) as inbox:
        trail.done(5000, "remove", path=b"alice_2/\xff\n.tif")
        await trail.flush(inbox.questions.keep)
        assert paths(repository) == [b"alice_2/\xff\n.tif"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trail.run, inbox.questions.keep)
            os.kill(processes.descendants(os.getpid())[0], signal.SIGKILL)
            trail.refused(5001, "remove", "bob may not remove this", path=b"alice_2/y.tif")
            await in_thread(until, lambda: len(paths(repository)) == 2, "both deeds in the catalogue")
            nursery.cancel_scope.cancel()
    with repository.engine.begin() as conn:
        [refused] = audit.entries(conn, refused=True)
    assert (refused.actor_uid, refused.path) == (5001, b"alice_2/y.tif")


async def test_a_trail_that_cannot_be_written_is_written_later_and_stops_nothing(tmp_path: Path) -> None:
    repository = Repository.make(tmp_path / "repository")
    trail = Trail()

    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(repository.layout.catalogue)) as connection:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")

    async with inbox_of(repository) as inbox:
        rename("audit", "away")
        trail.done(5000, "remove", path=b"alice_2/x.tif")
        await trail.flush(inbox.questions.keep)
        rename("away", "audit")
        await trail.flush(inbox.questions.keep)
        assert paths(repository) == [b"alice_2/x.tif"]
