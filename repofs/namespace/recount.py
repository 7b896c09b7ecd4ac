"""Counting all drops anew, in the background: after a crash, when nobody has written down how many bytes they hold."""

from __future__ import annotations

import structlog
import trio

from repofs.namespace.nodes import Node
from repofs.namespace.standing import Standing
from repofs.namespace.usage import Usage
from repofs.namespace.walk import Walk

_PAUSE_SECONDS = 0.1  # for what is at the importer

log = structlog.get_logger()


class Recount:
    """For one mount. Until it has ended the drops count as they were written down last; it waits for the ends of the
    imports that it meets."""

    def __init__(self, standing: Standing, usage: Usage) -> None:
        self._backing = standing.backing
        self._usage = usage
        self._walk = Walk(standing)

    async def run(self) -> None:
        """Count whenever that is wanted, until cancelled."""
        while True:
            await self._usage.wanted.wait()
            self._usage.wanted = trio.Event()
            await self.count()

    async def count(self) -> None:
        """Count once; what changes meanwhile is heeded."""
        self._usage.begin_recount()
        await self._walk.drops(self._backing.table.root, self._usage.found)
        while astray := self._usage.astray():
            for node in astray:
                await self._visit(node)
            await trio.sleep(_PAUSE_SECONDS)
        self._usage.end_recount()
        log.info("counted the bytes of all drops anew")

    async def _visit(self, node: Node) -> None:
        try:
            if node.names:
                await self._walk.drops(node, self._usage.found)
        finally:
            node.users -= 1
            self._backing.table.release(node)
