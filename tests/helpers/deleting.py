"""The trash of one repository, and a death at every change that is made to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from repofs import config
from repofs.catalog import trash
from repofs.importer.disposal import Disposal, Gone, Restored
from repofs.lifecycle import State
from repofs.model import Drop
from repofs.repository.durable import rename_no_replace
from repofs.repository.trash_can import TrashCan
from repofs.trash import Deleted, Whereabouts
from tests.helpers.importing import Repository
from tests.helpers.standing_in import take

SCAN, ZARR = b"P/D/scan.tif", (b"P/a.zarr/.zattrs", b"P/a.zarr/0/0.0", b"P/a.zarr/0/0.1")


class Killed(BaseException):
    """Stands for the death of the process: nobody catches it."""


class Trash:
    """That of one repository, with what it took so far."""

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.disposal = Disposal.of(repository.layout, config.Settings(), repository.engine)

    def imported(self, *paths: bytes, as_one: bytes | None = None, content: bytes = b"pixels") -> int:
        """Import what is dropped at *paths*, or *as_one* directory; return the fileset."""
        for path in paths:
            self.repository.write(self.repository.alice, path, content)
        return self.took(*self.repository.drop(self.repository.alice, as_one or paths[0]))

    def took(self, drop: Drop, fd: int, source: Path | None = None) -> int:
        outcome = take(self.repository, source or self.repository.layout.root / "none" / "x", drop, fd)
        assert outcome.state is State.IMPORTED and outcome.fileset is not None
        return outcome.fileset

    def delete(self, fileset: int) -> Gone:
        with self.repository.engine.begin() as conn:
            held = trash.held(conn, fileset)
        return self.disposal.delete(held, 5000)

    def get(self, fileset: int) -> Deleted:
        with self.repository.engine.begin() as conn:
            return trash.get(conn, fileset)

    def restore(self, fileset: int) -> Restored:
        return self.disposal.restore(self.get(fileset), 5000)

    def empty(self, fileset: int) -> int:
        return self.disposal.empty(self.get(fileset), 5000)

    def tree(self) -> dict[str, tuple[int, bytes]]:
        """Return inode number and bytes of each file that the mount would show, and the directories."""
        managed = self.repository.layout.managed
        return {
            str(path.relative_to(managed)): (path.stat().st_ino, path.read_bytes()) if path.is_file() else (0, b"")
            for user in self.repository.users
            for path in (managed / os.fsdecode(user)).rglob("*")
        }

    def has_thrown(self, fileset: int) -> bool:
        """Whether *fileset* is in the trash and nowhere else."""
        files = self.repository.layout.trash / str(fileset) / "files"
        assert self.get(fileset).step is Whereabouts.KEPT
        return files.is_dir() and not any(one["fileset"] == f"Fileset:{fileset}" for one in self.repository.originals())


CALLS = ("mkdir", "rmdir", "rename", "link", "unlink", "setxattr")
WAYS = {
    "a file": ((SCAN,), None),
    "a directory": (ZARR, b"P/a.zarr"),
}


@contextmanager
def death_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Die before the change of that number: of a name, of a row that is committed, of the disk."""
    made = [0]

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            if made[0] == number:
                raise Killed
            made[0] += 1
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr("repofs.repository.trash_can.rename_no_replace", dying(rename_no_replace))
        patch.setattr(TrashCan, "sync", dying(TrashCan.sync))
        for name in ("discard", "note", "restore", "forget"):
            patch.setattr(trash, name, dying(getattr(trash, name)))
        yield made


def die_in(act: Callable[[], object], number: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do *act* up to the change of that number; return whether it had so many."""
    with death_at(number, monkeypatch):
        try:
            act()
        except Killed:
            return True
    return False
