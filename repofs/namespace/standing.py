"""How a file stands: its mark, its state, and the policy and target of the directories above it."""

from __future__ import annotations

import errno
import os
from collections import Counter

from repofs import xattrs
from repofs.config import Drops as DropSettings
from repofs.errors import Busy, InvalidName, NotPermitted
from repofs.formats.candidates import names_others
from repofs.lifecycle import State
from repofs.model import Closed, Mark, Origin, Original, Policy, Refused
from repofs.namespace.backing import Backing
from repofs.namespace.names import Names
from repofs.namespace.nodes import UNKNOWN, Area, Node, Unknown
from repofs.namespace.registered import Registered
from repofs.repository import stand_ins
from repofs.repository.marks import Marks
from repofs.repository.sources import OriginLost
from repofs.table import SHOWN_AS
from repofs.xattrs import ImportCommand

_FIRST_LOOK_SECONDS = 0.5
_NO_ATTRIBUTE = (errno.ENODATA, errno.EOPNOTSUPP)
CANCELLED = "its import was cancelled: set user.repofs.import=now to go on"
AGAIN = "write it again, rename it, or set user.repofs.import=now"
_DAMAGED = "its bytes are not those that were imported: have it restored from a backup"
_LOST = {
    State.ALTERED: "its source is not the file that was imported: put that back, or import it anew",
    State.MISSING: "its source has gone: put it back, or tell where it is now by repofs rehome",
    State.OFFLINE: "the store of its source is away: have it mounted",
}
_TOLD = "or told by user.repofs.import=now"


