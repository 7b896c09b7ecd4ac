"""Deleting filesets, restoring them and emptying the trash: catalogue and tree together. Blocking; in threads.

    delete    rows into the trash, "moving": the commit point ─ files moved there ─ synced ─ "kept"
    restore   "moving", with the places where it will be ─ files moved back ─ synced ─ rows back: the commit point
    empty     "emptying": the commit point ─ files removed ─ out of the trash

Recovery takes what is moving into the trash, and removes what is emptying: whatever had been done of it by then.
A note in the trash (`repository.trash_notes`) has the rows, too.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from repofs.catalog import audit, consistency, holdings, trash, trashed_rows
from repofs.catalog.engine import Connection, Engine
from repofs.config import Settings
from repofs.errors import Busy
from repofs.fault_points import Step, passed
from repofs.model import ObjectRef
from repofs.quotas import Held, less
from repofs.repository import templates
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.trash_can import TrashCan
from repofs.repository.trash_notes import TrashNotes
from repofs.trash import Deleted, Name, Place, Whereabouts

_SEARCHES = 3  # for names that somebody moves while they are taken away

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Gone:
    """A fileset that was deleted just now."""

    deleted: Deleted
    names: tuple[bytes, ...]  # that are gone, below the mount: also directories that had nothing else in them


@dataclass(frozen=True, slots=True)
class Restored:
    """A fileset that is back."""

    fileset: int
    import_directory: bytes  # below the mount
    told: tuple[str, ...]  # what is not as it was, in sentences


class Disposal:
    """One caller at a time for a fileset: it is for who calls to see to that."""

    def __init__(self, layout: Layout, engine: Engine, can: TrashCan) -> None:
        self._layout = layout
        self._engine = engine
        self._can = can
        self._notes = TrashNotes(layout)
        self.changed: list[Held] = []  # what is held more and less by what was done, for who calls to tell and clear

    @classmethod
    def of(cls, layout: Layout, settings: Settings, engine: Engine) -> Disposal:
        """Return that of the repository with these *settings*."""
        reserved = templates.reserved(layout, settings.repository.template)
        return cls(layout, engine, TrashCan(layout, Marks(load_key(layout)), reserved))

    def frees(self, held: trash.Held) -> int:
        """Return how many bytes are free when a fileset has been deleted and has left the trash. Raises NotFound."""
        return self._can.frees(held.place)

    def delete(self, held: trash.Held, actor_uid: int) -> Gone:
        """Move a fileset to the trash. Raises NotFound when it is not there any more; OSError when it cannot be
        deleted, or is deleted and its files are not in the trash yet: recovery takes them there."""
        place = held.place
        names = self._can.names_of(place, held.dropped)
        size = self._can.frees(place)
        with self._engine.begin() as conn:
            before = holdings.held_by(conn, [place.fileset])
            trash.discard(conn, place.fileset, actor_uid, names, size)
            after = holdings.held_in_trash(conn, place.fileset)
            _tell(conn, actor_uid, "delete", place)
            self._note(conn, place)
        passed(Step.DELETED)
        self.changed += [*less(before), *after]
        names = self._take(place, names)
        with self._engine.begin() as conn:
            deleted = trash.get(conn, place.fileset)
        return Gone(deleted, tuple(self._can.gone(place, names)))

    def _take(self, place: Place, names: Sequence[Name]) -> list[Name]:
        """Take the files of *place* out of the tree, and all names of them that there are."""
        known = list(names)
        for _ in range(_SEARCHES):
            if self._can.take(place, known):
                break
            new = self._can.names_of(place, [b"."] * len(place.files))
            if not new:
                break  # it has a name outside the mount: a hard link that a backup keeps
            known += [name for name in new if name not in known]
            with self._engine.begin() as conn:
                trash.note(conn, place.fileset, Whereabouts.MOVING, names=known)
                self._note(conn, place)
        self._can.sync()
        passed(Step.TRASH_SYNCED)
        with self._engine.begin() as conn:
            trash.note(conn, place.fileset, Whereabouts.KEPT)
        passed(Step.TRASH_KEPT)
        return known

    def _note(self, conn: Connection, place: Place) -> None:
        """Have the trash know of a fileset what the catalogue is about to commit."""
        self._notes.write(place.fileset, trashed_rows.of(conn, place.fileset))
        passed(Step.TRASH_NOTED)

    def restore(self, deleted: Deleted, actor_uid: int) -> Restored:
        """Put a fileset back as it was, beside what has taken its names. Raises NotFound when it is not in the trash
        any more or its user directory has gone; Busy when a name was taken just now; OSError. It is in the trash then.
        """
        with self._engine.begin() as conn:
            deleted = _kept(conn, deleted.fileset)
            own, _ = trash.contents(conn, deleted)
        place, names, told = self._can.free_places(own, deleted.names)
        with self._engine.begin() as conn:
            trash.note(conn, deleted.fileset, Whereabouts.MOVING, names=names, import_directory=place.import_directory)
        passed(Step.RESTORING)
        try:
            gid = deleted.of.gid if deleted.of.gid is not None else os.getegid()
            self._can.put_back(place, names, gid)
            self._can.sync()
            passed(Step.RESTORE_SYNCED)
            with self._engine.begin() as conn:
                before = holdings.held_in_trash(conn, deleted.fileset)
                told += trash.restore(conn, deleted.fileset)
                after = holdings.held_by(conn, [deleted.fileset])
                _tell(conn, actor_uid, "restore", place)
            self.changed += [*less(before), *after]
        except Exception as error:
            with self._engine.begin() as conn:
                trash.get(conn, deleted.fileset)  # else the commit has come to pass, whatever was raised
            self._take(place, names)
            with self._engine.begin() as conn:
                was = deleted.import_directory
                trash.note(conn, deleted.fileset, Whereabouts.KEPT, names=deleted.names, import_directory=was)
            if isinstance(error, FileExistsError):
                raise Busy("somebody is making files where it is to come back to: try again") from None
            raise
        passed(Step.RESTORED)
        self._clear()
        directory = os.path.join(place.user_directory, place.import_directory)
        return Restored(deleted.fileset, directory, tuple(told))

    def empty(self, deleted: Deleted, actor_uid: int) -> int:
        """Remove a fileset for good; return how many bytes are free by that. Raises NotFound when it is not in the
        trash any more; OSError when only recovery can remove the rest."""
        with self._engine.begin() as conn:
            deleted = _kept(conn, deleted.fileset)
            trash.note(conn, deleted.fileset, Whereabouts.EMPTYING)
            place, _ = trash.contents(conn, deleted)
            _tell(conn, actor_uid, "empty", place)
        passed(Step.EMPTYING)
        return self._remove(deleted)

    def _remove(self, deleted: Deleted) -> int:
        with self._engine.begin() as conn:
            _, images = trash.contents(conn, deleted)
        self._notes.remove(deleted.fileset)
        passed(Step.NOTE_REMOVED)
        freed = self._can.remove(deleted.fileset)
        for image in images:
            self._layout.thumbnail(image).unlink(missing_ok=True)
        self._can.sync()
        passed(Step.EMPTIED)
        with self._engine.begin() as conn:
            before = holdings.held_in_trash(conn, deleted.fileset)
            trash.forget(conn, deleted.fileset)
        passed(Step.FORGOTTEN)
        self.changed += less(before)
        return freed

    def recover(self) -> None:
        """Finish what an importer that died has left half done. What the disk refuses is logged, and left for the next
        time."""
        with self._engine.begin() as conn:
            unfinished = trash.unfinished(conn)
        for deleted in unfinished:
            try:
                if deleted.step is Whereabouts.EMPTYING:
                    self._remove(deleted)
                else:
                    with self._engine.begin() as conn:
                        own, _ = trash.contents(conn, deleted)
                    self._take(replace(own, import_directory=deleted.import_directory), deleted.names)
            except OSError as error:
                log.error("a deleted fileset is left as it is now", fileset=deleted.fileset, error=str(error))
        self._clear()

    def _clear(self) -> None:
        """Remove notes of what is not deleted: it is back, or never was. What the disk refuses is for the next time."""
        for fileset in self._notes.left():
            with self._engine.begin() as conn:
                is_trashed = consistency.is_trashed(conn, fileset)
            if not is_trashed:
                try:
                    self._notes.remove(fileset)
                except OSError as error:
                    log.error("a note in the trash is left", fileset=fileset, error=str(error))


def _kept(conn: Connection, fileset: int) -> Deleted:
    deleted = trash.get(conn, fileset)
    if deleted.step is not Whereabouts.KEPT:
        raise Busy(f"the files of Fileset:{fileset} are on their way: try again later")
    return deleted


def _tell(conn: Connection, actor_uid: int, act: str, place: Place) -> None:
    path = os.path.join(place.user_directory, place.import_directory)
    audit.record(conn, actor_uid, act, ObjectRef("Fileset", place.fileset), path=path)
