"""Hooks: each delivers all that is behind its cursor, in order, again and again until it succeeds."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio

from repofs.catalog import imports, users
from repofs.catalog.engine import open_engine
from repofs.config import Hook, Mail
from repofs.events import News
from repofs.importer import transactions
from repofs.importer.commits import Commits
from repofs.importer.hooks import queue
from repofs.importer.hooks.command import Command
from repofs.importer.hooks.delivery import DeliveryFailed
from repofs.importer.hooks.mail import LISTED, Mailer
from repofs.importer.hooks.queue import HookQueue, delivery
from repofs.importer.hooks.webhook import Webhook
from repofs.importer.transactions import Ending
from repofs.lifecycle import State
from tests.helpers import processes
from tests.helpers.catalogue import drop
from tests.helpers.importing import Repository
from tests.helpers.mounting import scratch

pytestmark = pytest.mark.trio

SECONDS = 30.0
NEWS = News(
    7, 41, "2026-11-22T21:15:03.123+00:00", State.FAILED, "alice", b"alice_2", 5000, 5001, b"P/scan\n.tif", None, None,
    "the disk is full: make room, then retry", b".repofs/log/alice_2/41.log",
)  # fmt: skip


# --- the queue ------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@dataclass
class Fake:
    """Delivers what it does not refuse."""

    most: int = 2
    gather_seconds: float = 0.0
    sent: list[list[int]] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)
    changed: trio.Event = field(default_factory=trio.Event)

    async def send(self, news: Sequence[News]) -> None:
        self.changed.set()
        self.changed = trio.Event()
        if self.refuse:
            raise self.refuse.pop(0)
        self.sent.append([one.importing for one in news])

    async def wait_sent(self, count: int) -> list[int]:
        while len(numbers := [one for batch in self.sent for one in batch]) < count:
            await self.changed.wait()
            await trio.testing.wait_all_tasks_blocked()
        return numbers


@asynccontextmanager
async def running(repository: Repository, fake: Fake, *on: str) -> AsyncIterator[Commits]:
    hook = Hook.model_validate({"name": "test", "on": on or ["failed"], "command": ["/bin/true"]})
    commits = Commits(repository.engine)
    reading = open_engine(repository.layout.catalogue, read_only=True)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commits.run)
            nursery.start_soon(HookQueue(hook, fake, reading, commits).run)
            await until(lambda: repository_cursor(repository) is not None)
            yield commits
            nursery.cancel_scope.cancel()
    reading.dispose()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(SECONDS):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


def repository_cursor(repository: Repository) -> int | None:
    with repository.engine.begin() as conn:
        return conn.exec_driver_sql("SELECT max(delivered) FROM hooks").scalar()


async def end(repository: Repository, commits: Commits, *states: State) -> list[int]:
    """Let imports come to their ends; return their numbers."""
    with repository.engine.begin() as conn:
        alice = users.experimenters(conn)[0]
        numbers = imports.begin(conn, [drop(alice) for _ in states])
    for number, state in zip(numbers, states, strict=True):
        await commits.write(transactions.end, Ending(number, state, "broken"))
    return list(numbers)


async def test_what_a_hook_is_on_is_delivered_in_order(repository: Repository) -> None:
    fake = Fake()
    async with running(repository, fake) as commits:
        numbers = await end(repository, commits, State.FAILED, State.DUPLICATE, State.FAILED, State.FAILED)
        assert await fake.wait_sent(3) == [numbers[0], *numbers[2:]]
    assert max(map(len, fake.sent)) <= fake.most


async def test_what_fails_is_tried_again_and_nothing_overtakes_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PAUSE_SECONDS", (0.01, 0.02))
    fake = Fake(
        most=1, refuse=[DeliveryFailed("the server is away"), RuntimeError("unforeseen"), DeliveryFailed("away")]
    )
    with structlog.testing.capture_logs() as logged:
        async with running(repository, fake) as commits:
            numbers = await end(repository, commits, State.FAILED, State.FAILED)
            assert await fake.wait_sent(2) == numbers
    assert [(one["log_level"], one.get("reason")) for one in logged] == [
        ("warning", "the server is away"), ("error", None), ("warning", "away"),
    ]  # fmt: skip


async def test_after_a_restart_it_goes_on_where_it_was(repository: Repository) -> None:
    async with running(repository, Fake()) as commits:
        pass
    commits = Commits(repository.engine)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        missed = await end(repository, commits, State.FAILED, State.FAILED, State.FAILED)
        nursery.cancel_scope.cancel()
    fake = Fake()
    async with running(repository, fake):
        assert await fake.wait_sent(3) == missed
        await until(lambda: repository_cursor(repository) == 3)
    again = Fake()
    async with running(repository, again) as commits:
        later = await end(repository, commits, State.FAILED)
        assert await again.wait_sent(1) == later


async def test_a_hook_that_is_new_is_not_told_of_the_past(repository: Repository) -> None:
    commits = Commits(repository.engine)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        await end(repository, commits, State.FAILED)
        nursery.cancel_scope.cancel()
    fake = Fake()
    async with running(repository, fake) as commits:
        assert await fake.wait_sent(0) == []
        new = await end(repository, commits, State.FAILED)
        assert await fake.wait_sent(1) == new


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ({"command": ["/bin/true"]}, Command),
        ({"webhook": "https://example.org/x"}, Webhook),
        ({"mail": {"server": "localhost", "from": "repofs@example.org", "to": "{user}@example.org"}}, Mailer),
    ],
)
async def test_each_way_of_the_settings_has_its_delivery(way: dict[str, object], kind: type) -> None:
    assert isinstance(delivery(Hook.model_validate({"name": "x", **way})), kind)


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which anybody may write."""
    with scratch() as directory:
        directory.chmod(0o777)
        yield directory


