"""What lies in each directory of the views, by name, as the catalogue tells it for one person."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import trio

from repofs.namespace import view_names
from repofs.namespace.rights import Rights
from repofs.people import People
from repofs.views import Listing, Look, Page, Shown

ORPHANS = b"Orphans"
_KEPT_SECONDS = 2.0  # a program that opens a thousand files in a dataset asks once
_MOST_KEPT = 16

Ask = Callable[[Look], Awaitable[Page]]


class View(Enum):
    """What a place in the views is."""

    BY_TARGET = auto()
    PROJECT = auto()
    DATASET = auto()
    ORPHANS = auto()
    IMAGES = auto()
    IMAGE = auto()
    LINK = auto()  # to an original
    THUMBNAILS = auto()
    THUMBNAIL = auto()


class ViewPlace(NamedTuple):
    """A place in the views, and whose it is: when that changes it is another place."""

    view: View
    above: ViewPlace | None = None  # None: it lies in .repofs
    number: int = 0  # of the project, dataset or image
    owner_uid: int | None = None
    gid: int | None = None  # None: everybody's, as far as she is one of the people
    target: bytes = b""  # of a link, below the mount

    @property
    def depth(self) -> int:
        """How many directories of the mount it lies below."""
        return 1 if self.above is None else self.above.depth + 1

    def path_to_target(self) -> bytes:
        """Return the target from the directory that this link lies in."""
        return b"../" * self.depth + self.target


class ByNumber(NamedTuple):
    """How the directory of one view has all images."""

    view: View  # what each is there
    form: bytes  # its name, of its number
    name: re.Pattern[bytes]


Contents = Mapping[bytes, ViewPlace]

IMAGES = {
    View.IMAGES: ByNumber(View.IMAGE, b"%d", re.compile(rb"([1-9][0-9]{0,17})")),
    View.THUMBNAILS: ByNumber(View.THUMBNAIL, b"Image-%d.png", re.compile(rb"Image-([1-9][0-9]{0,17})\.png")),
}
_FILES_OF = {View.DATASET: Listing.DATASET, View.ORPHANS: Listing.ORPHANS, View.IMAGE: Listing.IMAGE}


@dataclass(frozen=True, slots=True)
class _Kept:
    contents: Contents
    people: People  # whom it was found for; others may view something else
    until: float


class ViewContents:
    """Asks the catalogue, and keeps its answers for a moment."""

    def __init__(self, rights: Rights, ask: Ask) -> None:
        self._rights = rights
        self._ask = ask
        self._kept: dict[tuple[ViewPlace, int], _Kept] = {}  # by place and uid, the oldest first

    async def find(self, place: ViewPlace, name: bytes, uid: int) -> ViewPlace | None:
        """Return what *uid* finds as *name* in *place*; None: nothing. Raises Busy."""
        if place.view not in IMAGES:
            return (await self.of(place, uid)).get(name)
        number = IMAGES[place.view].name.fullmatch(name)
        if number is None:
            return None
        page = await self._page(Listing.IMAGE, uid, int(number[1]))
        return next((_image(place, one) for one in page.shown), None)

    async def images(self, place: ViewPlace, uid: int, after: int) -> tuple[list[ViewPlace], int | None]:
        """Return some images after number *after* in *place*, IMAGES or THUMBNAILS, and after which to go on.

        Raises Busy.
        """
        page = await self._page(Listing.IMAGES, uid, after=after)
        return [_image(place, one) for one in page.shown], page.after

    async def of(self, place: ViewPlace, uid: int) -> Contents:
        """Return what *uid* finds in *place*, a directory but IMAGES and THUMBNAILS. Raises Busy."""
        people, now = self._rights.people(), trio.current_time()
        kept = self._kept.get((place, uid))
        if kept is not None and kept.people is people and kept.until > now:
            return kept.contents
        contents = await (self._files(place, uid) if place.view in _FILES_OF else self._containers(place, uid))
        self._kept.pop((place, uid), None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[place, uid] = _Kept(contents, people, trio.current_time() + _KEPT_SECONDS)
        return contents

    async def _page(self, listing: Listing, uid: int, number: int = 0, after: int = 0) -> Page:
        return await self._ask(Look(listing, self._rights.seen(uid), number, after))

    async def _all(self, listing: Listing, uid: int, number: int) -> AsyncIterator[Shown]:
        after: int | None = 0
        while after is not None:
            page = await self._page(listing, uid, number, after)
            for one in page.shown:
                yield one
            after = page.after

    async def _containers(self, place: ViewPlace, uid: int) -> Contents:
        found: dict[bytes, ViewPlace] = {}
        if place.view is View.BY_TARGET:
            found[ORPHANS] = ViewPlace(View.ORPHANS, place)
            async for one in self._all(Listing.PROJECTS, uid, 0):
                _add(found, place, View.PROJECT, one)
        async for one in self._all(Listing.DATASETS, uid, place.number):
            _add(found, place, View.DATASET, one)
        return found

    async def _files(self, place: ViewPlace, uid: int) -> Contents:
        found: dict[bytes, ViewPlace] = {}
        linked: set[bytes] = set()  # a fileset of many images comes again
        async for one in self._all(_FILES_OF[place.view], uid, place.number):
            if one.directory not in linked:
                linked.add(one.directory)
                for name in one.names:
                    target = one.directory + b"/" + name
                    shown = view_names.unique(view_names.of_file(name), f"Image:{one.number}", found)
                    found[shown] = ViewPlace(View.LINK, place, one.number, one.owner_uid, one.gid, target)
        return found


def _image(above: ViewPlace, one: Shown) -> ViewPlace:
    return ViewPlace(IMAGES[above.view].view, above, one.number, one.owner_uid, one.gid)


def _add(found: dict[bytes, ViewPlace], above: ViewPlace, view: View, one: Shown) -> None:
    name = view_names.unique(view_names.of_container(one.name), f"{view.name.title()}:{one.number}", found)
    found[name] = ViewPlace(view, above, one.number, one.owner_uid, one.gid)
