"""The program that forks children, spoken to without the daemon; and what may be said to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs.confinement import forking
from repofs.errors import InvalidValue
from repofs.table import Column, Examined, Secret
from repofs.tables import exchange
from repofs.tables.exchange import Examine, Found, Made, Refused, Rotate, Task
from tests.helpers.processes import alive, descendants
from tests.helpers.waiting import until

MEMORY = 512 << 20


class Program:
    """The parent process."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-P", "-m", "repofs.tables.process", str(theirs.fileno())]
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, text=True)
        self.socket.settimeout(30)
        assert self.socket.recv(16) == forking.READY

    def fork(self, *given: int) -> tuple[socket.socket, socket.socket]:
        """Have a child made; return what it talks over, and what its end is told over."""
        talk, childs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        life, parents = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with childs, parents:
            socket.send_fds(self.socket, [forking.START], [childs.fileno(), parents.fileno(), *given])
        for one in (talk, life):
            one.settimeout(30)
        return talk, life


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.socket.close()
    said = made.process.communicate(timeout=10)[1]
    assert (made.process.returncode, said) == (0, "")


def status(life: socket.socket) -> int:
    return os.waitstatus_to_exitcode(forking.STATUS.unpack(life.recv(16))[0])


def test_a_child_answers_and_its_end_is_told(program: Program, tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    talk, life = program.fork(directory)
    os.close(directory)
    for message in (Task((os.getuid(), os.getgid(), ()), MEMORY, 10), Examine()):
        talk.sendall(exchange.pack(message, exchange.TASK_BYTES))
    header = talk.recv(exchange.HEADER.size, socket.MSG_WAITALL)
    answer = exchange.read_answer(talk.recv(exchange.body_bytes(header, exchange.ANSWER_BYTES)))
    assert answer == Refused(22, "this is no TileDB array")
    talk.shutdown(socket.SHUT_WR)
    assert (talk.recv(1), status(life)) == (b"", 0)


@pytest.mark.parametrize("said", [b"", b"\x05\x00\x00\x00\xc1\xc1\xc1\xc1\xc1", b"\xff\xff\xff\xff", b"\x02"])
def test_a_child_that_is_told_nonsense_ends(program: Program, said: bytes) -> None:
    talk, life = program.fork()
    talk.sendall(said)
    talk.close()
    assert status(life) in (0, 1)


def test_children_end_when_their_socket_is_closed_and_when_their_parent_ends(program: Program) -> None:
    talks = [program.fork() for _ in range(3)]
    until(lambda: len(descendants(program.process.pid)) == 3, "three children")
    talks[1][1].close()
    left = until(lambda: len(found := descendants(program.process.pid)) == 2 and found, "one is ended")
    program.socket.close()
    until(lambda: not any(alive(pid) for pid in left), "the others have ended")
    assert program.process.wait(10) == 0


def test_a_packet_without_descriptors_ends_the_parent(program: Program) -> None:
    program.socket.send(b"x")
    assert program.process.wait(10) == 0


def test_secrets_are_in_no_text() -> None:
    secret = "a-secret-that-nobody-tells"
    examined = Examined(Secret(secret.encode()), 3, (Column("a", "Long", "int64"),), "{}")
    found = Found.of(examined)
    task = Task(None, MEMORY, None, "s3://bucket/a", {"vfs.s3.aws_secret_access_key": secret}, 443)
    assert secret not in repr([found, Rotate(secret.encode()), Made(secret.encode()), task, found.examined()])
    told = exchange.pack(found, exchange.ANSWER_BYTES)
    again = exchange.read_answer(told[exchange.HEADER.size :])
    assert isinstance(again, Found) and again.examined().token.reveal() == secret.encode()  # type: ignore[union-attr]


def test_what_is_too_long_or_none_is_refused() -> None:
    with pytest.raises(InvalidValue, match="100 are allowed"):
        exchange.pack(Rotate(b"x" * 200), 100)
    with pytest.raises(InvalidValue, match="text in it that is none"):
        exchange.pack(Refused(1, "\udc80"), 100)
    with pytest.raises(InvalidValue, match="too large"):
        exchange.body_bytes(b"\xff\xff\xff\xff", 100)
    for body in (b"", b"\xc1", b"\x80", b"\x81\xa4type\xa5found", exchange.pack(Examine(), 100)[4:]):
        with pytest.raises(InvalidValue, match="the answer makes no sense"):
            exchange.read_answer(body)
