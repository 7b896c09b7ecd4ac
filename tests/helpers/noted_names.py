"""repofs that notes what its Python is asked about in the file that REPOFS_TEST_NOTES names: ``list NAME``, ``lookup
NAME``, ``getattr NUMBER`` and ``open NUMBER``, a line each.

Run in place of repofs: ``python -m tests.helpers.noted_names mount …``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from repofs.cli import main
from repofs.fuse import operations

NOTES = "REPOFS_TEST_NOTES"
_pyfuse3: Any = operations.pyfuse3  # which is not to be imported before repofs.fuse has loaded its native module
_operations: Any = operations.Operations
_reply, _lookup, _getattr, _open = _pyfuse3.readdir_reply, _operations.lookup, _operations.getattr, _operations.open


def note(what: str, name: bytes) -> None:
    with Path(os.environ[NOTES]).open("ab") as notes:
        notes.write(b"%s %s\n" % (what.encode(), name))


def reply(token: Any, name: bytes, *what: Any) -> bool:
    note("list", name)
    return bool(_reply(token, name, *what))


async def lookup(self: Any, parent: int, name: bytes, ctx: Any) -> Any:
    note("lookup", name)
    return await _lookup(self, parent, name, ctx)


async def getattr(self: Any, inode: int, ctx: Any) -> Any:
    note("getattr", b"%d" % inode)
    return await _getattr(self, inode, ctx)


async def open_file(self: Any, inode: int, flags: int, ctx: Any) -> Any:
    note("open", b"%d" % inode)
    return await _open(self, inode, flags, ctx)


if __name__ == "__main__":
    _pyfuse3.readdir_reply = reply
    _operations.lookup, _operations.getattr, _operations.open = lookup, getattr, open_file
    main()
