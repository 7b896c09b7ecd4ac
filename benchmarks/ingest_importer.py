"""How many small files a second the importer process imports, without a mount: files of 4 KiB are handed over its
socket as the mount does it, with a window of drops in hand.

    python benchmarks/ingest_importer.py [--files 5000] [--users 2] [--window 64] [DIRECTORY]

DIRECTORY (default: a temporary one) decides which disk is measured.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from pathlib import Path

import trio

from repofs import config
from repofs.administration.user_directories import UserDirectories
from repofs.catalog import users
from repofs.catalog.engine import create, open_engine
from repofs.importer import inbox
from repofs.importer.link import importer_process
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Duplicates, Outcome, PermissionLevel, Policy
from repofs.people import People
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks

FILE_BYTES = 4096
POLICY = Policy(settle_seconds=0.1, duplicates=Duplicates.IMPORT)


def main() -> None:
    arguments = _arguments()
    inbox.WINDOW, inbox.SHARE = arguments.window, arguments.window * 3 // 4
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        layout = Layout.create(Path(scratch) / "repository", "")
        names = _add_people(layout, arguments.users)
        source = Files(layout, names, arguments.files)
        seconds = trio.run(_ingest, layout, source)
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = resource.getrusage(resource.RUSAGE_SELF)
    wrong = [outcome for outcome in source.outcomes if outcome.state is not State.IMPORTED]
    for outcome in wrong[:10]:
        print(outcome)
    count = arguments.files
    print(f"{count - len(wrong)} of {count} files imported in {seconds:.2f} s: {count / seconds:.0f} imports/s")
    print(f"processor time an import: importer {_cpu_us(children, count):.0f} µs, mount {_cpu_us(own, count):.0f} µs")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, default=None)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--users", type=int, default=2)
    parser.add_argument("--window", type=int, default=inbox.WINDOW)
    return parser.parse_args()


def _add_people(layout: Layout, count: int) -> list[str]:
    """Make *count* experimenters and return the names of their directories."""
    create(layout.catalogue)
    directories = UserDirectories(config.Repository())
    with open_engine(layout.catalogue).begin() as conn:
        group = users.add_group(conn, "lab", os.getgid(), PermissionLevel.PRIVATE)
        people = [users.add_experimenter(conn, f"user{n}", 100_000 + n, group.id) for n in range(count)]
        names = [directories.name(person, group) for person in people]
    for name in names:
        layout.make_user_directory(name, os.getuid(), os.getgid())
    return names


class Files:
    """An inbox.Source of files made beforehand."""

    def __init__(self, layout: Layout, names: list[str], count: int) -> None:
        self.outcomes: list[Outcome] = []
        self.done = trio.Event()
        self._managed = layout.managed
        self._drops = [(names[number % len(names)], f"file{number}.dat") for number in range(count)]
        marks = Marks(load_key(layout))
        for user, name in self._drops:
            path = layout.managed / user / name
            path.write_bytes(os.urandom(FILE_BYTES))
            marks.write(str(path), Closed(FILE_BYTES, path.stat().st_mtime_ns))

    def drop_all(self, into: inbox.Inbox) -> None:
        for token, (user, _) in enumerate(self._drops):
            into.dropped(token, user.encode(), 0.0)

    def claim(self, token: int) -> tuple[Drop, int] | None:
        user, name = self._drops[token]
        fd = os.open(self._managed / user / name, os.O_RDONLY | os.O_CLOEXEC)
        return Drop(token, user.encode(), name.encode(), False, None, POLICY, (), os.getuid()), fd

    def outcome(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if len(self.outcomes) == len(self._drops):
            self.done.set()


async def _ingest(layout: Layout, source: Files) -> float:
    """Return the seconds from the first hand-over to the last outcome."""

    async def adopt(_people: People) -> None:
        """Nobody asks a mount here who she is."""

    box = inbox.Inbox(source, lambda: importer_process(layout.root), adopt, lambda news: None)
    async with trio.open_nursery() as nursery:
        await nursery.start(box.run)
        began = time.perf_counter()
        source.drop_all(box)
        await source.done.wait()
        seconds = time.perf_counter() - began
        box.stop()
    return seconds


def _cpu_us(usage: resource.struct_rusage, imports: int) -> float:
    return (usage.ru_utime + usage.ru_stime) / imports * 1e6


if __name__ == "__main__":
    main()
