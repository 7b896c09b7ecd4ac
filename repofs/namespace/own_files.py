"""The files that lie directly in `.repofs`: each reader sees another content, which nobody has written there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from repofs.namespace.nodes import Node


class Personal(Protocol):
    """A file that each reader sees otherwise. Every method is called on the event loop and does not block."""

    def open(self, uid: int) -> int:
        """Return a descriptor on what is for *uid*, to be given to `close`. Raises AccessDenied."""

    def close(self, handle: int) -> None: ...

    def size(self, uid: int) -> int:
        """Return how many bytes the file has for *uid*."""


class OwnFiles:
    """Those of one mount, by name: b"events"."""

    def __init__(self, files: Mapping[bytes, Personal]) -> None:
        self._files = files
        self._handles: dict[int, Personal] = {}  # descriptors that `open` has returned

    def is_one(self, node: Node) -> bool:
        """Whether *node* is one of these: there is nothing else directly in .repofs but directories."""
        return node.is_file and bool(node.names) and node.names[0][0].is_own

    def open(self, node: Node, uid: int) -> int:
        """Return a descriptor on what *uid* sees in *node*. Raises AccessDenied."""
        file = self._file(node)
        handle = file.open(uid)
        self._handles[handle] = file
        return handle

    def has(self, handle: int) -> bool:
        """Whether `open` has returned this descriptor."""
        return handle in self._handles

    def close(self, handle: int) -> None:
        """Close a descriptor that `open` has returned."""
        self._handles.pop(handle).close(handle)

    def size(self, node: Node, uid: int) -> int:
        """Return how many bytes *node* has for *uid*."""
        return self._file(node).size(uid)

    def _file(self, node: Node) -> Personal:
        return self._files[node.names[0][1]]
