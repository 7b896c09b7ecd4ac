"""Writing what an inspection has found: on the mark of each file, then in the catalogue, then told to the mount.

The mark is on the disk before the row is written. Where only the mark was, the row says that the original was not
verified, and it is the next to be.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from repofs.catalog.originals import Held
from repofs.catalog.verification import Found
from repofs.fault_points import Step, passed
from repofs.lifecycle import State
from repofs.model import Origin, Original
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks


@dataclass(frozen=True, slots=True)
class Finding:
    """How one original was found."""

    held: Held
    state: State  # imported: all is well
    error: str | None = None  # why it is not, or why nothing was found out: the state is then as it was before
    verified: str | None = None  # when it was looked at, to its last byte if it could be read; None: only in passing
    origin: Origin | None = None  # how its source is to be known from now on, when that is not as before

    @property
    def well(self) -> bool:
        return self.state is State.IMPORTED and self.error is None


Write = Callable[[Sequence[Found]], Sequence[bool]]
"""Does `catalog.verification.record` in a transaction."""

Tell = Callable[[Sequence[int]], None]
"""Tells the mount of inodes whose marks are others by now, and that the catalogue has news."""


class Recording:
    """For one repository. Blocking; needs the rights of the daemon."""

    def __init__(self, layout: Layout, write: Write, tell: Tell) -> None:
        self._managed = os.fsencode(layout.managed)
        self._marks = Marks(load_key(layout))
        self._write = write
        self._tell = tell

    def record(self, findings: Sequence[Finding]) -> list[Finding]:
        """Write what was found and return it, without originals that were deleted meanwhile."""
        marked = [inode for finding in findings if (inode := self._mark(finding)) is not None]
        passed(Step.VERIFY_MARKED)
        rows = [Found(one.held.original_id, one.state, one.error, one.verified, one.origin) for one in findings]
        there = self._write(rows)
        passed(Step.VERIFY_COMMITTED)
        if marked or any(finding.state is not finding.held.stands for finding in findings):
            self._tell(marked)
        return [finding for finding, is_there in zip(findings, there, strict=True) if is_there]

    def _mark(self, finding: Finding) -> int | None:
        """Have the mark of the file say what was found; return its inode when it has said something else before."""
        try:
            fd = os.open(os.path.join(self._managed, finding.held.path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None  # its state is missing, and there is nothing to write that on
        try:
            mark = self._marks.read(fd)
            stale = isinstance(mark, Original) and mark.stands is not finding.state
            if finding.origin is not None:
                self._marks.write_origin(fd, finding.origin)
            if isinstance(mark, Original) and stale:
                self._marks.write(fd, replace(mark, stands=finding.state))
            if not stale and finding.origin is None:
                return None
            os.fsync(fd)
            return os.fstat(fd).st_ino
        finally:
            os.close(fd)
