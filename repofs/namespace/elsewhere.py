"""Bytes that are not in the backing tree: those of stand-ins, read from where they are (`docs/decisions/0010`).

Each is looked at when it is opened: an original whose source has changed or gone is not served as if it were the
original. How it was found is kept on its mark, and told to the catalogue.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
import trio

from repofs.errors import Busy
from repofs.lifecycle import State
from repofs.model import Origin, Original
from repofs.namespace.nodes import Node
from repofs.namespace.standing import Standing
from repofs.patience import DoesNotAnswer, Patience
from repofs.repository import transfers
from repofs.repository.layout import Layout
from repofs.repository.outside import identity_of, is_same
from repofs.repository.sources import OriginLost, Sources

_PAUSE_SECONDS = 5.0

Tell = Callable[[int, State], Awaitable[None]]
"""Tells the catalogue how an original stands; raises Busy when it cannot be told now."""

log = structlog.get_logger()


class Elsewhere:
    """Opens the bytes of one mount's stand-ins."""

    def __init__(
        self,
        standing: Standing,
        layout: Layout,
        sources: Sources,
        patience: Patience,
        tell: Tell,
        *,
        serve_altered: bool,
    ) -> None:
        self._standing = standing
        self._sources = sources
        self._linked = os.fsencode(layout.linked)
        self._tell = tell
        self._serve_altered = serve_altered
        self._patience = patience
        self._news_in, self._news = trio.open_memory_channel[tuple[int, State]](math.inf)

    async def open(self, node: Node, origin: Origin) -> int:
        """Return a descriptor of the bytes of *node*, which are *origin*'s.

        Raises OriginLost (EIO) when they cannot be had any more, or are others; Busy while the source is leased.
        """
        try:
            fd, same = await self._find(node, origin)
        except OriginLost as lost:
            self._note(node, lost.state)
            raise
        self._note(node, State.IMPORTED if same else State.ALTERED)
        if not same and not self._serve_altered:
            self._patience.close(fd)
            raise OriginLost(State.ALTERED, "its source is not the file that was imported")
        return fd

    async def _find(self, node: Node, origin: Origin) -> tuple[int, bool]:
        """Return a descriptor of the bytes, and whether they are those that were imported; what is kept of the origin
        may be of before `repofs rehome` or `verify`, which write on the inode itself."""
        try:
            fd, same = await self._in_thread(node, origin)
        except OriginLost:
            newer = self._standing.origin_anew(node)
            if newer is None or newer == origin:
                raise
            return await self._in_thread(node, newer)
        newer = origin if same else self._standing.origin_anew(node)
        if newer is None or newer == origin:
            return fd, same
        self._patience.close(fd)
        return await self._in_thread(node, newer)

    async def _in_thread(self, node: Node, origin: Origin) -> tuple[int, bool]:
        store = "" if transfers.named(origin.transfer).linked else origin.source
        try:
            fd, same = await self._patience.ask(store, self._open, node.ino, origin, unwanted=_close_first)
        except DoesNotAnswer as error:
            raise OriginLost(State.OFFLINE, error.sentence) from None
        return self._patience.opened(fd, store), same

    def serves_originals_only(self, node: Node) -> bool:
        """Whether other bytes are never served as *node*'s: not those of a drop, whose source may be written yet."""
        return not self._serve_altered and isinstance(self._standing.mark(node), Original)

    async def look(self, node: Node) -> None:
        """Find out how the source of *node* stands, if its bytes are there."""
        origin = self._standing.origin(node)
        if origin is None or not isinstance(self._standing.mark(node), Original):
            return
        try:
            self._patience.close(await self.open(node, origin))
        except (OriginLost, Busy) as error:
            log.debug("a source was looked at", inode=node.ino, found=str(error))

    def _open(self, inode: int, origin: Origin) -> tuple[int, bool]:
        """Return a descriptor of the bytes, and whether they are those that were imported."""
        if transfers.named(origin.transfer).linked:
            try:
                fd = transfers.open_link(self._linked, inode)
            except FileNotFoundError:
                pass  # not imported yet: the source is still the only place
            else:
                return fd, is_same(identity_of(fd), origin.identity)
        opened = self._sources.open(origin, altered_too=True)
        return opened.fd, is_same(opened.identity, origin.identity)

    def _note(self, node: Node, state: State) -> None:
        """Keep on the mark of an original how its source was found, when that differs from before."""
        mark = self._standing.mark(node) if node.names or node.handles else None
        if not isinstance(mark, Original) or mark.stands is state:
            return
        mark = replace(mark, stands=state)
        try:
            self._standing.marks.write(self._standing.backing.target(node), mark)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            log.warning("how a source stands cannot be kept", inode=node.ino, error=str(error))
        node.mark = mark
        tell = log.info if state is State.IMPORTED else log.warning
        tell("an original in place", fileset=mark.fileset, original=mark.original, state=state)
        self._news_in.send_nowait((mark.original, state))

    async def run(self) -> None:
        """Tell the catalogue until cancelled."""
        async for original, state in self._news:
            while True:
                try:
                    await self._tell(original, state)
                    break
                except Busy:
                    await trio.sleep(_PAUSE_SECONDS)


def _close_first(opened: tuple[int, bool]) -> None:
    os.close(opened[0])
