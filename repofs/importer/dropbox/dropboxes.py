"""All watched folders of a repository."""

from __future__ import annotations

from collections.abc import Callable

import trio

from repofs.catalog.engine import Engine
from repofs.config import Settings
from repofs.errors import NotFound
from repofs.importer.commits import Commits
from repofs.importer.dropbox.directory import Directory
from repofs.importer.dropbox.feed import Arrive, Feed, Refuse
from repofs.importer.dropbox.folder import Folder
from repofs.importer.dropbox.rules import Rules
from repofs.people import People
from repofs.repository.layout import Layout


class Dropboxes:
    """Watches the folders that the settings declare, and imports what comes into them."""

    def __init__(
        self,
        settings: Settings,
        layout: Layout,
        commits: Commits,
        reading: Engine,
        people: Callable[[], People],
        arrive: Arrive,
        refuse: Refuse,
    ) -> None:
        self._folders = {one.name: Folder(one, settings, layout, commits, reading, people) for one in settings.dropbox}
        self._feed = Feed(self._folders, settings.drops, people, commits, reading, arrive, refuse)
        self._life = trio.CancelScope()

    async def run(self) -> None:
        """Watch and import until `end`, then finish what is in hand."""
        async with trio.open_nursery() as importing:
            with self._life:
                async with trio.open_nursery() as watching:
                    for folder in self._folders.values():
                        watching.start_soon(folder.run)
                    await self._feed.run(importing)

    def end(self) -> None:
        """Let `run` come to its end. The queue stays, and is gone on with at the next start."""
        self._life.cancel()


def check(settings: Settings, layout: Layout) -> None:
    """Refuse, as `Directory.check` does, watched folders that cannot work; one that is away is judged when it comes."""
    for dropbox in settings.dropbox:
        try:
            Directory(dropbox, settings, layout, Rules(settings.drops, dropbox)).check()
        except (NotFound, PermissionError):
            continue
