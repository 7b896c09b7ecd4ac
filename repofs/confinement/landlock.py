"""Landlock, a second lock on what `seccomp` closes: no file is opened but below given directories, no port bound or
connected but a given one, no other process signalled or reached through an abstract socket. As much of it as the kernel
has, landlock(7)."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_CREATE_RULESET_VERSION = 1
_PATH_BENEATH, _NET_PORT = 1, 2  # enum landlock_rule_type

_FILES = {1: 13, 2: 14, 3: 15, 5: 16}  # version of the interface -> number of its rights on files
_NETWORK_SINCE, _BIND_AND_CONNECT, _CONNECT = 4, 3, 2
_SCOPES_SINCE, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 3
_READ_FILE = 1 << 2
_READING = _READ_FILE | 1 << 3  # READ_DIR
# WRITE_FILE, REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, REFER, TRUNCATE
_WRITING = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Beneath:
    """Files below a directory that stay open to the process."""

    descriptor: int  # of the directory, or of one file
    writable: bool = False

    @property
    def rights(self) -> int:
        """The kernel's bits; it refuses those of directories for a file."""
        if not stat.S_ISDIR(os.fstat(self.descriptor).st_mode):
            return _READ_FILE
        return _READING | _WRITING if self.writable else _READING


def version() -> int:
    """Return the version of the kernel's interface; 0 when it has no Landlock or has it switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def confine(beneath: Sequence[Beneath] = (), port: int | None = None) -> None:
    """Take all that Landlock knows of from this thread and what it starts, for good, but what lies *beneath*, and
    connecting to *port*. It must have no_new_privs.

    Does nothing where the kernel has no Landlock. Raises OSError.
    """
    known = version()
    if not known:
        return
    attributes = ruleset(known)
    descriptor = _checked(_libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for one in beneath:
            rule = struct.pack("=Qi", one.rights & _file_rights(known), one.descriptor)  # landlock_path_beneath_attr
            _checked(_libc.syscall(_ADD_RULE, descriptor, _PATH_BENEATH, rule, 0))
        if port is not None and known >= _NETWORK_SINCE:
            rule = struct.pack("=QQ", _CONNECT, port)  # struct landlock_net_port_attr
            _checked(_libc.syscall(_ADD_RULE, descriptor, _NET_PORT, rule, 0))
        _checked(_libc.syscall(_RESTRICT_SELF, descriptor, 0))
    finally:
        os.close(descriptor)


def _checked(answer: int) -> int:
    if answer < 0:
        raise OSError(ctypes.get_errno(), "landlock")
    return answer


def _file_rights(known: int) -> int:
    return (1 << max(rights for since, rights in _FILES.items() if since <= known)) - 1


def ruleset(known: int) -> bytes:
    """Return a struct landlock_ruleset_attr that handles all of version *known*; only rules allow anything of it."""
    words = [_file_rights(known)]
    if known >= _NETWORK_SINCE:
        words.append(_BIND_AND_CONNECT)
    if known >= _SCOPES_SINCE:
        words.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    return struct.pack(f"={len(words)}Q", *words)
