"""What the kernel is told of places in the views: whose they are, and who may do what with them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from repofs.acl import Kind
from repofs.errors import AccessDenied
from repofs.namespace.rights import Ownership, Rights
from repofs.namespace.view_contents import View, ViewPlace
from repofs.namespace.virtual import made_status
from repofs.threads import in_thread

_EVERYBODYS = Ownership(0, 0, 0o555, None)


class ViewStatus:
    """Answers about places; *thumbnail* returns where the thumbnail of an image is, if there is one."""

    def __init__(self, rights: Rights, thumbnail: Callable[[int], Path]) -> None:
        self._rights = rights
        self._thumbnail = thumbnail

    def require_view(self, place: ViewPlace, uid: int) -> None:
        """Refuse (AccessDenied) who may not view what is at *place*, or is a stranger."""
        self._rights.require_person(uid)
        if not self.may_view(place, uid):
            raise AccessDenied(f"uid {uid} may not view this {place.view.name.lower()}")

    def may_view(self, place: ViewPlace, uid: int) -> bool:
        """Whether *uid*, one of the people, may view what is at *place* now."""
        return place.gid is None or self._rights.may_view_data(place.owner_uid, place.gid, uid)

    def own(self, place: ViewPlace) -> Ownership:
        """Return owner, group, permission bits and ACL of *place*."""
        if place.gid is None:
            return _EVERYBODYS
        kind = Kind.SHOWN if place.view is View.THUMBNAIL else Kind.SHOWN_DIRECTORY
        own = self._rights.shown_of_data(place.owner_uid, place.gid, kind)
        return Ownership(own.uid, own.gid, 0o777, None) if place.view is View.LINK else own

    async def of(self, place: ViewPlace) -> os.stat_result:
        """Return the status of *place*. FileNotFoundError for a thumbnail that is not there."""
        if place.view is not View.THUMBNAIL:
            return self.made(place)
        return self._as_shown(place, await in_thread(os.stat, self._thumbnail(place.number)))

    async def of_thumbnails(self, places: Sequence[ViewPlace]) -> list[tuple[ViewPlace, os.stat_result]]:
        """Return those that are there, each with its status."""
        found = await in_thread(_stat_each, [self._thumbnail(place.number) for place in places])
        return [(place, self._as_shown(place, one)) for place, one in zip(places, found, strict=True) if one]

    def made(self, place: ViewPlace) -> os.stat_result:
        """Return the status of *place*, a directory or link: it is on no disk."""
        own, is_link = self.own(place), place.view is View.LINK
        format, size = (stat.S_IFLNK, len(place.path_to_target())) if is_link else (stat.S_IFDIR, 0)
        return made_status(format | own.mode, uid=own.uid, gid=own.gid, size=size)

    def _as_shown(self, place: ViewPlace, found: os.stat_result) -> os.stat_result:
        own = self.own(place)
        mode = stat.S_IFREG | own.mode
        return made_status(mode, uid=own.uid, gid=own.gid, size=found.st_size, mtime_ns=found.st_mtime_ns)


def _stat_each(paths: Sequence[Path]) -> list[os.stat_result | None]:
    found: list[os.stat_result | None] = []
    for path in paths:
        try:
            found.append(os.stat(path))
        except FileNotFoundError:
            found.append(None)
    return found
