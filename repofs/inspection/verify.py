"""Do the bytes of originals agree with their checksums, and are the sources of those in place what they were?

What is found is written where it belongs: on the mark of the file, and in the row of its import. A source that is
another inode by now, or of another time, and has the very bytes (restored from a backup) is the source again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby

from repofs import lifecycle
from repofs.catalog import imports, originals
from repofs.catalog.engine import Engine
from repofs.catalog.originals import Held
from repofs.config import Settings
from repofs.errors import Busy
from repofs.lifecycle import State
from repofs.model import ImportId, ObjectRef, Origin, Original
from repofs.repository import transfers
from repofs.repository.checksum import checksum
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.outside import identity_of, is_same
from repofs.repository.sources import OriginLost, Sources

LOOKED_AT = (State.IMPORTED, State.ALTERED, State.MISSING, State.OFFLINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one original was found."""

    held: Held
    state: State  # imported: all is well
    error: str | None = None
    origin: Origin | None = None  # how its source is to be known from now on, when that is not as before


class Verifier:
    """Looks at the originals of one repository. Blocking; needs the rights of the daemon."""

    def __init__(self, layout: Layout, settings: Settings, engine: Engine) -> None:
        self._layout = layout
        self._engine = engine
        self._marks = Marks(load_key(layout))
        self._sources = Sources(settings.declared_sources(), layout.root)
        self._parallel = settings.imports.parallel

    def verify(self, which: ObjectRef | bytes | None, *, quick: bool) -> Iterator[Finding]:
        """Look at all originals that are *which* and yield a Finding of each, in order; what was found is written then.

        *quick* reads no bytes: it asks only whether the sources of those in place are still the same files.
        """
        with self._engine.begin() as conn:
            held = [one for one in originals.held(conn, which) if one.state in LOOKED_AT]
        with ThreadPoolExecutor(self._parallel) as threads:
            findings = threads.map(lambda one: self._look(one, quick=quick), held)
            for import_id, group in groupby(findings, key=lambda finding: finding.held.import_id):
                together = list(group)
                self._record(import_id, together)
                yield from together

    def _look(self, held: Held, *, quick: bool) -> Finding:
        in_place = held.origin is not None and transfers.named(held.origin.transfer).in_place
        try:
            if in_place:
                assert held.origin is not None
                return self._look_outside(held, held.origin, quick=quick)
            return Finding(held, State.IMPORTED) if quick else self._look_inside(held)
        except (OriginLost, Busy) as error:
            return Finding(held, getattr(error, "state", held.state), str(error))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return Finding(held, State.MISSING, "it is not in the repository any more: restore it from a backup")
            return Finding(held, State.ALTERED, f"it cannot be read ({error.strerror}): have the disk looked at")

    def _look_inside(self, held: Held) -> Finding:
        with self._opened(held) as fd:
            if checksum(fd, _algorithm(held)) == held.checksum:
                return Finding(held, State.IMPORTED)
        return Finding(held, State.ALTERED, "its bytes are not those that were imported: restore it from a backup")

    def _look_outside(self, held: Held, origin: Origin, *, quick: bool) -> Finding:
        with self._bytes(held, origin) as fd:
            identity = identity_of(fd)
            same = is_same(identity, origin.identity)
            if quick:
                state = State.IMPORTED if same else State.ALTERED
                return Finding(held, state, None if same else "its source is not the file that was imported")
            if identity.size != held.size or checksum(fd, _algorithm(held)) != held.checksum:
                return Finding(held, State.ALTERED, "the bytes of its source are not those that were imported")
        renewed = None if identity == origin.identity else replace(origin, identity=identity)
        return Finding(held, State.IMPORTED, origin=renewed)

    @contextmanager
    def _bytes(self, held: Held, origin: Origin) -> Iterator[int]:
        if transfers.named(origin.transfer).linked:
            inode = os.stat(self._path(held), follow_symlinks=False).st_ino
            fd = transfers.open_link(os.fsencode(self._layout.linked), inode)
        else:
            fd = self._sources.open(origin, altered_too=True).fd
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _opened(self, held: Held) -> Iterator[int]:
        fd = os.open(self._path(held), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def _path(self, held: Held) -> bytes:
        return os.path.join(os.fsencode(self._layout.managed), held.path)

    # --- what was found -------------------------------------------------------------------------------

    def _record(self, import_id: ImportId, findings: Iterable[Finding]) -> None:
        """A fileset is as its worst file is; each file bears its own state."""
        findings = list(findings)
        for finding in findings:
            if finding.origin is not None or finding.state is not finding.held.state:
                self._mark(finding)
        worst = lifecycle.worst({finding.state: 1 for finding in findings})
        moved = [finding for finding in findings if finding.origin is not None]
        state = findings[0].held.state
        if worst is None or (worst is state and not moved):
            return
        with self._engine.begin() as conn:
            for finding in moved:
                assert finding.origin is not None
                originals.move(conn, finding.held.original_id, finding.origin)
            if worst is not state:
                error = next((finding.error for finding in findings if finding.state is worst), None)
                imports.advance(conn, import_id, state, worst, error=error)

    def _mark(self, finding: Finding) -> None:
        try:
            with self._opened(finding.held) as fd:
                if finding.origin is not None:
                    self._marks.write_origin(fd, finding.origin)
                mark = self._marks.read(fd)
                if isinstance(mark, Original) and mark.stands is not finding.state:
                    self._marks.write(fd, replace(mark, stands=finding.state))
        except FileNotFoundError:
            return  # its state is missing, and there is nothing to write that on


def _algorithm(held: Held) -> str:
    return held.checksum.partition(":")[0]
