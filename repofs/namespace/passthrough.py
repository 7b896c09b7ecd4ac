"""Which open originals the kernel reads by itself, from the backing file: of their reads the daemon sees none.

The kernel wants all that have one inode open at a time to agree: either it reads the file itself, always the same one,
or it asks and caches. The first open decides, and those that come while it is open follow: who opens a drop that
becomes an original meanwhile reads by the daemon. Once all have closed it, the next open decides anew.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
import trio

from repofs import passthrough
from repofs.model import Original
from repofs.namespace.nodes import Node
from repofs.namespace.standing import Standing
from repofs.passthrough import Device

LEAST_BYTES = 256 << 10  # below, asking the launcher for a number takes longer than the reads that it saves
MOST_IDLE = 64  # numbers that are kept for the next open, each for so long
IDLE_SECONDS = 1.0
_PASSING = (errno.ENOMEM, errno.ENFILE, errno.EMFILE)  # refusals that say nothing of the next file

log = structlog.get_logger()


@dataclass(slots=True)
class _Shared:
    """A file that the kernel reads by itself, or that it is to read so as soon as it has a number."""

    file: tuple[int, int]  # device and inode of its bytes
    users: int = 0  # handles, and opens that wait for the number
    number: int = 0  # the kernel's for the backing file; 0: none yet, or none at all
    decided: trio.Event = field(default_factory=trio.Event)


class Passthrough:
    """The files of one mount that the kernel reads by itself."""

    def __init__(self, standing: Standing, device: Device | None, why_not: Callable[[], str | None]) -> None:
        self._standing = standing
        self._why_not = why_not
        self._device = device
        self._shared: dict[Node, _Shared] = {}
        self._refused: dict[int, str] = {}  # by device number: why its files cannot be read so
        self._idle: dict[Node, float] = {}  # those without users: since when, the longest first
        self._some_idle = trio.Event()
        self._ended: list[int] = []  # numbers that the kernel is still to be told of
        self._asking = trio.Lock()
        self._sock = None if device is None else trio.socket.from_stdlib_socket(device.launcher)

    def report(self) -> dict[str, object]:
        """Return what people are told: whether originals in the repository are read so, and why not all."""
        general = self._why_not()
        here = general is None and self._standing.backing.table.device not in self._refused
        return {"used": here, "why_not": general or "; ".join(self._refused.values()) or None}

    def has(self, node: Node) -> bool:
        """Whether *node* can be opened in no other way now."""
        return node in self._shared and node not in self._idle

    def wants(self, node: Node, status: os.stat_result) -> bool:
        """Whether `begin` has to be asked about *node*, just opened with *status*."""
        return status.st_size >= LEAST_BYTES or self.has(node)

    async def begin(self, node: Node, fd: int, status: os.stat_result) -> int:
        """Return the kernel's number of the bytes of *node*, which *fd* has open for a handle that *node* knows, with
        *status*; 0 when the kernel is to ask for them. What has begun with a number ends with `end`."""
        shared = self._shared.get(node)
        if node in self._idle and not (shared and self._may(node, status) and shared.file == _file(status)):
            self._end(node)
            shared = None
        self._idle.pop(node, None)
        if shared is None:
            if not self._may(node, status):
                return 0
            shared = self._shared[node] = _Shared(_file(status), users=1)
            try:
                shared.number = await self._ask(fd)
            finally:
                shared.decided.set()
                if not shared.number:
                    del self._shared[node]
            return shared.number
        shared.users += 1
        try:
            await shared.decided.wait()
        except BaseException:
            self._leave(node, shared)
            raise
        return shared.number

    def _may(self, node: Node, status: os.stat_result) -> bool:
        if self._sock is None or len(node.handles or ()) > 1 or self._why_not() is not None:
            return False
        if node.ino in self._standing.sealed or not isinstance(self._standing.mark(node), Original):
            return False  # whether it is one for good will be known at the end of its import
        # What comes over a network may hang, and who waits for it is told so by the daemon: unless it is all there is.
        local = os.major(status.st_dev) != 0 or status.st_dev == self._standing.backing.table.device
        return local and status.st_size >= LEAST_BYTES and status.st_dev not in self._refused

    async def _ask(self, fd: int) -> int:
        assert self._sock is not None, "asked only where there is a launcher"
        try:  # cancelled only when the mount ends: nobody is left who would take an answer that comes late for her own
            async with self._asking:
                await self._send(fd)
                return passthrough.number(await self._sock.recv(passthrough.NUMBER_BYTES))
        except OSError as error:
            if error.errno not in _PASSING:
                self._refuse(os.fstat(fd).st_dev, error)
            return 0

    def _refuse(self, device: int, error: OSError) -> None:
        reason = "it is stacked on another" if error.errno == errno.ELOOP else error.strerror
        sentence = f"the kernel does not take files of file system {os.major(device)}:{os.minor(device)}: {reason}"
        if self._refused.setdefault(device, sentence) is sentence:
            log.info("without kernel passthrough", reason=sentence)

    async def _send(self, *files: int) -> None:
        """Tell the launcher what has ended, and ask for the number of a file."""
        assert self._sock is not None and self._device is not None
        ended, self._ended = self._ended[: passthrough.MOST_ENDED], self._ended[passthrough.MOST_ENDED :]
        fds = array.array("i", (self._device.fd, *files))
        await self._sock.sendmsg([passthrough.request(ended)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])

    def end(self, node: Node) -> None:
        """A handle that has begun with a number was closed."""
        self._leave(node, self._shared[node])

    def _leave(self, node: Node, shared: _Shared) -> None:
        shared.users -= 1
        if shared.number and not shared.users:
            self._idle[node] = trio.current_time()
            self._some_idle.set()
            if len(self._idle) > MOST_IDLE:
                self._end(next(iter(self._idle)))

    def _end(self, node: Node) -> None:
        del self._idle[node]
        self._ended.append(self._shared.pop(node).number)

    async def run(self) -> None:
        """End the numbers that nobody has wanted for a while, because each keeps a file; until either side ends."""
        if self._sock is None:
            return
        with contextlib.suppress(BrokenPipeError):
            while True:
                await self._some_idle.wait()
                await trio.sleep(IDLE_SECONDS)
                early = trio.current_time() - IDLE_SECONDS
                for node in [node for node, since in self._idle.items() if since <= early]:
                    self._end(node)
                if not self._idle:
                    self._some_idle = trio.Event()
                async with self._asking:
                    while self._ended:
                        await self._send()


def _file(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
