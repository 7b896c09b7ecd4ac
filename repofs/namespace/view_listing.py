"""One reading of a directory of the views, some hundred entries at a time: there may be a million."""

from __future__ import annotations

import bisect
import itertools
import os
from collections.abc import Sequence
from operator import itemgetter

from repofs.namespace.view_contents import IMAGES, Contents, View, ViewContents, ViewPlace
from repofs.namespace.view_status import ViewStatus

_MADE_AT_ONCE = 500
_GIVEN_AT_ONCE = 64  # the kernel asks for a few dozen
_DOTS = 2  # . and .. come before all others

Entry = tuple[int, bytes, ViewPlace, os.stat_result]
"""Where the listing goes on after it, its name, its place and status."""


class ViewListing:
    """What *uid* finds in *place*."""

    def __init__(self, place: ViewPlace, uid: int, contents: ViewContents, status: ViewStatus) -> None:
        self._place = place
        self._uid = uid
        self._contents = contents
        self._status = status
        self._whole: Contents = {}
        self._start = 0
        self._entries: Sequence[Entry] = ()  # those after _start

    async def after(self, start: int) -> Sequence[Entry]:
        """Return some entries that come after the entry *start*; 0: from the first. Empty at the end.

        What she may not view any more is left out. Raises AccessDenied, Busy.
        """
        self._status.require_view(self._place, self._uid)
        while some := await self._some(start):
            seen = [one for one in some if self._status.may_view(one[2], self._uid)]
            if seen:
                return seen
            start = some[-1][0]
        return ()

    async def _some(self, start: int) -> Sequence[Entry]:
        if not (self._entries and self._start <= start < self._entries[-1][0]):
            self._start, self._entries = start, await self._next(start)
        first = bisect.bisect_right(self._entries, start, key=itemgetter(0))
        return self._entries[first : first + _GIVEN_AT_ONCE]

    async def _next(self, start: int) -> Sequence[Entry]:
        if start < _DOTS:
            places = (self._place, self._place.above or self._place)
            dots = zip((b".", b".."), places, strict=True)
            return [(number, name, one, self._status.made(one)) for number, (name, one) in enumerate(dots, 1)]
        if self._place.view in IMAGES:
            return await self._images(start - _DOTS)
        if start == _DOTS or not self._whole:
            self._whole = await self._contents.of(self._place, self._uid)
        some = itertools.islice(self._whole.items(), start - _DOTS, start - _DOTS + _MADE_AT_ONCE)
        return [(number, name, one, self._status.made(one)) for number, (name, one) in enumerate(some, start + 1)]

    async def _images(self, start: int) -> Sequence[Entry]:
        form = IMAGES[self._place.view].form
        after: int | None = start
        while after is not None:
            places, after = await self._contents.images(self._place, self._uid, after)
            if self._place.view is View.THUMBNAILS:
                found = await self._status.of_thumbnails(places)
            else:
                found = [(one, self._status.made(one)) for one in places]
            if found:
                return [(one.number + _DOTS, form % one.number, one, status) for one, status in found]
        return ()
