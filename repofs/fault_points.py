"""Named steps at which tests have the daemon die, as its processes would when the power goes.

REPOFS_FAULT_POINT=import.published:3 ends the mount daemon and its importer by SIGKILL when one of them passes that
step for the third time. Without it a step costs one comparison, and nothing can be changed by anybody: only who starts
the daemon has its environment.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from repofs.errors import InvalidValue

VARIABLE = "REPOFS_FAULT_POINT"


class Step(StrEnum):
    """What has just been done when it is passed."""

    # in the mount
    JOURNAL_BEGUN = "journal.begun"
    CLOSED_CLEARED = "closed.cleared"
    CLOSED_WRITTEN = "closed.written"
    INCOMPLETE_WRITTEN = "incomplete.written"
    JOURNAL_ENDED = "journal.ended"
    # an import, in the order of its writes
    INTENT_COMMITTED = "import.begun"
    COPIED = "import.copied"
    LINKED = "import.linked"
    HASHED = "import.hashed"
    RESERVED = "import.reserved"
    FILE_STAGED = "import.file-staged"
    LOG_WRITTEN = "import.log-written"
    LOG_LINKED = "import.log-linked"
    PUBLISHED = "import.published"
    FILE_MARKED = "import.file-marked"
    SYNCED = "import.synced"
    ROWS_WRITTEN = "import.rows-written"
    COMMITTED = "import.committed"
    CLEARED = "import.cleared"
    SOURCE_REMOVED = "source.removed"
    REMOVAL_COMMITTED = "source.committed"
    # an import that does not succeed
    ENDED = "failure.committed"
    REFUSED_MARKED = "failure.marked"
    # what is made of an import later
    THUMBNAIL_WRITTEN = "thumbnail.written"
    # a fileset on its way into the trash, back, and for good
    TRASH_NOTED = "trash.noted"
    DELETED = "trash.committed"
    TRASHED = "trash.moved"
    NAME_REMOVED = "trash.name-removed"
    TRASH_SYNCED = "trash.synced"
    TRASH_KEPT = "trash.kept"
    RESTORING = "restore.begun"
    NAME_RESTORED = "restore.linked"
    PUT_BACK = "restore.moved"
    RESTORE_SYNCED = "restore.synced"
    RESTORED = "restore.committed"
    EMPTYING = "empty.begun"
    NOTE_REMOVED = "empty.note-removed"
    LET_GO = "empty.let-go"
    EMPTIED = "empty.removed"
    FORGOTTEN = "empty.committed"
    # what is found and written of originals
    VERIFY_MARKED = "verify.marked"
    VERIFY_COMMITTED = "verify.committed"
    # what the tree keeps of the catalogue
    COUNTERS_KEPT = "counters.kept"
    PEOPLE_COMMITTED = "people.committed"
    PEOPLE_KEPT = "people.kept"
    # taking back, by recovery and by an import that has failed
    MARK_RESTORED = "undo.mark-restored"
    WITHDRAWN = "undo.withdrawn"
    UNLINKED = "undo.unlinked"
    UNDONE = "undo.done"
    # at a start alone
    JOURNAL_ANEW = "journal.anew"
    FINISHED = "recovery.finished"
    ARRIVALS_CLEARED = "recovery.arrivals-cleared"
    RELEASED = "recovery.released"
    SOURCE_RESUMED = "recovery.sources-removed"


@dataclass(frozen=True, slots=True)
class _Armed:
    step: Step
    nth: int
    others: tuple[int, ...]  # pids that die with us
    passed: Iterator[int] = field(default_factory=lambda: itertools.count(1))  # next() is atomic: threads pass, too


_armed: _Armed | None = None


def arm(*, with_parent: bool) -> None:
    """Heed the environment from now on; *with_parent*: the process that has started this one dies with it.

    Raises InvalidValue when what is said there is no step, or no number of times.
    """
    global _armed
    said = os.environ.get(VARIABLE)
    if said is None:
        return
    name, _, nth = said.partition(":")
    nth = nth or "1"
    if name not in set(Step) or not nth.isdecimal() or nth == "0":
        raise InvalidValue(
            f"{VARIABLE}={said} is no fault point: it is one of {', '.join(Step)}, and :N for the Nth time"
        )
    _armed = _Armed(Step(name), int(nth), (os.getppid(),) if with_parent else ())


def passed(step: Step) -> None:
    """Die here when the test says so."""
    if _armed is not None and _armed.step is step and next(_armed.passed) == _armed.nth:
        _die(_armed.others)


def _die(others: tuple[int, ...]) -> None:
    """End *others*, what this process has started, and itself, at once."""
    children = Path("/proc/self/task").glob("*/children")
    pids = [int(pid) for threads in children for pid in threads.read_text().split()]
    for pid in (*pids, *others, os.getpid()):
        os.kill(pid, signal.SIGKILL)
