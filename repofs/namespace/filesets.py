"""Which drops go to the importer together: the files of one fileset, when all are there and quiet.

A quiet file is handed to the importer, where a reader tells which others belong to it (`Members`). It then rests until
those are quiet too: the last one to become so takes all with it. A file that names others, as an index does, is asked
about early, so that the others are not imported one by one before it is quiet.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from enum import Enum

from repofs.config import Drops as DropSettings
from repofs.formats.candidates import as_main_says, lacks, main_first
from repofs.lifecycle import State
from repofs.model import ALONE, Closed, Members, Missing, Original, Refused
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Node
from repofs.namespace.standing import Standing

_THEN = "put what is missing beside it, or set user.repofs.import=now to import what is there"


@dataclass(frozen=True, slots=True)
class Together:
    """These go to the importer as one drop, the main one first."""

    nodes: tuple[Node, ...]
    names: tuple[bytes, ...] | None  # below the directory of the first; None: no reader was asked yet
    refusal: str | None = None  # why they are not to be imported as they are


@dataclass(frozen=True, slots=True)
class Rest:
    """It waits for others, and is looked at again then."""

    seconds: float
    why: str | None = None  # what people are told


class _Stands(Enum):
    READY = "ready"
    BUSY = "busy"  # being written, or not quiet for long enough
    LOST = "lost"  # imported before, incomplete, no file


class Filesets:
    """For one mount. Everything is asked on the event loop, of what is in memory and in the backing tree."""

    def __init__(self, standing: Standing, drops: Drops, settings: DropSettings) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._drops = drops
        self._quiet_seconds = settings.directory_settle_seconds
        self._missing_seconds = settings.missing_seconds
        self._joined: dict[tuple[int, str], float] = {}  # (directory, key of the fileset) -> when the last file did
        self._named: dict[tuple[int, bytes], Node] = {}  # (directory, name) -> the main file that names it

    def told(self, unit: Node, members: Members) -> None:
        """Take in what a reader says of *unit*, as it is."""
        assert unit.activity is not None
        unit.activity.members, unit.activity.asked = members, time.monotonic()
        directory, own = unit.names[0]
        if members.key is not None:
            self._joined[directory.ino, members.key] = time.monotonic()
        if os.fsencode(members.main) == own:
            self._named.update(((directory.ino, os.fsencode(name)), unit) for name in members.names)

    def is_early(self, unit: Node) -> bool:
        """Whether *unit* was not quiet for long enough to be imported, and is to be asked about only."""
        return not (unit.activity is not None and unit.activity.word) and self._unquiet_for(unit) > 0

    def of(self, unit: Node) -> Together | Rest:
        """Return what *unit*, a drop whose clock has gone off, is to be handed over with."""
        assert unit.activity is not None
        directory, own = unit.names[0]
        said = unit.activity.members or self._of_who_names(directory, own)
        if said is None or unit.is_directory:
            return Together((unit,), None)
        said = self._of_main(directory, own, said)
        if said.key is not None:
            return self._of_key(directory, said.key, insists=unit.activity.insists)
        names = main_first(said, said.names)
        if names in ((), (own,)):
            left = self._unquiet_for(unit)
            return Rest(left) if left > 0 and not unit.activity.insists else Together((unit,), (own,))
        return self._of_names(unit, said, names)

    def _of_main(self, directory: Node, own: bytes, said: Members) -> Members:
        """Return what the main file says where it is known: it names all that belong to it."""
        main_name = os.fsencode(said.main)
        main = None if main_name == own else self._find(directory, main_name)
        if main is None:
            return said
        if isinstance(self._standing.mark(main), Original):
            return ALONE
        mains = None if main.activity is None else main.activity.members
        if mains is None or main.activity is None:
            self._drops.ask_again(main)
        elif os.fsdecode(own) not in mains.names and main.activity.asked < self._came(directory, own):
            main.activity.members = mains = None  # it may say another thing of what is there by now
            self._drops.restart(main)
        return as_main_says(own, said, mains)

    def _came(self, directory: Node, name: bytes) -> float:
        node = directory.children.get(name)
        return 0.0 if node is None or node.activity is None else node.activity.changed

    def _of_who_names(self, directory: Node, own: bytes) -> Members | None:
        """Return what a file says that was asked about and names *own*, which cannot know that."""
        main = self._named.get((directory.ino, own))
        if main is None:
            return None
        said = None if main.activity is None or main.removed else main.activity.members
        if said is not None and (
            os.fsdecode(own) not in said.names or self._find(directory, os.fsencode(said.main)) is not main
        ):
            said = None
        if said is None:
            del self._named[directory.ino, own]
        return said

    # --- files that are named ---------------------------------------------------------------------

    def _of_names(self, unit: Node, said: Members, names: tuple[bytes, ...]) -> Together | Rest:
        """Return the files called *names*, if all are there and quiet; what was missing for long is given up."""
        assert unit.activity is not None
        directory = unit.names[0][0]
        found: dict[bytes, Node] = {}
        missing: list[bytes] = []
        alone: list[bytes] = []  # of the missing: imported before, without the others
        for name in reversed(names):  # the last are the last to come: mostly one look tells
            node = self._find(directory, name)
            stands = _Stands.LOST if node is None else self._stands(node)
            if stands is _Stands.BUSY:
                return Rest(max(self._standing.settle_seconds(unit), 1.0))
            if node is None or stands is _Stands.LOST:
                missing.append(name)
                if node is not None and isinstance(self._standing.mark(node), Original):
                    alone.append(name)
                if (left := self._still_waits(unit, said)) > 0:
                    return Rest(left, f"waits: {_lacks(said, missing, alone)}")
            else:
                found[name] = node
        missing.reverse()
        there = [name for name in names if name in found]
        if missing and not said.certain:
            own = unit.names[0][1]
            return Together((unit,), (own,))
        refusal = None
        if missing and not unit.activity.insists:
            if self._standing.policy(unit).missing is Missing.WAIT:
                return Rest(self._missing_seconds, f"waits: {_lacks(said, missing, alone)}")
            refusal = f"{_lacks(said, missing, alone)}: {_THEN}"
        for name in names:
            self._named.pop((directory.ino, name), None)
        return Together(tuple(found[name] for name in there), tuple(there), refusal)

    def _still_waits(self, unit: Node, said: Members) -> float:
        """Return for how many seconds more *unit* waits for what is missing: since the last that came did."""
        assert unit.activity is not None
        if unit.activity.insists:
            return 0.0
        wait = self._missing_seconds if said.certain else self._quiet_seconds
        directory = unit.names[0][0]
        newest = max((self._came(directory, os.fsencode(name)) for name in said.names), default=0.0)
        return newest + wait - time.monotonic()

    def _stands(self, node: Node) -> _Stands:
        if self._standing.seal(node) is not None:
            return _Stands.BUSY
        if not node.is_file or self._standing.names.unit(node) is not node:
            return _Stands.LOST
        activity, mark = node.activity, self._standing.mark(node)
        if activity is not None and (activity.writers or activity.dirty):
            return _Stands.BUSY
        if isinstance(mark, Refused) and mark.state is not State.INCOMPLETE:
            return _Stands.READY
        if not isinstance(mark, Closed):
            return _Stands.LOST
        unquiet = self._standing.waits(node) is not None or self._unquiet_for(node) > 0
        return _Stands.BUSY if unquiet and not (activity is not None and activity.insists) else _Stands.READY

    def _unquiet_for(self, node: Node) -> float:
        """Return for how many seconds more *node* has to be quiet."""
        if node.activity is None:
            return 0.0
        return node.activity.changed + self._standing.settle_seconds(node) - time.monotonic()

    def _find(self, directory: Node, name: bytes) -> Node | None:
        """Return the file *name* below *directory*, or None."""
        here = directory
        *way, last = name.split(b"/")
        for part in way:
            found = self._child(here, part)
            if found is None or not found.is_directory:
                return None
            here = found
        found = self._child(here, last)
        return found if found is not None and found.is_file else None

    def _child(self, directory: Node, name: bytes) -> Node | None:
        try:
            status = os.stat(name, dir_fd=self._backing.directory(directory), follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        node = self._backing.table.intern(status, directory, name)
        if stat.S_ISDIR(status.st_mode):
            node.area = self._standing.names.area(directory, name)
        return node

    # --- files that say the same --------------------------------------------------------------------

    def _of_key(self, directory: Node, key: str, *, insists: bool) -> Together | Rest:
        """Return all files in *directory* that say *key*, when no more have joined for a while."""
        left = self._joined.get((directory.ino, key), 0.0) + self._quiet_seconds - time.monotonic()
        if left > 0 and not insists:
            return Rest(left)
        found = sorted(
            (node.names[0][1], node) for node in directory.children.values() if _says(node, key) and node.names
        )
        if any(self._stands(node) is _Stands.BUSY for _, node in found):
            return Rest(self._quiet_seconds)
        self._joined.pop((directory.ino, key), None)
        return Together(tuple(node for _, node in found), tuple(name for name, _ in found))


def _lacks(said: Members, missing: list[bytes], alone: list[bytes]) -> str:
    """Return what is *missing*, and which of it is there but was imported *alone*: that cannot be undone."""
    if not alone:
        return lacks(said, missing)
    again = f"{os.fsdecode(alone[0])} was imported without the others, so remove it and copy it again"
    return f"{lacks(said, missing)} ({again})"


def _says(node: Node, key: str) -> bool:
    return node.activity is not None and node.activity.members is not None and node.activity.members.key == key
