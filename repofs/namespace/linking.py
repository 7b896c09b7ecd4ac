"""What users link into the mount from declared sources: a stand-in is made at once, of a directory one for each file.

The caller's own rights decide, by the kernel, on the very file that is linked. A linked directory is filled in the
background; until all of it is there it bears the origin itself, so that the next start goes on with it.
"""

from __future__ import annotations

import itertools
import math
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from repofs.access import Act
from repofs.errors import AccessDenied, InvalidValue, NotPermitted, RepofsError
from repofs.model import Identity, Origin
from repofs.namespace.drops import Drops
from repofs.namespace.journal import Restless
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.tree import Tree
from repofs.patience import Patience
from repofs.repository import as_user, stand_ins, transfers
from repofs.repository.durable import rename_no_replace
from repofs.repository.layout import Layout
from repofs.repository.outside import open_beneath, require_linkable, require_removable
from repofs.repository.sources import Sources

_ENTRIES_A_TURN = 64
_TEMPORARY = "link-"  # in the staging directory
_UNKNOWN = Identity(0, 0, b"", 0, 0, 0)  # of a file that the caller may not read: it is nobody's

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Entry:
    """What lies in a directory of a source: a directory, or a file; its identity, or the reason why it is not read."""

    name: bytes
    is_directory: bool = False
    identity: Identity = _UNKNOWN
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class _Filling:
    """A directory that is being filled from its origin."""

    node: Node
    origin: Origin
    who: as_user.Caller
    restless: Restless | None


