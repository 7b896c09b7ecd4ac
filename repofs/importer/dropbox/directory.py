"""The directory of one watched folder. It is opened anew for each use, so that a share may be unmounted and mounted
again. Blocking; in threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from repofs import mounts
from repofs.config import Dropbox, Settings
from repofs.importer.dropbox.looking import Looker
from repofs.importer.dropbox.rules import Rules
from repofs.importer.dropbox.users import User
from repofs.importer.dropbox.watch import Watch
from repofs.repository import as_user, transfers, trees
from repofs.repository.layout import Layout
from repofs.repository.outside import Root, open_beneath
from repofs.repository.sources import Sources
from repofs.repository.transfers import CannotTransfer

T = TypeVar("T")


class Directory:
    def __init__(self, dropbox: Dropbox, settings: Settings, layout: Layout, rules: Rules) -> None:
        self._dropbox = dropbox
        self._sources = Sources(settings.declared_sources(), layout.root)
        self._repository = layout.managed
        self._rules = rules
        self.local = (
            False  # whether events tell of everything and inode numbers stay, as it was when it was listed last
        )

    def check(self) -> None:
        """Refuse a transfer that there is not, or a folder in the repository (InvalidValue), and a transfer that cannot
        work from here to the repository (CannotTransfer). Raises NotFound when the folder is away."""
        transfers.named(self._dropbox.transfer)
        with self._root():
            return

    def names(self, watch: Watch | None) -> list[bytes]:
        """Return the names of the users' directories. Raises what `check` raises, AccessDenied, OSError."""
        self._listed = None
        with self._root() as root, open_beneath(root, b".", None, directory=True) as opened:
            self.local = mounts.is_local(opened.fd)
            self._listed = (opened.identity.device, opened.identity.inode)
            if self.local and watch is not None:
                watch.add(opened.fd, b".")
            return sorted(map(os.fsencode, os.listdir(opened.fd)))

    def is_another(self) -> bool:
        """Return whether something else than what was listed last is at the path now: no event tells of a mount."""
        try:
            status = os.stat(self._dropbox.path)
        except OSError:
            return self._listed is not None
        return (status.st_dev, status.st_ino) != self._listed

    def ask(self, user: User, watch: Watch | None, question: Callable[..., T], *arguments: object) -> T:
        """Return what *question*, called with a Looker and *arguments*, finds with the rights of *user*."""
        with self._root() as root:
            looker = Looker(
                root,
                as_user.by_account(user.uid),
                self._rules,
                inodes_stay=self.local,
                depth=self._dropbox.depth,
                watch=watch if self.local else None,
            )
            return question(looker, *arguments)

    @contextmanager
    def _root(self) -> Iterator[Root]:
        with self._sources.root(self._dropbox.name) as root, trees.opened(self._repository) as repository:
            try:
                transfers.named(self._dropbox.transfer).check(root.fd, repository)
            except CannotTransfer as error:
                where = f"the dropbox {self._dropbox.name} = {self._dropbox.path}"
                raise CannotTransfer(error.errno or error.code, f"{where}: {error}") from None
            yield root
