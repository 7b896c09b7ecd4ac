"""A `cp` that is in the middle of its file for as long as a test wants."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

from tests.helpers.people import Person
from tests.helpers.waiting import until


class SlowCopy:
    """`cp` of *person* from a FIFO beside the mount to *path*; it writes what it is given, and ends when told."""

    def __init__(self, person: Person, outside: Path, path: Path, *before: str) -> None:
        self.path = path
        self._given = 0
        fifo = outside / f"{path.name}.fifo"
        os.mkfifo(fifo)
        os.chown(fifo, person.uid, person.gid)
        self.process: subprocess.Popen[bytes] = person.start(*before, "cp", fifo, path, stderr=subprocess.DEVNULL)
        self._pipe = os.open(fifo, os.O_WRONLY)  # waits for cp to open its end
        os.unlink(fifo)

    def write(self, content: bytes) -> None:
        """Have cp write *content*, and wait until the file has it."""
        self._given += os.write(self._pipe, content)
        until(lambda: self.path.exists() and self.path.stat().st_size == self._given, f"{content!r} in {self.path}")

    def close(self) -> int:
        """Let cp come to its end; return its exit code."""
        os.close(self._pipe)
        self._pipe = -1
        return self.process.wait()

    def end(self, signal: int) -> None:
        """End cp by *signal*."""
        self.process.send_signal(signal)
        assert self.process.wait() == -signal

    def __enter__(self) -> SlowCopy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
        self.process.wait()
