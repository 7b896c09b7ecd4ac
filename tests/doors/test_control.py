"""The control socket: who asks is who the kernel says, and nobody gets more than her share."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from repofs.administration.requests import AddUser, ListPeople, RemoveUser, Request
from repofs.control import client, protocol, server
from repofs.control.protocol import MOST_BYTES, Call, CreateSession, OriginalsFound, ShowUsage
from repofs.control.server import SHARE, Control, listening
from repofs.errors import AccessDenied, AlreadyExists, Busy, DaemonUnreachable, NotFound, RepofsError
from repofs.importer.requests import Delete, Import, ListTrash, TrashRequest
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.usage import By
from tests.helpers.people import Person

pytestmark = pytest.mark.trio
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can ask as another user")

EVE = Person("eve", 61099, 61099)
LIST = b'{"request": {"type": "people"}}\n'


@dataclass
class Daemon:
    """The daemon's end over a repository, and what it was asked; it answers *answer*, or raises it."""

    layout: Layout
    asked: list[tuple[int, Request, int]] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    arrived: list[tuple[Import, Caller, list[str]]] = field(default_factory=list)
    begun: list[tuple[int, str | None, int]] = field(default_factory=list)
    disposed: list[tuple[int, TrashRequest, int]] = field(default_factory=list)
    looked_again: list[tuple[int, ...]] = field(default_factory=list)
    answer: str | Exception = '{"done": true}'
    go: trio.Event | None = None  # an answer waits for it
    _heard: trio.Event = field(default_factory=trio.Event)

    async def administer(self, uid: int, request: Request, audit_uid: int) -> str:
        self.asked.append((uid, request, audit_uid))
        self._heard.set()
        self._heard = trio.Event()
        if self.go is not None:
            await self.go.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def arrive(self, request: Import, caller: Caller, descriptor: int) -> str:
        self.arrived.append((request, caller, os.listdir(descriptor)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def found(self, request: OriginalsFound) -> None:
        self.looked_again.append(request.inodes)

    async def dispose(self, uid: int, request: TrashRequest, audit_uid: int) -> str:
        self.disposed.append((uid, request, audit_uid))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def begin(self, uid: int, user: str | None, audit_uid: int) -> str:
        self.begun.append((uid, user, audit_uid))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ask(self, call: Call) -> Any:
        return (await trio.to_thread.run_sync(client.ask, self.layout, call))[1]

    def note(self, uid: int, act: str, reason: str) -> None:
        self.refused.append((uid, act, reason))

    @property
    def ways(self) -> tuple[Any, ...]:
        """What a Control is given."""
        return self.administer, self.note, self.arrive, self.dispose, self.found, self.report

    async def report(self, uid: int, by: By) -> str:
        return json.dumps({"uid": uid, "by": by})

    async def wait_asked(self, count: int = 1) -> None:
        while len(self.asked) < count:
            await self._heard.wait()

    def connected(self) -> socket.socket:
        """Return a connection as anybody makes it."""
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(self.layout.control))
        sock.settimeout(20)
        return sock

    async def tell(self, said: bytes, *, end: bool = False) -> list[dict[str, Any]]:
        """Say *said* and return all answers until the daemon hangs up (*end*: after the client has said all)."""
        return await trio.to_thread.run_sync(self._tell, said, end)

    def _tell(self, said: bytes, end: bool) -> list[dict[str, Any]]:
        with closing(self.connected()) as sock:
            with suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(said)
            if end:
                sock.shutdown(socket.SHUT_WR)
            return [json.loads(line) for line in _all(sock).splitlines()]


def _all(sock: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := sock.recv(9999):
            received += chunk
    except ConnectionResetError:
        pass
    return received


@asynccontextmanager
async def serving(directory: Path, *, https: bool = True) -> AsyncIterator[Daemon]:
    layout = Layout.create(directory / "repository", "")
    for above in (directory, directory.parent, directory.parent.parent):
        above.chmod(0o711)
    daemon = Daemon(layout)
    with listening(layout) as sock:
        async with trio.open_nursery() as nursery:
            begin = daemon.begin if https else None
            nursery.start_soon(Control(sock, *daemon.ways, begin).run)
            yield daemon
            nursery.cancel_scope.cancel()
    assert not layout.control.exists()


# --- asking --------------------------------------------------------------------------------------


async def test_a_request_and_its_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        assert await daemon.ask(Call(AddUser("alice", 1000))) == {"done": True}
        assert daemon.asked == [(os.getuid(), AddUser("alice", 1000), os.getuid())]
        assert stat.S_IMODE(daemon.layout.control.stat().st_mode) == 0o666


async def test_several_requests_on_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        answers = await daemon.tell(LIST + b'{"request": {"type": "user.remove", "name": "bob"}}\n' + LIST, end=True)
        assert answers == [{"result": {"done": True}}] * 3
        assert [request for _, request, _ in daemon.asked] == [ListPeople(), RemoveUser("bob"), ListPeople()]


async def test_a_deletion_is_asked_for_with_the_callers_uid_and_its_refusal_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        me, what = os.getuid(), Delete("Fileset:17")
        assert await daemon.ask(Call(what)) == {"done": True}
        assert daemon.disposed == [(me, what, me)]
        daemon.answer = AccessDenied("alice may not delete this")
        for request in (what, ListTrash()):
            with pytest.raises(AccessDenied, match="alice may not delete this"):
                await daemon.ask(Call(request))
        assert daemon.refused == [(me, "delete", "alice may not delete this")]


async def test_a_session_is_begun(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        assert await daemon.ask(Call(CreateSession())) == {"done": True}
        assert await daemon.ask(Call(CreateSession("bob"))) == {"done": True}
        assert daemon.begun == [(os.getuid(), None, os.getuid()), (os.getuid(), "bob", os.getuid())]


async def test_a_session_that_is_refused_is_audited(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        daemon.answer = AccessDenied("not you")
        with pytest.raises(AccessDenied, match="not you"):
            await daemon.ask(Call(CreateSession("bob")))
        assert daemon.refused == [(os.getuid(), "session.create", "not you")]


async def test_no_session_is_begun_without_the_https_door(tmp_path: Path) -> None:
    async with serving(tmp_path, https=False) as daemon:
        with pytest.raises(NotFound, match=r"web\.listen"):
            await daemon.ask(Call(CreateSession()))


def words_of_refusal(layout: Layout, call: Call) -> str:
    try:
        client.ask(layout, call)
    except AccessDenied as error:
        return error.message
    return "not refused"


@root_only
async def test_who_cannot_write_the_catalogue_has_nothing_looked_at_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        assert await daemon.ask(Call(OriginalsFound((17, 18)))) is None
        refused = await trio.to_thread.run_sync(EVE.do, words_of_refusal, daemon.layout, Call(OriginalsFound((17,))))
        assert "owner of the repository" in refused
        assert daemon.looked_again == [(17, 18)]


async def test_a_refusal_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        for error in (AlreadyExists("alice is there"), AccessDenied("not you"), Busy("later")):
            daemon.answer = error
            with pytest.raises(type(error), match=error.message):
                await daemon.ask(Call(ListPeople()))


async def test_a_change_that_is_refused_is_told_to_the_audit_trail(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        daemon.answer = AccessDenied("not you")
        for request in (RemoveUser("bob"), ListPeople()):
            with pytest.raises(AccessDenied):
                await daemon.ask(Call(request))
        daemon.answer = AlreadyExists("alice is there")  # which is no refusal, but a mistake
        with pytest.raises(AlreadyExists):
            await daemon.ask(Call(AddUser("alice")))
        assert daemon.refused == [(os.getuid(), "user.remove", "not you")]


async def test_a_long_answer_arrives_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        daemon.answer = json.dumps(["x" * 1000] * 2000)
        assert len(await daemon.ask(Call(ListPeople()))) == 2000


@root_only
async def test_root_names_whom_it_acts_for(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        await daemon.ask(Call(ListPeople(), audit_uid=1000))
        assert daemon.asked == [(0, ListPeople(), 1000)]


@root_only
async def test_a_user_is_who_she_is_and_names_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:

        def told(audit_uid: int | None) -> str:
            try:
                return str(client.ask(daemon.layout, Call(ListPeople(), audit_uid)))
            except RepofsError as error:
                return error.message

        for audit_uid in (None, EVE.uid):
            assert "done" in await trio.to_thread.run_sync(EVE.do, told, audit_uid)
        for forged in (0, 1000):
            assert "only root" in await trio.to_thread.run_sync(EVE.do, told, forged)
        assert daemon.asked == [(EVE.uid, ListPeople(), EVE.uid)] * 2


async def test_nobody_listens(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "repository", "")
    assert client.ask(layout, Call(ListPeople())) == (False, None)
    with socket.socket(socket.AF_UNIX) as killed:  # a socket file without a process
        killed.bind(str(layout.control))
    assert client.ask(layout, Call(ListPeople())) == (False, None)
    with listening(layout):
        assert layout.control.is_socket()


async def test_how_much_is_held_is_told_to_who_asks(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        assert await daemon.ask(Call(ShowUsage(By.GROUP))) == {"uid": os.getuid(), "by": "group"}


async def test_who_connects_before_the_daemon_serves_waits(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "repository", "")
    daemon = Daemon(layout)
    with listening(layout) as sock:
        async with trio.open_nursery() as nursery:
            with closing(daemon.connected()) as early:
                early.sendall(LIST)
                nursery.start_soon(Control(sock, *daemon.ways).run)
                await daemon.wait_asked()
            nursery.cancel_scope.cancel()


async def test_a_path_longer_than_an_address(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    async with serving(deep) as daemon:
        assert await daemon.ask(Call(ListPeople())) == {"done": True}


async def test_a_daemon_that_ends_without_an_answer(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "repository", "")
    daemon = Daemon(layout, go=trio.Event())
    with listening(layout) as sock:
        async with trio.open_nursery() as outer:

            async def ask() -> None:
                with pytest.raises(DaemonUnreachable, match="ended before it answered"):
                    await daemon.ask(Call(ListPeople()))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(Control(sock, *daemon.ways).run)
                outer.start_soon(ask)
                await daemon.wait_asked()
                nursery.cancel_scope.cancel()


# --- attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage",
    [
        b"\n",
        b"\0\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"request": 3}\n',
        b'{"request": {"type": "rm -rf"}}\n',
        b'{"request": {"type": "user.add"}}\n',
        b'{"request": {"type": "user.add", "name": "\\ud800"}}\n',
        b'{"request": {"type": "user.add", "name": "x", "uid": 4294967295}}\n',
        b'{"request": {"type": "user.add", "name": "x", "uid": ' + b"9" * 5000 + b"}}\n",
        b'{"request": {"type": "people"}, "audit_uid": -1}\n',
        b'{"request": {"type": "people", "x": ' + b"[" * 30_000 + b"}}\n",
        b"GET / HTTP/1.1\r\n",
    ],
    ids=range(13),
)
async def test_garbage_is_answered_and_the_next_request_too(tmp_path: Path, garbage: bytes) -> None:
    async with serving(tmp_path) as daemon:
        refused, answered = await daemon.tell(garbage + LIST, end=True)
        assert refused["error"]["errno"] == 22 and "no request" in refused["error"]["message"]
        assert answered == {"result": {"done": True}}
        assert daemon.asked == [(os.getuid(), ListPeople(), os.getuid())]


async def test_a_huge_line_is_refused_and_not_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        [refused] = await daemon.tell(b"x" * (64 * MOST_BYTES))
        assert f"{MOST_BYTES} bytes at most" in refused["error"]["message"]
        assert await daemon.ask(Call(ListPeople())) == {"done": True}


async def test_a_request_without_its_newline_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        assert await daemon.tell(LIST.rstrip(), end=True) == []
        assert daemon.asked == []


async def test_who_sends_slowly_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.3)
    async with serving(tmp_path) as daemon:
        began = time.monotonic()
        with closing(daemon.connected()) as sock:
            sock.setblocking(False)
            async with trio.open_nursery() as nursery:

                async def drip() -> None:
                    while True:
                        try:
                            sock.send(b"x")
                        except BrokenPipeError:
                            nursery.cancel_scope.cancel()
                        await trio.sleep(0.02)

                nursery.start_soon(drip)
        assert 0.2 < time.monotonic() - began < 5
        assert await daemon.ask(Call(ListPeople())) == {"done": True}


async def test_who_does_not_take_the_answer_is_hung_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.3)
    async with serving(tmp_path) as daemon:
        daemon.answer = json.dumps("x" * 4_000_000)
        with closing(daemon.connected()) as sock:
            sock.sendall(LIST)
            await trio.to_thread.run_sync(wait_hung_up, sock)
            received = await trio.to_thread.run_sync(_all, sock)
        assert 0 < len(received) < 4_000_000


def wait_hung_up(sock: socket.socket) -> None:
    poll = select.poll()
    poll.register(sock, 0)
    assert poll.poll(20_000)


async def test_a_thousand_connections_of_one_user_leave_root_its_place(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # other tests may have left pools of threads
    async with serving(tmp_path) as daemon:
        daemon.go = trio.Event()
        held = await trio.to_thread.run_sync(as_user, lambda: flood(daemon.layout, 1000))
        assert held == SHARE
        daemon.go.set()
        if os.getuid() == 0:
            assert await daemon.ask(Call(ListPeople())) == {"done": True}
        assert len(os.listdir("/proc/self/fd")) < before + 100


def flood(layout: Layout, count: int) -> int:
    """Open *count* connections, ask on each, and return how many were not refused at once."""
    held = []
    refused = 0
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(layout.control))
        with suppress(BrokenPipeError):  # refused before it has asked
            sock.sendall(LIST)
        if len(held) < SHARE:
            held.append(sock)
            continue
        answer = json.loads(_all(sock))
        refused += "too many" in answer["error"]["message"]
        sock.close()
    return count - refused


def as_user(function: Callable[[], int]) -> int:
    return EVE.do(function) if os.getuid() == 0 else function()


async def test_all_users_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uids = iter(range(10_000, 20_000))
    monkeypatch.setattr(server, "_peer", lambda _stream: Caller(next(uids), 0, ()))
    monkeypatch.setattr(server, "CONNECTIONS", 20)
    async with serving(tmp_path) as daemon:
        daemon.go = trio.Event()
        held = [daemon.connected() for _ in range(20)]
        for sock in held:
            sock.sendall(LIST)
        await daemon.wait_asked(20)
        [refused] = await daemon.tell(LIST)
        assert "too many" in refused["error"]["message"]
        for sock in held:
            sock.close()
        daemon.go.set()
        while True:
            [answer] = await daemon.tell(LIST, end=True)
            if "result" in answer:
                break


async def test_a_fault_of_ours_costs_one_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        daemon.answer = RuntimeError("nobody foresaw this")
        assert await daemon.tell(LIST) == []
        daemon.answer = "1"
        assert await daemon.tell(LIST, end=True) == [{"result": 1}]


# --- imports: a request with a descriptor ------------------------------------------------------------


def open_paths() -> list[str]:
    paths = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            paths.append(os.readlink(f"/proc/self/fd/{fd}"))
    return paths


def asked(directory: Path, layout: Layout, **more: Any) -> Any:
    """Ask for an import of scan.tif in *directory*, which goes along."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        request = Import(os.fsencode(directory), b"scan.tif", **more)
        return client.ask(layout, Call(request), descriptor=fd, patience_seconds=0)[1]
    finally:
        os.close(fd)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "scan.tif").touch()
    return directory


async def readable(daemon: Daemon, place: Path, **more: Any) -> Any:
    def ask() -> Any:
        return asked(place, daemon.layout, **more)

    return await trio.to_thread.run_sync(ask)


@pytest.fixture
def open_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An O_PATH descriptor cannot be listed: what it leads to is."""
    listdir = os.listdir
    monkeypatch.setattr(
        os, "listdir", lambda fd: listdir(f"/proc/self/fd/{fd}") if isinstance(fd, int) else listdir(fd)
    )


@pytest.mark.usefixtures("open_listing")
async def test_an_import_comes_with_its_directory_and_none_stays_open(tmp_path: Path, place: Path) -> None:
    async with serving(tmp_path) as daemon:
        for _ in range(3):
            assert await readable(daemon, place, owner="bob") == {"done": True}
        [(request, caller, names), *_] = daemon.arrived
        assert request == Import(os.fsencode(place), b"scan.tif", owner="bob")
        assert (caller.uid, caller.gid, names) == (os.getuid(), os.getgid(), ["scan.tif"])
        assert set(caller.groups) == set(os.getgroups())
        assert str(place) not in open_paths()


@root_only
@pytest.mark.usefixtures("open_listing")
async def test_the_callers_groups_are_the_kernels_word(tmp_path: Path, place: Path) -> None:
    member = Person("member", 61098, 61098, (61001, 61002))
    async with serving(tmp_path) as daemon:
        await trio.to_thread.run_sync(member.do, asked, place, daemon.layout)
        [(_, caller, _)] = daemon.arrived
        assert caller == Caller(61098, 61098, (61001, 61002))


async def test_an_import_without_its_directory_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        request = protocol.call_line(Call(Import(b"/data", b"scan.tif")))
        [refused, answered] = await daemon.tell(request + LIST, end=True)
        assert "descriptor of the directory" in refused["error"]["message"]
        assert answered == {"result": {"done": True}}
        assert daemon.arrived == []


@pytest.mark.usefixtures("open_listing")
@pytest.mark.parametrize(("owner", "act"), [(None, "import"), ("bob", "import-as")])
async def test_an_import_that_is_refused_is_audited(tmp_path: Path, place: Path, owner: str | None, act: str) -> None:
    async with serving(tmp_path) as daemon:
        daemon.answer = AccessDenied("eve may not put files here")
        with pytest.raises(AccessDenied, match="eve may not"):
            await readable(daemon, place, owner=owner)
        assert daemon.refused == [(os.getuid(), act, "eve may not put files here")]


async def test_a_thousand_descriptors_are_not_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as daemon:
        before = len(os.listdir("/proc/self/fd"))
        with closing(daemon.connected()) as sock:
            for _ in range(50):
                socket.send_fds(sock, [b" "], [sock.fileno()] * 20)
            sock.sendall(LIST)
            answer = await trio.to_thread.run_sync(sock.recv, 9999)
            assert json.loads(answer) == {"result": {"done": True}}
            assert len(os.listdir("/proc/self/fd")) < before + 10
