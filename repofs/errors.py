"""One family of errors. Each is an OSError that carries its errno, so that `except OSError` at a door serves
the kernel's refusals and the house's alike; the message is one sentence that says what to do next."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager


class RepofsError(OSError):
    """Something that a user or an administrator can mend; shown as one sentence, without a traceback."""

    code = errno.EIO

    def __init__(self, message: str) -> None:
        super().__init__(self.code, message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class InvalidValue(RepofsError):
    """A value that is not of the form asked for."""

    code = errno.EINVAL


class InvalidName(InvalidValue):
    """A name that the repository keeps for itself."""


class SettingsError(InvalidValue):
    """The settings file has an unknown key or a wrong value."""


class NotFound(RepofsError):
    """No such object, experimenter, group or path."""

    code = errno.ENOENT


class AlreadyExists(RepofsError):
    """An object of that name is there already."""

    code = errno.EEXIST


class NotPermitted(RepofsError):
    """The act is refused to everybody: an original is immutable, an import directory indivisible."""

    code = errno.EPERM


class AccessDenied(RepofsError):
    """The act is refused to this caller."""

    code = errno.EACCES


class Busy(RepofsError):
    """Somebody else holds it: a second daemon, a mount point in use, a directory in the middle of its import."""

    code = errno.EBUSY


class NotARepository(NotFound):
    """The directory is not a repository."""


class DaemonUnreachable(RepofsError):
    """No daemon answers for this repository."""

    code = errno.ECONNREFUSED


class ChangedWhileReading(RepofsError):
    """The bytes changed under the importer: it will be tried again when the file is quiet."""

    code = errno.EAGAIN


class ReadOnly(RepofsError):
    """Nothing is changed here."""

    code = errno.EROFS


class StoreFailed(ReadOnly):
    """The repository's own disk has failed: nothing is changed until a new mount."""

    @classmethod
    def because(cls, reason: str) -> StoreFailed:
        return cls(
            f"the disk of the repository has failed ({reason}): it is read-only until a new mount. Look at the "
            "kernel's log, have the disk checked, then unmount, run repofs fsck and mount again"
        )


class StoreFull(RepofsError):
    """A disk of the repository has no room: what waits for it goes on when it has."""

    code = errno.ENOSPC


_STORE_FAILURES = (errno.EIO, errno.EROFS, errno.EUCLEAN, errno.ENXIO, errno.ENODEV, errno.EBADMSG)


def is_store_failure(error: OSError) -> bool:
    """Whether *error*, of a call on a file system, says that it is damaged, gone, or has made itself read-only."""
    return not isinstance(error, RepofsError) and error.errno in _STORE_FAILURES


@contextmanager
def on_the_store(what: str) -> Iterator[None]:
    """Around calls on the repository's own disk, which do *what*: an error that says that it has failed becomes
    StoreFailed."""
    try:
        yield
    except OSError as error:
        if is_store_failure(error):
            raise StoreFailed.because(f"{what}: {error.strerror}") from error
        raise


class ReaderFailed(RepofsError):
    """A reader broke, ran out of time or memory on a file."""

    code = errno.EIO


class TokenMissing(RepofsError):
    """The array of a table has no SecretToken."""

    code = errno.ENOKEY


class TokenRejected(RepofsError):
    """The SecretToken is not that of the array."""

    code = errno.EKEYREJECTED


class TooManyGuesses(Busy):
    """Wrong SecretTokens came too fast. Not EAGAIN, of which the kernel makes EOPNOTSUPP in setxattr(2)."""


class OtherGroup(RepofsError):
    """The targets of a table are not all in one group."""

    code = errno.EXDEV


class QuotaExceeded(RepofsError):
    """A user or a group would hold more than it may."""

    code = errno.EDQUOT


class Unreachable(RepofsError):
    """The store that an array lies in does not answer, or the array has gone from it."""

    code = errno.EHOSTUNREACH


_BY_CODE: dict[int, type[RepofsError]] = {
    kind.code: kind
    for kind in (
        InvalidValue,
        NotFound,
        AlreadyExists,
        NotPermitted,
        AccessDenied,
        Busy,
        TokenMissing,
        TokenRejected,
        OtherGroup,
        QuotaExceeded,
        Unreachable,
    )
}


def told(code: int, message: str) -> RepofsError:
    """Return the error that another process has told by its errno and its sentence."""
    error = _BY_CODE.get(code, RepofsError)(message)
    error.errno = code
    return error
