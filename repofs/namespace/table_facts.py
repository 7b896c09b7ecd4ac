"""What the extended attributes `user.repofs.table.*` and `user.repofs.tables` say, and what setting them does."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from repofs import targets, xattrs
from repofs.errors import InvalidValue, NotFound, NotPermitted
from repofs.model import ObjectRef
from repofs.namespace.killable import unless_killed
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller
from repofs.namespace.standing import Standing
from repofs.registration.registrar import Registrar
from repofs.registration.registry import SUFFIX, Registry
from repofs.repository import as_user
from repofs.table import SHOWN_AS, Place, Registration, Secret, Table, checked_name
from repofs.xattrs import Kind

TABLE_KIND = "FileAnnotation"
TABLE_FACTS = tuple(name for name, kind in xattrs.KINDS.items() if kind is Kind.FACT and name.startswith("table."))
_VALUE_BYTES = 60_000
_TABLES_BYTES = 24_000  # beside the rest that is told of an object: the kernel bounds a value to 64 KiB
_NAMED = 25  # targets in it, beside a count of all


Look = Callable[[Table], Awaitable[Table]]
"""Looks into the array of a table and returns how it is now, as `Watch.look`."""


class Create(Protocol):
    """Makes an array of a file, both by their paths in the mount, with the rights of *who*; returns its token."""

    async def __call__(self, source: bytes, target: bytes, who: as_user.Caller) -> Secret: ...


class TableFacts:
    """The attributes of tables in one mount. *ask* answers what only the catalogue knows, as JSON: ``Fileset:17``."""

    def __init__(
        self,
        standing: Standing,
        registry: Registry,
        registrar: Registrar,
        look: Look,
        create: Create,
        mountpoint: Path,
        ask: Callable[[str], Awaitable[str]],
    ) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._registry = registry
        self._registrar = registrar
        self._look = look
        self._create = create
        self._mountpoint = os.fsencode(os.path.abspath(mountpoint))
        self._ask = ask

    # --- reading ----------------------------------------------------------------------------------

    def table(self, node: Node) -> Table | None:
        """Return the table that the directory *node* is the array of, or None."""
        if not (node.is_directory and self._standing.names.is_table(node)):
            return None
        return self._registry.at(Place("mount", "", self._path(node)))

    async def get(self, node: Node, name: str) -> str | None:
        """Return the value of ``user.repofs.`` *name*, "table.id" and its like, on *node*, or None."""
        table = self.table(node)
        return None if table is None else await self.of(table, name)

    async def of(self, table: Table, name: str) -> str | None:
        """Return the same of *table*, wherever its array lies."""
        if name == "table.state":
            return str((await self._look(table)).state)
        known = _FACTS.get(name)
        return None if known is None else known(table)

    async def linked(self, fileset: int, images: tuple[int, ...], uid: int) -> list[dict[str, object]]:
        """Return the tables on a fileset, its images, and the datasets and projects that these are in."""
        known = json.loads(await self._ask(f"Fileset:{fileset}"))
        return self.on(known, uid, ObjectRef("Fileset", fileset), *(ObjectRef("Image", one) for one in images))

    def on(self, described: dict[str, object], uid: int, *more: ObjectRef) -> list[dict[str, object]]:
        """Return the tables that *uid* may see on the object that the catalogue has *described*, and what it is in."""
        refs = {*more, *_refs(described)}
        tables = [table for table in self._registry.linked(refs) if self._registrar.may_view(table, uid)]
        return self._shown(tables, refs)

    def in_home(self, node: Node, uid: int) -> list[dict[str, object]]:
        """Return the tables that are shown in Tables/ of the user directory *node*, as far as *uid* may see them."""
        tables = reversed(self._registry.shown_in(self._path(node)).values())  # the newest first
        return self._shown([table for table in tables if self._registrar.may_view(table, uid)])

    def seen(self, number: int, uid: int) -> dict[str, object] | None:
        """Return what is told of ``FileAnnotation:number``, or None when it is no table that *uid* may see."""
        table = self._registry.get(number)
        return self.described(table) if table is not None and self._registrar.may_view(table, uid) else None

    def _shown(
        self, tables: list[Table], refs: frozenset[ObjectRef] | set[ObjectRef] = frozenset()
    ) -> list[dict[str, object]]:
        """Return what is told of *tables*, of the first ones if there are more than a value has room for, and which of
        *refs* each is on."""
        told, room = [], _TABLES_BYTES
        for table in tables:
            one = self.described(table)
            if on := sorted(str(ref) for ref in refs if ref in table.targets):
                one["on"] = on[:_NAMED]
            room -= len(json.dumps(one))
            if room < 0:
                break
            told.append(one)
        return told

    def described(self, table: Table) -> dict[str, object]:
        """Return what is told of *table* as JSON has it."""
        return {
            "object": str(table.ref),
            "name": table.name,
            "path": os.fsdecode(self.shown_path(table)),
            "uri": table.uri,
            "rows": table.rows,
            "columns": len(table.columns),
            "targets": [str(target) for target in table.targets[:_NAMED]],
            "target_count": len(table.targets),
            "state": str(table.state),
            "registered": table.registered,
        }

    def shown_path(self, table: Table) -> bytes:
        """Return the path below the mount by which the array of *table* is shown, wherever it lies."""
        tops = (table.user_directory + b"/" + name for name in SHOWN_AS)
        top = next(top for top in tops if not self._backing.has(self._backing.table.root, top))
        return top + b"/" + self._registry.shown_name(table) + SUFFIX

    # --- setting ----------------------------------------------------------------------------------

    async def set(self, node: Node, name: str, value: bytes, caller: Caller) -> None:
        """Carry out the command ``user.repofs.`` *name* on *node*. Raises RepofsErrors; none has a token in it."""
        who = as_user.caller_of(caller.task, caller.uid, caller.gid)
        if name == "table.create":
            await self._make(node, value, who, caller.task)
        elif not node.is_directory or node.area not in (Area.USER, Area.DROPS):
            raise InvalidValue(f"user.repofs.{name} is set on the directory of an array")
        elif name == "table.register":
            asked = xattrs.decode_registration(value)
            await self._registrar.register(who, self._home(node), self._whole(node, asked), self._path(node))
        elif name == "table.token":
            asked = Registration(None, None, (), xattrs.decode_token(value))
            await self._registrar.register(who, self._home(node), self._whole(node, asked), self._path(node))
        else:
            await self.command(self._require_table(node), name, value, caller)

    async def command(self, table: Table, name: str, value: bytes, caller: Caller) -> None:
        """Carry out ``user.repofs.`` *name* on *table*, wherever its array lies. Raises as `set`, AccessDenied."""
        if name == "table.rotate":
            await self._registrar.rotate(table, caller.uid, xattrs.decode_token(value))
        elif name == "table.unregister":
            await self._registrar.unregister(table, caller.uid)
        else:
            raise InvalidValue(f"user.repofs.{name} is not set on a registered table")

    def _whole(self, node: Node, asked: Registration) -> Registration:
        """Return *asked* with the targets of the directory *node* when it names none."""
        is_table = self._standing.names.is_table(node)
        if asked.uri is None and not is_table:
            raise InvalidValue(f"uri: name the array, or set this on a directory that ends with {SUFFIX.decode()}")
        if asked.targets:
            return asked
        own = self._standing.setting(node, b"target") if is_table else None
        if own is not None:
            return replace(asked, targets=xattrs.decode_table_targets(own))
        return replace(asked, targets=self._targets_in(node.names[0][0] if is_table else node))

    def _targets_in(self, directory: Node) -> tuple[str, ...]:
        """Return what `user.repofs.target` on *directory* or above names, else the dataset that its path does."""
        text = self._standing.target(directory)
        if text is None:
            parts = self._path(directory).split(b"/")[1:3]
            return (f"Dataset:name:{parts[-1].decode('utf-8', 'backslashreplace')}",) if parts else ()
        target = targets.parse(text)
        if target.dataset is not None:
            return (f"Dataset:{_plain(target.dataset)}",)
        return () if target.project is None else (f"Project:{_plain(target.project)}",)

    def _require_table(self, node: Node) -> Table:
        table = self.table(node)
        if table is None:
            raise NotFound("no table is registered here")
        return table

    async def _make(self, node: Node, value: bytes, who: as_user.Caller, task: int) -> None:
        """Make an array beside the file *node*, and register it: what can be refused is refused first. *task* waits."""
        if not node.is_file or not node.names:
            raise InvalidValue("user.repofs.table.create is set on a CSV, TSV, Parquet or Arrow file")
        parent, file = node.names[0]
        if parent.area not in (Area.USER, Area.DROPS):
            raise NotPermitted("an array is made beside a file: set this on its name outside of import directories")
        asked = xattrs.decode_creation(value)
        name = checked_name(asked.name or os.fsdecode(os.path.splitext(file)[0]), "table.create")
        directory = self._path(parent)
        array = directory + b"/" + os.fsencode(name) + SUFFIX
        home = self._home(node)
        given = asked.targets or self._targets_in(parent)
        await self._registrar.check(who, home, name, given, Place("mount", "", array))
        source = self._mountpoint + b"/" + directory + b"/" + file
        token = await unless_killed(task, partial(self._create, source, self._mountpoint + b"/" + array, who))
        await self._registrar.register(who, home, Registration(None, name, given, token), array)

    def _path(self, node: Node) -> bytes:
        return self._backing.path_below(self._backing.table.root, node)

    def _home(self, node: Node) -> bytes:
        return self._path(node).split(b"/")[0]


def _plain(container: targets.Container) -> str:
    return str(container) if isinstance(container, int) else f"name:{container.name}"


def _refs(described: dict[str, object]) -> set[ObjectRef]:
    """Return the object that is described and what it is in: its fileset, its datasets and their projects."""
    ref = ObjectRef.parse(str(described["object"]))
    refs = {ref, *([ObjectRef.parse(str(described["fileset"]))] if "fileset" in described else [])}
    datasets = described.get("datasets", []) if ref.kind in ("Fileset", "Image") else []
    assert isinstance(datasets, list)
    for dataset in datasets:
        refs.add(ObjectRef.parse(dataset["object"]))
        refs |= {ObjectRef.parse(project["object"]) for project in dataset["projects"]}
    return refs


_FACTS: dict[str, Callable[[Table], str]] = {
    "table.id": lambda table: str(table.ref),
    "table.name": lambda table: table.name,
    "table.targets": lambda table: ",".join(str(target) for target in table.targets),
    "table.rows": lambda table: str(table.rows),
    "table.columns": lambda table: _columns(table),
}


def _columns(table: Table) -> str:
    """Return the types of the columns by name, as JSON; of those that there is no room for only how many."""
    told = json.dumps({column.name: column.type for column in table.columns})
    return told if len(told) <= _VALUE_BYTES else json.dumps(len(table.columns))
