"""Landlock, a second lock on what `seccomp` closes: no file is opened, no port bound or connected, no other process
signalled or reached through an abstract socket. As much of it as the kernel has, landlock(7)."""

from __future__ import annotations

import ctypes
import os
import struct

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every architecture
_CREATE_RULESET_VERSION = 1

_FILES = {1: 13, 2: 14, 3: 15, 5: 16}  # version of the interface -> number of its rights on files
_NETWORK_SINCE, _BIND_AND_CONNECT = 4, 3
_SCOPES_SINCE, _ABSTRACT_SOCKETS_AND_SIGNALS = 6, 3

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of the kernel's interface; 0 when it has no Landlock or has it switched off."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)))


def confine() -> None:
    """Take all that Landlock knows of from this thread and what it starts, for good. It must have no_new_privs.

    Does nothing where the kernel has no Landlock. Raises OSError.
    """
    if not version():
        return
    attributes = ruleset(version())
    descriptor = _libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if descriptor < 0 or _libc.syscall(_RESTRICT_SELF, descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "landlock")
    os.close(descriptor)


def ruleset(known: int) -> bytes:
    """Return a struct landlock_ruleset_attr that handles all of version *known*; no rule allows anything of it."""
    files = (1 << max(rights for since, rights in _FILES.items() if since <= known)) - 1
    words = [files]
    if known >= _NETWORK_SINCE:
        words.append(_BIND_AND_CONNECT)
    if known >= _SCOPES_SINCE:
        words.append(_ABSTRACT_SOCKETS_AND_SIGNALS)
    return struct.pack(f"={len(words)}Q", *words)
