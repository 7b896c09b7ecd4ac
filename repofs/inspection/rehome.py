"""Telling originals in place where their sources are now, each on proof by its bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from repofs.catalog import originals
from repofs.catalog.engine import Engine
from repofs.catalog.forms import now
from repofs.catalog.originals import Held
from repofs.config import Settings
from repofs.errors import InvalidValue
from repofs.inspection.recording import Finding, Recording
from repofs.lifecycle import State
from repofs.model import Origin
from repofs.repository import transfers
from repofs.repository.checksum import checksum
from repofs.repository.layout import Layout
from repofs.repository.outside import open_beneath
from repofs.repository.sources import Sources

Place = tuple[str, bytes]
"""A declared source and a path below it."""


class Rehoming:
    """For one repository. Blocking; needs the rights of the daemon."""

    def __init__(self, layout: Layout, settings: Settings, catalogue: Engine, recording: Recording) -> None:
        self._catalogue = catalogue
        self._recording = recording
        self._sources = Sources(settings.declared_sources(), layout.root)

    def rehome(self, old: bytes, new: bytes, *, dry_run: bool = False) -> Iterator[Finding]:
        """Point all originals in place whose source lies at or below *old* to the same path below *new*.

        Yields a Finding of each: imported, with its new origin, or why it stays as it is. Both are absolute paths, or,
        for a source that is declared no more, ``NAME:path``. Raises InvalidValue for one that lies in no source.
        """
        before, after = self._place(old), self._place(new)
        if after[0] not in self._sources.names():
            raise InvalidValue(f"{after[0]} is no declared source: declare it in the settings first")
        with self._catalogue.begin() as conn:
            held = list(originals.held(conn))
        for _, group in groupby(held, key=lambda one: one.fileset_id):
            moved = [found for one in group if (found := self._look(one, before, after)) is not None]
            if not dry_run:
                self._recording.record([finding for finding in moved if finding.state is State.IMPORTED])
            yield from moved

    def _look(self, held: Held, before: Place, after: Place) -> Finding | None:
        """Return how the file was found at its new place; None for one that was not at the old one."""
        if held.origin is None or not _found_by_name(held.origin):
            return None
        below = _below(before, (held.origin.source, os.fsencode(held.origin.path)))
        if below is None:
            return None
        return self._prove(held, held.origin, (after[0], os.path.normpath(os.path.join(after[1], below))))

    def _place(self, text: bytes) -> Place:
        if text.startswith(b"/"):
            located = self._sources.locate(os.path.normpath(text))
            if located is None:
                names = ", ".join(self._sources.names()) or "none"
                raise InvalidValue(f"{os.fsdecode(text)!r} lies in no declared source: the sources are {names}")
            return located
        name, colon, path = text.partition(b":")
        if not colon:
            raise InvalidValue(f"{os.fsdecode(text)!r}: write an absolute path, or NAME:path with the name of a source")
        return os.fsdecode(name), os.path.normpath(path or b".")

    def _prove(self, held: Held, origin: Origin, place: Place) -> Finding:
        source, path = place
        try:
            with self._sources.root(source) as root, open_beneath(root, path, None) as opened:
                proven = checksum(opened.fd, held.algorithm) == held.checksum
                moved = replace(origin, source=source, path=os.fsdecode(path), identity=opened.identity)
        except OSError as error:
            return Finding(held, State.MISSING, str(error))
        if not proven:
            return Finding(
                held, State.ALTERED, f"{moved.path!r} in the source {source} has other bytes: it stays as it is"
            )
        return Finding(held, State.IMPORTED, verified=now(), origin=moved)


def _found_by_name(origin: Origin) -> bool:
    transfer = transfers.named(origin.transfer)
    return transfer.in_place and not transfer.linked


def _below(top: Place, place: Place) -> bytes | None:
    """Return the path of *place* below *top*, b"." for itself; None when it lies elsewhere."""
    if top[0] != place[0]:
        return None
    if top[1] in (b".", place[1]):
        return b"." if top[1] == place[1] else place[1]
    return place[1][len(top[1]) + 1 :] if place[1].startswith(top[1] + b"/") else None
