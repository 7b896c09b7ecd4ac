"""Which drops go to the importer together: the files of one fileset, when all are there and quiet.

A quiet file is handed to the importer, where a reader tells which others belong to it (`Members`). It then rests until
those are quiet too: the last one to become so takes all with it. A file that names others, as an index does, is asked
about early, so that the others are not imported one by one before it is quiet.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from repofs.config import Drops as DropSettings
from repofs.formats.candidates import as_main_says, lacks, main_beside, main_first
from repofs.image import ALONE, Members
from repofs.lifecycle import State
from repofs.model import Closed, Missing, Original, Refused
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Area, Node
from repofs.namespace.present import present
from repofs.namespace.standing import Standing
from repofs.namespace.together import Rest, Together

_SOON_SECONDS = 1.0  # until a main file that is being asked has answered
_THEN = "put what is missing beside it, or set user.repofs.import=now to import what is there"


@dataclass(slots=True)
class _Set:
    """Files that name each other, not all of which were there and quiet when one of them was looked at last.

    Each of them is looked at when it is quiet: it begins with what the last one waited for, not with all others.
    """

    said: Members
    names: tuple[bytes, ...]  # the main one first
    newest: float = 0.0  # when the last of them came, as far as it was looked at
    wants: bytes | None = None


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
        self._sets: dict[tuple[int, str], _Set] = {}  # (directory, main file) -> what waits
        self._named: dict[tuple[int, bytes], Node] = {}  # (directory, name) -> the main file that names it

    def told(self, unit: Node, members: Members) -> None:
        """Take in what a reader says of *unit*, as it is."""
        assert unit.activity is not None
        directory, own = unit.names[0]
        known = self._sets.get((directory.ino, members.main))
        if known is not None and known.said == members:
            members = known.said  # thousands that name thousands are one list
        unit.activity.members, unit.activity.asked = members, time.monotonic()
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
        directory, own, claimed = self._place(unit)
        if claimed is None or unit.is_directory:
            return Together((unit,), None, unit.names[0][0])
        said = self._of_main(directory, own, claimed, insists=unit.activity.insists)
        if isinstance(said, Rest):
            return said
        if said.key is not None:
            return self._of_key(directory, said.key, insists=unit.activity.insists)
        if said.names in ((), (os.fsdecode(own),)):
            left = self._unquiet_for(unit)
            return Rest(left) if left > 0 and not unit.activity.insists else _alone(unit)
        return self._of_names(unit, directory, self._set(directory, said))

    def _place(self, unit: Node) -> tuple[Node, bytes, Members | None]:
        """Return the directory of the main file that *unit* may be of, its name below that, and what is said of it.

        That is what it says itself, else what one above it says that names it, or the name of a directory above it.
        """
        here, name = unit.names[0]
        if unit.activity is not None and unit.activity.members is not None:
            return here, name, unit.activity.members
        while (said := self._of_who_names(here, name)) is None and here.area is Area.DROPS:
            above, folder = here.names[0]
            main = main_beside(folder, name)
            here, name = above, folder + b"/" + name
            if main is not None:
                said = Members(os.fsdecode(main), (os.fsdecode(main), os.fsdecode(name)))
                return here, name, self._of_who_names(here, name) or said
        return (here, name, said) if said is not None else (*unit.names[0], None)

    def _of_main(self, directory: Node, own: bytes, said: Members, *, insists: bool) -> Members | Rest:
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
            if main.activity is not None and main.activity.settling and not insists:
                return Rest(_SOON_SECONDS)
        elif os.fsdecode(own) not in mains.names and main.activity.asked < self._came(directory, own):
            main.activity.members = mains = None  # it may say another thing of what is there by now
            self._drops.restart(main)
        return as_main_says(own, said, mains)

    def _came(self, directory: Node, name: bytes) -> float:
        node: Node | None = directory
        for part in name.split(b"/"):
            node = node.children.get(part) if node is not None else None
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

    def _set(self, directory: Node, said: Members) -> _Set:
        """Return what waits of the files that *said* names; a main file may say more than those that name it."""
        key = directory.ino, said.main
        known = self._sets.get(key)
        if known is None:
            known = self._sets[key] = _Set(said, main_first(said, said.names))
        elif known.said != said:
            known.said, known.names, known.wants = said, main_first(said, said.names), None
        return known

    def _of_names(self, unit: Node, directory: Node, waiting: _Set) -> Together | Rest:
        """Return the files of a set, if all are there and quiet; what was missing for long is given up."""
        assert unit.activity is not None
        said, names, insists = waiting.said, waiting.names, unit.activity.insists
        left = self._patience(unit, directory, waiting)
        first = () if waiting.wants is None else (waiting.wants,)
        found: dict[bytes, Node | None] = {}
        lying = present(self._backing.directory(directory), names) if left <= 0 else None
        for name in (*first, *reversed(names)):  # the last are the last to come: mostly one look tells
            if lying is not None and name not in lying:
                continue
            rest, found[name] = self._look(unit, directory, said, name, left)
            if rest is not None:
                waiting.wants = name
                return rest
        there = {name: node for name in names if (node := found.get(name)) is not None}
        missing = [name for name in names if name not in there]
        del self._sets[directory.ino, said.main]
        if not insists and (rest := self._asked_anew(unit, directory, there)) is not None:
            return rest
        lost = [name for name in missing if name in found]
        refusal = f"{self._lack(directory, said, missing, lost)}: {_THEN}" if missing and not insists else None
        if missing and (not said.certain or b"/" in next(iter(there))):
            return _alone(unit, refusal if said.certain else None)
        for name in names:
            self._named.pop((directory.ino, name), None)
        return Together(tuple(there.values()), tuple(there), directory, refusal)

    def _asked_anew(self, unit: Node, directory: Node, there: Mapping[bytes, Node]) -> Rest | None:
        """Have the main file asked once more when files have come since into directories below it: it may have found
        these half full. None: it was."""
        name, main = next(iter(there.items()))
        below = [self._came(directory, one) for one in there if b"/" in one]
        if not below or b"/" in name or main.activity is None or main.activity.asked >= max(below):
            return None
        main.activity.members = None
        self._drops.rest(main, 0.0, None)
        return Rest(0.0 if main is unit else _SOON_SECONDS)

    def _look(
        self, unit: Node, directory: Node, said: Members, name: bytes, left: float
    ) -> tuple[Rest | None, Node | None]:
        """Return why *unit* waits for the file *name*, or its node; neither when it is missing and not waited for."""
        node = self._find(directory, name)
        stands = _Stands.LOST if node is None else self._stands(node)
        if stands is _Stands.BUSY:
            assert node is not None
            why = f"waits: {os.fsdecode(name)} is being written" if self._drops.written(node) else None
            return Rest(max(self._standing.settle_seconds(unit), 1.0), why), None
        if stands is _Stands.READY:
            return None, node
        return (Rest(left, f"waits: {self._lack(directory, said, [name], [name])}") if left > 0 else None), None

    def _lack(self, directory: Node, said: Members, missing: list[bytes], lost: list[bytes]) -> str:
        """Return what is *missing*, and which of the *lost* is there but was imported alone: that cannot be undone."""
        for name in lost:
            node = self._find(directory, name)
            if node is not None and isinstance(self._standing.mark(node), Original):
                again = f"{os.fsdecode(name)} was imported without the others, so remove it and copy it again"
                return f"{lacks(said, missing)} ({again})"
        return lacks(said, missing)

    def _patience(self, unit: Node, directory: Node, waiting: _Set) -> float:
        """Return for how many seconds more *unit* waits for what is missing: since the last that came did."""
        assert unit.activity is not None
        if unit.activity.insists:
            return 0.0
        certain = waiting.said.certain
        if certain and self._standing.policy(unit).missing is Missing.WAIT:
            return self._missing_seconds
        until = time.monotonic() - (self._missing_seconds if certain else self._quiet_seconds)
        waiting.newest = max(waiting.newest, unit.activity.changed)
        if waiting.newest <= until:  # others may have come that were not looked at
            waiting.newest = max(self._came(directory, name) for name in waiting.names)
        return waiting.newest - until

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
        unquiet = self._unquiet_for(node) > 0 and not (activity is not None and activity.insists)
        return _Stands.BUSY if unquiet else _Stands.READY  # even if it is not imported by itself, by its name

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
            found = self._standing.child(here, part)
            if found is None or not found.is_directory:
                return None
            here = found
        found = self._standing.child(here, last)
        return found if found is not None and found.is_file else None

    # --- files that say the same --------------------------------------------------------------------

    def _of_key(self, directory: Node, key: str, *, insists: bool) -> Together | Rest:
        """Return all files in *directory* that say *key*, when no more have joined for a while."""
        left = self._joined.get((directory.ino, key), 0.0) + self._quiet_seconds - time.monotonic()
        if left > 0 and not insists:
            return Rest(left)
        found = sorted((name, node) for name, node in directory.children.items() if _says(node, key))
        if any(self._stands(node) is _Stands.BUSY for _, node in found):
            self._joined[directory.ino, key] = time.monotonic()  # not each of many looks at all others
            return Rest(self._quiet_seconds)
        self._joined.pop((directory.ino, key), None)
        return Together(tuple(node for _, node in found), tuple(name for name, _ in found), directory)


def _alone(unit: Node, refusal: str | None = None) -> Together:
    directory, own = unit.names[0]
    return Together((unit,), (own,), directory, refusal)


def _says(node: Node, key: str) -> bool:
    return node.activity is not None and node.activity.members is not None and node.activity.members.key == key