class Linking:
    """Makes stand-ins in one mount, which lies at *mountpoint*."""

    def __init__(
        self,
        standing: Standing,
        rights: Rights,
        drops: Drops,
        tree: Tree,
        sources: Sources,
        layout: Layout,
        mountpoint: Path,
        patience: Patience,
    ) -> None:
        self._standing = standing
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._tree = tree
        self._sources = sources
        self._inside = [os.fsencode(layout.root), os.fsencode(mountpoint.absolute())]
        self._staging = layout.staging
        self._numbers = itertools.count()
        self._patience = patience
        self._filled: set[Node] = set()  # directories that are being filled
        self._fillings_in, self._fillings = trio.open_memory_channel[_Filling](math.inf)

    # --- one file or directory ------------------------------------------------------------------------

    async def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> bool:
        """Import what *target* leads to by ``ln_s``, as *name* in *parent*; False for a link that is none of ours.

        Where there are declared sources an absolute link must lead into one of them. Raises as `bring` does.
        """
        if not self._sources or not target.startswith(b"/"):
            return False
        await self.bring(parent, name, target, "ln_s", caller)
        return True

    async def bring(self, parent: Node, name: bytes, path: bytes, transfer: str, caller: Caller) -> None:
        """Have the file or directory at the absolute *path* imported by *transfer*, as *name* in *parent*.

        Raises NotPermitted for what lies in no source, InvalidValue in the repository itself, else as `bring_from`.
        """
        self._tree.require_import(parent, name, caller)
        try:
            located = self._located(path)
        except RepofsError as refusal:
            parent.refusal = refusal.message
            raise
        await self.bring_from(located, parent, name, transfer, caller)

    async def bring_from(
        self, located: tuple[str, bytes], parent: Node, name: bytes, transfer: str, caller: Caller
    ) -> None:
        """Have what is *located* (source, path below it) imported by *transfer*, as *name* in *parent*.

        Raises AccessDenied for what *caller* may not read (or remove, when the transfer does), NotFound,
        FileExistsError, CannotTransfer, InvalidValue.
        """
        self._tree.require_import(parent, name, caller)
        parent.users += 1
        try:
            # Now: her task cannot go away while its request waits for the answer.
            who = as_user.caller_of(caller.task, caller.uid, caller.gid)
            origin, is_directory = await self._patience.ask(located[0], self._look, *located, transfer, who)
            # Others have gone on while the source was looked at.
            self._tree.require_import(parent, name, caller)
            if parent.area is Area.DROPS and self._standing.names.rule(parent) is None:
                raise InvalidValue("nothing is imported here: it is a table")
            if is_directory:
                self._begin_directory(parent, name, origin, caller)
            else:
                self._make(parent, name, origin, caller.uid)
        except RepofsError as refusal:
            if isinstance(refusal, AccessDenied):
                self._rights.tell_refusal(Act.IMPORT, parent, name, caller.uid, refusal.message)
            parent.refusal = refusal.message
            raise
        finally:
            parent.users -= 1
            self._backing.table.release(parent)

    def _located(self, path: bytes) -> tuple[str, bytes]:
        located = self._sources.locate(path)
        if located is not None:
            return located
        if any(path == inside or path.startswith(inside + b"/") for inside in self._inside):
            raise InvalidValue("it lies in the repository: link a file outside")
        names = ", ".join(self._sources.names()) or "none"
        raise NotPermitted(f"{os.fsdecode(path)!r} lies in no declared source: the sources are {names}")

    def _look(self, source: str, path: bytes, transfer: str, who: as_user.Caller) -> tuple[Origin, bool]:
        """Return the origin of what lies there, and whether that is a directory. In a thread: the store may be slow."""
        chosen = transfers.named(transfer)
        with self._sources.root(source) as root, open_beneath(root, path, who, directory=None) as opened:
            chosen.check(opened.fd, self._backing.root_fd)
            is_directory = stat.S_ISDIR(os.fstat(opened.fd).st_mode)
            if chosen.linked and not is_directory:
                require_linkable(opened, root, path, who)
            if chosen.removes:
                require_removable(root, path, who)
            return Origin(source, os.fsdecode(path), opened.identity, transfer), is_directory

    def _make(self, parent: Node, name: bytes, origin: Origin, uid: int, refusal: str | None = None) -> Node:
        """Make a stand-in as *name* in *parent*: a drop of *uid* whose clock runs, or one that failed by *refusal*."""
        root = self._backing.root_fd
        temporary = b"%s/%s%d" % (os.fsencode(self._staging.name), _TEMPORARY.encode(), next(self._numbers))
        gid = self._group(parent)
        marks = self._standing.marks
        stand_ins.make(root, temporary, origin, uid=uid, gid=gid, actor_uid=uid, marks=marks)
        with self._drops.journal.naming(parent):
            try:
                rename_no_replace(temporary, name, old_dir_fd=root, new_dir_fd=self._backing.directory(parent))
            except OSError:
                os.unlink(temporary, dir_fd=root)
                raise
            self._backing.unsynced.add(parent)
            node, _ = self._tree.lookup(parent, name)
            if refusal is None:
                self._drops.linked(node, uid, f"{origin.transfer} of {origin.path!r} in the source {origin.source}")
            else:
                self._drops.unreadable(node, uid, refusal)
        return node

    def _group(self, parent: Node) -> int:
        return self._rights.shown(parent, self._backing.status(parent)).gid

    # --- directories ----------------------------------------------------------------------------------

    def _begin_directory(self, parent: Node, name: bytes, origin: Origin, caller: Caller) -> None:
        node, _ = self._tree.mkdir(parent, name, 0o755, caller)
        if self._standing.names.rule(node) is None:
            self._tree.rmdir(parent, name, caller)
            raise InvalidValue("nothing is imported here: it is a table")
        restless = self._drops.journal.hold(node)
        self._standing.marks.write_origin(self._backing.target(node), origin)
        self._fill_later(_Filling(node, origin, as_user.caller_of(caller.task, caller.uid, caller.gid), restless))

    def resume(self, directory: Node) -> None:
        """Go on with *directory* if an earlier life was filling it. It may be come across several times."""
        if directory in self._filled:
            return
        target = self._backing.target(directory)
        origin = self._standing.marks.origin(target)
        if origin is not None:
            uid = self._backing.status(directory).st_uid
            self._fill_later(_Filling(directory, origin, as_user.by_account(uid), self._drops.journal.hold(directory)))

    def _fill_later(self, filling: _Filling) -> None:
        self._filled.add(filling.node)
        self._fillings_in.send_nowait(filling)

    async def run(self) -> None:
        """Fill linked directories until cancelled, first clearing what an earlier life has left half made."""
        for entry in os.listdir(self._staging):
            if entry.startswith(_TEMPORARY):
                (self._staging / entry).unlink()
        async with trio.open_nursery() as nursery:
            async for filling in self._fillings:
                nursery.start_soon(self._fill, filling)

    async def _fill(self, filling: _Filling) -> None:
        units: set[Node] = set()
        pending = deque([(filling.node, filling.origin.path)])  # all held, so that each is there when its turn comes
        filling.node.users += 1
        try:
            while pending:
                await self._fill_one(filling, *pending[0], pending, units)
                self._let_go(pending.popleft()[0])
            if filling.node.names:
                self._standing.marks.clear_origin(self._backing.target(filling.node))
            self._filled.discard(filling.node)
            self._drops.journal.let_go(filling.restless)
        except OSError as error:
            log.warning("a linked directory is left half filled: the next start goes on", error=str(error))
        finally:
            for unit in units:
                self._drops.let_run(unit)
            for node in (*units, *(node for node, _ in pending)):
                self._let_go(node)

    def _let_go(self, node: Node) -> None:
        node.users -= 1
        self._backing.table.release(node)

    async def _fill_one(
        self, filling: _Filling, node: Node, path: str, pending: deque[tuple[Node, str]], units: set[Node]
    ) -> None:
        """Fill one directory; those in it are made, and wait their turn."""
        origin = filling.origin
        entries = await self._patience.ask(origin.source, self._listed, origin, os.fsencode(path), filling.who)
        for number, entry in enumerate(entries, 1):
            if number % _ENTRIES_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            if not node.names:
                return  # removed meanwhile
            below = os.path.join(path, os.fsdecode(entry.name)) if path != "." else os.fsdecode(entry.name)
            try:
                made = self._enter(filling, node, entry, below)
            except FileExistsError:
                made = self._tree.lookup(node, entry.name)[0]  # an earlier life was here
            except OSError as error:
                log.warning("a file cannot be linked", source=filling.origin.source, path=below, error=str(error))
                node.refusal = f"{below!r} could not be linked: {error}"
                continue
            if made.is_directory:
                made.users += 1
                pending.append((made, below))
            else:
                self._hold_unit(made, units)

    def _enter(self, filling: _Filling, node: Node, entry: _Entry, below: str) -> Node:
        uid = filling.who.uid
        self._standing.require_changeable(node, entry.name)
        if entry.is_directory and entry.refusal is None:
            caller = Caller(uid=uid, umask=0o022, task=0, gid=filling.who.gid)
            return self._tree.mkdir(node, entry.name, 0o755, caller)[0]
        origin = Origin(filling.origin.source, below, entry.identity, filling.origin.transfer)
        return self._make(node, entry.name, origin, uid, entry.refusal)

    def _hold_unit(self, node: Node, units: set[Node]) -> None:
        """A directory that is one drop is imported when all of it is there."""
        unit = self._standing.names.unit(node)
        if unit is not None and unit is not node and unit not in units:
            unit.users += 1
            units.add(unit)
            self._drops.hold(unit)

    def _listed(self, top: Origin, path: bytes, who: as_user.Caller) -> list[_Entry]:
        """Return what lies in a directory of a source, each opened once as *who*. Links and devices are left out."""
        linked = transfers.named(top.transfer).linked
        with self._sources.root(top.source) as root:
            with open_beneath(root, path, who, directory=True) as opened:
                found = sorted(self._scan(opened.fd))
            entries = []
            for name, is_directory in found:
                below = name if path == b"." else path + b"/" + name
                try:
                    with open_beneath(root, below, who, directory=is_directory) as file:
                        if linked and not is_directory:
                            require_linkable(file, root, below, who)
                        entries.append(_Entry(name, is_directory, file.identity))
                except OSError as error:
                    entries.append(_Entry(name, is_directory, refusal=str(error)))
            return entries

    def _scan(self, fd: int) -> Iterator[tuple[bytes, bool]]:
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) or entry.is_file(follow_symlinks=False):
                    yield os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)
