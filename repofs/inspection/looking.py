"""One original looked at: are its bytes those that were imported, and is the source of one in place what it was?

A source that is another inode by now, or of another time, and has the very bytes (restored from a backup) is the source
again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from repofs.catalog.forms import now
from repofs.catalog.originals import Held
from repofs.config import Settings
from repofs.errors import Busy
from repofs.inspection.recording import Finding
from repofs.lifecycle import State
from repofs.model import Origin
from repofs.repository import transfers
from repofs.repository.checksum import checksum
from repofs.repository.gently import GentleReader, Pace
from repofs.repository.layout import Layout
from repofs.repository.outside import identity_of, is_same
from repofs.repository.sources import OriginLost, Sources

_GONE = (errno.ENOENT, errno.ENOTDIR)
_UNREADABLE = (errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EREMOTEIO)
_AWAY = (errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN)
_NO_TIME = -1  # no file has this mtime: a source of this identity is known by its bytes only


class Looking:
    """Looks at originals of one repository. Blocking, from any thread; needs the rights of the daemon."""

    def __init__(self, layout: Layout, settings: Settings, pace: Pace) -> None:
        self._managed = os.fsencode(layout.managed)
        self._linked = os.fsencode(layout.linked)
        self._sources = Sources(settings.declared_sources(), layout.root)
        self._read = GentleReader(pace)

    def look(self, held: Held, *, quick: bool = False) -> Finding:
        """Return how an original is found. *quick* reads no bytes: it looks for the file, its size, and whether the
        source of one in place is still the same file. Raises only what the pace raises."""
        try:
            if held.origin is not None and transfers.named(held.origin.transfer).in_place:
                return self._look_outside(held, held.origin, quick=quick)
            return self._look_inside(held, quick=quick)
        except OriginLost as error:
            return Finding(held, error.state, str(error))
        except Busy as error:
            return Finding(held, held.stands, str(error))
        except OSError as error:
            return _failed(held, error)

    def _look_inside(self, held: Held, *, quick: bool) -> Finding:
        path = os.path.join(self._managed, held.path)
        with _closing(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)) as fd:
            if (size := os.fstat(fd).st_size) != held.size:
                sizes = f"it has {size:,} bytes, and {held.size:,} were imported"
                return Finding(held, State.ALTERED, f"{sizes}: restore it from a backup", None if quick else now())
            if quick:
                return Finding(held, State.IMPORTED if held.stands is State.MISSING else held.stands)
            same = checksum(fd, held.algorithm, self._read) == held.checksum
        if same:
            return Finding(held, State.IMPORTED, verified=now())
        words = "its bytes are not those that were imported: restore it from a backup"
        return Finding(held, State.ALTERED, words, now())

    def _look_outside(self, held: Held, origin: Origin, *, quick: bool) -> Finding:
        with self._bytes(held, origin) as fd:
            identity = identity_of(fd)
            same = is_same(identity, origin.identity)
            if quick:
                state = State.IMPORTED if same else State.ALTERED
                return Finding(held, state, None if same else "its source is not the file that was imported")
            if identity.size == held.size and checksum(fd, held.algorithm, self._read) == held.checksum:
                renewed = None if identity == origin.identity else replace(origin, identity=identity)
                return Finding(held, State.IMPORTED, verified=now(), origin=renewed)
        # Other bytes behind the same size and time: who only looks at those must not take it for well again.
        doubted = replace(origin, identity=replace(origin.identity, mtime_ns=_NO_TIME)) if same else None
        words = "the bytes of its source are not those that were imported"
        return Finding(held, State.ALTERED, words, now(), doubted)

    @contextmanager
    def _bytes(self, held: Held, origin: Origin) -> Iterator[int]:
        if transfers.named(origin.transfer).linked:
            inode = os.stat(os.path.join(self._managed, held.path), follow_symlinks=False).st_ino
            fd = transfers.open_link(self._linked, inode)
        else:
            fd = self._sources.open(origin, altered_too=True).fd
        with _closing(fd):
            yield fd


def _failed(held: Held, error: OSError) -> Finding:
    """Return what an error of the file system says of the original, if it says anything of it."""
    if error.errno in _GONE:
        return Finding(held, State.MISSING, "it is not in the repository any more: restore it from a backup", now())
    if error.errno in _UNREADABLE:
        words = f"it cannot be read ({error.strerror}): have the disk looked at"
        return Finding(held, State.ALTERED, words, now())
    if error.errno in _AWAY:
        return Finding(held, State.OFFLINE, f"its store does not answer ({error.strerror})")
    return Finding(held, held.stands, f"it cannot be looked at now ({error.strerror})")


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
