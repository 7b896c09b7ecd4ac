"""What a command asks to have imported, made an arrival: whose it becomes, by whose right, from where."""

from __future__ import annotations

import errno
import functools
import json
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import trio

from repofs import targets
from repofs.access import Act, Whose, require, require_member
from repofs.config import ChecksumAlgorithm
from repofs.errors import InvalidValue, NotFound, RepofsError
from repofs.importer.arrivals import Arrivals
from repofs.importer.requests import Import
from repofs.importer.waiting_room import WaitingRoom
from repofs.importer.wire import Answer, Arriving
from repofs.lifecycle import State
from repofs.model import Arrival, Arrived, PermissionLevel
from repofs.people import Actor, Home, People
from repofs.repository import transfers
from repofs.repository.as_user import Caller
from repofs.repository.layout import Layout
from repofs.repository.outside import Root, open_beneath
from repofs.repository.sources import Sources
from repofs.repository.transfers import CannotTransfer
from repofs.threads import in_thread

QUIET_SECONDS = 10.0  # for a source to become quiet while its command waits
AGAIN_SECONDS = 0.5


class Reception:
    """Sees to requests of commands in the importer process."""

    def __init__(
        self,
        layout: Layout,
        arrivals: Arrivals,
        waiting_room: WaitingRoom,
        sources: Sources,
        people: Callable[[], People],
    ) -> None:
        self._layout = layout
        self._arrivals = arrivals
        self._waiting_room = waiting_room
        self._sources = sources
        self._people = people

    async def see_to(self, asked: Arriving, directory: int) -> Answer:
        """Import what is asked for from *directory*, whose descriptor is closed then; return what is to be answered."""
        try:
            path = Path(os.fsdecode(asked.request.directory))
            with await in_thread(functools.partial(Root.given, directory, path, repository=self._layout.root)) as root:
                told = await self._import(asked.request, asked.caller, root)
        except OSError as error:
            message = error.message if isinstance(error, RepofsError) else str(error)
            return Answer(asked.id, None, message, error.errno or errno.EIO)
        return Answer(asked.id, json.dumps(told))

    async def _import(self, request: Import, caller: Caller, given: Root) -> dict[str, object]:
        arrival = self._arrival(request, caller)
        if not arrival.source:
            return asdict(await self._take(arrival, caller, given))
        await in_thread(self._require_same, arrival, caller, given, request.name)
        if request.wait:
            return asdict(await self._take(arrival, caller, None))
        return {"queued": await self._waiting_room.queue(arrival)}

    async def _take(self, arrival: Arrival, caller: Caller, root: Root | None) -> Arrived:
        """Return what becomes of *arrival*. A source that is being written is looked at again for a while, as are bytes
        that are being imported at this moment from elsewhere: a copy beside it, in the same command."""
        deadline = trio.current_time() + QUIET_SECONDS
        arrived = await self._arrivals.take(arrival, caller=caller, root=root)
        while arrived.state is State.SETTLING and trio.current_time() < deadline:
            await trio.sleep(AGAIN_SECONDS)
            arrived = await self._arrivals.take(arrival, caller=caller, root=root)
        return arrived

    def _arrival(self, request: Import, caller: Caller) -> Arrival:
        """Return *request* as an arrival that the caller may ask for. Raises RepofsError."""
        people = self._people()
        actor = people.actor(caller.uid)
        user_directory, home = _home(people, actor, request.owner)
        gid = home.gid if request.group is None else _gid(people, home, request.group)
        require(Act.IMPORT, actor, Whose(home.uid, gid, people.levels.get(gid, PermissionLevel.PRIVATE)))
        if request.target is not None:
            targets.require_dataset(targets.parse(request.target))
        source, path = self._place(request)
        return Arrival(
            user_directory=user_directory,
            source=source,
            path=path,
            is_directory=request.is_directory,
            transfer=request.transfer,
            actor_uid=caller.uid,
            actor=str(actor),
            gid=gid,
            target=request.target,
            name=request.image_name,
            checksum_algorithm=_checked(request.checksum_algorithm),
            skip=request.skip,
            exclude=request.exclude,
        )

    def _place(self, request: Import) -> tuple[str, bytes]:
        """Return where the daemon finds what is to be imported: (source, path below it), ("", name) below the
        directory that came along when nothing has to be found again."""
        if b"/" in request.name or request.name in (b".", b"..") or not request.directory.startswith(b"/"):
            raise InvalidValue("write an absolute directory, and one name in it")
        transfer = transfers.named(request.transfer)
        if not (transfer.in_place or transfer.removes) and request.wait:
            return "", request.name
        path = os.path.join(request.directory, request.name)
        found = self._sources.locate(path)
        if found is None:
            by_transfer = transfer.in_place or transfer.removes
            what = f"--transfer {transfer.name}" if by_transfer else "--no-wait"
            instead = "use --transfer upload" if by_transfer else "leave out --no-wait"
            raise CannotTransfer(
                errno.EXDEV,
                f"{os.fsdecode(path)!r} is in no declared source, which {what} needs: "
                f"declare the directory (settings: [[sources]]), or {instead}",
            )
        return found

    def _require_same(self, arrival: Arrival, caller: Caller, given: Root, name: bytes) -> None:
        """Refuse what is another file for the daemon than for who asks: they may see different mounts.

        What is there for neither may have gone with its fileset meanwhile: `Arrivals` knows.
        """
        with self._sources.root(arrival.source) as root, ExitStack() as stack:
            found = []
            for place, path in ((given, name), (root, arrival.path)):
                with suppress(NotFound):
                    file = open_beneath(place, path, caller, directory=arrival.is_directory)
                    found.append(stack.enter_context(file).fd)
            if len(found) == 1 or (found and not os.path.sameopenfile(*found)):
                path = os.path.join(os.fsencode(given.path), name)
                raise InvalidValue(f"{os.fsdecode(path)!r} is another file for the daemon: use another path")


def _home(people: People, actor: Actor, owner: str | None) -> tuple[bytes, Home]:
    """Return the user directory of the experimenter *owner*, else of *actor* herself."""
    if owner is None:
        uid: int | None = actor.uid
    else:
        uid = next((one.uid for one in people.actors.values() if one.name == owner), None)
    for user_directory, home in people.homes.items():
        if uid is not None and home.uid == uid:
            return user_directory, home
    if owner is not None:
        raise NotFound(f"{owner!r} is no experimenter: repofs user list shows who is")
    raise InvalidValue(f"{actor} is no experimenter and has no directory: name with --as whose it is to be")


def _gid(people: People, home: Home, group: str) -> int:
    if group not in people.gids:
        raise NotFound(f"{group!r} is no group of the repository: repofs group list shows them")
    require_member(home, people.gids[group])
    return people.gids[group]


def _checked(algorithm: str | None) -> str | None:
    known = get_args(ChecksumAlgorithm)
    if algorithm is not None and algorithm not in known:
        raise InvalidValue(f"{algorithm!r} is no checksum algorithm: there are {', '.join(known)}")
    return algorithm
