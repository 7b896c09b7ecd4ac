"""Drops at the importer: claimed and sealed when they are quiet, until their outcome.

While a drop is sealed the marks of its files are the importer's to write.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import structlog

from repofs.lifecycle import State
from repofs.model import Closed, Drop, Outcome, Refused
from repofs.namespace.drops import Drops
from repofs.namespace.filesets import Filesets
from repofs.namespace.nodes import UNKNOWN, Node
from repofs.namespace.rights import Kernel, Rights
from repofs.namespace.standing import Standing
from repofs.namespace.together import Rest, Together
from repofs.repository.marks import despite_mode

_READ = os.O_RDONLY | (os.O_NOATIME if os.geteuid() == 0 else 0)

log = structlog.get_logger()


class Claims:
    """All drops of one mount that the importer has. The inbox's Source."""

    def __init__(self, standing: Standing, rights: Rights, drops: Drops, filesets: Filesets, kernel: Kernel) -> None:
        self._standing = standing
        self._filesets = filesets
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._kernel = kernel
        self._with: dict[int, tuple[Together, Counter[Node]]] = {}  # of that token, and what keeps its name

    def claim(self, token: int) -> tuple[Drop, int] | None:
        """Seal a quiet drop and return it with a descriptor; None when it is no drop any more, or waits for others.

        The caller owns the descriptor. From here to its outcome nobody may change the bytes.
        """
        unit = self._backing.table.get(token)
        if unit is None or unit.activity is None or not unit.names or not unit.activity.settling:
            return None
        activity = unit.activity
        for node in unit.below():
            node.mark = node.origin = UNKNOWN  # what the importer's recovery has made of it after a crash
        if not self._is_drop(unit):
            activity.settling, activity.word = False, None
            if unit.is_file:
                self._drops.touched(unit)  # what it is by now has another clock, or none
            return None
        if self._drops.written(unit):
            self._drops.restart(unit)
            return None
        found = self._filesets.of(unit)
        if isinstance(found, Rest):
            self._drops.rest(unit, found.seconds, found.why)
            return None
        fd = self._open(found.nodes[0] if len(found.nodes) == 1 else found.directory)
        try:
            drop = self._drop(unit, found)
        except BaseException:
            os.close(fd)
            raise
        self._seal(unit, found)
        return drop, fd

    def _seal(self, unit: Node, found: Together) -> None:
        self._with[unit.ino] = found, Counter(found.held())
        for node in found.nodes:
            self._drops.activity(node).settling = False
            self._standing.sealed[node.ino] = node
            if node is not unit:
                self._drops.clocks.gone(node.ino)
        self._standing.together += self._with[unit.ino][1]

    def _is_drop(self, unit: Node) -> bool:
        if self._standing.names.unit(unit) is not unit or self._standing.waits(unit):
            return False
        return unit.is_directory or isinstance(self._standing.mark(unit), Closed)

    def _open(self, unit: Node) -> int:
        try:
            return self._backing.open(unit, _READ)
        except PermissionError as error:
            return despite_mode(self._backing.target(unit), lambda _: self._backing.open(unit, _READ), error)

    def _drop(self, unit: Node, found: Together) -> Drop:
        main = found.nodes[0]
        user = self._standing.user_directory(main)
        activity = self._drops.activity(main)
        others = len(found.nodes) - 1
        early = found.names is None and main.is_file and self._filesets.is_early(main)
        activity.note(
            "looked at early: it may name others"
            if early
            else "quiet: handed to the importer" + (f", with {others} other files of its fileset" if others else "")
        )
        return Drop(
            token=unit.ino,
            user_directory=user.names[0][1],
            path=self._path(user, found),
            is_directory=main.is_directory,
            target=self._standing.target(main),
            policy=self._standing.policy(main),
            events=tuple(activity.events),
            actor_uid=activity.actor_uid,
            actor=self._rights.name(activity.actor_uid),
            gid=self._rights.shown(main, self._backing.status(main)).gid,
            members=found.names,
            early=early,
            refusal=found.refusal,
            in_order=tuple(node.ino for node in found.nodes if self._is_in_order(node)),
        )

    def _is_in_order(self, node: Node) -> bool:
        front = None if node.activity is None else node.activity.front
        return front is not None and front == self._backing.status(node).st_size

    def _path(self, user: Node, found: Together) -> bytes:
        """Return the path below *user* by which the importer knows the drop: of several files, the main one's."""
        if len(found.nodes) == 1 or found.names is None:
            return self._backing.path_below(user, found.nodes[0])
        return os.path.join(self._backing.path_below(user, found.directory), found.names[0])

    def marked(self, inodes: Sequence[int]) -> None:
        """Read the marks of these inodes anew when they are asked for: somebody else has written them."""
        for inode in inodes:
            node = self._backing.table.known(inode)
            if node is not None:
                self._standing.forget_mark(node)

    def outcome(self, outcome: Outcome) -> None:
        """The importer is done with a drop: what it wrote on the inodes holds from here on."""
        if outcome.token not in self._with:
            return
        together, held = self._with.pop(outcome.token)
        main = together.nodes[0]
        if outcome.import_directory is not None and main.activity is not None:
            self._import_directory_made(main, outcome.import_directory)  # while it still knows where it is
        self._standing.together -= held
        for node in together.nodes:
            self._standing.sealed.pop(node.ino, None)
            self._drops.usage.ended(node, imported=outcome.state is State.IMPORTED)
            self._ended(node, outcome)

    def _ended(self, unit: Node, outcome: Outcome) -> None:
        """Take in what became of the drop that *unit* is, or is a file of."""
        if unit.activity is None:
            return  # removed meanwhile
        if outcome.state is State.FAILED:
            self._drops.failed.add(unit)
        if outcome.members is not None and unit.names:
            self._filesets.told(unit, outcome.members)
        again = outcome.state is State.SETTLING
        retimed, unit.activity.retimed = unit.activity.retimed, False
        packed = list(self._backing.table.packed_below(unit))
        for node in list(unit.below()):
            node.mark = node.origin = UNKNOWN
            if retimed and node.is_file:
                self._renew(node)
            self._kernel.changed(node.ino)
            if node is not unit or not again:
                self._drops.end(node)
        for ino in packed:
            file = self._backing.table.get(ino) if retimed else None
            if file is not None:
                self._renew(file)
            self._kernel.changed(ino)
        if again and unit.ino == outcome.token:
            unit.activity.settling = True  # the inbox starts its clock again by itself
            unit.activity.waits_for = outcome.error
        elif again:
            self._drops.rest(unit, self._standing.settle_seconds(unit), None)

    def _renew(self, node: Node) -> None:
        """The times of *node* were set while it was sealed, its bytes were not changed: its mark holds for them."""
        try:
            mark, status = self._standing.marks.read(self._backing.target(node)), self._backing.status(node)
            if isinstance(mark, (Closed, Refused)) and mark.size == status.st_size:
                self._standing.marks.write(self._backing.target(node), replace(mark, mtime_ns=status.st_mtime_ns))
        except OSError as error:  # removed meanwhile, or a full disk: without a mark it is incomplete
            log.warning("a mark cannot be renewed", inode=node.ino, error=str(error))

    def _import_directory_made(self, unit: Node, path: bytes) -> None:
        """The directories down to a new import directory have other times and link counts by now."""
        here = self._backing.directory(self._standing.user_directory(unit))
        while path:
            path = path.rpartition(b"/")[0]
            try:
                status = os.stat(path or b".", dir_fd=here, follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed already: the kernel will see for itself
            self._kernel.changed(self._backing.table.shown_inode(status.st_ino))
