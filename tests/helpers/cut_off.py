"""Programs of Alice's that write files and look at their states, until they are cut off: each says what it was told.

They run as processes of their own, and say so over a pipe: what was said has happened before the cut.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.mounting import fact
from tests.helpers.people import ALICE

Say = Callable[[str, str], None]


def content(name: str) -> bytes:
    """Return what the file of that *name* holds once it is whole."""
    dice = random.Random(name)
    return dice.randbytes(dice.choice((100, 5_000, 300_000)))


def checksum(data: bytes) -> str:
    return "SHA1-160:" + hashlib.sha1(data).hexdigest()


class Program:
    """One of them: *body* with a way to say of a name what the mount has acknowledged."""

    def __init__(self, body: Callable[[Say], None]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                ALICE.become()
                body(lambda what, name: os.write(writer, f"{what} {name}\n".encode()) and None)
            finally:
                os._exit(1)
        os.close(writer)

    def end(self) -> list[tuple[str, str]]:
        """Kill it, and return what it has said: (what, name)."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        with os.fdopen(self._reader, "rb") as pipe:
            lines = pipe.read().decode().split("\n")[:-1]
        return [(what, name) for what, _, name in (line.partition(" ") for line in lines)]


def write_on(folder: Path, prefix: str) -> Callable[[Say], None]:
    """Write file after file; say "fsynced" of those that fsync has returned for, "renamed" of one that has the name
    durably; of others only "closed"."""

    def body(say: Say) -> None:
        directory = os.open(folder, os.O_RDONLY)
        for number in itertools.count():
            name = f"{prefix}-{number}.bin"
            try:
                _write(folder, directory, name, number % 3, say)
            except OSError:
                time.sleep(0.05)  # the disk is gone: so will the daemon be

    return body


def _write(folder: Path, directory: int, name: str, way: int, say: Say) -> None:
    with open(folder / (name if way else f".{name}"), "xb", buffering=0) as file:
        left = memoryview(content(name))
        while left:
            left = left[file.write(left) :]
        if way != 1:
            os.fsync(file)
    if way == 0:
        os.rename(folder / f".{name}", folder / name)
        os.fsync(directory)
    say("closed" if way == 1 else "fsynced", name)


def look_on(folder: Path) -> Callable[[Say], None]:
    """Say "imported" of each file whose state is that."""

    def body(say: Say) -> None:
        known: set[str] = set()
        while True:
            try:
                for name in sorted(set(os.listdir(folder)) - known):
                    if fact(folder / name, "state") == "imported":
                        known.add(name)
                        say("imported", name)
            except OSError:
                pass  # the disk is gone: what was said before counts
            time.sleep(0.02)

    return body
