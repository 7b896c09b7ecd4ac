"""The audit trail from the rooms of the mount to the importer process, which writes it into the catalogue.

A room says what was done or refused and goes on at once. Once a second what was said becomes deeds: each is written
into the daemon's log, then handed over; what cannot be handed over waits.

    done, refused ──▶ Tally ──a second──▶ log, outbox ──batches, as the importer is ready──▶ the catalogue

No flood makes it grow without bound: alike deeds of a second are told as one, and each user has an allowance of deeds
that are told one by one. What is beyond it is only counted, as that user's, so that a flood hides nobody else.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

import structlog
import trio

from repofs.deeds import Deed
from repofs.errors import Busy
from repofs.model import ObjectRef, utc

GATHER_SECONDS = 1.0  # how long deeds that are alike are told as one; a killed daemon loses what it heard since
BATCH = 256  # deeds in a message
OUTBOX = 50_000  # deeds: with more waiting for an importer, further ones go on being counted together
PATH_BYTES = 4096  # PATH_MAX; a deeper path is told by its beginning
TEXT_LENGTH = 1000  # characters of a refusal or a detail

log = structlog.get_logger()


class Allowance(NamedTuple):
    """How many deeds are told one by one."""

    at_once: int  # of one user
    a_second: float  # how many of these come back
    together: int  # of all users, between two times that they are taken


# `rm -r` of a large tree is told file by file: who has removed what is what a trail is for. Of an attack the beginning
# and the size will do.
DONE = Allowance(at_once=10_000, a_second=20, together=50_000)
REFUSED = Allowance(at_once=50, a_second=5, together=20_000)


# --- counting --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """Deeds that are told as one."""

    first: Deed
    beyond: bool  # the allowance: nothing in common but who, what, and whether it was refused
    path: bytes | None
    times: int = 0

    def add(self, deed: Deed) -> None:
        self.times += 1
        self.path = _together(self.path, deed.path)

    def deed(self) -> Deed:
        if not self.beyond:
            return replace(self.first, path=self.path, times=self.times)
        more = f"and {self.times:,} more refusal{'s' if self.times > 1 else ''}"
        refusal = None if self.first.refusal is None else more
        return replace(self.first, object=None, path=self.path, refusal=refusal, detail={}, times=self.times)


class Tally:
    """Deeds since they were last taken, in the order of the first of each kind. Pure: each deed brings its time."""

    def __init__(self) -> None:
        self._lines: dict[object, _Line] = {}
        # Of each user's two allowances what is spent and has not come back: those who have spent nothing are not here.
        self._spent: dict[tuple[int, bool], float] = {}
        self._told: Counter[bool] = Counter()  # lines within the allowance, done and refused
        self._reckoned_ns = 0  # when spent allowance last came back

    def __len__(self) -> int:
        return len(self._lines)

    def note(self, deed: Deed) -> None:
        """Add *deed*: as a line of its own, to one that is alike, or to what is beyond its user's allowance."""
        if not self._lines:
            self._regain(deed.time_ns)
        refused = deed.refusal is not None
        key: object = _alike(deed)
        beyond = key not in self._lines and not self._spend(deed.actor_uid, refused)
        if beyond:
            key = (deed.actor_uid, deed.act, refused)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(deed, beyond, deed.path)
        line.add(deed)

    def take(self, now_ns: int) -> list[Deed]:
        """Return what was noted since the last time, and begin anew."""
        taken = [line.deed() for line in self._lines.values()]
        self._lines.clear()
        self._told.clear()
        self._regain(now_ns)
        return taken

    def _spend(self, uid: int, refused: bool) -> bool:
        """Take one from the allowance of *uid*; False when there is none left."""
        allowance = REFUSED if refused else DONE
        spent = self._spent.get((uid, refused), 0)
        if spent + 1 > allowance.at_once or self._told[refused] >= allowance.together:
            return False
        self._spent[uid, refused] = spent + 1
        self._told[refused] += 1
        return True

    def _regain(self, now_ns: int) -> None:
        """Let spent allowance come back; never while deeds wait to be taken, which bounds how many do."""
        seconds = max(now_ns - self._reckoned_ns, 0) / 1e9  # none when the machine's clock was set back
        self._reckoned_ns = now_ns
        for (uid, refused), spent in list(self._spent.items()):
            left = spent - seconds * (REFUSED if refused else DONE).a_second
            if left > 0:
                self._spent[uid, refused] = left
            else:
                del self._spent[uid, refused]


