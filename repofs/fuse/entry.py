"""A node and its status as the kernel wants them."""

from __future__ import annotations

import os
import stat
from typing import Any

import pyfuse3

from repofs.namespace.nodes import Node
from repofs.namespace.rights import Ownership
from repofs.namespace.virtual import VirtualNode


def entry_attributes(
    node: Node, status: os.stat_result, ownership: Ownership, cache_seconds: float
) -> pyfuse3.EntryAttributes:
    """Return the attributes of *node*; the kernel may keep them, and the name, for *cache_seconds*."""
    entry = _attributes(node.ino, status, cache_seconds)
    entry.generation = node.generation
    entry.st_mode = stat.S_IFMT(status.st_mode) | ownership.mode
    entry.st_uid = ownership.uid
    entry.st_gid = ownership.gid
    return entry


def virtual_attributes(node: VirtualNode[Any], status: os.stat_result, cache_seconds: float) -> pyfuse3.EntryAttributes:
    """Return the attributes of what lies in a virtual tree; what does not last the kernel asks for again each time."""
    return _attributes(node.ino, status, cache_seconds if node.lasting else 0)


def _attributes(ino: int, status: os.stat_result, cache_seconds: float) -> pyfuse3.EntryAttributes:
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = ino
    entry.entry_timeout = cache_seconds
    entry.attr_timeout = cache_seconds
    entry.st_mode = status.st_mode
    entry.st_uid = status.st_uid
    entry.st_gid = status.st_gid
    entry.st_rdev = status.st_rdev
    fill(entry, status)
    return entry


def fill(entry: pyfuse3.EntryAttributes, status: os.stat_result) -> None:
    """Put into *entry* what is shown of *status* whoever asks, and whatever it is."""
    entry.st_nlink = status.st_nlink
    entry.st_size = status.st_size
    entry.st_blksize = status.st_blksize
    entry.st_blocks = status.st_blocks
    entry.st_atime_ns = status.st_atime_ns
    entry.st_mtime_ns = status.st_mtime_ns
    entry.st_ctime_ns = status.st_ctime_ns


def passing_link(ino: int, target: bytes, uid: int, gid: int) -> pyfuse3.EntryAttributes:
    """Return the attributes of a symbolic link that gives way to something else at the next look at its name."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = ino
    entry.st_mode = stat.S_IFLNK | 0o777
    entry.st_uid, entry.st_gid = uid, gid
    entry.st_size = len(target)
    entry.entry_timeout = entry.attr_timeout = 0
    return entry
