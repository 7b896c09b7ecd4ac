"""The files of one fileset as a reader process gets them: each by a descriptor, over the socket, when it asks."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from typing import BinaryIO

from repofs.formats import exchange
from repofs.formats.exchange import Given, Question, Wanted


class LentFiles:
    """`reader.Files` over *connection*; the file *name* is there already, as *descriptor* (None: a directory)."""

    def __init__(self, connection: socket.socket, name: str, descriptor: int | None) -> None:
        self._connection = connection
        self._name = name
        self._descriptor = descriptor

    def has(self, name: str) -> bool:
        return name == self._name or not self._ask(Question.HAS, name)[0].errno

    def names(self, directory: str = "") -> Sequence[str]:
        given, _ = self._ask(Question.NAMES, directory)
        if given.errno == errno.E2BIG:
            raise OSError(given.errno, "more files lie there than can be looked through", directory)
        return [os.fsdecode(name) for name in given.names]

    def open(self, name: str) -> BinaryIO:
        if name == self._name and self._descriptor is not None:
            descriptor = os.dup(self._descriptor)
            os.lseek(descriptor, 0, os.SEEK_SET)
            return open(descriptor, "rb")
        given, descriptors = self._ask(Question.OPEN, name)
        if not descriptors:
            raise OSError(given.errno, os.strerror(given.errno), name)
        return open(descriptors[0], "rb")

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _ask(self, question: Question, name: str) -> tuple[Given, list[int]]:
        self._connection.sendall(exchange.pack(Wanted(question, os.fsencode(name))))
        header, descriptors, _, _ = socket.recv_fds(self._connection, exchange.HEADER.size, 1, socket.MSG_WAITALL)
        if not header:
            raise EOFError("the importer has gone")
        return exchange.given(
            receive(self._connection, exchange.body_bytes(header, exchange.REQUEST_BYTES))
        ), descriptors


def receive(connection: socket.socket, count: int) -> bytes:
    """Return *count* bytes. Raises EOFError when the other side has gone."""
    body = connection.recv(count, socket.MSG_WAITALL)
    if len(body) < count:
        raise EOFError("the importer has gone")
    return body
