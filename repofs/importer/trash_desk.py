"""Requests about deleting in the importer process; and the trash is emptied when its time has come."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
import trio

from repofs import config
from repofs.access import Act, may, require
from repofs.catalog import trash
from repofs.catalog.engine import Engine
from repofs.catalog.forms import iso
from repofs.errors import InvalidValue, NotFound, RepofsError
from repofs.importer.commits import Bell
from repofs.importer.counting import Counting
from repofs.importer.disposal import Disposal, Gone
from repofs.importer.requests import Delete, Empty, ListTrash, Restore
from repofs.importer.wire import Answer, Trashing
from repofs.model import FilesetId, ObjectRef
from repofs.people import Actor, People
from repofs.threads import in_thread
from repofs.trash import Deleted, Whereabouts

LOOK_SECONDS = 3600.0  # how often it is looked whose time is over
_DAEMON = 0  # who has removed it then, in the audit trail

Told = dict[str, object]

log = structlog.get_logger(__name__)


class TrashDesk:
    """Sees to one request at a time: a fileset is nobody else's meanwhile."""

    def __init__(
        self,
        settings: config.Trash,
        disposal: Disposal,
        catalogue: Engine,
        committed: Bell,
        who: Callable[[], People],
        counting: Counting,
    ) -> None:
        self._days = settings.days
        self._disposal = disposal
        disposal.changed.clear()  # what recovery has done was summed up after it
        self._catalogue = catalogue
        self._committed = committed
        self._who = who
        self._counting = counting
        self._turn = trio.Lock()

    async def run(self) -> None:
        """Remove for good what has been in the trash for its time, until cancelled."""
        while True:
            async with self._turn:
                await in_thread(self._disposal.recover)  # what the disk has refused may be done by now
                await in_thread(self._remove_old)
                self._tell_changes()
            await trio.sleep(LOOK_SECONDS)

    async def see_to(self, asked: Trashing) -> Answer:
        """Return the answer: what was done, or what there is, as JSON."""
        try:
            async with self._turn:
                try:
                    told = await in_thread(self._see_to, asked)
                finally:
                    self._tell_changes()
        except OSError as error:
            message = error.message if isinstance(error, RepofsError) else f"it is not done yet: {error}"
            return Answer(asked.id, None, message, error.errno or errno.EIO)
        except Exception as error:  # what was begun is for recovery, and it is no reason to leave imports undone
            log.exception("a request about the trash failed unexpectedly")
            return Answer(asked.id, None, f"the catalogue refused it: {error}", errno.EIO)
        finally:
            self._committed.ring()
        return Answer(asked.id, json.dumps(told))

    def _tell_changes(self) -> None:
        changed, self._disposal.changed = self._disposal.changed, []
        if changed:
            self._counting.add(changed)

    def _see_to(self, asked: Trashing) -> Told | list[Told]:
        actor = self._who().actor(asked.uid)
        match asked.request:
            case Delete() as request:
                return self._delete(request, actor, asked.audit_uid)
            case ListTrash():
                return [self._shown(one) for one in self._every() if may(Act.DELETE, actor, one.of)]
            case Restore(what):
                return self._restore(_fileset(what), actor, asked.audit_uid)
            case Empty() as request:
                return self._empty(request, actor, asked.audit_uid)

    # --- deleting --------------------------------------------------------------------------------

    def _delete(self, request: Delete, actor: Actor, audit_uid: int) -> Told:
        held = self._held(ObjectRef.parse(request.what), actor)
        require(Act.DELETE, actor, held.of)
        about = {
            "fileset": f"Fileset:{held.place.fileset}",
            "owner": held.owner,
            "import_directory": os.fsdecode(os.path.join(held.place.user_directory, held.place.import_directory)),
            "files": len(held.place.files),
            "images": held.images,
            "transfers": sorted(held.transfers),
        }
        if request.only_ask:
            return {**about, "size": self._disposal.frees(held), "days": self._days}
        gone = self._disposal.delete(held, audit_uid)
        freed = self._disposal.empty(gone.deleted, audit_uid) if self._days == 0 else 0
        return {
            **about,
            "size": gone.deleted.size,
            "days": self._days,
            "until": self._until(gone.deleted),
            "freed": freed,
            "gone": _names(gone),
        }

    def _held(self, what: ObjectRef, actor: Actor) -> trash.Held:
        with self._catalogue.begin() as conn:
            if what.kind == "Image":
                what = ObjectRef("Fileset", trash.fileset_of(conn, what.id))
            if what.kind != "Fileset":
                raise InvalidValue(f"{what} cannot be deleted: name a Fileset, or an Image of one")
            with suppress(NotFound):  # deleted already: that it can be brought back is told to who may
                require(Act.DELETE, actor, trash.get(conn, what.id).of)
            return trash.held(conn, what.id)

    # --- what is in the trash ----------------------------------------------------------------------

    def _every(self) -> list[Deleted]:
        with self._catalogue.begin() as conn:
            return trash.every(conn)

    def _restore(self, fileset: FilesetId, actor: Actor, audit_uid: int) -> Told:
        deleted = self._get(fileset, actor)
        restored = self._disposal.restore(deleted, audit_uid)
        return {
            "fileset": f"Fileset:{fileset}",
            "import_directory": os.fsdecode(restored.import_directory),
            "told": list(restored.told),
        }

    def _get(self, fileset: FilesetId, actor: Actor) -> Deleted:
        """Return a deleted fileset that *actor* may restore or remove. Raises NotFound, AccessDenied."""
        with self._catalogue.begin() as conn:
            deleted = trash.get(conn, fileset)
        require(Act.DELETE, actor, deleted.of)
        return deleted

    def _empty(self, request: Empty, actor: Actor, audit_uid: int) -> Told:
        if request.what is not None:
            wanted = [self._get(_fileset(request.what), actor)]
        else:
            wanted = [one for one in self._every() if may(Act.DELETE, actor, one.of) and _is_for(actor, one)]
        before = _days_ago(request.older_than_days)
        wanted = [one for one in wanted if one.step is Whereabouts.KEPT and one.deleted <= before]
        shown = [self._shown(one) for one in wanted]
        if request.only_ask:
            return {"filesets": shown, "freed": sum(one.size for one in wanted)}
        return {"filesets": shown, "freed": sum(self._disposal.empty(one, audit_uid) for one in wanted)}

    def _remove_old(self) -> None:
        with self._catalogue.begin() as conn:
            over = trash.older_than(conn, _days_ago(self._days))
        for deleted in over:
            if deleted.step is Whereabouts.KEPT:
                try:
                    self._disposal.empty(deleted, _DAEMON)
                except OSError as error:
                    log.error("the trash cannot be emptied now", fileset=deleted.fileset, error=str(error))

    def _shown(self, one: Deleted) -> Told:
        return {
            "fileset": f"Fileset:{one.fileset}",
            "owner": one.owner,
            "group": one.group,
            "import_directory": os.fsdecode(os.path.join(one.user_directory, one.import_directory)),
            "files": one.files,
            "size": one.size,
            "deleted": one.deleted,
            "by": self._who().actor(one.actor_uid).name or str(one.actor_uid),
            "until": self._until(one),
        }

    def _until(self, one: Deleted) -> str:
        return iso(datetime.fromisoformat(one.deleted) + timedelta(days=self._days))


def _fileset(what: str) -> FilesetId:
    ref = ObjectRef.parse(what)
    if ref.kind != "Fileset":
        raise InvalidValue(f"{ref} is not what the trash holds: name a Fileset")
    return FilesetId(ref.id)


def _is_for(actor: Actor, one: Deleted) -> bool:
    """Whether *one* goes when *actor* empties the trash without saying what: not what is only another member's."""
    return actor.uid == one.of.uid or actor.administrator or one.of.gid in actor.owner_of


def _names(gone: Gone) -> list[str]:
    return [os.fsdecode(name) for name in gone.names]


def _days_ago(days: float) -> str:
    return iso(datetime.now(UTC) - timedelta(days=days))
