"""An HTTPS door on loopback, in a thread, with a fake of what lies behind it; and a client such as omero2pandas."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import trio

from repofs.config import Web as WebSettings
from repofs.people import Actor, People
from repofs.registration.registry import Registry
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.table import Form, Place, Registration, Selection, Table
from repofs.web.server import Web

ALICE, BOB = 61001, 61002
PEOPLE = People(actors={ALICE: Actor(ALICE, "alice"), BOB: Actor(BOB, "bob")})
TOKEN = "a-SecretToken-8a6f"
PAYLOAD = {"uri": "/mnt/repofs/alice_2/cells.tiledb", "name": "cells", "targets": ["Image:101"]}


def a_table(number: int, **other: Any) -> Table:
    """Return a table of alice's."""
    known: dict[str, Any] = {
        "name": f"cells{number}",
        "user_directory": b"alice_2",
        "owner_uid": ALICE,
        "gid": 100,
        "uri": f"/data/{number}.tiledb",
        "place": Place("source", "data", b"%d.tiledb" % number),
        "rows": 3,
        "columns": (),
        "targets": (),
        "registered": "2026-01-02T03:04:05+00:00",
        "manifest": "{}",
        "salt": b"salt",
        "digest": b"digest",
    }
    return Table(number, **{**known, **other})


def _write(into: int, piece: bytes) -> None:
    with open(os.dup(into), "wb", closefd=True) as file:
        file.write(piece)


@dataclass
class Behind:
    """What lies behind the door: it keeps what was asked, and does what a test says."""

    people: People = PEOPLE
    asked: list[tuple[Caller, Registration]] = field(default_factory=list)
    refusal: Exception | None = None
    go: threading.Event | None = None  # registering waits for it
    waiting: int = 0
    registry: Registry = field(default_factory=Registry)
    exported: list[tuple[int, Form, Selection]] = field(default_factory=list)
    pieces: Iterable[bytes | Exception] = (b"rows",)  # that exporting writes
    written: int = 0
    ended: int = 0  # exports

    async def register(self, who: Caller, home: None, asked: Registration) -> Table:
        if self.go is not None:
            self.waiting += 1
            await trio.to_thread.run_sync(self.go.wait)
            self.waiting -= 1
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((who, asked))
        return a_table(7)

    def may_view(self, table: Table, uid: int) -> bool:
        return table.owner_uid == uid

    async def export(self, table: Table, form: Form, selection: Selection, into: int) -> None:
        self.exported.append((table.id, form, selection))
        try:
            if self.refusal is not None:
                raise self.refusal
            for piece in self.pieces:
                if isinstance(piece, Exception):
                    raise piece
                await trio.to_thread.run_sync(_write, into, piece, abandon_on_cancel=True)
                self.written += len(piece)
        finally:
            self.ended += 1


@dataclass
class Door:
    """A door that is served, and how to get at it."""

    web: Web
    behind: Behind
    port: int
    certificate: Path
    prefix: str

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def session(self, uid: int = ALICE) -> str:
        return self.web.sessions.create(uid)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.address + self.prefix + path, verify=str(self.certificate), **options)

    def token(self) -> requests.Response:
        """As omero2pandas asks for it: nothing but a GET."""
        return self.get("/api/v0/token")

    def register(
        self,
        session: str | None = None,
        payload: Any = PAYLOAD,
        drop: Sequence[str] = (),
        token: requests.Response | None = None,
        cookies: Any = None,
        params: Any = None,
        **headers: str,
    ) -> requests.Response:
        """Register as omero2pandas does: a token, then the POST with it; without the headers of *drop*."""
        token = token or self.token()
        said = {
            "Content-Type": "application/json",
            "X-SecretToken": TOKEN,
            "X-CSRFToken": token.json()["data"],
            "Referer": self.address,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        for name in drop:
            del said[name]
        body = {"data": payload} if isinstance(payload, bytes) else {"json": payload}
        return requests.post(
            f"{self.address}{self.prefix}/omero_plus/api/v0/table?bsession={session or self.session()}",
            headers=said,
            cookies=token.cookies if cookies is None else cookies,
            allow_redirects=False,
            verify=str(self.certificate),
            timeout=60,
            **body,
        )

    def connect(self) -> ssl.SSLSocket:
        """Return a bare connection."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port)), server_hostname="127.0.0.1")


@contextmanager
def served(directory: Path, behind: Behind | None = None, **settings: Any) -> Iterator[Door]:
    """Serve while the context lasts; what ends the door otherwise fails the test."""
    behind = behind or Behind()
    known = WebSettings(**{"listen": "127.0.0.1:0", **settings})
    web = Web(
        known,
        Layout(directory),
        behind.registry,
        lambda: behind.people,
        behind.register,
        behind.may_view,
        behind.export,
    )
    failed: list[BaseException] = []
    port: list[int] = []
    up = threading.Event()
    stop: Callable[[], None] = lambda: None  # noqa: E731

    async def main() -> None:
        nonlocal stop
        async with trio.open_nursery() as nursery:
            token = trio.lowlevel.current_trio_token()
            stop = lambda: token.run_sync_soon(nursery.cancel_scope.cancel)  # noqa: E731
            port.append(await nursery.start(web.run))
            up.set()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 - told in the thread of the test
            failed.append(error)
        up.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    up.wait()
    if port:
        try:
            yield Door(web, behind, port[0], directory / "web.pem", known.prefix)
        finally:
            stop()
            thread.join(10)
            assert not thread.is_alive(), "the door does not end"
    for error in failed:
        raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
