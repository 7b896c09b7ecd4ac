"""Who opened a file, and how that task ended.

A copying program that is killed sends the same FLUSH and RELEASE as one that has finished. While its FLUSH waits for
the answer the task is still there, and `/proc/PID/stat` tells whether it is being ended by a signal (proc(5):
field 2 is the command's name, field 9 its flags, field 52 its exit code).
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

_PF_EXITING = 0x4  # include/linux/sched.h
_KNOWN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Opener:
    """The task that opened a file for writing: *task* is a thread id, *process* the id of its process."""

    task: int
    process: int
    uid: int
    command: str  # for people: "cp (pid 1234)", or "pid 1234" when it has gone

    @classmethod
    def of(cls, task: int, uid: int) -> Opener:
        process = _process_of(task)
        name = _read(task, "comm").rstrip(b"\n").decode(errors="replace")
        return cls(task, process, uid, f"{name} (pid {process})" if name else f"pid {process}")


class Openers:
    """Knows who opened last: who copies a directory opens file after file."""

    def __init__(self) -> None:
        self._last = Opener(0, 0, 0, "")
        self._until = 0.0

    def of(self, task: int, uid: int) -> Opener:
        """Return who *task* is, as it was found out some moments ago: no other task gets its number so soon."""
        now = time.monotonic()
        if now > self._until or (task, uid) != (self._last.task, self._last.uid):
            self._last, self._until = Opener.of(task, uid), now + _KNOWN_SECONDS
        return self._last


def _process_of(task: int) -> int:
    try:
        os.close(
            os.pidfd_open(task)
        )  # succeeds for the first thread of a process only: 2 µs, against 15 to read status
        return task
    except OSError:
        pass  # another thread, or gone already
    try:
        with open(f"/proc/{task}/status", "rb") as status:
            for line in status:
                if line.startswith(b"Tgid:"):
                    return int(line.split()[1])
    except OSError:
        pass  # gone: nothing more can be known of it
    return task


def _read(task: int, file: str) -> bytes:
    """Return what /proc says of *task*, or b"" when it has gone."""
    try:
        fd = os.open(f"/proc/{task}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 4096)
    except ProcessLookupError:
        return b""
    finally:
        os.close(fd)


def killed_by(opener: Opener) -> str | None:
    """Return the name of the signal that is ending *opener*, or None when it lives on or ended by itself."""
    for task in dict.fromkeys((opener.task, opener.process)):
        text = _read(task, "stat")
        if text:
            fields = text[text.rindex(b")") + 2 :].split()
            flags, exit_code = int(fields[9 - 3]), int(fields[52 - 3])
            number = exit_code & 0x7F
            return _name(number) if flags & _PF_EXITING and number else None
    return None


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def is_being_killed(task: int) -> bool:
    """Whether *task*, which waits for an answer, is being ended: the kernel makes SIGKILL of any fatal signal."""
    for line in _read(task, "status").splitlines():
        field, _, value = line.partition(b":")
        if field in (b"SigPnd", b"ShdPnd") and int(value, 16) & 1 << signal.SIGKILL - 1:
            return True
    return False
