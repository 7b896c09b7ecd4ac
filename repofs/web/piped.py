"""An answer that another process writes into a pipe while the client reads: no faster than she does, and no further."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_CHUNK_BYTES = 64 << 10

Write = Callable[[int], Awaitable[None]]
"""Writes into the descriptor of a pipe, which stays ours. Raises RepofsError."""


class Piped(Response):
    """What *write* writes. An error before the first byte is raised, and can be told; later, the answer breaks off."""

    def __init__(self, write: Write, media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._write = write

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            async with trio.lowlevel.FdStream(read_end) as pipe, trio.open_nursery() as nursery:
                written = trio.Event()
                nursery.start_soon(self._fill, write_end, written)
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                await self._pass_on(pipe, written, send)
                nursery.cancel_scope.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _fill(self, write_end: int, written: trio.Event) -> None:
        try:
            await self._write(write_end)
        finally:
            os.close(write_end)
        written.set()

    async def _pass_on(self, pipe: trio.lowlevel.FdStream, written: trio.Event, send: Send) -> None:
        chunk = await pipe.receive_some(_CHUNK_BYTES)
        if not chunk:
            await written.wait()  # else there is an error to be told
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while chunk:
            await send({"type": "http.response.body", "body": bytes(chunk), "more_body": True})
            chunk = await pipe.receive_some(_CHUNK_BYTES)
        await written.wait()
        await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
