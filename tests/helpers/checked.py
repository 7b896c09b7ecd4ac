"""A repository in which there is one of everything that `repofs fsck` looks at, and a source beside it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from repofs.config import Settings, Source
from repofs.image import ImageInfo, Recognised
from repofs.model import Drop, Duplicates, Event, Identity, Origin, Original, Policy
from repofs.repository import stand_ins
from repofs.repository.outside import identity_of
from tests.helpers.command_line import repofs
from tests.helpers.imported import imported, importing
from tests.helpers.importing import FakeReaders, Repository

PLAIN, ARRAY, LINKED, NAMED = b"ProjectX/scan.tif", b"a.zarr/.zattrs", b"linked.tif", b"named.tif"
IMAGE = ImageInfo("scan", 0, 4, 4, 1, 1, 1, "uint8")


@dataclass
class Checked:
    repository: Repository
    outside: Path  # the source scope1

    @classmethod
    def make(cls, place: Path) -> Checked:
        repository, outside = Repository.make(place / "repository"), place / "scope1"
        outside.mkdir()
        repository.layout.settings.write_text(f'[[sources]]\nname = "scope1"\npath = "{outside}"\n')
        made = cls(repository, outside)
        repository.write(repository.alice, PLAIN)
        repository.write(repository.alice, ARRAY)
        repository.write(repository.alice, b"a.zarr/0/0.0", b"other pixels")
        trio.run(made._import)
        thumbnail = repository.layout.thumbnail(made.mark(PLAIN).images[0])
        thumbnail.parent.mkdir(parents=True)
        thumbnail.write_bytes(b"PNG")
        made.sql("UPDATE images SET thumbnail = 'made'")
        return made

    async def _import(self) -> None:
        alice, readers = self.repository.alice, FakeReaders()
        readers.answers["scan.tif"] = Recognised("TIFF", (IMAGE,))
        settings = Settings(sources=(Source(name="scope1", path=self.outside),))
        async with importing(self.repository, readers, settings) as pipeline:
            for name in (PLAIN, b"a.zarr"):
                await imported(pipeline, *self.repository.drop(alice, name))
            for name, transfer in ((LINKED, "ln"), (NAMED, "ln_s")):
                await imported(pipeline, *self._stand_in(name, transfer))

    def _stand_in(self, name: bytes, transfer: str) -> tuple[Drop, int]:
        source = self.outside / os.fsdecode(name)
        source.write_bytes(b"bytes of " + name)
        origin = Origin("scope1", os.fsdecode(name), _identity(source), transfer)
        home, uid, gid = self.repository.path(self.repository.alice, b""), os.getuid(), os.getgid()
        fd = os.open(home, os.O_RDONLY)
        try:
            stand_ins.make(fd, name, origin, uid=uid, gid=gid, actor_uid=uid, marks=self.repository.marks)
        finally:
            os.close(fd)
        path = home / os.fsdecode(name)
        drop = Drop(
            path.stat().st_ino, self.repository.alice, name, False, None, Policy(3.0, Duplicates.IMPORT),
            (Event(1, "linked"),), uid, "me", gid, transfer,
        )  # fmt: skip
        return drop, os.open(path, os.O_RDONLY)

    # --- where everything is ---------------------------------------------------------------------

    def dropped(self, name: bytes) -> Path:
        return self.repository.path(self.repository.alice, name)

    def mark(self, name: bytes) -> Original:
        mark = self.repository.mark(self.dropped(name))
        assert isinstance(mark, Original)
        return mark

    def home(self, name: bytes) -> Path:
        """The import directory of what was dropped as *name*."""
        return self.repository.layout.managed / self.mark(name).user_directory / self.mark(name).import_directory

    def original(self, name: bytes) -> Path:
        return self.home(name) / self.mark(name).name

    def sql(self, statement: str, *values: object) -> list[Any]:
        """Change the catalogue behind its back."""
        with closing(sqlite3.connect(self.repository.layout.catalogue)) as connection, connection:
            return list(connection.execute(statement, values))

    # --- the command -----------------------------------------------------------------------------

    def fsck(self, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """Return the exit code, and the findings without the summary."""
        answer = repofs("-C", self.repository.layout.root, "fsck", "--json", *options)
        assert answer.out, answer.err
        *findings, summary = map(json.loads, answer.out.splitlines())
        errors = [one for one in findings if one["severity"] == "error"]
        assert summary["repaired"] + summary["left"] == len(errors)
        return answer.code, findings

    def codes(self, *options: str) -> tuple[int, set[str]]:
        code, findings = self.fsck(*options)
        return code, {one["code"] for one in findings}


def _identity(path: Path) -> Identity:
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def content(paths: Sequence[Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]
