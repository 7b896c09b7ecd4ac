"""Watched folders without a mount: what is offered by them is imported by a few lines that write the final rows."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from repofs import config
from repofs.catalog import dropbox, filesets
from repofs.catalog.dropbox import File
from repofs.catalog.engine import Connection, Engine, create, open_engine
from repofs.importer.commits import Commits
from repofs.importer.dropbox.dropboxes import Dropboxes
from repofs.lifecycle import State
from repofs.model import REMOVED, Arrival, Arrived, Identity, Origin, PermissionLevel
from repofs.people import Actor, Home, People
from repofs.repository.layout import Layout
from repofs.repository.outside import identity_of
from tests.helpers import catalogue
from tests.helpers.catalogue import Import, Lab
from tests.helpers.mounting import scratch

UID, GID = os.geteuid() or 61001, os.getegid() or 61000  # of alice: who runs the tests, but not root
NAME = "scope"


def people() -> People:
    """Return a repository's people: alice."""
    groups = frozenset({GID})
    return People(
        {UID: Actor(UID, "alice", groups)}, {GID: PermissionLevel.PRIVATE}, {b"alice_2": Home(UID, GID, groups)}
    )


def identity(path: Path) -> Identity:
    """Return the identity of the file at *path*."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return identity_of(fd)
    finally:
        os.close(fd)


def record(conn: Connection, lab: Lab, source: str, path: bytes, identities: list[tuple[bytes, Identity]]) -> int:
    """Write the final rows of an import of *path* below *source*: files by name, with their identities."""
    finished = catalogue.finished(conn, Import(lab.alice, [name for name, _ in identities], images=()))
    entries = [
        replace(entry, origin=Origin(source, os.fsdecode(os.path.join(os.path.dirname(path), name)), one, "upload"))
        for entry, (name, one) in zip(finished.entries, identities, strict=True)
    ]
    filesets.record(conn, [replace(finished, entries=tuple(entries))])
    return finished.fileset_id


@dataclass
class Site:
    """A repository and one watched folder, in which alice has a directory."""

    place: Path
    layout: Layout
    engine: Engine
    lab: Lab
    keys: dict[str, Any] = field(default_factory=dict)  # of [[dropbox]], besides name and path
    answers: dict[bytes, Arrived | OSError] = field(default_factory=dict)  # instead of an import, by name
    offered: list[Arrival] = field(default_factory=list)
    imported: list[bytes] = field(default_factory=list)  # paths
    refused: list[tuple[bytes, str]] = field(default_factory=list)  # of which people were told: path, error
    let: Callable[[Arrival], Any] | None = None  # awaited before an import
    people: People = field(default_factory=people)

    @property
    def folder(self) -> Path:
        return self.place / "dropbox"

    @property
    def home(self) -> Path:
        return self.folder / "alice"

    def settings(self) -> config.Settings:
        quick = {"settle_seconds": 0.1, "scan_seconds": 0.3}
        one = config.Dropbox(name=NAME, path=self.folder, **{**quick, **self.keys})
        return config.Settings(dropbox=(one,), drops=config.Drops(directory_settle_seconds=0.2, empty_file_factor=1))

    def write(self, name: str, content: bytes = b"pixels") -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Watch the folder for the time of the context; what is in hand at its end is left as if the process died."""
        commits = Commits(self.engine)
        settings = self.settings()
        watching = Dropboxes(
            settings, self.layout, commits, self.engine, lambda: self.people, self._arrive, self._refuse
        )
        async with trio.open_nursery() as services:
            services.start_soon(commits.run)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watching.run)
                yield
                nursery.cancel_scope.cancel()
            services.cancel_scope.cancel()

    async def _refuse(self, arrival: Arrival, error: str) -> None:
        self.refused.append((arrival.path, error))

    async def _arrive(self, arrival: Arrival) -> Arrived:
        self.offered.append(arrival)
        if self.let is not None:
            await self.let(arrival)
        answer = self.answers.get(os.path.basename(arrival.path))
        if isinstance(answer, OSError):
            raise answer
        return answer or self._import(arrival)

    def _import(self, arrival: Arrival) -> Arrived:
        path = self.folder / os.fsdecode(arrival.path)
        files = sorted(one for one in path.rglob("*") if one.is_file()) if arrival.is_directory else [path]
        known = [(os.fsencode(one.relative_to(path.parent)), identity(one)) for one in files]
        with self.engine.begin() as conn:
            fileset = record(conn, self.lab, arrival.source, arrival.path, known)
        self.imported.append(arrival.path)
        if not arrival.transfer.endswith("_rm"):
            return Arrived(State.IMPORTED, fileset=fileset)
        for file in files:
            file.unlink()
        return Arrived(State.IMPORTED, fileset=fileset, source=REMOVED)

    # --- what is known ---------------------------------------------------------------------------

    def files(self) -> dict[str, File]:
        """Return what the catalogue knows, by path below alice's directory."""
        with self.engine.begin() as conn:
            there = dropbox.directories(conn, NAME)
            known = [one for directory in there for one in dropbox.files_in(conn, NAME, directory, None).values()]
        return {os.fsdecode(file.place.path.removeprefix(b"alice/")): file for file in known}

    def states(self) -> dict[str, str]:
        return {path: file.state.value for path, file in self.files().items()}

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Return when *condition* is true; AssertionError saying *what* did not happen in time."""
        with trio.move_on_after(60):
            while not condition():  # noqa: ASYNC110 - files and a catalogue tell of no change
                await trio.sleep(0.02)
            return
        raise AssertionError(f"{what}: {self.states()}, offered {[one.path for one in self.offered]}")

    async def until_states(self, **states: str) -> None:
        """Return when exactly these files are known, each in its state; ``_`` in a name stands for ``.``."""
        wanted = {name.replace("_", "."): state for name, state in states.items()}
        await self.until(lambda: self.states() == wanted, f"wanted {wanted}")


@contextmanager
def site(**keys: Any) -> Iterator[Site]:
    """Make a repository and a watched folder with *keys* of [[dropbox]]."""
    with scratch() as place:
        layout = Layout.create(place / "repository", "")
        create(layout.catalogue)
        engine = open_engine(layout.catalogue)
        with engine.begin() as conn:
            lab = catalogue.lab(conn)
        made = Site(place, layout, engine, lab, keys)
        made.home.mkdir(parents=True)
        os.chown(made.home, UID, GID)
        try:
            yield made
        finally:
            engine.dispose()
