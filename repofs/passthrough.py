"""Giving the kernel a file that it reads by itself (FUSE_PASSTHROUGH, Linux 6.9): the part that needs CAP_SYS_ADMIN.

The daemon does not have it. It sends descriptors of the device and of the file over a socket to the launcher, which
makes the one call and closes both: the launcher holds the device for that moment only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_OPEN, _CLOSE = 0x4010_E501, 0x4004_E502  # FUSE_DEV_IOC_BACKING_OPEN, FUSE_DEV_IOC_BACKING_CLOSE
_FILE = struct.Struct("=iIQ")  # struct fuse_backing_map: descriptor, flags, padding
_NUMBER = struct.Struct("=i")
NUMBER_BYTES = _NUMBER.size
MOST_ENDED = 1000  # numbers in one request


@dataclass(frozen=True, slots=True)
class Device:
    """What the launcher hands to the daemon."""

    fd: int  # of /dev/fuse, mounted
    launcher: socket.socket  # where it answers requests


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the daemon's end and the launcher's end."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def request(ended: Sequence[int]) -> bytes:
    """Return the request to end these numbers, `MOST_ENDED` at most. It goes with a descriptor of the device, and with
    one of a file that is to have a number: only then there is an answer, see `number`."""
    return b"".join(map(_NUMBER.pack, ended)) or bytes(_NUMBER.size)


def number(answer: bytes) -> int:
    """Return the number that a file has got. Raises OSError as the kernel has refused, ECONNRESET for no answer."""
    if not answer:
        raise OSError(errno.ECONNRESET, "the launcher has ended")
    told: int = _NUMBER.unpack(answer)[0]
    if told < 0:
        raise OSError(-told, os.strerror(-told))
    return told


def answer(sock: socket.socket) -> bool:
    """Do what the next request on *sock* asks for; False when its other end is closed and there is none."""
    ended, fds, _, _ = socket.recv_fds(sock, _NUMBER.size * MOST_ENDED, 2)
    try:
        told = _do(ended, fds) if fds else None
    finally:
        for fd in fds:
            os.close(fd)
    if told is not None:
        with contextlib.suppress(BrokenPipeError):  # the daemon has ended meanwhile
            sock.send(_NUMBER.pack(told))
    return bool(ended)


def _do(ended: bytes, fds: Sequence[int]) -> int | None:
    """Do what one request asks for; return the answer, negative an errno, or None when none is due."""
    device, *files = fds
    for (one,) in _NUMBER.iter_unpack(ended):
        if one:
            with contextlib.suppress(OSError):  # ENOENT: it has ended
                fcntl.ioctl(device, _CLOSE, _NUMBER.pack(one))
    if not files:
        return None
    try:
        given: int = fcntl.ioctl(device, _OPEN, bytearray(_FILE.pack(files[0], 0, 0)))
    except OSError as error:
        return -(error.errno or errno.EIO)
    return given
