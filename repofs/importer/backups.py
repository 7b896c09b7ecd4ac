"""A copy of the catalogue each day, in `DIR/backups`: the newest are kept."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import structlog
import trio

from repofs.catalog.engine import back_up
from repofs.errors import RepofsError
from repofs.repository.layout import Layout
from repofs.threads import in_thread

DAY_SECONDS = 86_400.0
_AGAIN_SECONDS = 3600.0  # after one that did not succeed

log = structlog.get_logger(__name__)


class Backups:
    """Blocking work is done in threads; *keep* is how many copies there are at most."""

    def __init__(self, layout: Layout, keep: int) -> None:
        self._layout = layout
        self._keep = keep

    async def run(self) -> None:
        """Copy once a day until cancelled."""
        while self._keep:
            await trio.sleep(await in_thread(self._due))
            try:
                await in_thread(self._copy)
            except (OSError, RepofsError) as error:
                log.error("the catalogue was not backed up: it is tried again in an hour", error=str(error))
                await trio.sleep(_AGAIN_SECONDS)

    def _due(self) -> float:
        """Return in how many seconds the next copy is due."""
        copies = self._copies()
        return max(0.0, copies[-1].stat().st_mtime + DAY_SECONDS - time.time()) if copies else 0.0

    def _copy(self) -> None:
        self._layout.backups.mkdir(mode=0o700, exist_ok=True)
        name = f"catalogue.{datetime.now():%Y-%m-%dT%H-%M-%S}.sqlite"
        back_up(self._layout.catalogue, self._layout.backups / name, lambda done, total: None)
        for copy in self._copies()[: -self._keep]:
            copy.unlink()

    def _copies(self) -> list[Path]:
        """Return the copies, oldest first."""
        return sorted(self._layout.backups.glob("catalogue.*.sqlite"))
