"""A node and its status as the kernel gets them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from repofs.fuse.entry import entry_attributes
from repofs.namespace.nodes import ROOT_INODE, Node


def test_everything_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(b"12345")
    os.utime(path, ns=(1_000_000_001, -1_500_000_000))
    os.chmod(path, 0o4640)
    status = path.stat()
    node = Node(status.st_ino, stat.S_IFREG, 7)
    entry = entry_attributes(node, status, 60.0)
    assert (entry.st_ino, entry.generation) == (status.st_ino, 7)
    assert (entry.entry_timeout, entry.attr_timeout) == (60.0, 60.0)
    for field in (
        "mode",
        "nlink",
        "uid",
        "gid",
        "rdev",
        "size",
        "blksize",
        "blocks",
        "atime_ns",
        "mtime_ns",
        "ctime_ns",
    ):
        assert getattr(entry, f"st_{field}") == getattr(status, f"st_{field}"), field


def test_the_root_can_be_passed_by_everybody_and_by_nobody_changed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    entry = entry_attributes(Node(ROOT_INODE, stat.S_IFDIR, 0), tmp_path.stat(), 0.0)
    assert entry.st_mode == stat.S_IFDIR | 0o755
