"""Writing what an inspection has found: on the mark of each file, and in the row of their import, which is as its worst
file is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from repofs import lifecycle
from repofs.catalog import imports, originals
from repofs.catalog.engine import Engine
from repofs.catalog.originals import Held
from repofs.lifecycle import State
from repofs.model import Origin, Original
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks

LOOKED_AT = (State.IMPORTED, State.ALTERED, State.MISSING, State.OFFLINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one original was found."""

    held: Held
    state: State  # imported: all is well
    error: str | None = None
    origin: Origin | None = None  # how its source is to be known from now on, when that is not as before


class Recording:
    """For one repository. Blocking; needs the rights of the daemon."""

    def __init__(self, layout: Layout, engine: Engine) -> None:
        self._managed = os.fsencode(layout.managed)
        self._engine = engine
        self._marks = Marks(load_key(layout))

    def path(self, held: Held) -> bytes:
        """Return where the file, or its stand-in, lies."""
        return os.path.join(self._managed, held.path)

    @contextmanager
    def opened(self, held: Held) -> Iterator[int]:
        """Lend a descriptor of the file, or of its stand-in."""
        fd = os.open(self.path(held), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def stands(self, held: Held) -> State:
        """Return how the file was found last."""
        with self.opened(held) as fd:
            mark = self._marks.read(fd)
        return mark.stands if isinstance(mark, Original) else held.state

    def record(self, findings: Sequence[Finding]) -> None:
        """Write what was found of all files of one fileset."""
        for finding in findings:
            self._mark(finding)
        held, worst = findings[0].held, lifecycle.worst({finding.state: 1 for finding in findings})
        moved = [(finding.held.original_id, finding.origin) for finding in findings if finding.origin is not None]
        if worst is None or (worst is held.state and not moved):
            return
        with self._engine.begin() as conn:
            for original_id, origin in moved:
                originals.move(conn, original_id, origin)
            if worst is not held.state:
                error = next((finding.error for finding in findings if finding.state is worst), None)
                imports.advance(conn, held.import_id, held.state, worst, error=error)

    def _mark(self, finding: Finding) -> None:
        try:
            with self.opened(finding.held) as fd:
                if finding.origin is not None:
                    self._marks.write_origin(fd, finding.origin)
                mark = self._marks.read(fd)
                if isinstance(mark, Original) and mark.stands is not finding.state:
                    self._marks.write(fd, replace(mark, stands=finding.state))
        except FileNotFoundError:
            return  # its state is missing, and there is nothing to write that on
