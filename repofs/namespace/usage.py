"""The bytes of drops, counted as they change: each file once, for the user in whose directory it lies and its group.

What is counted is a file's size. A stand-in counts nothing, its bytes are outside; an original counts in the catalogue,
and the importer tells what came to that and what it took from the drops.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from repofs.model import Original
from repofs.namespace.accounts import Accounts, Entry
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing
from repofs.quotas import Held, counted
from repofs.repository.marks import ORIGINAL_BIT
from repofs.table import Table


@dataclass(slots=True)
class Written:
    """A file that is open for writing, as it is counted."""

    entry: Entry
    size: int  # bytes
    handles: int = 1


class Usage:
    """Of one mount. A change of names or sizes is told here by whoever makes it."""

    def __init__(self, standing: Standing, accounts: Accounts) -> None:
        self._standing = standing
        self._backing = standing.backing
        self.accounts = accounts
        self._written: dict[Node, Written] = {}
        self._unnamed: dict[Node, Entry] = {}  # without a name, kept by handles: its bytes are still there
        self._sealed: dict[Node, tuple[Entry, os.stat_result]] = {}  # lost its name while the importer has it
        self._found: dict[int, tuple[Entry, int]] | None = None  # of a recount under way, by inode
        self._seen: set[int] = set()  # directories that it has come across
        self._astray: list[Node] = []  # what a recount has to visit besides: renamed, or at the importer
        self.wanted = trio.Event()  # that all drops are counted anew
        self._doubtful = False  # that will be wanted

    def begin(self, held: Sequence[Held], *, whole: bool) -> None:
        """Take what the last mount has written down of drops; when it is not *whole* they are counted anew."""
        self.accounts.drops_are(held)
        if not whole:
            self.wanted.set()

    # --- what counts ------------------------------------------------------------------------------

    def entry(self, node: Node, gid: int) -> Entry:
        """Return where a file of *gid* that is, or lies in, *node* is counted."""
        return self.accounts.entry(self._standing.user_directory(node).names[0][1], gid)

    def counts(self, node: Node, status: os.stat_result) -> bool:
        """Whether *node* is a drop with bytes of its own."""
        if not stat.S_ISREG(status.st_mode) or not node.names:
            return False
        if node.names[0][0].area not in (Area.USER, Area.DROPS):
            return False
        if status.st_mode & ORIGINAL_BIT and self._standing.is_original(node):
            return False
        return self._standing.origin(node) is None

    # --- bytes ------------------------------------------------------------------------------------

    def created(self, node: Node, status: os.stat_result) -> None:
        """A new, empty file is there."""
        entry = self.entry(node, status.st_gid)
        self.accounts.add(entry, drop_files=1)
        self._note(node, entry, 0)

    def opened(self, node: Node, status: os.stat_result) -> Written:
        """One more handle may write *node*, which counts; return how it is counted."""
        written = self._written.get(node)
        if written is None:
            entry = self._unnamed.get(node) or self.entry(node, status.st_gid)
            written = self._written[node] = Written(entry, status.st_size)
        else:
            written.handles += 1
        return written

    def closed(self, node: Node) -> None:
        """One of these handles is gone."""
        written = self._written[node]
        written.handles -= 1
        if not written.handles:
            del self._written[node]
            self._note(node, written.entry, written.size)

    def grow(self, written: Written, size: int) -> None:
        """Count *written*, which is about to become *size* bytes. Raises QuotaExceeded."""
        self.accounts.grow(written.entry, size - written.size)
        written.size = size

    def settle(self, written: Written, size: int) -> None:
        """Count *written* as it is: less was written than was asked for."""
        self.accounts.add(written.entry, drops=size - written.size)
        written.size = size

    def require_size(self, node: Node, status: os.stat_result, size: int) -> None:
        """Refuse (QuotaExceeded) to extend *node*, which has *status*, to *size* bytes when that is too much."""
        entry = self._entry_of(node, status)
        if entry is not None:
            self.accounts.require(entry, size - status.st_size)

    def resized(self, node: Node, status: os.stat_result, size: int) -> None:
        """*node*, which had *status*, has been cut or extended to *size* bytes."""
        entry = self._entry_of(node, status)
        if entry is not None:
            self.accounts.add(entry, drops=size - status.st_size)
            self._note(node, entry, size)
        if node in self._written:
            self._written[node].size = size

    def _entry_of(self, node: Node, status: os.stat_result) -> Entry | None:
        """Return where *node* is counted; None: nowhere."""
        if node in self._written:
            return self._written[node].entry
        if node in self._unnamed:
            return self._unnamed[node]
        return self.entry(node, status.st_gid) if self.counts(node, status) else None

    # --- names ------------------------------------------------------------------------------------

    def removing(self, node: Node, status: os.stat_result) -> Entry | None:
        """Return where *node* is counted when the name that is about to be taken away is its last; None: nowhere."""
        last = status.st_nlink == 1 or self._is_sealed(node)
        return self.entry(node, status.st_gid) if last and self.counts(node, status) else None

    def _is_sealed(self, node: Node) -> bool:
        return self._standing.sealed.get(node.ino) is node

    def removed(self, node: Node, entry: Entry | None, status: os.stat_result | None) -> None:
        """A name of *node* is gone, of which `removing` said *entry*, and which had *status*."""
        if entry is None or status is None:
            return
        if self._is_sealed(node):
            if not node.names:
                self._sealed[node] = entry, status
        elif node.handles:
            self._unnamed[node] = entry
        else:
            self._gone(node, entry, status.st_size)

    def let_go(self, node: Node, size: int) -> None:
        """The last handle of *node*, which has no name, is about to be closed."""
        entry = self._unnamed.pop(node, None)
        if entry is not None:
            self._gone(node, entry, size)

    def ended(self, node: Node, *, imported: bool) -> None:
        """The importer is done with *node*. What it imported it has told itself."""
        sealed = self._sealed.pop(node, None)
        if sealed is None or imported:
            return
        entry, status = sealed
        if status.st_nlink > 1:  # in staging, or by a name that nobody has looked up
            self.wanted.set()
        elif node.handles:
            self._unnamed[node] = entry
        else:
            self._gone(node, entry, status.st_size)

    def _gone(self, node: Node, entry: Entry, size: int) -> None:
        self.accounts.add(entry, drops=-size, drop_files=-1)
        if self._found is not None:
            self._found.pop(node.ino, None)

    # --- groups -----------------------------------------------------------------------------------

    def moving(self, node: Node, there: Entry) -> int:
        """Return how many bytes the group of *there* holds more once *node* is its."""
        status = self._backing.status(node)
        if self.entry(node, status.st_gid).group is there.group:
            return 0
        mark = self._standing.mark(node)
        if isinstance(mark, Original):
            return counted(status.st_size, mark.transfer)
        return status.st_size if self.counts(node, status) else 0

    def require_group(self, node: Node, gid: int) -> None:
        """Refuse (QuotaExceeded) to give *node* to the group of *gid* when that has no room for it."""
        there = self.entry(node, gid)
        self.accounts.require(there, self.moving(node, there), of_user=0)

    def regrouped(self, node: Node, status: os.stat_result, gid: int) -> None:
        """*node*, which had *status*, belongs to the group of *gid* now."""
        if status.st_gid == gid or not self.counts(node, status):
            return
        here, there = self.entry(node, status.st_gid), self.entry(node, gid)
        written = self._written.get(node)
        size = status.st_size if written is None else written.size
        self.accounts.add(here, drops=-size, drop_files=-1)
        self.accounts.add(there, drops=size, drop_files=1)
        if written is not None:
            written.entry = there
        self._note(node, there, size)

    # --- the importer, as its inbox tells it --------------------------------------------------------

    def began(self) -> None:
        """A process begins, and what an earlier one left is mended: of what that was about to copy nothing comes."""
        self.accounts.begin_anew()
        if self._doubtful:
            self._doubtful = False
            self.wanted.set()

    def died(self) -> None:
        """The process has died: which of its drops are originals is known when the next has begun."""
        self._doubtful = True

    def originals_are(self, held: Sequence[Held]) -> None:
        """So much the originals held when the process began."""
        self.accounts.originals_are(held)

    def come(self, held: Held) -> None:
        """Count the bytes that an import is about to copy. Raises QuotaExceeded; then nothing is counted."""
        self.accounts.come(held)

    def counted(self, changes: Sequence[Held], inodes: Sequence[int]) -> None:
        """Count what has changed; files of *inodes* are no drops any more."""
        for change in changes:
            self.accounts.change(change)
        if self._found is not None:
            for ino in inodes:
                self._found.pop(ino, None)

    def tables_changed(self, before: Table | None, after: Table | None) -> None:
        """An array that gets another token is written by a process of ours, not through the mount."""
        if before is not None and after is not None and before.digest != after.digest:
            self.wanted.set()

    # --- counting anew ----------------------------------------------------------------------------

    def renamed(self, directory: Node) -> None:
        """A directory has another name: a recount may have been where it is now, and not yet where it was.

        One that it has seen it goes into, wherever that is by then.
        """
        if self._found is not None and directory.ino not in self._seen:
            self._look_again(directory)

    def _look_again(self, node: Node) -> None:
        node.users += 1  # held until the recount has been there
        self._astray.append(node)

    def astray(self) -> list[Node]:
        """Return, once, what a recount has yet to visit; each is held."""
        astray, self._astray = self._astray, []
        return astray

    def begin_recount(self) -> None:
        """From here until `end_recount` the files that `found` is told of are noted, and what changes of them."""
        self._found = {}
        self._seen = set()

    @property
    def is_whole(self) -> bool:
        """Whether the drops as they are counted are all that will be found at the next start."""
        due = self._doubtful or self.wanted.is_set() or self._found is not None
        return not (due or self._unnamed or self._sealed)

    def found(self, node: Node) -> None:
        """A recount has come across *node*, or it has come to where that has been."""
        if self._found is None:
            return
        if node.is_directory:
            self._seen.add(node.ino)
        if not node.is_file or node.ino in self._found or not node.names:
            return
        if self._standing.seal(node) is not None:  # it may have become an original, which the importer has not told yet
            self._look_again(node)
            return
        status = self._backing.status(node)
        if self.counts(node, status):
            self._found[node.ino] = self.entry(node, status.st_gid), status.st_size

    def _note(self, node: Node, entry: Entry, size: int) -> None:
        if self._found is not None:
            self._found[node.ino] = entry, size

    def end_recount(self) -> None:
        """Take what was found for all drops that there are."""
        assert self._found is not None
        found = self._found
        self._found = None
        self._seen = set()
        for node, written in self._written.items():
            found[node.ino] = written.entry, written.size
        for node, entry in self._unnamed.items():
            if node not in self._written and node.handles:
                found[node.ino] = entry, os.fstat(next(iter(node.handles))).st_size
        for node, (entry, status) in self._sealed.items():
            found[node.ino] = entry, status.st_size
        self.accounts.drops_are(
            Held(entry.user_directory, entry.gid, drops=size, drop_files=1) for entry, size in found.values()
        )
