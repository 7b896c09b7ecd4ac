"""A TCP connection whose peer takes what is sent, or loses it."""

from __future__ import annotations

import trio

PIECE_BYTES = 64 << 10
SENDING_SECONDS = 30.0  # for the peer to take a piece


class Transport(trio.abc.Stream):
    """*stream*, on which no sending waits for ever, not even one that is shielded from being cancelled."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send *data*. Raises BrokenResourceError when the peer does not take it."""
        whole = memoryview(data)
        for start in range(0, len(whole), PIECE_BYTES):
            try:
                with trio.fail_after(SENDING_SECONDS):
                    await self._stream.send_all(whole[start : start + PIECE_BYTES])
            except trio.TooSlowError as error:
                raise trio.BrokenResourceError("the peer takes nothing") from error

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def end(self) -> None:
        """Close it now; what waits for it gets ClosedResourceError."""
        self.socket.close()
