"""What the mount asks of the importer process, which has the catalogue, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import trio

from repofs.administration.requests import Request
from repofs.deeds import Deed
from repofs.errors import Busy, told
from repofs.importer.requests import Import, TrashRequest
from repofs.importer.wire import (
    Administer,
    Answer,
    Arriving,
    Ask,
    AskVerified,
    Channel,
    Committed,
    Deeds,
    Hangup,
    ListTables,
    Move,
    RegisterTable,
    Stands,
    SumUp,
    TableIs,
    TableMessage,
    Trashing,
    UnregisterTable,
    View,
)
from repofs.lifecycle import State
from repofs.repository.as_user import Caller
from repofs.table import NewTable, Table
from repofs.usage import Sum, Sums
from repofs.views import Look, Page

_decode_page = msgspec.json.Decoder(Page).decode


class _Question:
    """Without its Answer yet."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: Answer | None = None  # None when the process died

    def settle(self, answer: Answer | None) -> None:
        self.answer = answer
        self.answered.set()


class Questions:
    """Asked over the *channel* of the process that is ready; None while none is. Every method on the event loop."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self._open: dict[int, _Question] = {}
        self._asked = 0

    def answered(self, answer: Answer) -> None:
        """Take in an answer of the process; whoever asked may have been interrupted meanwhile."""
        if answer.id in self._open:
            self._open[answer.id].settle(answer)

    def lost(self) -> None:
        """The process has gone: what it was asked stays without an answer."""
        self.channel = None
        for question in self._open.values():
            question.settle(None)

    async def ask(self, what: str) -> str:
        """Return the description of the object *what* ("Fileset:17") as JSON.

        Raises NotFound when there is none, InvalidValue for what is none, Busy when no importer process is ready.
        """
        answer = await self._answer(Ask(self._number(), what))
        if answer is None:
            raise Busy("the importer has just been restarted: try again in a moment")
        return _json(answer)

    async def view(self, look: Look) -> Page:
        """Return some of what *look* asks for. Raises Busy when no importer process is ready."""
        answer = await self._answer(View(self._number(), look))
        if answer is None:
            raise Busy("the importer has just been restarted: try again in a moment")
        return _decode_page(_json(answer))

    async def sum_up(self, sums: Sums) -> list[Sum]:
        """Return how much originals and trash hold. Raises Busy when no importer process is ready."""
        answer = await self._answer(SumUp(self._number(), sums))
        if answer is None:
            raise Busy("the importer has just been restarted: try again in a moment")
        return msgspec.json.decode(_json(answer), type=list[Sum])

    async def administer(self, uid: int, request: Request, audit_uid: int) -> str:
        """See to *request* of *uid*, whom the audit trail calls *audit_uid*; return the result as JSON.

        A change counts in the mount when this returns. Raises AccessDenied, and other RepofsErrors that say what is
        wrong with it; Busy when no importer process is ready, or when it ended and may have made the change or not.
        """
        answer = await self._answer(Administer(self._number(), request, uid, audit_uid))
        if answer is None:
            raise Busy("the importer has just been restarted: look whether it was done before you try again")
        return _json(answer)

    async def arrive(self, request: Import, caller: Caller, directory: int) -> str:
        """Import what *caller* asks for from the directory of that descriptor; return what became of it as JSON.

        Raises AccessDenied, and other RepofsErrors that say what is wrong with the request; Busy when no importer
        process is ready, or when it ended: what was not committed by then is not imported.
        """
        answer = await self._answer(Arriving(self._number(), request, caller), [directory])
        if answer is None:
            raise Busy("the importer has just been restarted: run the same command again")
        return _json(answer)

    async def trash(self, uid: int, request: TrashRequest, audit_uid: int) -> str:
        """See to *request* of *uid*, whom the audit trail calls *audit_uid*; return the result as JSON.

        Raises AccessDenied, and other RepofsErrors that say why it was not done; Busy as `administer`.
        """
        answer = await self._answer(Trashing(self._number(), request, uid, audit_uid))
        if answer is None:
            raise Busy("the importer has just been restarted: look with repofs trash list whether it was done")
        return _json(answer)

    async def move(self, filesets: Sequence[int], gid: int, actor_uid: int, path: bytes) -> None:
        """Have filesets moved to the group of *gid*, as *actor_uid* asks for *path*; it may be asked for again.

        Raises RepofsError when that cannot be, Busy when no importer process is ready or it ended in the middle.
        """
        answer = await self._answer(Move(self._number(), tuple(filesets), gid, actor_uid, path))
        if answer is None:
            raise Busy("the importer has just been restarted: try again in a moment")
        _json(answer)

    async def stands(self, original: int, state: State) -> None:
        """Have the catalogue say how the source of an original was found. Raises Busy when that cannot be now."""
        answer = await self._answer(Stands(self._number(), original, state))
        if answer is None or answer.json is None:
            raise Busy((answer and answer.error) or "the catalogue cannot be told now")

    async def committed(self) -> None:
        """Tell the importer that a command has written into the catalogue. One that starts later sees it by itself."""
        if self.channel is not None:
            with suppress(Hangup):
                await self.channel.send(Committed())

    async def verified(self) -> str:
        """Return how far the verification of originals is, as JSON. Raises Busy when that cannot be told now."""
        answer = await self._answer(AskVerified(self._number()))
        if answer is None:
            raise Busy("the importer has just been restarted: try again in a moment")
        return _json(answer)

    async def tables(self) -> list[Table]:
        """Return all registered tables. Raises Busy when no importer process is ready."""
        return msgspec.json.decode(await self._settled(ListTables(self._number())), type=list[Table])

    async def register(self, new: NewTable, actor_uid: int) -> Table:
        """Have an array registered whose token is proved, as *actor_uid* asks; return its table.

        Raises NotFound, OtherGroup, AccessDenied, AlreadyExists as the catalogue decides; Busy as `administer`.
        """
        return msgspec.json.decode(await self._settled(RegisterTable(self._number(), new, actor_uid)), type=Table)

    async def check_table(self, new: NewTable, actor_uid: int) -> None:
        """Refuse what `register` would refuse."""
        await self._settled(RegisterTable(self._number(), new, actor_uid, only_check=True))

    async def unregister(self, table: Table, actor_uid: int) -> None:
        """Have a table taken away, as *actor_uid* asks. Raises NotFound, Busy."""
        await self._settled(UnregisterTable(self._number(), table, actor_uid))

    async def table_is(self, table: Table, rotated_by: int | None = None) -> None:
        """Have the catalogue say how a table is now. Raises NotFound, Busy."""
        await self._settled(TableIs(self._number(), table, rotated_by))

    async def _settled(self, message: TableMessage) -> str:
        answer = await self._answer(message)
        if answer is None:
            raise Busy("the importer has just been restarted: look whether it was done before you try again")
        return _json(answer)

    async def keep(self, deeds: Sequence[Deed]) -> None:
        """Return when *deeds* are in the audit trail. Raises Busy when they cannot be written now.

        A process that dies between writing and answering leaves them written, and the next writes them again.
        """
        answer = await self._answer(Deeds(self._number(), tuple(deeds)))
        if answer is None or answer.json is None:
            raise Busy((answer and answer.error) or "the audit trail cannot be written now")

    def _number(self) -> int:
        self._asked += 1
        return self._asked

    async def _answer(
        self,
        message: Ask
        | AskVerified
        | View
        | SumUp
        | Stands
        | Administer
        | Arriving
        | Trashing
        | Deeds
        | Move
        | TableMessage,
        descriptors: Sequence[int] = (),
    ) -> Answer | None:
        """Send a question and return its answer; None when the process has died. Raises Busy when none is ready."""
        if self.channel is None:
            raise Busy("the catalogue is not ready yet: try again in a moment")
        question = self._open[message.id] = _Question()
        try:
            await self.channel.send(message, descriptors)
            await question.answered.wait()
        except Hangup:
            pass
        finally:
            del self._open[message.id]
        return question.answer


def _json(answer: Answer) -> str:
    """Return what *answer* tells; raises the RepofsError that it tells."""
    if answer.json is None:
        raise told(answer.errno, answer.error or "")
    return answer.json
