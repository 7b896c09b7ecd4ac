"""Open files. Opening checks once; after that reading is a `pread` and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from repofs.errors import NotPermitted, QuotaExceeded
from repofs.namespace.drops import Drops
from repofs.namespace.elsewhere import Elsewhere
from repofs.namespace.killable import unless_killed
from repofs.namespace.nodes import Node
from repofs.namespace.openers import Opener, Openers, killed_by
from repofs.namespace.own_files import OwnFiles
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.registered import REFUSAL
from repofs.namespace.reopening import Reopening
from repofs.namespace.request import Caller, Change
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.tree import Found, Opened, Tree
from repofs.namespace.usage import Written
from repofs.patience import Patience
from repofs.table import Table

_MOST_READ = 1 << 20  # bytes: the largest request the kernel makes
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_TRUNC


@dataclass(slots=True)
class Handle:
    """One open file. Its number is that of the descriptor which is read and written."""

    fd: int
    node: Node
    opener: Opener | None  # of a handle that may write
    opened: os.stat_result | None = None  # what it was when opened to read
    written: Written | None = None  # how the file is counted that it may write
    ended_badly: str | None = None
    stand_in: int | None = None  # a descriptor of the backing file, when *fd* is one of bytes elsewhere
    through: bool = False  # the kernel reads it by itself
    direct: bool = False  # what is read and written by it goes past the pages that the kernel keeps
    frozen: bool = False  # its file is of an array that has been registered since it was opened

    def failed(self, what: str, error: OSError) -> None:
        """Remember that the bytes may not be whole."""
        quota = isinstance(error, QuotaExceeded)
        self.ended_badly = f"{what}: {error if quota else os.strerror(error.errno or errno.EIO).lower()}"


@contextmanager
def _closed_unless_kept(fd: int) -> Iterator[None]:
    """Close *fd* when it does not become a handle."""
    try:
        yield
    except OSError:
        os.close(fd)
        raise


class Handles:
    """All open files of one mount."""

    def __init__(
        self,
        standing: Standing,
        rights: Rights,
        drops: Drops,
        tree: Tree,
        elsewhere: Elsewhere,
        own: OwnFiles,
        patience: Patience,
        passthrough: Passthrough,
        reopening: Reopening,
        *,
        durable_close: bool = False,
    ) -> None:
        self._standing = standing
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._usage = drops.usage
        self._tree = tree
        self._elsewhere = elsewhere
        self._own = own
        self._patience = patience
        self._passthrough = passthrough
        self._reopening = reopening
        self._durable_close = durable_close
        self._openers = Openers()
        self._handles: dict[int, Handle] = {}
        # Filled by one read at a time: the reply is sent before anything else runs.
        self._buffer = bytearray(_MOST_READ)
        self._view = memoryview(self._buffer)

    def __len__(self) -> int:
        return len(self._handles)

    # --- opening --------------------------------------------------------------------------------

    def create(self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        """Make and open a file; one that is there already is opened, unless *flags* has O_EXCL."""
        try:
            node, status, fd = self._tree.create(parent, name, mode, flags, caller)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            node, _ = self._tree.lookup(parent, name)
            if self._passthrough.has(node):
                raise OSError(errno.ESTALE, "it has come meanwhile: the kernel looks it up, and opens it") from None
            fd = self.open(node, flags, caller)
            return node, os.fstat(fd), fd
        opener = self._openers.of(caller.task, caller.uid)
        with _closed_unless_kept(fd):  # the name stays: of an incomplete file
            direct = flags & os.O_ACCMODE == os.O_WRONLY
            self._drops.created(node, caller.uid, opener.command, direct=direct)
            self._usage.created(node, status)
            handle = self._writing(fd, node, opener if flags & os.O_ACCMODE else None, status)
        handle.direct = direct
        self._keep(handle)
        if not flags & os.O_ACCMODE:  # made, but only to be read: nobody will close a writer
            self._drops.truncated(node)
        return node, status, fd

    def mknod(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Found:
        """Make an empty regular file; NotPermitted for a FIFO, a socket or a device."""
        if not stat.S_ISREG(mode):
            self._tree.require_import(parent, name, caller)
            raise NotPermitted("only files, directories and symbolic links can be made here")
        node, status, fh = self.create(parent, name, mode, os.O_WRONLY | os.O_EXCL, caller)
        node.users += 1  # the answer refers to it
        self.release(fh)
        node.users -= 1
        return node, status

    def setattr(self, node: Node, change: Change, fh: int | None, caller: Caller) -> os.stat_result:
        """Change attributes of *node*, its size through handle *fh* if there is one."""
        return self._tree.setattr(node, change, caller, fh)

    def open(self, node: Node, flags: int, caller: Caller) -> int:
        """Open a file and return its handle. NotPermitted when *flags* could change an original, AccessDenied when
        *caller* may not see it, or not write it."""
        if stat.S_ISLNK(node.format):
            raise OSError(errno.ELOOP, "a symbolic link is not opened itself")
        if not flags & CHANGES:
            return self._open_to_read(node, caller)
        self._rights.require_writable(node, caller.uid)
        opener = self._openers.of(caller.task, caller.uid) if flags & os.O_ACCMODE else None
        # Without O_APPEND: the kernel gives each write its offset, and pwrite would not heed it.
        fd = self._backing.open(node, flags & os.O_ACCMODE)
        with _closed_unless_kept(fd):
            handle = self._writing(fd, node, opener, os.fstat(fd))
        handle.direct = self._is_written_directly(node)
        self._keep(handle)
        if flags & os.O_TRUNC:
            try:
                self._tree.setattr(node, Change(size=0), caller, fd if opener else None)
            except OSError:
                self.release(fd)  # the caller gets no handle
                raise
        return fd

    def _open_to_read(self, node: Node, caller: Caller) -> int:
        if self._own.is_one(node):
            self._rights.require_view(node, caller.uid)
            return self._keep_own(node, caller.uid)
        if self._standing.origin(node) is not None:
            raise OSError(errno.ESTALE, "its bytes are elsewhere: open_elsewhere")
        fd = self._backing.open(node, os.O_RDONLY)
        with _closed_unless_kept(fd):
            status = self._backing.require_same(node, os.fstat(fd))
            self._rights.require_view(node, caller.uid, status)
            self._standing.require_intact(node)
        return self._keep(Handle(fd, node, None, status, direct=self._is_written_directly(node)))

    @staticmethod
    def _is_written_directly(node: Node) -> bool:
        """Whether somebody writes *node* past the kernel's pages, so that whoever opens it now has to go past them."""
        activity = node.activity
        if activity is None or not activity.direct:
            return False
        activity.direct = activity.writers > 0
        node.aged = node.aged or activity.direct  # what she maps all the same are pages
        return activity.direct

    async def open_elsewhere(self, node: Node, flags: int, caller: Caller) -> int | None:
        """Open the bytes of a stand-in for reading and return its handle; None when `open` is to be asked.

        Raises as `open` does; OriginLost when the bytes cannot be had any more.
        """
        origin = None if flags & CHANGES or not node.is_file else self._standing.origin(node)
        if origin is None:
            return None
        self._rights.require_view(node, caller.uid)
        # A waiting node may be removed, or its group changed, meanwhile: as if it had been opened just before.
        node.users += 1
        try:
            fd = await self._elsewhere.open(node, origin)
            try:
                stand_in = self._backing.open(node, os.O_RDONLY)
            except OSError:
                self._patience.close(fd)
                raise
            return self._keep(Handle(fd, node, None, os.fstat(fd), stand_in=stand_in))
        finally:
            node.users -= 1

    def _writing(self, fd: int, node: Node, opener: Opener | None, status: os.stat_result) -> Handle:
        written = None if opener is None else self._usage.opened(node, status)
        return Handle(fd, node, opener, written=written)

    def keeps_bytes(self, fh: int, caller: Caller) -> bool:
        """Whether the kernel may keep what it reads by *fh*, which *caller* has just opened, for later opens: every
        write goes through the mount, and an original is served only while it is what was imported. Not of a registered
        array: whoever has mapped a file of it before writes on into the kernel's pages, although none of that comes
        through. And not at the first open after the file was written past these pages: a mapping may have brought in
        some that are older. Who may keep the bytes of an original may open it again (`reopening`)."""
        handle = self._handles[fh]
        aged, handle.node.aged = handle.node.aged, False
        keeps = not aged and self._is_lasting(handle)
        if keeps and handle.opened is not None and handle.stand_in is None:
            self._reopening.allow(handle.node, handle.opened, caller.uid)
        return keeps

    def _is_lasting(self, handle: Handle) -> bool:
        if self._standing.registered.has(handle.node):
            return False
        return handle.stand_in is None or self._elsewhere.serves_originals_only(handle.node)

    def is_direct(self, fh: int) -> bool:
        """Whether the kernel is to keep nothing of what goes by *fh*. Of a file in .repofs each reads another content;
        and who makes a file only to write it fills no memory with pages that nobody reads, and writes twice as fast."""
        return self._handles[fh].direct or self._own.has(fh)

    async def pass_through(self, fh: int) -> int:
        """Return the number by which the kernel is to read the file of *fh*, just opened, by itself; 0: it asks."""
        handle = self._handles[fh]
        if handle.opened is None or not self._passthrough.wants(handle.node, handle.opened):
            return 0
        if not (self._passthrough.has(handle.node) or self._is_lasting(handle)):
            return 0
        try:
            number = await self._passthrough.begin(handle.node, fh, handle.opened)
        except BaseException:
            self.release(fh)  # the caller gets no handle
            raise
        handle.through = number != 0
        return number

    def _keep_own(self, node: Node, uid: int) -> int:
        fd = self._own.open(node, uid)
        self._handles[fd] = Handle(fd, node, None)  # no way to the node's own inode: `node.hold` does not hear of it
        return fd

    def _keep(self, handle: Handle) -> int:
        self._handles[handle.fd] = handle
        node = handle.node
        node.hold(handle.fd if handle.stand_in is None else handle.stand_in)
        if handle.opener is not None:
            self._drops.opened(node, handle.opener.uid)
        return handle.fd

    # --- bytes ----------------------------------------------------------------------------------

    async def read(self, fh: int, offset: int, size: int) -> bytes | memoryview:
        """Return *size* bytes from *offset*, fewer at the end of the file.

        What is in the page cache is answered at once; only a read that waits for a disk goes to a thread.
        """
        try:
            done = os.preadv(fh, [self._view[:size]], offset, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            return await self._patience.read(fh, offset, size)
        if done == size or offset + done >= os.fstat(fh).st_size:
            return self._view[:done]
        return await self._patience.read(fh, offset, size)

    def write(self, fh: int, offset: int, data: bytes) -> int:
        """Write all of *data* at *offset* and return its length. QuotaExceeded when its user may not hold more."""
        handle, start, end = self._handles[fh], offset, offset + len(data)
        if handle.frozen:
            raise NotPermitted(REFUSAL)
        written = handle.written
        assert written is not None, "the kernel writes by what was opened to write"
        activity = self._drops.activity(handle.node)
        if not activity.dirty:
            self._drops.writing(handle.node, handle.opener.command if handle.opener else "without an opener")
        view = memoryview(data)
        try:
            if data and end > written.size:  # no bytes make no file longer, wherever they are written
                self._usage.grow(written, end)
            if handle.opener is None or handle.opener.uid != 0:
                self._backing.room.take(len(data))
            while view:
                done = os.pwrite(fh, view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            handle.failed("a write failed", error)
            self._drops.cut(handle.node)
            self._usage.settle(written, os.fstat(fh).st_size)
            raise
        self._drops.wrote(handle.node, start, len(data))
        return len(data)

    def tables_changed(self, before: Table | None, after: Table | None) -> None:
        """Heed which arrays are registered from now on: who has a file of one open to write writes no more."""
        if before is None or after is None:
            self._reopening.forget_all()
            for handle in self._handles.values():
                handle.frozen = handle.opener is not None and self._standing.registered.has(handle.node)

    async def fsync(self, fh: int, data_only: bool) -> None:
        """Wait until the file is on the disk, and what leads to it; *data_only*: of its inode only the bytes."""
        if self._own.has(fh):
            return
        handle = self._handles.get(fh) or self._opened_again(fh)
        fd = fh if handle.stand_in is None else handle.stand_in

        async def sync() -> None:
            await self._drops.journal.sync()
            await self._backing.unsynced.sync(handle.node, fd, data_only=data_only)

        try:
            await (sync() if handle.opener is None else unless_killed(handle.opener.task, sync))
        except OSError as error:
            handle.failed("the disk did not take it", error)
            self._backing.health.heed("fsync", error)
            raise

    def _opened_again(self, fh: int) -> Handle:
        """Return the handle *fh*, of a file that was opened past us."""
        node = self._backing.table.get(os.fstat(fh).st_ino)
        assert node is not None, "the kernel refers to what it has open"
        return Handle(fh, node, None)

    # --- closing --------------------------------------------------------------------------------

    def flush(self, fh: int) -> None:
        """One descriptor of the handle was closed: by a dup, a child, or a task that is being killed."""
        handle = self._handles[fh]
        activity = handle.node.activity
        if handle.opener is not None and activity is not None and activity.dirty:
            signal = killed_by(handle.opener)
            if signal is not None:
                handle.ended_badly = f"{handle.opener.command} was ended by {signal} while it wrote"

    async def before_close(self, fh: int) -> None:
        """Wait until what was written is on the disk, where the settings want it of every close. Raises as `fsync`, and
        StoreFailed: that is close's error then, and the file is incomplete."""
        handle = self._handles[fh]
        activity = handle.node.activity
        written = handle.opener is not None and activity is not None and activity.dirty
        if not written:
            return
        self._backing.health.require()  # what was written may not be there
        if self._durable_close and handle.ended_badly is None:
            await self.fsync(fh, data_only=False)

    def release(self, fh: int) -> None:
        """The last descriptor of the handle was closed."""
        handle = self._handles.pop(fh)
        node = handle.node
        if self._own.has(fh):
            self._own.close(fh)
            return
        if handle.through:
            self._passthrough.end(node)
        try:
            if handle.written is not None:
                self._usage.closed(node)
                self._drops.closed(node, handle.ended_badly)
        finally:
            if handle.stand_in is not None:
                self._patience.close(fh)
            self._drops.let_go(node, fh if handle.stand_in is None else handle.stand_in)
