"""What Linux tells of FUSE mounts and of processes, and how it forgets what it keeps of one mount."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TRACING = Path("/sys/kernel/tracing")
EVENT = "events/fuse/fuse_request_send"  # Linux 6.11
_BUFFER_KIB = 8 << 10  # a processor's; an event has about 50 bytes
_MS_REMOUNT = 32  # mount(2)
_libc = ctypes.CDLL(None, use_errno=True)


def drop_cache(mountpoint: Path) -> None:
    """Have the kernel forget the names, attributes and pages that it keeps of the FUSE mount *mountpoint*, no others.

    A remount that changes nothing drops all names, and a FUSE inode goes, with its pages, when its last name does.
    Only root may. Raises OSError.
    """
    flags = os.statvfs(mountpoint).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    if _libc.mount(b"none", os.fsencode(mountpoint), b"none", ctypes.c_ulong(_MS_REMOUNT | flags), None) != 0:
        raise OSError(ctypes.get_errno(), f"{mountpoint} cannot be remounted")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that process *pid*, with all its threads, has used. Raises OSError without one."""
    clock = ctypes.c_int()
    if (code := _libc.clock_getcpuclockid(pid, ctypes.byref(clock))) != 0:
        raise OSError(code, f"there is no process {pid}")
    return time.clock_gettime(clock.value)


def resident_bytes(pid: int) -> int:
    """Return the memory of process *pid* that is in use and its own."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0]) << 10


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started and that have not ended."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def wait_idle(pid: int, quiet_seconds: float = 0.03) -> None:
    """Wait until process *pid* has used next to no processor time for *quiet_seconds*: FORGETs come after all else."""
    used = -1.0
    while (now := cpu_seconds(pid)) - used > quiet_seconds / 20:
        used = now
        time.sleep(quiet_seconds)


def can_count() -> bool:
    """Return whether this kernel tells of each request, and tells us; mounts what tells, until this process ends, if
    root has not yet."""
    there = os.fsencode(TRACING)
    if not any(TRACING.iterdir()) and _libc.mount(b"tracefs", there, b"tracefs", ctypes.c_ulong(0), None) == 0:
        atexit.register(_libc.umount2, there, 0)  # mounting it fails in containers
    return (TRACING / EVENT).is_dir() and os.access(TRACING / "instances", os.W_OK)


@contextlib.contextmanager
def requests(mountpoint: Path) -> Iterator[Counter[str]]:
    """Count what the kernel asks the daemon of the FUSE mount *mountpoint*, by name (``LOOKUP``); FORGETs are not.

    The counts are there once the context is left. The kernel counts, so the daemon takes as long as ever. Raises
    OSError where `can_count` is false, OverflowError when there were too many.
    """
    counts: Counter[str] = Counter()
    instance = TRACING / "instances" / f"requests-{os.getpid()}"
    instance.mkdir()
    try:
        (instance / "buffer_size_kb").write_text(str(_BUFFER_KIB))
        (instance / EVENT / "filter").write_text(f"connection == {_connection(mountpoint)}")
        (instance / EVENT / "enable").write_text("1")
        yield counts
        (instance / EVENT / "enable").write_text("0")
        with (instance / "trace").open() as trace:
            counts.update(re.findall(r"opcode \d+ \(FUSE_(\w+)\)", trace.read()))
        if any("overrun: 0\n" not in stats.read_text() for stats in instance.glob("per_cpu/cpu*/stats")):
            raise OverflowError("more requests came than can be counted")
    finally:
        instance.rmdir()


def _connection(mountpoint: Path) -> int:
    """Return the number of the mount's connection: the kernel's of its device."""
    device = os.stat(mountpoint).st_dev
    return os.major(device) << 20 | os.minor(device)
