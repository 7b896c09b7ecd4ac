"""Drops: from the first create to a clock that runs, and what their owner says of them.

Closed is a positive mark: set on the backing inode when the last writer has ended well, taken away before the next
first write. So a daemon that was killed leaves files that say themselves whether they are whole.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeVar, cast

import structlog
import trio

from repofs.errors import Busy, InvalidValue
from repofs.fault_points import Step, passed
from repofs.lifecycle import State
from repofs.model import Closed, Mark, Original, Refused
from repofs.namespace.activity import Activity
from repofs.namespace.failed import Failed
from repofs.namespace.journal import Journal, Restless
from repofs.namespace.names import Alone
from repofs.namespace.nodes import Node
from repofs.namespace.standing import AGAIN, CANCELLED, Standing
from repofs.namespace.usage import Usage
from repofs.repository.failure_logs import FailureLogs
from repofs.xattrs import ImportCommand

LONG_BYTES = 32 << 20  # of a file that is worth hashing while it is written
_LOST_BYTES = (
    "bytes of it had not reached the disk when the machine went down: copy it again, or, if it has holes by itself, "
    "set user.repofs.import=now"
)

log = structlog.get_logger()


class Clocks(Protocol):
    """The inbox, as drops see it."""

    def dropped(self, token: int, user: bytes, delay_seconds: float) -> None: ...

    def gone(self, token: int) -> None: ...

    def grows(self, fd: int) -> None: ...


Method = TypeVar("Method", bound=Callable[..., None])


def after_the_fact(tell: Method) -> Method:
    """Of a method that is told what has been done already: what fails in it is logged, and no answer to that deed.

    A file whose mark cannot be written (the disk is full) is incomplete without one, as it should be.
    """

    @functools.wraps(tell)
    def told(drops: Drops, node: Node, *args: object) -> None:
        try:
            tell(drops, node, *args)
        except OSError as error:
            drops.health.heed("a mark", error)
            log.warning("a drop cannot be followed", after=tell.__name__, inode=node.ino, error=str(error))

    return cast(Method, told)


class Drops:
    """All drops of one mount. The drop of a file in a directory format is that directory: its unit."""

    def __init__(
        self, standing: Standing, journal: Journal, failure_logs: FailureLogs, failed: Failed, usage: Usage
    ) -> None:
        self._standing = standing
        self._backing = standing.backing
        self.health = standing.backing.health
        self._names = standing.names
        self.journal = journal
        self._failure_logs = failure_logs
        self.failed = failed
        self.usage = usage
        self.clocks: Clocks
        self.surveyed = False  # whether all that the last daemon left was looked at: what moves could escape
        self.rescans_in, self.rescans = trio.open_memory_channel[Node](math.inf)
        self.to_rescan: dict[Node, Restless | None] = {}  # those in the channel, each once

    def activity(self, node: Node, uid: int | None = None) -> Activity:
        """Return the activity of *node*, begun now if there is none; *uid* becomes its actor."""
        if node.activity is None:
            restless = self.journal.hold(node)
            node.activity = Activity(self._maker(node) if uid is None else uid, restless=restless)
        elif uid is not None:
            node.activity.actor_uid = uid
        return node.activity

    def _maker(self, node: Node) -> int:
        """Return who wrote *node*, as far as its mark knows; else whose its inode is."""
        mark = self._standing.mark(node)
        known = mark.actor_uid if isinstance(mark, Closed) else None
        return self._backing.status(node).st_uid if known is None else known

    def end(self, node: Node) -> None:
        """Nothing goes on with *node* any more."""
        if node.activity is not None:
            self.journal.let_go(node.activity.restless)
            node.activity = None
            self._backing.table.release(node)

    def _moved(self, node: Node) -> None:
        """*node* lies in another directory, as far as the journal needs to know."""
        if node.activity is not None:
            before = node.activity.restless
            node.activity.restless = self.journal.hold(node)
            self.journal.let_go(before)

    # --- writing --------------------------------------------------------------------------------

    def created(self, node: Node, uid: int, by: str, *, direct: bool = False) -> None:
        """A new, empty file has no mark: it is incomplete until its last writer ends well."""
        activity = self.activity(node, uid)
        activity.dirty, activity.front, activity.direct = True, 0, direct
        activity.note(f"created by uid {uid}, {by}")
        node.mark = None
        self._unsettle(node)

    def linked(self, node: Node, uid: int, how: str) -> None:
        """A stand-in has been made, closed as it is."""
        self.activity(node, uid).note(f"linked by uid {uid}: {how}")
        self._start(node)

    def unreadable(self, node: Node, uid: int, reason: str) -> None:
        """A stand-in was made of what *uid* may not read: by itself it has failed, in a larger drop it is missing."""
        self.activity(node, uid).note(reason)
        alone = self._names.unit(node) is node
        self._refuse(node, State.FAILED if alone else State.INCOMPLETE, reason)
        self._rest(node)

    def hold(self, unit: Node) -> None:
        """Keep the clock of *unit* from running: more of it is coming."""
        self.activity(unit).writers += 1
        self._stop(unit)

    def let_run(self, unit: Node) -> None:
        """End one `hold` of *unit*."""
        self.activity(unit).writers -= 1
        self.look_again(unit)

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
            passed(Step.CLOSED_CLEARED)
        activity.dirty = True
        activity.note(f"written again by uid {activity.actor_uid}, {by}")
        self._unsettle(node)

    def wrote(self, node: Node, offset: int, count: int) -> None:
        """*count* bytes have been written at *offset*. A long file that is written from its beginning on is hashed
        meanwhile."""
        activity = self.activity(node)
        before = activity.front
        if before is None:
            return
        activity.front = before + count if offset == before else None
        if activity.front is not None and before < LONG_BYTES <= activity.front:
            try:
                self.clocks.grows(self._backing.open(node, os.O_RDONLY))
            except OSError as error:  # removed, or unreadable for a daemon that is not root: it is hashed at its end
                log.debug("a file is not hashed while it is written", inode=node.ino, error=str(error))

    def cut(self, node: Node) -> None:
        """The size of *node* is about to be set, or a write has failed: it has bytes that nobody told of."""
        self.activity(node).front = None

    def _unsettle(self, node: Node) -> None:
        """The bytes change: the clock stops, and what was said of the old ones is spent."""
        unit = self._names.unit(node)
        if unit is None:
            return
        self.failed.over(unit)
        if unit.activity is not None:
            unit.activity.word, unit.activity.insists, unit.activity.members = None, False, None
            self._stop(unit)

    @after_the_fact
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
        if self.health.failure is not None:  # nothing more is written: without a mark it is incomplete
            self._rest(node)
            return
        reason, activity.ended_badly = activity.ended_badly, None
        if reason:
            activity.note(f"incomplete: {reason}")
            self._refuse(node, State.INCOMPLETE, f"{reason}: {AGAIN}")
            return
        self._mark_closed(node)
        self._start(node)
        self._end_directory(node)

    def _end_directory(self, node: Node) -> None:
        """What waited for *node*, a marker file, waits no longer."""
        parent, name = node.names[0]
        marker = self._standing.policy(node).marker
        if marker is not None and os.fsencode(marker) == name:
            self.look_again(parent)

    @after_the_fact
    def truncated(self, node: Node) -> None:
        """truncate(2) on a path has changed the bytes; there is no close, so this was the last writer."""
        activity = self.activity(node)
        if activity.writers == 0 and node.names:
            self._last_closed(node, activity)

    # --- the clock ------------------------------------------------------------------------------

    @after_the_fact
    def touched(self, node: Node) -> None:
        """The file or its attributes were touched, not its bytes: the clock of a drop starts again."""
        if isinstance(self._standing.mark(node), Closed):
            self._start(node)
        else:
            self._rest(node)

    @after_the_fact
    def times_set(self, node: Node, mark: Mark | None) -> None:
        """The times of *node* were set, and *mark* held before: it goes on to hold."""
        sealed = self._standing.seal(node)
        if sealed is not None:  # the importer writes the marks now
            self.activity(sealed).retimed = True
        elif isinstance(mark, (Closed, Refused)):
            self._mark(node, replace(mark, mtime_ns=self._backing.status(node).st_mtime_ns))

    @after_the_fact
    def renamed(self, node: Node) -> None:
        """The file has a new name: what waited for it goes on, an incomplete file is a drop by its owner's word."""
        self._moved(node)
        if self._standing.seal(node) is not None:
            self.activity(node).note(_renamed(node))
            return
        mark = self._standing.mark(node)
        unit = self._names.unit(node)
        if unit is node:
            self.failed.changed(node)
        else:
            self._not_by_itself(node)
        if isinstance(mark, Original) or unit is None:
            self._rest(node)
            return
        activity = self.activity(node)
        activity.note(_renamed(node))
        activity.members = None
        if activity.writers or (isinstance(mark, Refused) and mark.state is not State.INCOMPLETE):
            return
        if not isinstance(mark, Closed):
            self._mark_closed(node)
        self._start(node)

    def directory_renamed(self, node: Node, rule: Node | Alone | None, *, was_temporary: bool) -> None:
        """A directory has a new name, and *rule* held for its files before: if need be they are looked at again."""
        now = self._names.rule(node)
        if now is not node:
            self.failed.over(node)
        if node.activity is not None and self._standing.seal(node) is None:
            self._stop(node)
            node.activity.word = None
            self._rest(node)
        if now is not rule or now is node or was_temporary or not self.surveyed:
            self.look_again(node)

    def look_again(self, directory: Node) -> None:
        """Have the survey look at the drops at and below *directory*, once after all that happens until then."""
        if directory in self.to_rescan:
            return
        self.to_rescan[directory] = self.journal.hold(directory)
        self.rescans_in.send_nowait(directory)

    @after_the_fact
    def check_bytes(self, node: Node) -> None:
        """The machine went down: *node*, a drop that was whole, is incomplete if bytes of it had not been written.

        A file system may give a file its size and its mark before its bytes: ext4 does. It has a hole there then.
        """
        mark = self._standing.mark(node)
        whole = isinstance(mark, Closed) or (isinstance(mark, Refused) and mark.state is not State.INCOMPLETE)
        if whole and self._standing.origin(node) is None and self._backing.has_hole(node):
            self._refuse(node, State.INCOMPLETE, _LOST_BYTES)

    def found(self, node: Node) -> None:
        """A scan has come across *node*: a drop whose clock does not run gets one."""
        if self._standing.seal(node) is not None:
            return
        unit = self._names.unit(node)
        if unit is not node:
            self._not_by_itself(node)
        busy = node.activity is not None and node.activity.writers
        if unit is None or busy:
            return
        mark = self._standing.mark(node)
        if isinstance(mark, Refused) and mark.state is State.FAILED:
            self.failed.add(unit)
        elif unit is node:
            self.failed.over(unit)
        if self._standing.waits(unit) or not isinstance(mark, Closed):
            return
        activity = self.activity(unit)
        if not activity.settling:
            activity.note("found closed and not yet imported, by a scan")
            self.restart(unit)

    def lost_a_name(self, node: Node) -> None:
        """One of several names of *node* is gone."""
        self._moved(node)
        self.failed.changed(node)

    def removed(self, node: Node) -> None:
        """The last name of *node* is gone."""
        self._stop(node)
        self.failed.over(node)
        if self._backing.table.is_over(node):
            self.end(node)
            node.removed = True

    def let_go(self, node: Node, fd: int) -> None:
        """Close *fd*, an open handle of *node*: with the last one of a removed file nothing is left of it."""
        assert node.handles is not None
        node.handles.discard(fd)
        over = not node.names and not node.handles and node is not self._backing.table.root  # which never had a name
        if over and node.is_file:
            self.usage.let_go(node, os.fstat(fd).st_size)
        os.close(fd)
        if over:
            self.removed(node)
        self._backing.table.release(node)

    def _start(self, node: Node) -> None:
        unit = self._names.unit(node)
        if unit is None or self._standing.waits(unit):
            self._stop(unit or node)
        elif self._standing.seal(unit) is None:  # else its outcome comes back here
            self.restart(unit)
        self._rest(node)

    def restart(self, unit: Node) -> None:
        """Start the clock of *unit*, or start it anew."""
        activity = self.activity(unit)
        if activity.writers:
            return  # its last close comes back here
        activity.changed = time.monotonic()
        self.failed.over(unit)
        delay = 0.0 if activity.word is ImportCommand.NOW else self._standing.first_look_seconds(unit)
        self.rest(unit, delay, None)

    def rest(self, unit: Node, seconds: float, waits_for: str | None) -> None:
        """Let the clock of *unit* go off in so many seconds; *waits_for* tells people why."""
        activity = self.activity(unit)
        activity.settling, activity.waits_for = True, waits_for
        user = self._standing.user_directory(unit).names[0][1]
        self.clocks.dropped(unit.ino, user, seconds)

    def ask_again(self, node: Node) -> None:
        """Have a reader asked about *node*, which nobody has been asked about or whose import has failed."""
        mark = self._standing.mark(node)
        if isinstance(mark, Refused) and mark.state is State.FAILED:
            self._mark_closed(node)
        self.found(node)

    def _not_by_itself(self, node: Node) -> None:
        """*node* is no drop of its own by now: part of a directory that is one, or nothing that is imported."""
        self._stop(node)
        self.failed.over(node)

    def _stop(self, unit: Node | None) -> None:
        if unit is not None and unit.activity is not None and unit.activity.settling:
            unit.activity.settling = False
            self.clocks.gone(unit.ino)

    def _rest(self, node: Node) -> None:
        """Let go of what is kept in memory when nothing goes on; but the log of a drop that waits is kept."""
        activity = node.activity
        if activity is None or activity.writers or activity.settling or node.ino in self._standing.sealed:
            return
        if not activity.events or self._names.unit(node) is not node:
            self.end(node)

    # --- commands -------------------------------------------------------------------------------

    def command(self, node: Node, command: ImportCommand, uid: int) -> None:
        """Carry out ``user.repofs.import`` on one file, or on a directory that is one drop."""
        unit = self._names.unit(node)
        if unit is None:
            raise InvalidValue("nothing here is imported: it is a table, a link or the repository's own")
        mark = self._standing.mark(node)
        if isinstance(mark, Original) or self._standing.seal(node) is not None:
            return
        insists = command is ImportCommand.NOW
        if command is ImportCommand.RETRY:
            if not isinstance(mark, Refused) or mark.state is State.INCOMPLETE:
                return
            command = ImportCommand.NOW
        if unit is not node and unit.activity is not None and unit.activity.word is command:
            return  # said already, of another file of the same drop
        if self.written(unit):
            raise Busy("it is still open for writing: it will be imported when it is closed")
        if command is ImportCommand.CANCEL:
            self._cancel(unit, uid)
        else:
            self._now(node, unit, uid, insists=insists)

    def _now(self, node: Node, unit: Node, uid: int, *, insists: bool) -> None:
        activity = self.activity(unit)  # who says so has not dropped it
        activity.word, activity.insists = ImportCommand.NOW, insists
        activity.note(f"told to import now by uid {uid}")
        if unit.is_file and not isinstance(self._standing.mark(unit), Closed):
            self._mark_closed(unit)
        self._start(node)

    def _cancel(self, unit: Node, uid: int) -> None:
        self._stop(unit)
        activity = self.activity(unit)
        activity.note(f"cancelled by uid {uid}")
        if unit.is_file:
            activity.word = None
            self._refuse(unit, State.INCOMPLETE, CANCELLED)
        else:
            activity.word = ImportCommand.CANCEL

    def written(self, unit: Node) -> bool:
        """Whether somebody has a file of *unit* open for writing, or the importer has one of them already."""
        if unit.is_file:
            return unit.activity is not None and unit.activity.writers > 0
        below = unit.below()
        return any(n.ino in self._standing.sealed or (n.activity and n.activity.writers) for n in below)

    # --- marks ----------------------------------------------------------------------------------

    def _mark(self, node: Node, mark: Mark) -> None:
        self._standing.marks.write(self._backing.target(node), mark)
        node.mark = mark

    def _mark_closed(self, node: Node) -> None:
        status = self._backing.status(node)
        activity = self.activity(node)
        self._mark(node, Closed(status.st_size, status.st_mtime_ns, activity.actor_uid))
        passed(Step.CLOSED_WRITTEN)
        activity.note(f"closed: {status.st_size} bytes")

    def _refuse(self, node: Node, state: State, error: str) -> None:
        """Leave *state* and *error* on the file itself, and its log where its owner can read it."""
        self.failed.over(node)
        status = self._backing.status(node)
        events = self.activity(node).events
        user = self._standing.user_directory(node)
        owner = self._backing.status(user).st_uid
        name = user.names[0][1]
        where = self._failure_logs.write(name, f"inode-{node.ino}", map(str, events), owner, status.st_gid)
        self._mark(node, Refused(status.st_size, status.st_mtime_ns, state, error, where))
        passed(Step.INCOMPLETE_WRITTEN)


def _renamed(node: Node) -> str:
    return f"renamed to {node.names[0][1].decode(errors='replace')}"
