"""Attribute name -> who answers for it. A table, tried from the top; the first prefix that fits decides."""

from __future__ import annotations

import errno
import os
from typing import Protocol

from repofs import acl, xattrs
from repofs.errors import InvalidValue, NotPermitted
from repofs.namespace.backing import Backing
from repofs.namespace.facts import Facts
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing

_ACCESS_LIST = b"system.posix_acl_access"


class Attributes(Protocol):
    """What can be done with the attributes of one prefix."""

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes: ...

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None: ...

    def remove(self, node: Node, name: bytes, caller: Caller) -> None: ...


class Absent:
    """Attributes that no file here has: a constant, because the kernel asks for some of them before it writes."""

    def __init__(self, answer: int) -> None:
        self._answer = answer  # to who reads one

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        raise OSError(self._answer, "no such attribute")

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        raise OSError(errno.EOPNOTSUPP, "not kept here")

    def remove(self, node: Node, name: bytes, caller: Caller) -> None:
        raise OSError(errno.ENODATA, "no such attribute")


class AccessList:
    """``system.posix_acl_access``: what the kernel enforces. It follows from the level of the group, and is not set."""

    def __init__(self, rights: Rights, backing: Backing) -> None:
        self._rights = rights
        self._backing = backing

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        # Without a look at the caller: the kernel asks, in the middle of deciding whether she may.
        value = self._rights.shown(node, self._backing.status(node)).acl
        if value is None:
            raise OSError(errno.ENODATA, "the mode bits say it all")
        return value

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        """Take the list of a file that cp -a has copied; refuse one that would let somebody else in."""
        try:
            harmless = acl.grants_no_more(value, self._rights.shown(node, self._backing.status(node)).acl)
        except ValueError as error:
            raise InvalidValue(str(error)) from None
        if not harmless:
            raise OSError(errno.EOPNOTSUPP, "who may see what follows from the level of the group")

    def remove(self, node: Node, name: bytes, caller: Caller) -> None:
        return  # cp and mv do that to files that they replace


class Ours:
    """``user.repofs.*``: facts, commands and settings."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        value = await self._facts.get(node, short(name), caller)
        if value is None:
            raise OSError(errno.ENODATA, "no such attribute")
        return value

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        await self._facts.set(node, short(name), value, caller)

    def remove(self, node: Node, name: bytes, caller: Caller) -> None:
        self._facts.remove(node, short(name), caller)


class Kept:
    """All other ``user.*``: kept as they are on the backing file."""

    def __init__(self, standing: Standing, rights: Rights) -> None:
        self._standing = standing
        self._rights = rights
        self._backing: Backing = standing.backing

    async def get(self, node: Node, name: bytes, caller: Caller) -> bytes:
        self._rights.require_view(node, caller.uid)
        return self._backing.attribute(node, name)

    async def set(self, node: Node, name: bytes, value: bytes, caller: Caller) -> None:
        self._require_settable(node, caller)
        self._backing.set_attribute(node, name, value)
        self._rights.tell_attribute(node, caller.uid, name)

    def remove(self, node: Node, name: bytes, caller: Caller) -> None:
        self._require_settable(node, caller)
        self._backing.remove_attribute(node, name)
        self._rights.tell_attribute(node, caller.uid, name)

    def _require_settable(self, node: Node, caller: Caller) -> None:
        if self._standing.is_kept(node):
            raise NotPermitted("the repository keeps this itself")
        self._rights.require_attributes(node, caller.uid)


class XattrTable:
    """The attributes of one mount."""

    def __init__(self, facts: Facts, standing: Standing, rights: Rights) -> None:
        self._facts = facts
        self._rights = rights
        self._backing = standing.backing
        self._rows: tuple[tuple[bytes, Attributes], ...] = (
            (xattrs.PREFIX, Ours(facts)),
            (b"user.", Kept(standing, rights)),
            (b"security.", Absent(errno.EOPNOTSUPP)),  # ls(1) remembers that, and does not ask for each name
            (_ACCESS_LIST, AccessList(rights, standing.backing)),
            (b"", Absent(errno.ENODATA)),
        )

    def answering(self, name: bytes) -> Attributes:
        """Return who answers for attribute *name*."""
        return next(attributes for prefix, attributes in self._rows if name.startswith(prefix))

    def listed(self, node: Node, caller: Caller) -> list[bytes]:
        """Return the names that listxattr shows of *node* to *caller*."""
        if not (node.is_file or node.is_directory):
            return []
        self._rights.require_view(node, caller.uid)
        shown = [
            name
            for name in self._backing.attributes(node)
            if name.startswith(b"user.") and not name.startswith(xattrs.PREFIX)
        ]
        if self._rights.shown(node, self._backing.status(node)).acl is not None:
            shown.append(_ACCESS_LIST)
        return shown + self._facts.listed(node)


def short(name: bytes) -> str:
    """Return *name*, one of ours, without ``user.repofs.``."""
    return os.fsdecode(name.removeprefix(xattrs.PREFIX))