def script(place: Path, text: str) -> str:
    path = place / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def command(place: Path, text: str, user: str = "nobody", seconds: float = SECONDS) -> Command:
    return Command([script(place, text), "an argument"], user, seconds)


async def test_a_command_gets_the_line_and_its_arguments(place: Path) -> None:
    await command(place, f'cat > {place}/line; echo "$1" > {place}/argument').send([NEWS])
    assert (place / "line").read_bytes() == NEWS.line()
    assert (place / "argument").read_text() == "an argument\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs commands as somebody else: run the tests as root")
async def test_a_command_runs_as_its_user_without_a_right(place: Path) -> None:
    await command(place, f"(id -u; id -G; grep CapEff /proc/self/status; trap) > {place}/who").send([NEWS])
    assert (place / "who").read_text().split() == ["65534", "65534", "CapEff:", "0" * 16]


async def test_a_command_heeds_signals_that_the_importer_ignores(place: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(DeliveryFailed, match="ended with -15"):
            await command(place, "kill -TERM $$").send([NEWS])
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_a_command_that_fails_is_told_with_its_words(place: Path) -> None:
    with pytest.raises(DeliveryFailed, match="hook ended with 3: no such channel"):
        await command(place, "echo no such channel >&2; exit 3").send([NEWS])
    with pytest.raises(DeliveryFailed, match="without a word"):
        await command(place, "exit 1").send([NEWS])
    with pytest.raises(DeliveryFailed) as caught:
        await command(place, "head -c 10000000 /dev/zero >&2; exit 1").send([NEWS])
    assert len(str(caught.value)) <= 500


async def test_a_command_that_takes_too_long_is_killed_with_all_that_it_has_started(place: Path) -> None:
    with pytest.raises(DeliveryFailed, match=r"killed after 0\.5 s"):
        await command(place, f"sleep 1000 & echo $! > {place}/child; wait", seconds=0.5).send([NEWS])
    child = int((place / "child").read_text())
    await until(lambda: not processes.alive(child))


async def test_a_command_that_leaves_something_behind_is_not_waited_for(place: Path) -> None:
    with trio.fail_after(SECONDS):
        await command(place, f"sleep 1000 & echo $! > {place}/child").send([NEWS])
    os.kill(int((place / "child").read_text()), 9)


async def test_a_program_or_an_account_that_is_not_there(place: Path) -> None:
    with pytest.raises(DeliveryFailed, match=r"ended with 127.*No such file"):
        await Command([str(place / "nothing")], "nobody", SECONDS).send([NEWS])
    if os.geteuid() == 0:
        with pytest.raises(DeliveryFailed, match="no account nobody-here"):
            await command(place, "true", "nobody-here").send([NEWS])
        with pytest.raises(DeliveryFailed, match="does not run as root"):
            await command(place, "true", "root").send([NEWS])


# --- webhooks -------------------------------------------------------------------------------------


class Web(HTTPServer):
    """Keeps what is posted, and answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Posted)
        self.status = 204
        self.got: list[tuple[str, dict[str, str], bytes]] = []


class _Posted(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_each_line_is_posted() -> None:
    with serving(Web()) as web:
        url = f"http://bot:se%40cret@127.0.0.1:{web.server_port}/hook?room=1"
        await Webhook(url, SECONDS).send([NEWS])
    [(path, headers, body)] = web.got
    assert (path, body) == ("/hook?room=1", NEWS.line())
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == f"Basic {base64.b64encode(b'bot:se@cret').decode()}"


@pytest.mark.parametrize("status", [302, 307, 404, 500])
async def test_any_other_answer_is_a_failure_and_no_redirection_is_followed(status: int) -> None:
    with serving(Web()) as web:
        web.status = status
        with pytest.raises(DeliveryFailed, match=str(status)) as caught:
            await Webhook(f"http://bot:secret@127.0.0.1:{web.server_port}/token", SECONDS).send([NEWS])
    assert len(web.got) == 1
    assert "secret" not in str(caught.value) and "token" not in str(caught.value)


async def test_a_server_that_is_not_there_or_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DeliveryFailed, match=r"timed out|no answer"):
            await Webhook(f"http://bot:secret@127.0.0.1:{port}/", 0.3).send([NEWS])
    with pytest.raises(DeliveryFailed, match="refused") as caught:
        await Webhook(f"http://bot:secret@127.0.0.1:{port}/", SECONDS).send([NEWS])
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing: it makes the certificate")
async def test_a_certificate_of_nobodys_is_refused(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    with serving(Web()) as web:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        web.socket = context.wrap_socket(web.socket, server_side=True)
        with pytest.raises(DeliveryFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await Webhook(f"https://localhost:{web.server_port}/", SECONDS).send([NEWS])
    assert web.got == []


def _certificate(directory: Path) -> Path:
    path = directory / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", path, "-out", directory / "c"], check=True, capture_output=True)
    path.write_text(path.read_text() + (directory / "c").read_text())
    return path


# --- mail -----------------------------------------------------------------------------------------


class Post(socketserver.ThreadingTCPServer):
    """A mail server without TLS: keeps what comes, refuses whom it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.mails: list[tuple[str, str]] = []
        self.refused: dict[str, str] = {}


class _Conversation(socketserver.StreamRequestHandler):
    server: Post

    def handle(self) -> None:
        self._say("220 here")
        to = ""
        while line := self.rfile.readline().decode().strip():
            word = line.upper()[:4]
            if word == "RCPT":
                to = line.partition("<")[2].rstrip(">")
                self._say(self.server.refused.get(to, "250 ok"))
            elif word == "DATA":
                self._say("354 go on")
                text = "".join(iter(lambda: self.rfile.readline().decode(), ".\r\n"))
                self.server.mails.append((to, text))
                self._say("250 ok")
            else:
                self._say("221 bye" if word == "QUIT" else "250 ok")

    def _say(self, words: str) -> None:
        self.wfile.write(f"{words}\r\n".encode())


def mailer(post: Post, **more: object) -> Mailer:
    port = post.server_address[1]
    settings = {"server": f"127.0.0.1:{port}", "from": "repofs@example.org", "to": "{user}@example.org"}
    return Mailer(Mail.model_validate({**settings, "starttls": False, **more}), SECONDS)


def numbered(user: str, *numbers: int) -> list[News]:
    return [replace(NEWS, number=n, importing=n, user=user, path=b"%d.tif" % n) for n in numbers]


async def test_ten_thousand_failures_are_one_mail() -> None:
    with serving(Post()) as post:
        await mailer(post).send(numbered("alice", *range(1, 10_001)))
    [(to, text)] = post.mails
    assert to == "alice@example.org"
    assert "Subject: repofs: 10000 failed" in text
    assert text.count("failed: alice_2/") == LISTED and "and 9,980 more" in text


async def test_each_owner_has_a_mail_about_her_own() -> None:
    with serving(Post()) as post:
        await mailer(post).send([NEWS, replace(NEWS, user="bob", user_directory=b"bob_3", number=8)])
    mails = dict(post.mails)
    assert sorted(mails) == ["alice@example.org", "bob@example.org"]
    assert "bob_3" not in mails["alice@example.org"]
    told = mails["alice@example.org"]
    assert r"failed: alice_2/P/scan\n.tif" in told and "make room" in told and "log/alice_2/41.log" in told


async def test_one_address_for_all() -> None:
    with serving(Post()) as post:
        await mailer(post, to="admins@example.org").send([NEWS, replace(NEWS, user="bob", number=8)])
    [(to, text)] = post.mails
    assert to == "admins@example.org" and "2 failed" in text


async def test_an_address_that_there_is_not_keeps_nobody_waiting() -> None:
    with serving(Post()) as post:
        post.refused["alice@example.org"] = "550 no such user"
        with structlog.testing.capture_logs() as logged:
            await mailer(post).send(numbered("alice", 1) + numbered("bob", 2) + numbered("a\r\nBcc: eve", 3))
    assert [to for to, _ in post.mails] == ["bob@example.org"]
    assert [one["log_level"] for one in logged] == ["error", "error"]


async def test_who_was_told_is_not_told_again() -> None:
    with serving(Post()) as post:
        mails = mailer(post)
        post.refused["bob@example.org"] = "450 try later"
        with pytest.raises(DeliveryFailed, match="450"):
            await mails.send(numbered("alice", 1) + numbered("bob", 2))
        post.refused.clear()
        await mails.send(numbered("alice", 1, 3) + numbered("bob", 2))
    told = [(to, text.count("failed: alice_2/")) for to, text in post.mails]
    assert told == [("alice@example.org", 1), ("alice@example.org", 1), ("bob@example.org", 1)]
    assert "3.tif" in post.mails[1][1]


async def test_without_starttls_nothing_is_sent_unless_the_settings_say_so() -> None:
    with serving(Post()) as post:
        with pytest.raises(DeliveryFailed, match="STARTTLS"):
            await mailer(post, starttls=True).send([NEWS])
    assert post.mails == []


async def test_a_password_is_read_and_not_told(tmp_path: Path) -> None:
    file = tmp_path / "password"
    with serving(Post()) as post:
        mails = mailer(post, login="repofs", password_file=str(file))
        with pytest.raises(DeliveryFailed, match="No such file"):
            await mails.send([NEWS])
        file.write_text("s3cret\n")
        with pytest.raises(DeliveryFailed) as caught:  # this server knows no login
            await mails.send([NEWS])
    assert "s3cret" not in str(caught.value)
