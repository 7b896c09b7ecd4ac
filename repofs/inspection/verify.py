"""Do the bytes of originals agree with their checksums, and are the sources of those in place what they were?

What is found is written where it belongs: on the mark of the file, and in the row of its import. A source that is
another inode by now, or of another time, and has the very bytes (restored from a backup) is the source again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby

from repofs.catalog import originals
from repofs.catalog.engine import Engine
from repofs.catalog.originals import Held
from repofs.config import Settings
from repofs.errors import Busy
from repofs.inspection.recording import LOOKED_AT, Finding, Recording
from repofs.lifecycle import State
from repofs.model import ObjectRef, Origin
from repofs.repository import transfers
from repofs.repository.checksum import checksum
from repofs.repository.layout import Layout
from repofs.repository.outside import identity_of, is_same
from repofs.repository.sources import OriginLost, Sources


class Verifier:
    """Looks at the originals of one repository. Blocking; needs the rights of the daemon."""

    def __init__(self, layout: Layout, settings: Settings, engine: Engine) -> None:
        self._layout = layout
        self._engine = engine
        self._recording = Recording(layout, engine)
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
            for _, group in groupby(findings, key=lambda finding: finding.held.import_id):
                together = list(group)
                self._recording.record(together)
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
        with self._recording.opened(held) as fd:
            if checksum(fd, held.algorithm) == held.checksum:
                return Finding(held, State.IMPORTED)
        return Finding(held, State.ALTERED, "its bytes are not those that were imported: restore it from a backup")

    def _look_outside(self, held: Held, origin: Origin, *, quick: bool) -> Finding:
        with self._bytes(held, origin) as fd:
            identity = identity_of(fd)
            same = is_same(identity, origin.identity)
            if quick:
                state = State.IMPORTED if same else State.ALTERED
                return Finding(held, state, None if same else "its source is not the file that was imported")
            if identity.size != held.size or checksum(fd, held.algorithm) != held.checksum:
                return Finding(held, State.ALTERED, "the bytes of its source are not those that were imported")
        renewed = None if identity == origin.identity else replace(origin, identity=identity)
        return Finding(held, State.IMPORTED, origin=renewed)

    @contextmanager
    def _bytes(self, held: Held, origin: Origin) -> Iterator[int]:
        if transfers.named(origin.transfer).linked:
            inode = os.stat(self._recording.path(held), follow_symlinks=False).st_ino
            fd = transfers.open_link(os.fsencode(self._layout.linked), inode)
        else:
            fd = self._sources.open(origin, altered_too=True).fd
        try:
            yield fd
        finally:
            os.close(fd)
