"""Attribute name -> who answers for it. A table, tried from the top; the first prefix that fits decides."""

from __future__ import annotations

import errno
import os
from typing import Protocol

from repofs import xattrs
from repofs.errors import NotPermitted
from repofs.namespace.backing import Backing
from repofs.namespace.facts import Facts
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing
from repofs.namespace.tree import Caller


class Attributes(Protocol):
    """What can be done with the attributes of one prefix."""

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes: ...

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None: ...

    def remove(self, node: Node, name: bytes) -> None: ...


class Absent:
    """Attributes that no file here has: a constant, because the kernel asks for some of them before every write."""

    def __init__(self, refusal: int) -> None:
        self._refusal = refusal  # what setting one answers

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        raise OSError(errno.ENODATA, "no such attribute")

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        raise OSError(self._refusal, "not kept here")

    def remove(self, node: Node, name: bytes) -> None:
        raise OSError(errno.ENODATA, "no such attribute")


class Ours:
    """``user.repofs.*``: facts, commands and settings."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        value = await self._facts.get(node, _short(name), caller)
        if value is None:
            raise OSError(errno.ENODATA, "no such attribute")
        return value

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        await self._facts.set(node, _short(name), value, caller)

    def remove(self, node: Node, name: bytes) -> None:
        self._facts.remove(node, _short(name))


class Kept:
    """All other ``user.*``: kept as they are on the backing file."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._backing: Backing = standing.backing

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        return self._backing.attribute(node, name)

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        self._require_own(node)
        self._backing.set_attribute(node, name, value)

    def remove(self, node: Node, name: bytes) -> None:
        self._require_own(node)
        self._backing.remove_attribute(node, name)

    def _require_own(self, node: Node) -> None:
        kept = node.is_directory and node.area in (Area.ROOT, Area.IMPORTS, Area.OWN)
        if kept or self._standing.is_log(node):
            raise NotPermitted("the repository keeps this itself")


class XattrTable:
    """The attributes of one mount."""

    def __init__(self, facts: Facts, standing: Standing) -> None:
        self._facts = facts
        self._backing = standing.backing
        self._rows: tuple[tuple[bytes, Attributes], ...] = (
            (xattrs.PREFIX, Ours(facts)),
            (b"user.", Kept(standing)),
            (b"security.", Absent(errno.EOPNOTSUPP)),
            (b"system.posix_acl_", Absent(errno.EOPNOTSUPP)),
            (b"", Absent(errno.EOPNOTSUPP)),
        )

    def answering(self, name: bytes) -> Attributes:
        """Return who answers for attribute *name*."""
        return next(attributes for prefix, attributes in self._rows if name.startswith(prefix))

    def listed(self, node: Node) -> list[bytes]:
        """Return the names that listxattr shows of *node*."""
        if not (node.is_file or node.is_directory):
            return []
        shown = [
            name
            for name in self._backing.attributes(node)
            if name.startswith(b"user.") and not name.startswith(xattrs.PREFIX)
        ]
        return shown + self._facts.listed(node)


def _short(name: bytes) -> str:
    return os.fsdecode(name.removeprefix(xattrs.PREFIX))