class Standing:
    """Answers about nodes; changes nothing but the marks it remembers."""

    def __init__(
        self,
        backing: Backing,
        names: Names,
        marks: Marks,
        settings: DropSettings,
        registered: Registered,
        *,
        serve_altered: bool = False,
    ) -> None:
        """*serve_altered*: whether an original may be read whose bytes were found altered in the repository itself."""
        self.backing = backing
        self.registered = registered
        self.names = names
        self.marks = marks
        self._settings = settings
        self._serve_altered = serve_altered
        self._default = Policy(
            settings.settle_seconds, settings.duplicates, missing=settings.missing, skip=settings.skip
        )
        self.sealed: dict[int, Node] = {}  # what the importer has, by inode: nobody may change it
        # How many filesets being imported need the name of that file or directory.
        self.together: Counter[Node] = Counter()

    def mark(self, node: Node) -> Mark | None:
        """Return the mark of *node* as far as it holds: Closed and Refused count only for the bytes they saw.

        Those of a stand-in hold as long as it is one: nobody writes it but the importer, which copies into it.
        """
        if node.mark is UNKNOWN:
            node.mark = self.marks.read(self.backing.target(node)) if node.is_file else None
        mark = node.mark
        if isinstance(mark, (Closed, Refused)):
            status = self.backing.status(node)
            if (mark.size, mark.mtime_ns) != (status.st_size, status.st_mtime_ns) and self._came_from(node) is None:
                return None
        return mark

    def origin(self, node: Node) -> Origin | None:
        """Return where the bytes of *node* are when they are not in its backing file: it is a stand-in then."""
        origin = self._came_from(node)
        return origin if origin is not None and stand_ins.is_elsewhere(origin, self.mark(node)) else None

    def origin_anew(self, node: Node) -> Origin | None:
        """Return the same, as it stands on the inode now."""
        self.forget_mark(node)
        return self.origin(node)

    @staticmethod
    def forget_mark(node: Node) -> None:
        """Let what stands on the inode be read again: somebody else may have written it."""
        node.origin = node.mark = UNKNOWN

    def _came_from(self, node: Node) -> Origin | None:
        if isinstance(node.origin, Unknown):
            node.origin = self.marks.origin(self.backing.target(node)) if node.is_file else None
        return node.origin

    def state(self, node: Node) -> tuple[State, str | None] | None:
        """Return (state, error) of a file, or None for what is never imported: links, tables, logs."""
        if not node.is_file:
            return None
        if self.seal(node) is not None:
            return State.IMPORTING, None  # whatever its mark: that is written before the commit, which may not come
        mark = self.mark(node)
        if isinstance(mark, Original):
            return mark.stands, self._trouble(node, mark)
        unit = self.names.unit(node)
        if unit is None:
            return None
        if node.activity is not None and node.activity.dirty:
            return State.WRITING, None
        if isinstance(mark, Refused):
            return mark.state, mark.error
        if mark is None:
            return State.INCOMPLETE, f"its writer did not end well: {AGAIN}"
        return self.waits(unit) or (State.SETTLING, None if unit.activity is None else unit.activity.waits_for)

    def _trouble(self, node: Node, original: Original) -> str | None:
        if original.stands is State.IMPORTED:
            return original.note
        return _DAMAGED if self.origin(node) is None else _LOST[original.stands]

    def waits(self, unit: Node) -> tuple[State, str] | None:
        """Return (state, reason) of a drop whose clock does not run yet, or None when it does."""
        word = unit.activity.word if unit.activity is not None else None
        if word is ImportCommand.NOW:
            return None
        if word is ImportCommand.CANCEL:
            return State.INCOMPLETE, CANCELLED
        if self.left_alone(unit):
            return State.INCOMPLETE, f"excluded by its name: imported only once it is renamed, {_TOLD}"
        if self.names.temporary(unit.names[0][1]):
            return State.INCOMPLETE, f"a temporary name: imported once it is renamed, {_TOLD}"
        if self.names.in_temporary(unit):
            return State.INCOMPLETE, f"in a directory of a temporary name: imported once it is moved out, {_TOLD}"
        marker = self.policy(unit).marker
        if marker is not None and not self._has_marker(unit, marker):
            return State.SETTLING, f"waits until a file {marker} is closed beside it, {_TOLD}"
        return None

    def left_alone(self, unit: Node) -> bool:
        """Whether *unit* is not meant to be imported, by its name: what desktops leave behind, a marker file."""
        name, policy = unit.names[0][1], self.policy(unit)
        return self.names.excluded(name, policy.exclude) or name == os.fsencode(policy.marker or "")

    def _has_marker(self, unit: Node, marker: str) -> bool:
        """Whether the file that ends a directory stands in the directory *unit*, or beside the file *unit*."""
        directory = unit if unit.is_directory else unit.names[0][0]
        try:
            os.stat(marker, dir_fd=self.backing.directory(directory), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def child(self, directory: Node, name: bytes) -> Node | None:
        """Return what *name* in *directory* leads to, hidden or not; None when there is none."""
        try:
            status = os.stat(name, dir_fd=self.backing.directory(directory), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        node = self.backing.table.intern(status, directory, name)
        if node.is_directory:
            node.area = self.names.area(directory, name)
        return node

    def require_unsealed(self, node: Node) -> None:
        """Refuse to change the bytes of a log, of a drop that is being imported, or of a registered array, for anybody
        (NotPermitted)."""
        if self.is_log(node):
            raise NotPermitted("a log is written by the repository alone")
        if self.seal(node) is not None:
            raise NotPermitted("it is being imported, and its bytes are an original's by now")
        if self.origin(node) is not None:
            raise NotPermitted("its bytes are outside the repository: remove it, or write a new file")
        self.registered.require_free(node)

    def require_intact(self, node: Node) -> None:
        """Refuse (OriginLost) to serve bytes that are in the repository, and were found altered there."""
        mark = self.mark(node)
        if isinstance(mark, Original) and mark.stands is State.ALTERED and not self._serve_altered:
            raise OriginLost(State.ALTERED, _DAMAGED)

    def is_original(self, node: Node) -> bool:
        """Whether *node* is a file that has been imported."""
        if not node.is_file:
            return False
        if node.mark is UNKNOWN:
            return self.marks.is_original(self.backing.target(node))
        return isinstance(node.mark, Original)

    def is_log(self, node: Node) -> bool:
        """Whether *node* is a file that repofs has written: beside an import directory, or below .repofs."""
        if not node.is_file or not node.names:
            return False
        area = node.names[0][0].area
        return area is Area.OWN or (area is Area.IMPORTS and not isinstance(self.mark(node), Original))

    def is_kept(self, node: Node) -> bool:
        """Whether the repository keeps *node* itself: its root, import directories, .repofs, logs."""
        if node.is_directory:
            return node.area in (Area.ROOT, Area.IMPORTS, Area.OWN)
        return self.is_log(node)

    def require_changeable(self, directory: Node, name: bytes) -> None:
        """The one gate of every operation that makes, removes or renames *name* in *directory*."""
        self.names.require_changeable(directory, name)
        if directory.area is Area.USER and name in SHOWN_AS and not self.backing.has(directory, name):
            raise InvalidName(f"{name.decode()} is where registered tables are shown: choose another name")
        self.registered.require_changeable(directory, name)
        if self.seal(directory) is not None:
            raise Busy("the directory is being imported: try again when it is done")
        child = directory.children.get(name)
        if child is not None and child in self.together:
            raise Busy("it is being imported, with other files of its fileset: try again when it is done")

    def seal(self, node: Node) -> Node | None:
        """Return the drop being imported that *node* is, or lies in by any of its names, or None.

        Not the unit by its name: a rename during the import makes another unit of it, and unseals nothing.
        """
        pending = [node] if self.sealed else []
        while pending:
            here = pending.pop()
            if self.sealed.get(here.ino) is here:
                return here
            pending += (parent for parent, _ in here.names)
        return None

    def user_directory(self, node: Node) -> Node:
        """Return the user directory that *node* lies in."""
        while node.names and node.area is not Area.USER:
            node = node.names[0][0]
        return node

    def policy(self, node: Node) -> Policy:
        """Return the policy of the nearest directory that sets one, over the settings."""
        raw = self._inherited(node, b"policy")
        return self._default if raw is None else xattrs.decode_policy(raw, self._default)

    def target(self, node: Node) -> str | None:
        """Return the target of the nearest directory that sets one."""
        raw = self._inherited(node, b"target")
        return None if raw is None else xattrs.decode_target(raw)

    def settle_seconds(self, unit: Node) -> float:
        """Return how long *unit* must be quiet; an empty file waits for its content (Samba makes it first)."""
        quiet = self.policy(unit).settle_seconds
        if unit.is_directory:
            return max(quiet, self._settings.directory_settle_seconds)
        if self.backing.status(unit).st_size == 0:
            return quiet * self._settings.empty_file_factor
        return quiet

    def first_look_seconds(self, unit: Node) -> float:
        """Return how long *unit* must be quiet before a reader is asked about it."""
        quiet = self.settle_seconds(unit)
        return min(quiet, _FIRST_LOOK_SECONDS) if names_others(unit.names[0][1]) else quiet

    def _inherited(self, node: Node, name: bytes) -> bytes | None:
        while node.names:
            node = node.names[0][0] if not node.is_directory else node
            value = self.setting(node, name)
            if value is not None or node.area in (Area.USER, Area.ROOT):
                return value
            node = node.names[0][0]
        return None

    def setting(self, directory: Node, name: bytes) -> bytes | None:
        """Return a ``user.repofs.*`` setting as it stands on *directory*, or None."""
        if directory.settings is None:
            directory.settings = {}
        if name not in directory.settings:
            directory.settings[name] = self._read_setting(directory, name)
        return directory.settings[name]

    def _read_setting(self, directory: Node, name: bytes) -> bytes | None:
        try:
            return self.backing.attribute(directory, xattrs.PREFIX + name)
        except OSError as error:
            if error.errno in _NO_ATTRIBUTE:
                return None
            raise

    def set_setting(self, directory: Node, name: bytes, value: bytes | None) -> None:
        """Put a setting on *directory*, or take it away; ENODATA when there is none to take away."""
        directory.settings = None
        if value is None:
            self.backing.remove_attribute(directory, xattrs.PREFIX + name)
        else:
            self.backing.set_attribute(directory, xattrs.PREFIX + name, value)
