"""Declared sources, and the files in them that are originals: opened again as long as they are what they were.

A source is opened anew for each use: a store that is mounted late, or again, is there from then on, and nothing here
keeps its file system busy.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from repofs.config import Source
from repofs.errors import Busy, NotFound, RepofsError
from repofs.lifecycle import State
from repofs.model import Origin
from repofs.repository.outside import Opened, Root, is_same, open_beneath


class OriginLost(RepofsError):
    """The bytes of an original that was imported in place cannot be had, or are not the original's any more."""

    code = errno.EIO

    def __init__(self, state: State, message: str) -> None:
        super().__init__(message)
        self.state = state  # altered, missing or offline


class Sources:
    """The sources that the settings declare, by name."""

    def __init__(self, declared: tuple[Source, ...], repository: Path) -> None:
        self._paths: Mapping[str, Path] = {source.name: source.path for source in declared}
        self._repository = repository

    def __bool__(self) -> bool:
        return bool(self._paths)

    def names(self) -> list[str]:
        return list(self._paths)

    def root(self, name: str) -> Root:
        """Open a source. Raises NotFound when it is not declared (any more) or away, InvalidValue in the repository."""
        if name not in self._paths:
            raise NotFound(f"{name} is no declared source: the settings name {', '.join(self._paths) or 'none'}")
        return Root.open(name, self._paths[name], repository=self._repository)

    def path(self, name: str) -> Path:
        """Return where a declared source is."""
        return self._paths[name]

    def locate(self, path: bytes) -> tuple[str, bytes] | None:
        """Return (source, path below it) of the absolute *path*, of several sources the innermost; None: in none.

        By its text alone: what lies there is found out by who opens it.
        """
        found: tuple[str, bytes] | None = None
        for name, top in sorted(self._paths.items(), key=lambda item: len(item[1].parts)):
            prefix = os.fsencode(top)
            if path == prefix:
                found = name, b"."
            elif path.startswith(prefix.rstrip(b"/") + b"/"):
                found = name, path[len(prefix.rstrip(b"/")) + 1 :].strip(b"/")
        return found

    def open(self, origin: Origin, *, altered_too: bool = False) -> Opened:
        """Open the file of *origin* with the daemon's own rights: who imported it was let to it.

        Raises OriginLost when it has gone or changed (*altered_too* lets a changed one pass); Busy while it is leased.
        """
        try:
            root = self.root(origin.source)
        except (NotFound, PermissionError) as error:
            raise OriginLost(State.OFFLINE, f"its source is away: {error}") from error
        with root:
            try:
                opened = open_beneath(root, os.fsencode(origin.path), None)
            except Busy:
                raise
            except OSError as error:
                raise self._lost(root, origin, error) from error
        if not altered_too and not is_same(opened.identity, origin.identity):
            opened.close()
            raise OriginLost(
                State.ALTERED, f"{_shown(origin)} is not the file that was imported: put it back, or import it anew"
            )
        return opened

    def _lost(self, root: Root, origin: Origin, error: OSError) -> OriginLost:
        """A store that is not mounted leaves an empty directory: one on another device."""
        if os.fstat(root.fd).st_dev != origin.identity.device and not _has_entries(root):
            return OriginLost(State.OFFLINE, f"the source {root.name} is away: {root.path} is empty, mount it")
        if isinstance(error, NotFound):
            return OriginLost(
                State.MISSING, f"{_shown(origin)} has gone: put it back, or tell where it is now by repofs rehome"
            )
        return OriginLost(State.MISSING, f"{_shown(origin)} cannot be opened: {error}")


def _has_entries(root: Root) -> bool:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root.fd)
    try:
        with os.scandir(fd) as entries:
            return next(iter(entries), None) is not None
    finally:
        os.close(fd)


def _shown(origin: Origin) -> str:
    return f"{origin.path!r} in the source {origin.source}"
