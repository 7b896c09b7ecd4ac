"""Stand-ins of files in a source, imported in a repository of a test."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from repofs import config
from repofs.importer.commits import Commits
from repofs.importer.pipeline import Pipeline
from repofs.model import Drop, Duplicates, Event, Identity, Origin, Outcome, Policy
from repofs.people import People
from repofs.repository import stand_ins
from repofs.repository.outside import Root, identity_of
from tests.helpers.importing import FakeCounts, FakeReaders, Repository

ME = os.getuid()


def take(repository: Repository, source: Path, drop: Drop, fd: int, root: Root | None = None) -> Outcome:
    """Import *drop* in a repository whose source scope1 is the directory of *source*."""
    settings = config.Settings(sources=(config.Source(name="scope1", path=source.parent),))
    commits = Commits(repository.engine)
    pipeline = Pipeline(repository.layout, settings, commits, FakeReaders(), {}, People, FakeCounts())

    async def run() -> Outcome:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.run)
            nursery.start_soon(pipeline.run)
            outcome = await pipeline.take(drop, fd, root)
            nursery.cancel_scope.cancel()
        return outcome

    return trio.run(run)


def identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def stand_in(
    repository: Repository,
    source: Path,
    transfer: str,
    name: str = "scan.tif",
    duplicates: Duplicates = Duplicates.IMPORT,
) -> tuple[Path, Drop, int]:
    """Make a stand-in in alice's directory, and what the mount would hand over for it."""
    origin = Origin("scope1", os.fsdecode(os.path.relpath(source, source.parent)), identity(source), transfer)
    user = repository.path(repository.alice, b".")
    fd = os.open(user, os.O_RDONLY)
    try:
        stand_ins.make(fd, name.encode(), origin, uid=ME, gid=os.getgid(), actor_uid=ME, marks=repository.marks)
    finally:
        os.close(fd)
    path = user / name
    policy = Policy(3.0, duplicates)
    drop = Drop(
        path.stat().st_ino, repository.alice, name.encode(), False, None, policy, (Event(1, "linked"),), ME, "me",
        os.getgid(), transfer,
    )  # fmt: skip
    return path, drop, os.open(path, os.O_RDONLY)
