"""`.repofs/failed/USER`: a link to each drop that has failed.

It is true at any time without a walk: whoever changes a drop says so here. The links themselves tell a new daemon what
has failed; the survey corrects those that the last one had no time for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from repofs.events import News
from repofs.lifecycle import State
from repofs.namespace.backing import Backing
from repofs.namespace.names import OWN
from repofs.namespace.nodes import Node
from repofs.repository.failed_links import FailedLinks

_MOST_NAME = 200  # bytes of a name that is made longer: the kernel takes 255

_SEE_LOG = "it was not imported: this is its log"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Link:
    user: bytes  # the user directory
    name: bytes
    path: bytes  # below the mount
    gid: int


class Failed:
    """The links of one mount. Every method is called on the event loop; what cannot be linked is logged."""

    def __init__(self, backing: Backing, links: FailedLinks) -> None:
        self._backing = backing
        self._links = links
        self._known: dict[int, _Link] = {}  # by inode
        self._logs: dict[tuple[bytes, bytes], tuple[int, str]] = {}  # (user directory, name) to gid and error
        for user, name, path, gid in list(links.all()):
            if path.startswith(OWN + b"/"):
                self._logs[user, name] = gid, _SEE_LOG
            else:
                self._take_over(_Link(user, name, path, gid))

    def _take_over(self, link: _Link) -> None:
        """Keep a link of an earlier daemon, unless what it leads to is gone."""
        try:
            status = os.stat(link.path, dir_fd=self._backing.root_fd, follow_symlinks=False)
        except OSError as error:
            log.info("what had failed is gone", path=link.path, reason=str(error))
            self._remove(link.user, link.name)
        else:
            self._known[status.st_ino] = link

    def add(self, unit: Node) -> None:
        """The drop *unit* has failed."""
        if unit.ino not in self._known and unit.names:
            path, gid = self._path(unit), self._backing.status(unit).st_gid
            self._put(unit.ino, path.partition(b"/")[0], path, gid)

    def over(self, unit: Node) -> None:
        """The drop *unit* is written again, tried again, or gone."""
        link = self._known.pop(unit.ino, None)
        if link is not None:
            self._remove(link.user, link.name)

    def changed(self, unit: Node) -> None:
        """The drop *unit* has another name or group."""
        if unit.ino in self._known:
            self.over(unit)
            self.add(unit)

    def moved(self, moves: Sequence[tuple[Node, Node, bytes]]) -> None:
        """Each of these directories was that name in that directory: what has failed in it is found elsewhere now."""
        if not moves or not self._known:
            return
        paths = [(node.ino, self._path(above) + b"/" + name, self._path(node)) for node, above, name in moves]
        for ino, link in list(self._known.items()):
            for moved, old, new in paths:
                if ino == moved or link.path.startswith(old + b"/"):
                    del self._known[ino]
                    self._remove(link.user, link.name)
                    self._put(ino, link.user, new + link.path[len(old) :], link.gid)
                    break

    def hear(self, news: Sequence[News]) -> None:
        """Link the logs of failed imports that have no name in the mount, until the same source is imported."""
        for one in news:
            if one.source is not None:
                user, name = one.user_directory, _name_of_log(one.source)
                self._logs.pop((user, name), None)
                self._remove(user, name)
                if one.kind == State.FAILED and self._link(user, (name,), one.log, one.gid) is not None:
                    self._logs[user, name] = one.gid, one.error or _SEE_LOG

    def logs(self, user: bytes | None) -> list[tuple[bytes, int, str, bytes]]:
        """Return (user directory, gid, error, path below the mount) of each failed import without a name in the mount:
        those of one user directory, or all."""
        return [
            (whose, gid, error, b"/".join((OWN, b"failed", whose, name)))
            for (whose, name), (gid, error) in self._logs.items()
            if user is None or whose == user
        ]

    def _path(self, node: Node) -> bytes:
        return self._backing.path_below(self._backing.table.root, node)

    def _put(self, ino: int, user: bytes, path: bytes, gid: int) -> None:
        name = path.rpartition(b"/")[2]
        link = self._link(user, (name, b"%s~%d" % (name[:_MOST_NAME], ino)), path, gid)
        if link is not None:
            self._known[ino] = link

    def _link(self, user: bytes, names: Sequence[bytes], path: bytes, gid: int) -> _Link | None:
        """Make a link by the first of *names* that is free; None when it cannot be made."""
        try:
            for name in names:
                with suppress(FileExistsError):
                    self._links.put(user, name, path, gid)
                    return _Link(user, name, path, gid)
        except OSError as error:
            log.warning("what has failed cannot be linked to", path=path, error=str(error))
        return None

    def _remove(self, user: bytes, name: bytes) -> None:
        directory = self._directory(user)
        if directory is not None:  # the next link may get the same inode
            self._backing.table.lose_name(directory, name)
        try:
            self._links.remove(user, name)
        except FileNotFoundError:
            return  # of a log that there was none of; or somebody has tidied up in the backing tree
        except OSError as error:
            log.warning("a link to what had failed stays", user=user, name=name, error=str(error))

    def _directory(self, user: bytes) -> Node | None:
        """Return the directory of the links of *user*, if the kernel knows it."""
        here: Node | None = self._backing.table.root
        for name in (OWN, b"failed", user):
            here = here.children.get(name) if here else None
        return here


def _name_of_log(source: bytes) -> bytes:
    """Return a name that is the same each time that an import of *source* fails, and another for another source."""
    digest = hashlib.blake2b(source, digest_size=4).hexdigest()
    return b"%s~%s.log" % (source.rpartition(b"/")[2][:_MOST_NAME], digest.encode())
