"""The exit codes of `repofs`: the one place where an error becomes a number and a sentence.

`docs/reference/exit-codes.md` lists them; a test holds the two together.
"""

from __future__ import annotations

import errno
import sys
from enum import IntEnum, IntFlag

from repofs.errors import NotARepository, RepofsError
from repofs.mounts import DEAD


class ExitCode(IntEnum):
    DONE = 0
    FAILED = 1  # the act failed, or an import that was waited for did
    USAGE = 2  # the command line is wrong: typer's
    NOT_FOUND = 3
    REFUSED = 4
    EXISTS = 5
    INVALID = 6
    BUSY = 7
    NO_REPOSITORY = 8
    NO_DAEMON = 9
    TIMEOUT = 124  # as timeout(1)
    INTERRUPTED = 130  # typer's, on Ctrl-C


class ImportCode(IntEnum):
    """Those of `repofs import`, which are OMERO's importer's."""

    DONE = 0
    USAGE = 1
    FAILED = 2
    SOURCE_KEPT = 3


class FsckCode(IntFlag):
    """Those of `repofs fsck`, which are fsck(8)'s: a sum."""

    CLEAN = 0
    CORRECTED = 1
    LEFT = 4
    FAILED = 8
    USAGE = 16
    CANCELLED = 32


_BY_ERRNO = {
    errno.ENOENT: ExitCode.NOT_FOUND,
    errno.ENODATA: ExitCode.NOT_FOUND,
    errno.EACCES: ExitCode.REFUSED,
    errno.EPERM: ExitCode.REFUSED,
    errno.EEXIST: ExitCode.EXISTS,
    errno.EINVAL: ExitCode.INVALID,
    errno.ENOTDIR: ExitCode.INVALID,
    errno.EBUSY: ExitCode.BUSY,
    errno.ECONNREFUSED: ExitCode.NO_DAEMON,
    **dict.fromkeys(DEAD, ExitCode.NO_DAEMON),
}


class Timeout(RepofsError):
    """What was waited for has not come in time."""

    code = errno.ETIMEDOUT


def exit_code(error: OSError) -> ExitCode:
    """Return the exit code that stands for *error*."""
    match error:
        case Timeout():
            return ExitCode.TIMEOUT
        case NotARepository():
            return ExitCode.NO_REPOSITORY
        case _:
            return _BY_ERRNO.get(error.errno or 0, ExitCode.FAILED)


def report(error: OSError) -> ExitCode:
    """Print *error* as one sentence on stderr and return its exit code."""
    print(f"repofs: {sentence(error)}", file=sys.stderr)
    return exit_code(error)


def sentence(error: OSError) -> str:
    """Return *error* in words. What the kernel refused is told with the path that it refused."""
    if isinstance(error, RepofsError):
        return error.message
    if error.errno in DEAD:
        return f"{error.filename}: the daemon of this mount has gone: repofs mount brings it back"
    words = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        words += ": make room, then try again"
    return words if error.filename is None else f"{error.filename}: {words}"