def _alike(deed: Deed) -> tuple[object, ...]:
    """Return what deeds that are told as one have in common: all but the time; of refusals any file of a directory."""
    where = deed.path
    if deed.refusal is not None and where is not None:
        where = where.rpartition(b"/")[0]
    return deed.actor_uid, deed.act, deed.object, where, deed.refusal, tuple(deed.detail.items())


def _together(one: bytes | None, other: bytes | None) -> bytes | None:
    """Return the path that both are, or the directory that both lie in: b"alice_2/", or b"" for the mount itself."""
    if one == other:
        return one
    if one is None or other is None:
        return None
    directories = zip(one.split(b"/")[:-1], other.split(b"/")[:-1], strict=False)
    return b"".join(name + b"/" for name, _ in takewhile(lambda names: names[0] == names[1], directories))


# --- on the way ------------------------------------------------------------------------------------

Send = Callable[[Sequence[Deed]], Awaitable[None]]
"""Returns when the deeds are in the catalogue; raises Busy when they cannot be written now."""


class Trail:
    """What the rooms of the mount call, on the event loop, about what users ask for."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._tally = Tally()
        self._outbox: deque[Deed] = deque()
        self._work = trio.Event()  # something is to be logged or handed over
        self._sending = trio.Lock()

    def done(
        self, actor_uid: int, act: str, *, target: ObjectRef | None = None, path: bytes | None = None, **detail: str
    ) -> None:
        """Tell that *actor_uid* has done *act* (one of `deeds.ACTS`) to an object, to what is at *path* in the mount.

        Never waits and never raises. *detail* says what changed; what users write into attributes is not told.
        """
        self._note(actor_uid, act, target, path, None, detail)

    def refused(
        self, actor_uid: int, act: str, reason: str, *, target: ObjectRef | None = None, path: bytes | None = None
    ) -> None:
        """Tell that *act* was refused to *actor_uid*, and why, in a sentence. Never waits and never raises."""
        self._note(actor_uid, act, target, path, reason, {})

    def _note(
        self,
        actor_uid: int,
        act: str,
        target: ObjectRef | None,
        path: bytes | None,
        reason: str | None,
        detail: dict[str, str],
    ) -> None:
        self._tally.note(
            Deed(
                self._clock(),
                actor_uid,
                act,
                target and str(target),
                path and path[:PATH_BYTES],
                reason and _text(reason),
                {key: _text(value) for key, value in detail.items()},
            )
        )
        self._work.set()

    async def run(self, send: Send) -> None:
        """Log and hand over, once a second, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._work.wait()
                await trio.sleep(GATHER_SECONDS)
                if len(self._outbox) < OUTBOX:
                    await self._gather()
                if not self._sending.locked():  # a slow importer does not keep the log waiting
                    nursery.start_soon(self._hand_over, send)

    async def flush(self, send: Send) -> None:
        """Log what was told so far, and return when it is handed over or cannot be now."""
        await self._gather()
        await self._hand_over(send)

    async def _gather(self) -> None:
        self._work = trio.Event()
        gathered = self._tally.take(self._clock())
        self._outbox += gathered
        for position, deed in enumerate(gathered, 1):
            _log(deed)
            if position % BATCH == 0:  # requests are answered in between
                await trio.lowlevel.checkpoint()

    async def _hand_over(self, send: Send) -> None:
        async with self._sending:
            while self._outbox:
                batch = [self._outbox[position] for position in range(min(BATCH, len(self._outbox)))]
                try:
                    await send(batch)
                except Busy:
                    self._work.set()  # they stay, and are sent again in a second
                    return
                for _ in batch:
                    self._outbox.popleft()


def _log(deed: Deed) -> None:
    log.info(
        "audit",
        time=utc(deed.time_ns),
        actor_uid=deed.actor_uid,
        act=deed.act,
        target=deed.object,
        path=None if deed.path is None else deed.path.decode(errors="surrogateescape"),
        refusal=deed.refusal,
        detail=deed.detail,
        times=deed.times,
    )


def _text(value: str) -> str:
    """Return *value* bounded and with what is not UTF-8 written out: it may have come from a name."""
    return value[:TEXT_LENGTH].encode(errors="backslashreplace").decode()
