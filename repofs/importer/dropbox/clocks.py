"""Files of a watched folder that are to be quiet for a while, and whether they were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from repofs.catalog.dropbox import File, FileState, Place
from repofs.errors import Busy, ChangedWhileReading, NotFound
from repofs.importer.dropbox.looking import Found, Looker
from repofs.importer.dropbox.users import User
from repofs.importer.settling import Settling


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file as it was when its clock was started."""

    place: Place
    user: User
    found: Found


class Clocks:
    """Pure: the time is given."""

    def __init__(self) -> None:
        self._settling: Settling[bytes] = Settling()
        self._waiting: dict[bytes, Waiting] = {}  # by path

    def start(self, waiting: Waiting, deadline: float) -> None:
        """Start the clock of a file. One that runs goes on, unless the file is another than before."""
        path = waiting.place.path
        if self._waiting.get(path) != waiting:
            self._waiting[path] = waiting
            self._settling.start(path, deadline)

    def due(self, now: float) -> list[Waiting]:
        """Return the files whose time has come, first due first; their clocks are stopped."""
        return [self._waiting.pop(path) for path in self._settling.due(now)]

    def next_deadline(self) -> float:
        """Return when the next file is due; infinity when no clock is running."""
        return self._settling.next_deadline()


def confirm(looker: Looker, batch: Iterable[Waiting]) -> Sequence[File | Waiting]:
    """Return what is to be written of each file that is still there, or what it is by now if it is not quiet."""
    return [one for one in (_confirmed(looker, waiting) for waiting in batch) if one is not None]


def _confirmed(looker: Looker, waiting: Waiting) -> File | Waiting | None:
    place, found = waiting.place, waiting.found
    try:
        version, handle = looker.confirm(place.path, is_directory=found.is_directory)
    except (Busy, ChangedWhileReading):
        return waiting
    except NotFound:
        return None
    except OSError as error:
        return failed(place, found, str(error))
    if version != found.version:
        return replace(waiting, found=replace(found, version=version))
    return File(place, found.is_directory, version, FileState.QUEUED, handle)


def failed(place: Place, found: Found, error: str) -> File:
    """Return what is to be written of what cannot be imported."""
    return File(place, found.is_directory, found.version, FileState.FAILED, error=error)
