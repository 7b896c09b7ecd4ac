"""An event loop that does at once whatever is awaited: no thread, no socket, no waiting.

For libraries that are written with asyncio and read through functions of ours that never wait. A confined process may
make neither the socket pair nor the epoll that asyncio's own loops begin with, and a thread of zarr's would be one
more that a hostile file could use.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class InlineLoop(asyncio.AbstractEventLoop):
    """Runs coroutines; what it cannot do, timers and sockets, raises NotImplementedError."""

    def __init__(self) -> None:
        self._ready: deque[tuple[contextvars.Context | None, asyncio.Handle, Callable[[], object]]] = deque()

    def run_until_complete(self, coroutine: Coroutine[Any, Any, Result]) -> Result:  # type: ignore[override]
        """Return what *coroutine* returns, or raise as it does. RuntimeError when it waits for what nobody does."""
        task = self.create_task(coroutine)
        asyncio._set_running_loop(self)
        try:
            while not task.done() and self._ready:
                self._step()
        finally:
            asyncio._set_running_loop(None)
            self._ready.clear()
        if not task.done():
            raise RuntimeError("it waits for something that will not come")
        return task.result()

    def _step(self) -> None:
        context, handle, call = self._ready.popleft()
        if not handle.cancelled():
            (context or contextvars.copy_context()).run(call)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((context, handle, lambda: callback(*args)))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coroutine: Coroutine[Any, Any, Result], **options: Any) -> asyncio.Task[Result]:  # type: ignore[override]
        return asyncio.Task(coroutine, loop=self, **options)

    def run_in_executor(self, executor: object, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Call *function* here and now: asyncio.to_thread makes no thread."""
        future = self.create_future()
        try:
            future.set_result(function(*args))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for who awaits
            future.set_exception(error)
        return future

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A second task failed after the first one had: who awaits has been told of that one."""
