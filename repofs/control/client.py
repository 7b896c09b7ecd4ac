"""A command's end of the control socket. Blocking."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress
from typing import Any

from repofs.control import protocol
from repofs.control.protocol import Call
from repofs.errors import Busy, DaemonUnreachable
from repofs.repository.layout import Layout

PATIENCE_SECONDS = 120  # a change may wait for the catalogue, and for the accounts of the machine


def ask(
    layout: Layout, call: Call, *, descriptor: int | None = None, patience_seconds: int = PATIENCE_SECONDS
) -> tuple[bool, Any]:
    """Return whether a daemon has the repository, and if so the result that it told.

    A *descriptor* goes with the request. Raises the RepofsError that the daemon told; DaemonUnreachable when it ended
    before it answered; Busy when it has not answered in time (0: there is no such time).
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _limit_waiting(sock, patience_seconds)
        if not _connect(sock, layout):
            return False, None
        line = b""
        try:
            with suppress(BrokenPipeError):  # one who takes no more may have answered
                _send(sock, protocol.call_line(call), descriptor)
            line = _line(sock)
        except BlockingIOError:
            raise Busy("the daemon has not answered: repofs audit tells later whether it was done") from None
        except ConnectionResetError:
            pass
    if not line:
        raise DaemonUnreachable("the daemon ended before it answered: repofs audit tells whether it was done")
    return True, protocol.read_answer(line)


def listens(layout: Layout) -> bool:
    """Return whether a daemon has the repository. Raises Busy when it takes no more requests now."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        _limit_waiting(sock, PATIENCE_SECONDS)
        return _connect(sock, layout)


def _send(sock: socket.socket, line: bytes, descriptor: int | None) -> None:
    if descriptor is None:
        sock.sendall(line)
    else:
        sent = socket.send_fds(sock, [line], [descriptor])
        sock.sendall(line[sent:])


def _limit_waiting(sock: socket.socket, seconds: int) -> None:
    limit = struct.pack("ll", seconds, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a timeout of Python's does not wait for a full backlog
        sock.setsockopt(socket.SOL_SOCKET, option, limit)


def _connect(sock: socket.socket, layout: Layout) -> bool:
    """Connect, and return whether somebody listens."""
    directory = os.open(layout.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{directory}/{layout.control.name}")  # an address has 107 bytes at most
    except (FileNotFoundError, ConnectionRefusedError):  # none was there, or one was killed
        return False
    except BlockingIOError:
        raise Busy("the daemon takes no more requests: try again in a moment") from None
    finally:
        os.close(directory)
    return True


def _line(sock: socket.socket) -> bytes:
    """Return the answer; nothing when the daemon hung up before its end."""
    received = bytearray()
    while not received.endswith(b"\n"):
        chunk = sock.recv(64 << 10)
        if not chunk:
            return b""
        received += chunk
    return bytes(received)
