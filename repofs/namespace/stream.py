"""`.repofs/events`: news of imports as a file that each reader sees otherwise (`docs/decisions/0011`).

One inode, and for each user who has it open a memory file of the lines that she may view. It grows as news come: to
`tail -f` it is like any log, offsets stay what they were, and its size is what she can read.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repofs.events import RECENT, News
from repofs.namespace.rights import Rights

MOST_BYTES = 1 << 20  # of one reader's file: then it is emptied and goes on, as by logrotate's copytruncate


@dataclass(slots=True)
class Line:
    """A piece of news, whose text is made when somebody reads it first."""

    news: News
    _text: bytes | None = None

    @property
    def text(self) -> bytes:
        if self._text is None:
            self._text = self.news.line()
        return self._text


class Stream:
    """The stream of one mount. Every method is called on the event loop and does not block."""

    def __init__(self, rights: Rights) -> None:
        self._rights = rights
        self._lines: deque[Line] = deque(maxlen=RECENT)
        self._newest = 0  # number of the news heard last
        self._files: dict[int, int] = {}  # memory files by uid: of those who have it open
        self._handles: dict[int, int] = {}  # descriptors that `open` has returned: whose

    def hear(self, news: Sequence[News]) -> None:
        """Take in news; what was heard before is passed over."""
        fresh = [Line(one) for one in news if one.number > self._newest]
        if not fresh:
            return
        self._newest = fresh[-1].news.number
        self._add(fresh)

    def tell(self, one: News) -> None:
        """Take in what no catalogue has: it is everybody's."""
        self._add([Line(one)])

    def _add(self, lines: Sequence[Line]) -> None:
        self._lines += lines
        for uid, file in self._files.items():
            _append(file, self._visible(lines, uid))

    def open(self, uid: int) -> int:
        """Return a descriptor on what *uid* may view, as of now if she had it not open before. Give it to `close`."""
        if uid not in self._files:
            self._files[uid] = os.memfd_create("events")
            _append(self._files[uid], self._visible(self._lines, uid))
        handle = os.dup(self._files[uid])
        self._handles[handle] = uid
        return handle

    def close(self, handle: int) -> None:
        """Close a descriptor that `open` has returned."""
        uid = self._handles.pop(handle)
        os.close(handle)
        if uid not in self._handles.values():
            os.close(self._files.pop(uid))

    def size(self, uid: int) -> int:
        """Return how many bytes the file has for *uid*."""
        file = self._files.get(uid)
        return len(self._visible(self._lines, uid)) if file is None else os.fstat(file).st_size

    def _visible(self, lines: Iterable[Line], uid: int) -> bytes:
        return b"".join(line.text for line in lines if self._may_view(line.news, uid))

    def _may_view(self, news: News, uid: int) -> bool:
        return not news.user_directory or self._rights.may_view_in(news.user_directory, news.gid, uid)


def _append(file: int, text: bytes) -> None:
    size = os.fstat(file).st_size
    if size + len(text) > MOST_BYTES:
        os.ftruncate(file, 0)
        size = 0
    os.pwrite(file, text, size)
