"""Real imports, one after another, without a mount: what the tests of inspections look at."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from repofs.config import Settings
from repofs.importer.commits import Commits
from repofs.importer.pipeline import Pipeline
from repofs.lifecycle import State
from repofs.model import Drop, Outcome
from repofs.people import Actor, People
from tests.helpers.importing import FakeCounts, FakeReaders, Repository

LAB = frozenset({os.getgid()})
PEOPLE = People({uid: Actor(uid, name, LAB) for uid, name in ((5000, "alice"), (5001, "bob"))})


@asynccontextmanager
async def importing(
    repository: Repository, readers: FakeReaders | None = None, settings: Settings | None = None
) -> AsyncIterator[Pipeline]:
    commits = Commits(repository.engine)
    made = Pipeline(
        repository.layout, settings or Settings(), commits, readers or FakeReaders(), {}, lambda: PEOPLE, FakeCounts()
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def imported(pipeline: Pipeline, drop: Drop, fd: int) -> Outcome:
    """Import *drop*, which must succeed."""
    outcome = await pipeline.take(drop, fd)
    assert outcome.state is State.IMPORTED, outcome.error
    return outcome
