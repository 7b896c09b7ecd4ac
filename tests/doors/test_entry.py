"""A node and its status as the kernel gets them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from repofs.fuse.entry import entry_attributes
from repofs.namespace.nodes import Node
from repofs.namespace.rights import Ownership


def test_everything_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1_000_000_001, -1_500_000_000))
    status = path.stat()
    node = Node(status.st_ino, stat.S_IFREG, 7)
    entry = entry_attributes(node, status, Ownership(1001, 5000, 0o640, None), 60.0)
    assert (entry.st_ino, entry.generation) == (status.st_ino, 7)
    assert (entry.entry_timeout, entry.attr_timeout) == (60.0, 60.0)
    assert (entry.st_mode, entry.st_uid, entry.st_gid) == (stat.S_IFREG | 0o640, 1001, 5000)
    for field in ("nlink", "rdev", "size", "blksize", "blocks", "atime_ns", "mtime_ns", "ctime_ns"):
        assert getattr(entry, f"st_{field}") == getattr(status, f"st_{field}"), field
