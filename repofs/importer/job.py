"""One import on its way through the pipeline: what it is of, and how far it has come."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

from repofs.catalog.filesets import FinishedImport
from repofs.importer.bringing import SMALL_BYTES
from repofs.importer.import_log import ImportLog
from repofs.importer.transactions import Begun
from repofs.lifecycle import State
from repofs.model import Drop, Origin, Outcome
from repofs.quotas import Held
from repofs.repository.outside import Root


class Deaths(NamedTuple):
    """How often the importer has died with a drop in hand."""

    times: int = 0
    alone: bool = False  # the last time with no other


@dataclass(slots=True)
class Job:
    """The import of *drop*, open as *fd*; what its stand-ins stand for lies in *root*, if not in a declared source."""

    drop: Drop
    fd: int
    root: Root | None
    log: ImportLog
    begun: Begun | None = None
    origin: Origin | None = None  # of its first file
    deaths: Deaths = Deaths()  # noqa: RUF009 -- it is a tuple
    coming: Held | None = None  # minus the bytes that are counted because they are about to be copied
    placed: bool = False  # something may be in the tree that would have to be taken back
    finished: FinishedImport | None = None  # its final rows were sent to the catalogue
    ended: bool = False  # the catalogue knows that it came to nothing
    undone: bool = False  # so do the files

    @property
    def is_small(self) -> bool:
        """Whether it is one file whose bytes are here, and few."""
        return self.drop.is_one_file and self.origin is None and os.fstat(self.fd).st_size <= SMALL_BYTES

    def imported(self, kept: str | None = None) -> Outcome:
        """Return the outcome of one that the catalogue knows as imported; *kept*: why a source was not removed."""
        assert self.finished is not None
        fileset, directory = self.finished.fileset_id, self.finished.import_directory
        return Outcome(self.drop.token, State.IMPORTED, fileset=fileset, import_directory=directory, kept=kept)
