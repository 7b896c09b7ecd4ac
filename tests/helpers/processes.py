"""Processes as /proc shows them: whose children they are, which files they have open."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return the children of process *pid*, and theirs."""
    found = []
    pending = [pid]
    while pending:
        for children in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            try:
                pids = [int(word) for word in children.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += pids
            pending += pids
    return found


def alive(pid: int) -> bool:
    """Return whether *pid* is a process that has not ended; one that was not waited for has."""
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int, directory: Path) -> list[str]:
    """Return the regular files below *directory* that process *pid* has open: none once it has ended."""
    found = []
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return []
    for descriptor in descriptors:
        try:
            if stat.S_ISREG(descriptor.stat().st_mode):
                found.append(_target(descriptor))
        except FileNotFoundError:
            continue  # closed meanwhile
    return [path for path in found if path.startswith(f"{directory}/")]


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # deeper than PATH_MAX: no test keeps one open
            return ""
        raise


def naming(text: str) -> list[int]:
    """Return all processes whose command line has *text* in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if text.encode() in (entry / "cmdline").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
