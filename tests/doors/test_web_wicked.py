"""The HTTPS door and clients that are slow, many, gone, or speak something else: each is ended, and hurts no other."""

from __future__ import annotations

import io
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h2.config
import h2.connection
import pytest
import trio
import trio.testing
from starlette.types import Message, Receive, Scope, Send

from repofs.web import guard, registering, server, transport
from tests.helpers.waiting import until
from tests.helpers.web import PAYLOAD, TOKEN, Behind, Door, served

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """One whose patience is short."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.5)
    monkeypatch.setattr(server, "HEADERS_SECONDS", 0.5)
    monkeypatch.setattr(registering, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(guard, "LINGER_SECONDS", 0.5)
    monkeypatch.setattr(transport, "SENDING_SECONDS", 0.5)
    with served(tmp_path) as door:
        yield door
        assert door.register().status_code == 200  # whatever has come before
        until(lambda: not door.web.connections, "a connection stays", 10)


def head(door: Door, *, length: int | None = None) -> bytes:
    """Return the head of a registration that is well but for what follows."""
    csrf = door.token().json()["data"]
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return (
        f"POST /omero_plus/api/v0/table?bsession={door.session()} HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n"
        f"Referer: {door.address}\r\nX-CSRFToken: {csrf}\r\nCookie: csrftoken={csrf}\r\n"
        f"X-SecretToken: {TOKEN}\r\n{size}\r\n\r\n"
    ).encode()


def closed(client: socket.socket) -> bool:
    """Whether the peer closes the connection within 5 s, perhaps after an answer."""
    client.settimeout(5)
    try:
        while client.recv(1 << 16):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# --- slow -----------------------------------------------------------------------------------------


def test_who_says_nothing_is_closed(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        assert closed(client)
    with door.connect() as client:
        assert closed(client)


def test_headers_that_come_slowly_are_closed(door: Door) -> None:
    with door.connect() as client:
        began = time.monotonic()
        with pytest.raises(OSError):
            client.sendall(b"GET /api/v0/token HTTP/1.1\r\n")
            while time.monotonic() < began + 5:
                client.sendall(b"X: y\r\n")
                time.sleep(0.05)
        assert time.monotonic() < began + 3


def test_headers_without_end_are_closed(door: Door) -> None:
    with door.connect() as client:
        with pytest.raises(OSError):
            for _ in range(10_000):
                client.sendall(b"X: " + b"y" * 1000 + b"\r\n")


def test_a_body_that_stops_is_answered(door: Door) -> None:
    with door.connect() as client:
        client.sendall(head(door, length=100) + b'{"uri"')
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 408 ")
        assert closed(client)
    assert door.behind.asked == []


@pytest.mark.parametrize("of_whom", ["a user", "a stranger"])
def test_a_body_without_end_is_closed(door: Door, of_whom: str) -> None:
    with door.connect() as client:
        known = head(door)
        client.sendall(known if of_whom == "a user" else known.replace(b"bsession", b"session"))
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() < began + 10:
                client.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        assert time.monotonic() < began + 5
    assert door.behind.asked == []


def test_who_takes_no_answer_is_closed(door: Door) -> None:
    with door.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(5)
        with pytest.raises((ConnectionError, ssl.SSLError)):  # and no TimeoutError
            while True:
                client.sendall(b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\n\r\n" * 100)


# --- gone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [0, 10, 300, None])
def test_who_goes_in_the_middle_hurts_nobody(door: Door, sent: int | None) -> None:
    whole = head(door, length=10_000) + b'{"uri"'
    for _ in range(20):
        client = door.connect()
        client.sendall(whole[:sent])
        # No goodbye: the kernel resets the connection.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    assert door.behind.asked == []


def test_who_goes_while_it_is_registered_has_registered(tmp_path: Path) -> None:
    """Half a registration there is none: it goes on to its end."""
    with served(tmp_path, Behind(go=threading.Event())) as door:
        body = json.dumps(PAYLOAD).encode()
        client = door.connect()
        client.sendall(head(door, length=len(body)) + body)
        until(lambda: door.behind.waiting, "nothing is registered")
        client.close()
        assert door.behind.go is not None
        door.behind.go.set()
        until(lambda: door.behind.asked, "nothing was registered")
        until(lambda: not door.web.connections, "a connection stays", 10)


# --- many -----------------------------------------------------------------------------------------


def test_two_hundred_at_a_time_are_served(tmp_path: Path) -> None:
    with served(tmp_path, requests=1000) as door:
        session = door.session()
        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(lambda _: door.register(session), range(200)))
        assert [answer.status_code for answer in answers] == [200] * 200
        assert len(door.behind.asked) == 200


def test_one_more_than_may_be_is_told_so(tmp_path: Path) -> None:
    with served(tmp_path, Behind(go=threading.Event()), requests=2) as door:
        session, token = door.session(), door.token()
        assert door.behind.go is not None
        with ThreadPoolExecutor(2) as pool:
            first = [pool.submit(door.register, session, token=token) for _ in range(2)]
            until(lambda: door.behind.waiting == 2, "two are not under way")
            answer = door.register(session, token=token)
            assert answer.status_code == 503
            assert "too many" in answer.json()["message"]
            door.behind.go.set()
            assert [one.result().status_code for one in first] == [200, 200]
        assert door.register(session).status_code == 200


def test_more_connections_than_may_be_are_closed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    clients = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(4)]
    assert closed(clients[3])
    for client in clients:
        client.close()
    until(lambda: not door.web.connections, "a connection stays", 10)


# --- something else -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\n\r\n",  # without TLS
        b"\x16\x03\x01\xff\xff" + b"\0" * 1000,
        b"\0" * 1000,
        b"SSH-2.0-x\r\n",
    ],
)
def test_who_speaks_no_tls_is_closed(door: Door, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(said)
        assert closed(client)


@pytest.mark.parametrize(
    "said",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /api/v0/token HTTP/1.1\r\n\r\n",  # no host
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-SecretToken: a\0b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_what_is_not_http_1_is_closed(door: Door, said: bytes) -> None:
    with door.connect() as client:
        client.sendall(said)
        assert closed(client)


def http_2(path: bytes) -> bytes:
    """Return a request in HTTP/2, spoken though nobody has offered it."""
    talk = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
    talk.initiate_connection()
    talk.send_headers(1, [(":method", "GET"), (":path", path), (":scheme", "https"), (":authority", "x")], True)
    return talk.data_to_send()


WEBSOCKET = (
    b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
H2C = (
    b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
)


@pytest.mark.parametrize("said", [WEBSOCKET, H2C, http_2(b"/api/v0/token")])
def test_another_protocol_gets_no_answer(door: Door, said: bytes, log: io.StringIO) -> None:
    with door.connect() as client:
        client.sendall(said)
        assert closed(client)
    assert '"request"' not in log.getvalue()


def test_a_connection_that_breaks_hypercorn_breaks_alone(door: Door, log: io.StringIO) -> None:
    """A path that is not ASCII comes to it in HTTP/2 only."""
    with door.connect() as other:
        with door.connect() as client:
            client.sendall(http_2(b"/\xff"))
            assert closed(client)
        until(lambda: "a connection over HTTPS broke" in log.getvalue(), "nothing broke", 5)
        other.sendall(b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\n\r\n")
        assert other.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


@pytest.mark.trio
async def test_what_still_comes_is_read_while_the_answer_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    """Hypercorn waits for a place in its queue of what comes before it ends a request."""
    put, comes = trio.open_memory_channel[Message](0)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await put.send({"type": "http.disconnect"})

    aborted: list[bool] = []
    state = {guard.ABORT: lambda: aborted.append(True)}
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "client": None, "state": state}
    with trio.fail_after(10):
        await guard.Guard(app, 1)(scope, comes.receive, send)
    assert not aborted


# --- the end --------------------------------------------------------------------------------------


def test_it_ends_though_a_client_takes_no_answer(tmp_path: Path) -> None:
    """`served` waits 10 s for the end, and a client may take 30 s for its answers."""
    with served(tmp_path) as door:
        client = door.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                client.sendall(b"GET /api/v0/token HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
    client.close()


# --- requests that two servers may read otherwise --------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 50\r\n",
        b"Content-Length: 5, 50\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x5\r\n",
        b"Transfer-Encoding: identity, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: another\r\n",
        b"X: a\0b\r\n",
    ],
)
def test_an_ambiguous_request_is_refused_and_ends_its_connection(door: Door, headers: bytes) -> None:
    with door.connect() as client:
        client.settimeout(30)
        start = b"POST /omero_plus/api/v0/table HTTP/1.1\r\nHost: localhost\r\n"
        client.sendall(start + headers + b"\r\nhello" + b"GET /api/v0/token HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while chunk := client.recv(1 << 16):
            received += chunk
    assert re.match(rb"HTTP/1\.1 (400|501) ", received), received
    assert received.count(b"HTTP/1.1 ") == 1  # what follows is no request


def test_chunks_count_where_a_length_is_given_too(door: Door) -> None:
    """RFC 9112, 6.3: the length is not heeded."""
    with door.connect() as client:
        client.settimeout(30)
        client.sendall(
            b"POST /omero_plus/api/v0/table HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 401 ")
