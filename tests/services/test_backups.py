"""The importer copies the catalogue once a day, keeps the newest copies, and tries again what did not succeed."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio

from repofs.importer.backups import Backups
from tests.helpers.importing import Repository

pytestmark = pytest.mark.trio


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


def copies(repository: Repository) -> list[Path]:
    return sorted(repository.layout.backups.glob("*"))


async def run(repository: Repository, keep: int) -> None:
    """Let the service do what is due."""
    with trio.move_on_after(1.5):
        await Backups(repository.layout, keep).run()


async def test_the_newest_are_kept_and_one_a_day_is_made(repository: Repository) -> None:
    repository.layout.backups.mkdir()
    for day in range(1, 5):
        old = repository.layout.backups / f"catalogue.2026-01-0{day}T00-00-00.sqlite"
        old.touch()
        os.utime(old, (day, day))
    await run(repository, 3)
    made = copies(repository)
    assert [one.name[10:20] for one in made[:2]] == ["2026-01-03", "2026-01-04"] and len(made) == 3
    with closing(sqlite3.connect(made[-1])) as connection:
        assert connection.execute("SELECT count(*) FROM experimenters").fetchone() == (2,)
    await run(repository, 3)
    assert copies(repository) == made  # the next is due tomorrow


async def test_none_is_made_when_none_is_kept(repository: Repository) -> None:
    await Backups(repository.layout, 0).run()
    assert not repository.layout.backups.exists()


async def test_what_fails_is_no_reason_to_end(repository: Repository) -> None:
    repository.layout.backups.write_text("in the way")
    with trio.move_on_after(1.0) as scope:
        await Backups(repository.layout, 3).run()
    assert scope.cancelled_caught
