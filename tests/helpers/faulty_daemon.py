"""repofs with faults: requests about a file named ``fault-METHOD`` meet an exception that nobody foresaw.

Run in place of repofs: ``python -m tests.helpers.faulty_daemon mount …``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from repofs.cli import main
from repofs.namespace.directories import Directories
from repofs.namespace.drops import Drops
from repofs.namespace.facts import Facts
from repofs.namespace.handles import Handles
from repofs.namespace.nodes import Node
from repofs.namespace.tree import Tree


class Fault(Exception):
    """What no handler expects."""


def names_in(owner: Any, arguments: tuple[Any, ...]) -> list[bytes]:
    """Return the names that a call is about: those it gives, those of its nodes, of its open file."""
    found = [one for one in arguments if isinstance(one, bytes)]
    nodes = [one for one in arguments if isinstance(one, Node)]
    if arguments and isinstance(arguments[0], int):  # a handle
        opened = owner._handles if isinstance(owner, Handles) else owner._open
        nodes.append(opened[arguments[0]].node)
    return found + [name for node in nodes for _, name in node.names]


def break_method(owner: type, method: str) -> None:
    whole: Callable[..., Any] = getattr(owner, method)

    @functools.wraps(whole)
    def faulty(self: Any, *arguments: Any) -> Any:
        if f"fault-{method}".encode() in names_in(self, arguments):
            raise Fault(f"{method} of {owner.__name__}")
        return whole(self, *arguments)

    setattr(owner, method, faulty)


FAULTS: tuple[tuple[type, str], ...] = (
    *((Tree, method) for method in ("lookup", "mkdir", "rename", "unlink", "setattr", "symlink")),
    *((Handles, method) for method in ("create", "open", "read", "write", "flush")),
    (Directories, "entries"),
    (Facts, "get"),
    (Drops, "closed"),
)

if __name__ == "__main__":
    for owner, method in FAULTS:
        break_method(owner, method)
    main()
