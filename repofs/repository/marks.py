"""What the daemon remembers of a file on the file's own backing inode, signed with the repository's key.

A mark is one extended attribute:

    SIGNATURE KIND JSON        tJ3…Fw closed {"size":5,"mtime_ns":1700000000000000000}

A file whose bytes are or were outside has a second one, its origin, which stays whatever becomes of the mark:

    SIGNATURE JSON             3kQ…Zg {"source":"scope1","path":"run7/a.tif",…}

SIGNATURE (`signing`) says that a daemon of
this repository wrote the mark, not of which inode: a hard-linked file can be reached by its owner elsewhere, and
whoever reads a mark compares it with the file (size, mtime) or with the tree (the names of an Original).
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import structlog

from repofs.model import Closed, Mark, Origin, Original, Refused
from repofs.repository.signing import Signer, to_json
from repofs.xattrs import MARK, ORIGIN

Target = int | bytes | str
T = TypeVar("T")

# The sticky bit, on the backing inode of an original besides its mark: nobody can set it on a file through the mount.
# stat(2) tells it, where reading a mark costs ten times as much. A hint of how to show a file; what counts is the mark.
ORIGINAL_BIT = stat.S_ISVTX

_KINDS: dict[bytes, type[Mark]] = {b"closed": Closed, b"refused": Refused, b"original": Original}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_ORIGINAL = _NAMES[Original] + b" "
_SENTENCE_CHARACTERS = 1000  # the attributes of an inode share 4 KiB on ext4; the log has the whole story

_log = structlog.get_logger(__name__)


class Marks:
    """Reads and writes the marks of one repository.

    A target is a descriptor open for reading or a path; of a path that is a symlink never what it leads to.
    """

    def __init__(self, key: bytes) -> None:
        # No origin can pass for a mark.
        self._signers = {MARK: Signer(key, b""), ORIGIN: Signer(key, ORIGIN)}

    def read(self, target: Target) -> Mark | None:
        """Return the mark of *target*; None when there is none, or (with a warning in the log) none of ours."""
        body = self._verified(target)
        return None if body is None else _decode(body)

    def origin(self, target: Target) -> Origin | None:
        """Return where the bytes of *target* came from, be it that they are still there; None: they are its own.

        Raises OSError (EIO) for one that is none of ours: without it the holes of a stand-in would pass for bytes.
        """
        value = self._value(target, ORIGIN)
        if value is None:
            return None
        body = self._signers[ORIGIN].read(value)
        if body is None:
            raise OSError(errno.EIO, "the origin of the file is forged or damaged", target)
        return msgspec.convert(_from_json(body), Origin)

    def _verified(self, target: Target) -> bytes | None:
        """Return a mark without its signature; None when there is none that is right."""
        value = self._value(target, MARK)
        body = None if value is None else self._signers[MARK].read(value)
        if value is not None and body is None:
            _log.warning("a mark is forged or damaged: ignored", target=target, mark=value[:80])
        return body

    def _value(self, target: Target, attribute: bytes) -> bytes | None:
        try:
            return os.getxattr(target, attribute, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return None
            if error.errno != errno.EACCES:
                raise
            return despite_mode(target, lambda target: self._value(target, attribute), error)

    def is_original(self, target: Target) -> bool:
        """Return whether *target* bears the mark of an original, without reading on."""
        body = self._verified(target)
        return body is not None and body.startswith(_ORIGINAL)

    def is_marked(self, target: Target) -> bool:
        """Return whether *target* bears anything in place of a mark, be it forged."""
        return self._value(target, MARK) is not None

    def write(self, target: Target, mark: Mark) -> None:
        """Put *mark* on *target* in place of the one that is there. Raises OSError, ENOSPC when there is no room."""
        self._write(target, MARK, _encode(mark))

    def write_origin(self, target: Target, origin: Origin) -> None:
        """Say where the bytes of *target* come from. Raises as `write` does."""
        self._write(target, ORIGIN, to_json(msgspec.to_builtins(origin)).encode("utf-8", "surrogateescape"))

    def clear_origin(self, target: Target) -> None:
        """Take the origin off *target*, a directory whose files all have theirs."""
        os.removexattr(target, ORIGIN, follow_symlinks=isinstance(target, int))

    def _write(self, target: Target, attribute: bytes, body: bytes) -> None:
        value = self._signers[attribute].sign(body)

        def put(target: Target) -> None:
            os.setxattr(target, attribute, value, follow_symlinks=isinstance(target, int))

        try:
            put(target)
        except PermissionError as error:
            despite_mode(target, put, error)

    def clear(self, target: Target) -> None:
        """Take the mark off *target*; nothing happens when there is none."""
        try:
            os.removexattr(target, MARK, follow_symlinks=isinstance(target, int))
        except OSError as error:
            if error.errno == errno.ENODATA:
                return
            despite_mode(target, self.clear, error)


def despite_mode(target: Target, act: Callable[[Target], T], error: OSError) -> T:
    """Do *act* on an inode whose mode shuts out even its owner (root is never shut out), then put the mode back.

    Raises *error* again when the mode is not the reason.
    """
    status = os.stat(target, follow_symlinks=isinstance(target, int))
    mode = stat.S_IMODE(status.st_mode)
    if error.errno != errno.EACCES or status.st_uid != os.geteuid() or mode & 0o600 == 0o600:
        raise error
    os.chmod(target, mode | 0o600)  # EACCES never comes of a symlink: its attributes answer EPERM and ENODATA
    try:
        return act(target)
    finally:
        os.chmod(target, mode)


def _encode(mark: Mark) -> bytes:
    fields: dict[str, Any] = msgspec.to_builtins(mark)
    if isinstance(mark, Refused):
        fields["error"] = _sentence(mark.error)
    elif isinstance(mark, Original):
        fields["images"] = _ranges(mark.images)
        fields["note"] = mark.note and _sentence(mark.note)
    # Not msgspec: names that are no UTF-8 are str with lone surrogates here, and must come back as they were.
    return _NAMES[type(mark)] + b" " + to_json(fields).encode("utf-8", "surrogateescape")


def _decode(body: bytes) -> Mark:
    name, _, text = body.partition(b" ")
    fields = _from_json(text)
    kind = _KINDS[name]
    if kind is Original:
        fields["images"] = [image for first, count in fields["images"] for image in range(first, first + count)]
    return msgspec.convert(fields, kind)


def _from_json(text: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(text.decode("utf-8", "surrogateescape"))
    return fields


def _sentence(text: str) -> str:
    return text[:_SENTENCE_CHARACTERS].encode("utf-8", "backslashreplace").decode()


def _ranges(images: tuple[int, ...]) -> list[list[int]]:
    """Return *images* as [first, count] pairs: a file may hold thousands, with ids in a row."""
    pairs: list[list[int]] = []
    for image in images:
        if pairs and image == sum(pairs[-1]):
            pairs[-1][1] += 1
        else:
            pairs.append([image, 1])
    return pairs
