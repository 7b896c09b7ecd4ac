"""Drops: from the first create to the hand-over to the importer, and back.

Closed is a positive mark: set on the backing inode when the last writer has ended well, taken away before the next
first write. So a daemon that was killed leaves files that say themselves whether they are whole.
"""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Protocol

import structlog
import trio

from repofs.errors import Busy, InvalidValue
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Mark, Original, Outcome, Refused
from repofs.namespace.activity import Activity
from repofs.namespace.nodes import UNKNOWN, Node
from repofs.namespace.standing import AGAIN, Standing
from repofs.repository.failure_logs import FailureLogs
from repofs.xattrs import ImportCommand

log = structlog.get_logger()


class Clocks(Protocol):
    """The inbox, as drops see it."""

    def dropped(self, token: int, user: bytes, delay_seconds: float) -> None: ...

    def gone(self, token: int) -> None: ...


class Kernel(Protocol):
    """The kernel's cache, which must hear of what the importer has changed."""

    def changed(self, ino: int) -> None: ...


class Drops:
    """All drops of one mount. The drop of a file in a directory format is that directory: its unit."""

    def __init__(self, standing: Standing, failure_logs: FailureLogs) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._names = standing.names
        self._failure_logs = failure_logs
        self.clocks: Clocks
        self.kernel: Kernel
        self.rescans_in, self.rescans = trio.open_memory_channel[Node](math.inf)

    def activity(self, node: Node, uid: int | None = None) -> Activity:
        """Return the activity of *node*, begun now if there is none; *uid* becomes its actor."""
        if node.activity is None:
            node.activity = Activity(self._backing.status(node).st_uid if uid is None else uid)
        elif uid is not None:
            node.activity.actor_uid = uid
        return node.activity

    # --- writing --------------------------------------------------------------------------------

    def created(self, node: Node, uid: int, by: str) -> None:
        """A new, empty file has no mark: it is incomplete until its last writer ends well."""
        activity = self.activity(node, uid)
        activity.dirty = True
        activity.note(f"created by uid {uid}, {by}")
        node.mark = None

    def opened(self, node: Node, uid: int) -> None:
        """One more open handle may write."""
        self.activity(node, uid).writers += 1

    def writing(self, node: Node, by: str) -> None:
        """The bytes are about to change: take away the positive mark, stop the clock."""
        activity = self.activity(node)
        if activity.dirty:
            return
        self._standing.mark(node)
        if node.mark is not None:
            self._standing.marks.clear(self._backing.target(node))
            node.mark = None
        activity.dirty = True
        activity.told = False
        activity.note(f"written again by uid {activity.actor_uid}, {by}")
        self._stop(self._names.unit(node))

    def closed(self, node: Node, ended_badly: str | None) -> None:
        """One handle that may write is gone; the last one leaves a drop, or an incomplete file."""
        activity = self.activity(node)
        activity.writers -= 1
        activity.ended_badly = activity.ended_badly or ended_badly
        if activity.writers == 0 and node.names:
            self._last_closed(node, activity)

    def _last_closed(self, node: Node, activity: Activity) -> None:
        if not activity.dirty:
            self.touched(node)
            return
        activity.dirty = False
        try:
            if activity.ended_badly:
                activity.note(f"incomplete: {activity.ended_badly}")
                self._refuse(node, State.INCOMPLETE, f"{activity.ended_badly}: {AGAIN}")
                activity.ended_badly = None
                return
            self._mark_closed(node)
        except OSError as error:  # a full disk: without a mark the file is incomplete, as it should be
            log.warning("a closed file cannot be marked", inode=node.ino, error=str(error))
            return
        self._start(node)
        self._end_directory(node)

    def _end_directory(self, node: Node) -> None:
        """What waited for *node*, a marker file, waits no longer."""
        parent, name = node.names[0]
        marker = self._standing.policy(node).marker
        if marker is not None and os.fsencode(marker) == name:
            self.look_again(parent)

    def truncated(self, node: Node) -> None:
        """truncate(2) on a path has changed the bytes; there is no close, so this was the last writer."""
        activity = self.activity(node)
        if activity.writers == 0:
            self._last_closed(node, activity)

    # --- the clock ------------------------------------------------------------------------------

    def touched(self, node: Node) -> None:
        """The file or its attributes were touched, not its bytes: the clock of a drop starts again."""
        if isinstance(self._standing.mark(node), Closed):
            self._start(node)
        else:
            self._rest(node)

    def times_set(self, node: Node, mark: Mark | None) -> None:
        """The times of *node* were set, and *mark* held before: it goes on to hold."""
        if isinstance(mark, (Closed, Refused)):
            self._mark(node, replace(mark, mtime_ns=self._backing.status(node).st_mtime_ns))

    def renamed(self, node: Node) -> None:
        """The file has a new name: what waited for it goes on, an incomplete file is a drop by its owner's word."""
        mark = self._standing.mark(node)
        unit = self._names.unit(node)
        if unit is not node:
            self._stop(node)
        if isinstance(mark, Original) or unit is None:
            self._rest(node)
            return
        activity = self.activity(node)
        activity.note(f"renamed to {node.names[0][1].decode(errors='replace')}")
        if activity.writers or (isinstance(mark, Refused) and mark.state is not State.INCOMPLETE):
            return
        if not isinstance(mark, Closed):
            self._mark_closed(node)
        self._start(node)

    def directory_renamed(self, node: Node, was_unit: bool) -> None:
        """A directory that is or was one drop (or part of one) has a new name: its files are looked at again."""
        if was_unit or self._names.unit(node) is not None:
            self.look_again(node)

    def look_again(self, directory: Node) -> None:
        """Have the drops at and below *directory* looked at by the survey."""
        directory.users += 1  # held until it has been scanned
        self.rescans_in.send_nowait(directory)

    def found(self, node: Node) -> None:
        """A scan has come across *node*: a drop whose clock does not run gets one."""
        busy = node.activity is not None and (node.activity.settling or node.activity.sealed or node.activity.writers)
        if not busy and isinstance(self._standing.mark(node), Closed):
            self.activity(node).note("found closed and not yet imported, by a scan")
            self._start(node)

    def removed(self, node: Node) -> None:
        """The last name of *node* is gone."""
        self._stop(node)
        if not node.handles:
            node.activity = None
            node.removed = True

    def let_go(self, node: Node, fd: int) -> None:
        """Close *fd*, an open handle of *node*: with the last one of a removed file nothing is left of it."""
        assert node.handles is not None
        node.handles.discard(fd)
        os.close(fd)
        if not node.names and not node.handles and node is not self._backing.table.root:  # which never had a name
            self.removed(node)
        self._backing.table.release(node)

    def _start(self, node: Node) -> None:
        unit = self._names.unit(node)
        if unit is None or self._standing.waits(unit):
            self._rest(node)
            return
        activity = self.activity(unit)
        if activity.writers or activity.sealed:
            return  # its last close, or its outcome, comes back here
        activity.settling = True
        delay = 0.0 if activity.told else self._standing.settle_seconds(unit)
        user = self._standing.user_directory(unit).names[0][1]
        self.clocks.dropped(unit.ino, user, delay)

    def _stop(self, unit: Node | None) -> None:
        if unit is not None and unit.activity is not None and unit.activity.settling:
            unit.activity.settling = False
            self.clocks.gone(unit.ino)

    def _rest(self, node: Node) -> None:
        """Let go of what is kept in memory when nothing goes on; a log that was begun is kept for its import."""
        activity = node.activity
        if activity is not None and not (activity.writers or activity.settling or activity.sealed or activity.events):
            node.activity = None
            self._backing.table.release(node)

    # --- the importer ---------------------------------------------------------------------------

    def claim(self, token: int) -> tuple[Drop, int] | None:
        """Seal a quiet drop and return it with a descriptor; None when it is no drop any more.

        The caller owns the descriptor. From here to its outcome nobody may change the bytes.
        """
        unit = self._backing.table.get(token)
        if unit is None or unit.activity is None or not unit.names or not unit.activity.settling:
            return None
        activity = unit.activity
        if self._names.unit(unit) is not unit or self._written(unit):
            activity.settling = False
            return None
        if unit.is_file and not isinstance(self._standing.mark(unit), Closed):
            activity.settling = False
            return None
        fd = self._backing.open(unit, os.O_RDONLY | os.O_NOATIME if os.geteuid() == 0 else os.O_RDONLY)
        activity.note("quiet: handed to the importer")
        activity.settling = False
        activity.sealed = True
        self._standing.sealed_directories += unit.is_directory
        return self._drop(unit, activity), fd

    def _written(self, unit: Node) -> bool:
        """Whether somebody has a file of *unit* open for writing."""
        return any(node.activity is not None and node.activity.writers for node in self._below(unit))

    def _drop(self, unit: Node, activity: Activity) -> Drop:
        user = self._standing.user_directory(unit)
        return Drop(
            token=unit.ino,
            user_directory=user.names[0][1],
            path=self._backing.path_below(user, unit),
            is_directory=unit.is_directory,
            target=self._standing.target(unit),
            policy=self._standing.policy(unit),
            events=tuple(activity.events),
            actor_uid=activity.actor_uid,
        )

    def outcome(self, outcome: Outcome) -> None:
        """The importer is done with a drop: what it wrote on the inodes holds from here on."""
        unit = self._backing.table.get(outcome.token)
        if unit is None or unit.activity is None or not unit.activity.sealed:
            return
        unit.activity.sealed = False
        self._standing.sealed_directories -= unit.is_directory
        for node in self._below(unit):
            node.mark = UNKNOWN
            self.kernel.changed(node.ino)
            if node is not unit:
                node.activity = None
                self._backing.table.release(node)
        if not unit.names:
            self.removed(unit)
        elif outcome.state is State.SETTLING:
            unit.activity.settling = True  # the inbox starts its clock again by itself
        else:
            self._import_directory_made(unit, outcome.import_directory)
            unit.activity = None
            self._backing.table.release(unit)

    def _import_directory_made(self, unit: Node, import_directory: bytes | None) -> None:
        """The directories down to a new import directory have other times and link counts by now."""
        user = self._standing.user_directory(unit)
        here = self._backing.directory(user)
        path = import_directory or b""
        while path:
            path = path.rpartition(b"/")[0]
            status = os.stat(path or b".", dir_fd=here, follow_symlinks=False)
            self.kernel.changed(self._backing.table.shown_inode(status.st_ino))

    def _below(self, unit: Node) -> list[Node]:
        if unit.is_file:
            return [unit]
        return [node for node in self._backing.table if self._names.unit(node) is unit]

    # --- commands -------------------------------------------------------------------------------

    def command(self, node: Node, command: ImportCommand, uid: int) -> None:
        """Carry out ``user.repofs.import`` on one file, or on a directory that is one drop."""
        unit = self._names.unit(node)
        if unit is None:
            raise InvalidValue("nothing here is imported: it is a table, a link or the repository's own")
        mark = self._standing.mark(node)
        if isinstance(mark, Original) or (unit.activity is not None and unit.activity.sealed):
            return
        if self._written(unit):
            raise Busy("it is still open for writing: it will be imported when it is closed")
        refused = isinstance(mark, Refused) and mark.state is not State.INCOMPLETE
        if command is ImportCommand.CANCEL:
            self._cancel(unit, uid)
        elif command is ImportCommand.NOW or refused:
            self._now(node, unit, uid)

    def _now(self, node: Node, unit: Node, uid: int) -> None:
        activity = self.activity(unit, uid)
        activity.told = True
        activity.note(f"told to import now by uid {uid}")
        if unit.is_file and not isinstance(self._standing.mark(unit), Closed):
            self._mark_closed(unit)
        self._start(node)

    def _cancel(self, unit: Node, uid: int) -> None:
        self._stop(unit)
        activity = self.activity(unit)
        activity.told = False
        activity.note(f"cancelled by uid {uid}")
        if unit.is_file:
            self._refuse(unit, State.INCOMPLETE, "its import was cancelled: set user.repofs.import=now to go on")

    # --- marks ----------------------------------------------------------------------------------

    def _mark(self, node: Node, mark: Mark) -> None:
        self._standing.marks.write(self._backing.target(node), mark)
        node.mark = mark

    def _mark_closed(self, node: Node) -> None:
        status = self._backing.status(node)
        self._mark(node, Closed(status.st_size, status.st_mtime_ns))
        self.activity(node).note(f"closed: {status.st_size} bytes")

    def _refuse(self, node: Node, state: State, error: str) -> None:
        """Leave *state* and *error* on the file itself, and its log where its owner can read it."""
        status = self._backing.status(node)
        events = self.activity(node).events
        user = self._standing.user_directory(node).names[0][1]
        where = self._failure_logs.write(user, f"inode-{node.ino}", map(str, events), status.st_uid, status.st_gid)
        self._mark(node, Refused(status.st_size, status.st_mtime_ns, state, error, where))
