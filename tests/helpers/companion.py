"""A process of one person that lasts: it keeps its descriptors and its directory from one call to the next."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from tests.helpers.people import Person

Answer = TypeVar("Answer")


class Companion:
    """The tests' end of such a process. Functions travel by name, so they stand at the top of a module."""

    def __init__(self, wire: Connection) -> None:
        self._wire = wire

    def do(self, function: Callable[..., Answer], *arguments: Any, **options: Any) -> Answer:
        """Call *function* there and return, or raise, what it did."""
        self.send(function, *arguments, **options)
        return self.receive()  # type: ignore[no-any-return]

    def send(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """Begin a call whose answer is fetched later."""
        self._wire.send_bytes(pickle.dumps((function, arguments, options)))

    def receive(self) -> Any:
        """Return, or raise, what the call that was begun last did."""
        worked, answer = pickle.loads(self._wire.recv_bytes())
        if not worked:
            raise answer
        return answer

    def answer(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
        """Call *function* there and return "ok" or the name of the errno."""
        return answer(self.do, function, *arguments, **options)


def answer(function: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Call *function* and return "ok" or the name of the errno."""
    try:
        function(*arguments, **options)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


@contextlib.contextmanager
def companion(person: Person) -> Iterator[Companion]:
    """Start a process of *person*; it ends with the context."""
    ours, theirs = Pipe()
    child = os.fork()
    if child == 0:
        ours.close()
        _serve(person, theirs)
    theirs.close()
    try:
        yield Companion(ours)
    finally:
        ours.close()
        os.waitpid(child, 0)


def _serve(person: Person, wire: Connection) -> None:
    person.become()
    with contextlib.suppress(EOFError):
        while True:
            function, arguments, options = pickle.loads(wire.recv_bytes())
            try:
                told = pickle.dumps((True, function(*arguments, **options)))
            except OSError as error:
                told = pickle.dumps((False, error))
            except BaseException as error:  # noqa: BLE001 - told to the tests, which raise it
                told = pickle.dumps((False, AssertionError(repr(error))))
            wire.send_bytes(told)
    os._exit(0)
