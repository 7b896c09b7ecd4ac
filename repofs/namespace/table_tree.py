"""Registered tables as the mount shows them, below `Tables` of a user directory: read-only, for who may view each.

    alice_2/Tables/NAME.tiledb/    the files of the array, wherever that lies
    alice_2/Tables/NAME.csv        made when they are opened
    alice_2/Tables/NAME.parquet

Looking at `Tables` itself asks no store: one that is away is found out by who looks into its arrays.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from repofs.acl import Kind
from repofs.errors import AccessDenied, NotFound, ReadOnly
from repofs.namespace.array_files import ArrayFiles, OpenFile
from repofs.namespace.backing import Backing
from repofs.namespace.exports import Exports
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.table_facts import TABLE_FACTS, TableFacts
from repofs.namespace.virtual import TABLES, VirtualNode, VirtualNodes, made_status
from repofs.registration.registry import SUFFIX as ARRAY
from repofs.registration.registry import Registry
from repofs.table import SHOWN_AS, Form, Table

_FORMS: dict[bytes, Form] = {b".csv": "csv", b".parquet": "parquet"}
_TOP_STATUS = made_status(stat.S_IFDIR | 0o555)


class TablePlace(NamedTuple):
    """What is shown of a table, or of all in a user directory."""

    user_directory: bytes
    table: int = 0  # 0: `Tables` itself
    suffix: bytes = b""
    below: bytes = b""  # in the array

    @property
    def is_top(self) -> bool:
        return not self.table


TableNode = VirtualNode[TablePlace]
Listed = tuple[bytes, TableNode, os.stat_result]


class TableTree:
    """The tables of one mount. *require_served* refuses those that are not to be read as they are now."""

    def __init__(
        self,
        registry: Registry,
        rights: Rights,
        backing: Backing,
        files: ArrayFiles,
        exports: Exports,
        facts: TableFacts,
        require_served: Callable[[Table], None],
    ) -> None:
        self._registry = registry
        self._rights = rights
        self._backing = backing
        self._files = files
        self._exports = exports
        self._facts = facts
        self._require_served = require_served
        self.nodes: VirtualNodes[TablePlace] = VirtualNodes(TABLES)
        rights.virtual.append(self.nodes)
        registry.on_change(self._changed)

    def _changed(self, before: Table | None, after: Table | None) -> None:
        """Have the kernel ask again whose the files of a table are."""
        changed = before or after
        for node in self.nodes.all():
            if changed is not None and node.place.table == changed.id and node.lasting:
                self._rights.changed(node)

    # --- where it stands ----------------------------------------------------------------------------

    def names_in(self, directory: Node, uid: int) -> Sequence[bytes]:
        """Return the name by which *uid* finds this tree in *directory*, the first that is not taken, if it is there.

        It is there for who may view a table in it.
        """
        if directory.area is not Area.USER or not self._seen(directory.names[0][1], uid):
            return ()
        return [name for name in SHOWN_AS if not self._backing.has(directory, name)][:1]

    def top(self, directory: Node, name: bytes, uid: int) -> tuple[TableNode, os.stat_result] | None:
        """Return `Tables` itself when that is what *uid* finds as *name* in *directory*."""
        if name not in SHOWN_AS or name not in self.names_in(directory, uid):
            return None
        return self._node(TablePlace(directory.names[0][1]), _TOP_STATUS), _TOP_STATUS

    def _seen(self, user_directory: bytes, uid: int) -> dict[bytes, Table]:
        """Return the tables that *uid* finds in *user_directory*, by name without suffix."""
        shown = self._registry.shown_in(user_directory)
        return {name: table for name, table in shown.items() if self._may_view(table, uid)}

    def _may_view(self, table: Table, uid: int) -> bool:
        return self._rights.may_view_data(table.owner_uid, table.gid, uid)

    def _table(self, place: TablePlace, caller: Caller) -> Table:
        """Return the table of *place*. NotFound when it is no more; AccessDenied for who may not view it now."""
        table = self._registry.get(place.table)
        if table is None:
            raise NotFound("the table is not registered any more")
        if not self._may_view(table, caller.uid):
            raise AccessDenied(f"uid {caller.uid} may not view {table.ref}")
        return table

    # --- looking --------------------------------------------------------------------------------------

    async def lookup(self, parent: TableNode, name: bytes, caller: Caller) -> tuple[TableNode, os.stat_result]:
        """Find *name* in *parent* as *caller*. Raises NotFound, AccessDenied, Unreachable."""
        place = self._place(parent.place, name, caller)
        status = await self._status(place, caller)
        return self._node(place, status), status

    def _place(self, parent: TablePlace, name: bytes, caller: Caller) -> TablePlace:
        if name == b".":
            return parent
        if name == b"..":
            return _above(parent)
        if not parent.is_top:
            return _below(parent, name)
        stem, dot, suffix = name.rpartition(b".")
        table = self._seen(parent.user_directory, caller.uid).get(stem)
        if table is None or dot + suffix not in (ARRAY, *_FORMS):
            raise NotFound(f"{os.fsdecode(name)!r} is no registered table")
        return TablePlace(parent.user_directory, table.id, dot + suffix)

    async def status(self, node: TableNode, caller: Caller) -> os.stat_result:
        """Return the status of *node*. Raises as `lookup`."""
        return await self._status(node.place, caller)

    async def _status(self, place: TablePlace, caller: Caller) -> os.stat_result:
        if place.is_top:
            return _TOP_STATUS
        table = self._table(place, caller)
        if not place.below:
            return self._shown(table, place)
        return self._as_shown(table, place, await self._files.status(table, place.below))

    def _shown(self, table: Table, place: TablePlace) -> os.stat_result:
        """Return the status of what stands in `Tables`, without a look at the array."""
        mtime_ns = int(datetime.fromisoformat(table.registered).timestamp()) * 10**9
        if _is_array(place):
            return self._as_shown(table, place, made_status(stat.S_IFDIR, mtime_ns=mtime_ns))
        size = self._exports.size(table, _FORMS[place.suffix])
        return self._as_shown(table, place, made_status(stat.S_IFREG, size=size, mtime_ns=mtime_ns))

    def _as_shown(self, table: Table, place: TablePlace, status: os.stat_result) -> os.stat_result:
        """Return *status* with the owner, group and mode that *place* of *table* is shown with."""
        own = self._rights.shown_of_data(table.owner_uid, table.gid, _kind(place, status.st_mode))
        return made_status(
            stat.S_IFMT(status.st_mode) | own.mode,
            uid=own.uid,
            gid=own.gid,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
        )

    async def acl(self, node: TableNode, caller: Caller) -> bytes:
        """Return the ACL of *node*, to everybody: the kernel asks, and decides. ENODATA when its mode says it all."""
        table = self._registry.get(node.place.table)
        if table is not None:
            own = self._rights.shown_of_data(table.owner_uid, table.gid, _kind(node.place, node.format))
            if own.acl is not None:
                return own.acl
        raise OSError(errno.ENODATA, "no ACL")

    # --- attributes -----------------------------------------------------------------------------------

    async def attribute(self, node: TableNode, name: str, caller: Caller) -> bytes | None:
        """Return the value of ``user.repofs.`` *name* on *node*, or None when it has none. Raises as `lookup`."""
        if not _is_array(node.place):
            return None
        value = await self._facts.of(self._table(node.place, caller), name)
        return None if value is None else os.fsencode(value)

    def attributes(self, node: TableNode, caller: Caller) -> tuple[str, ...]:
        """Return the names of the attributes that *node* has, without ``user.repofs.``. Raises as `lookup`."""
        if not _is_array(node.place):
            return ()
        self._table(node.place, caller)
        return TABLE_FACTS

    async def command(self, node: TableNode, name: str, value: bytes, caller: Caller) -> None:
        """Carry out the command ``user.repofs.`` *name* on the array *node*, as on the array itself. Raises as that."""
        if not _is_array(node.place):
            raise ReadOnly("tables are read only here")
        await self._facts.command(self._table(node.place, caller), name, value, caller)

    # --- reading --------------------------------------------------------------------------------------

    async def entries(self, node: TableNode, caller: Caller) -> list[Listed]:
        """Return what lies in directory *node*, as *caller* sees it. Raises as `lookup`."""
        place = node.place
        above = _above(place)
        here = [(b".", node, _TOP_STATUS), (b"..", self._node(above, _TOP_STATUS), _TOP_STATUS)]  # for their names only
        if place.is_top:
            return here + [
                (name + suffix, self._node(one, status), status)
                for name, table in sorted(self._seen(place.user_directory, caller.uid).items())
                for suffix in (ARRAY, *_FORMS)
                for one in (TablePlace(place.user_directory, table.id, suffix),)
                for status in (self._shown(table, one),)
            ]
        table = self._table(place, caller)
        found = [(name, _below(place, name), status) for name, status in await self._files.entries(table, place.below)]
        shown = [(name, one, self._as_shown(table, one, status)) for name, one, status in found]
        return here + [(name, self._node(one, status), status) for name, one, status in shown]

    async def open(self, node: TableNode, flags: int, caller: Caller) -> OpenFile:
        """Open the file *node* for reading. EROFS for any other way; raises as `lookup`, and what making it raises."""
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise ReadOnly("tables are read only here")
        table = self._table(node.place, caller)
        self._require_served(table)
        if node.place.suffix == ARRAY:
            return await self._files.open(table, node.place.below)
        return await self._exports.open(table, _FORMS[node.place.suffix], caller.task)

    def _node(self, place: TablePlace, status: os.stat_result) -> TableNode:
        node = self.nodes.at(place)
        node.format = stat.S_IFMT(status.st_mode)
        table = self._registry.get(place.table)
        # In the mount nobody changes it; and that its reader may view it is asked anew at the array's directory.
        node.lasting = bool(place.below) and table is not None and table.place.kind == "mount"
        return node


def _kind(place: TablePlace, mode: int) -> Kind:
    if _is_array(place):
        return Kind.ARRAY
    return Kind.SHOWN_DIRECTORY if stat.S_ISDIR(mode) else Kind.SHOWN


def _is_array(place: TablePlace) -> bool:
    return place.suffix == ARRAY and not place.below


def _below(place: TablePlace, name: bytes) -> TablePlace:
    return place._replace(below=os.path.join(place.below, name))


def _above(place: TablePlace) -> TablePlace:
    """Return what *place* lies in; `Tables` itself for what is above that."""
    if place.below:
        return place._replace(below=os.path.dirname(place.below))
    return TablePlace(place.user_directory)
