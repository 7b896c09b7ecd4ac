"""Attribute name -> who answers; what is listed; what is a constant."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from repofs.errors import InvalidValue, NotPermitted
from repofs.fuse.xattr_table import XattrTable
from repofs.model import PermissionLevel
from repofs.people import Actor
from tests.helpers.namespace import World, people_of, world

pytestmark = pytest.mark.trio


@pytest.fixture
def w(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def table(w: World) -> XattrTable:
    return XattrTable(w.facts, w.standing, w.rights)


async def get(w: World, table: XattrTable, path: str, name: bytes) -> bytes:
    return await table.answering(name).get(w.node(path), name, w.caller)


async def put(w: World, table: XattrTable, path: str, name: bytes, value: bytes) -> None:
    await table.answering(name).set(w.node(path), name, value, w.caller)


async def test_other_attributes_are_kept_as_they_are(w: World, table: XattrTable) -> None:
    w.write("scan.tif")
    await put(w, table, "scan.tif", b"user.DOSATTRIB", b"\0\xff")
    assert await get(w, table, "scan.tif", b"user.DOSATTRIB") == b"\0\xff"
    assert b"user.DOSATTRIB" in table.listed(w.node("scan.tif"), w.caller)
    table.answering(b"user.DOSATTRIB").remove(w.node("scan.tif"), b"user.DOSATTRIB", w.caller)
    assert b"user.DOSATTRIB" not in table.listed(w.node("scan.tif"), w.caller)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (b"security.capability", errno.EOPNOTSUPP),
        (b"security.selinux", errno.EOPNOTSUPP),
        (b"system.posix_acl_default", errno.ENODATA),
        (b"trusted.x", errno.ENODATA),
        (b"odd", errno.ENODATA),
    ],
)
async def test_what_no_file_has_is_answered_without_any_file(
    w: World, table: XattrTable, name: bytes, answer: int
) -> None:
    w.write("scan.tif")
    node = w.node("scan.tif")
    w.path("scan.tif").unlink()  # whoever asks the disk now learns ENOENT
    with pytest.raises(OSError) as caught:
        await table.answering(name).get(node, name, w.caller)
    assert caught.value.errno == answer
    with pytest.raises(OSError) as caught:
        await table.answering(name).set(node, name, b"", w.caller)
    assert caught.value.errno == errno.EOPNOTSUPP


async def test_the_mark_is_nobodys_to_see_set_or_remove(w: World, table: XattrTable) -> None:
    w.write("scan.tif")
    mark = os.getxattr(w.path("scan.tif"), "user.repofs.mark")
    name = b"user.repofs.mark"
    assert name not in table.listed(w.node("scan.tif"), w.caller)
    with pytest.raises(OSError) as caught:
        await get(w, table, "scan.tif", name)
    assert caught.value.errno == errno.ENODATA
    with pytest.raises(OSError):
        await put(w, table, "scan.tif", name, b"forged")
    with pytest.raises(OSError):
        table.answering(name).remove(w.node("scan.tif"), name, w.caller)
    assert os.getxattr(w.path("scan.tif"), "user.repofs.mark") == mark


async def test_a_command_answers_ENODATA_and_is_not_listed(w: World, table: XattrTable) -> None:
    w.write("scan.tif")
    await put(w, table, "scan.tif", b"user.repofs.import", b"now")
    with pytest.raises(OSError) as caught:
        await get(w, table, "scan.tif", b"user.repofs.import")
    assert caught.value.errno == errno.ENODATA
    assert b"user.repofs.import" not in table.listed(w.node("scan.tif"), w.caller)


async def test_settings_hold_for_what_is_dropped_afterwards(w: World, table: XattrTable) -> None:
    w.mkdir("proj")
    w.write("proj/first.tif")
    await put(w, table, "proj", b"user.repofs.policy", b'{"settle_seconds": 60}')
    w.write("proj/second.tif")
    assert w.clocks.running[w.node("proj/second.tif").ino][1] == 60.0
    assert b"user.repofs.policy" in table.listed(w.node("proj"), w.caller)
    table.answering(b"user.repofs.policy").remove(w.node("proj"), b"user.repofs.policy", w.caller)
    w.write("proj/third.tif")
    assert w.clocks.running[w.node("proj/third.tif").ino][1] == 3.0


async def test_what_the_repository_keeps_bears_no_attributes_of_users(w: World, table: XattrTable) -> None:
    w.path("2026-11/22").mkdir(parents=True)
    w.path("2026-11/22/21-15-03.123.log").write_text("closed")
    for path in ("2026-11", "2026-11/22", "2026-11/22/21-15-03.123.log"):
        for name in (b"user.mine", b"user.repofs.policy"):
            with pytest.raises(OSError) as caught:
                await put(w, table, path, name, b"{}")
            assert caught.value.errno in (errno.EPERM, errno.EINVAL)
    with pytest.raises(NotPermitted):
        await put(w, table, "2026-11", b"user.mine", b"")


def entry(tag: int, bits: int, who: int = 0xFFFFFFFF) -> bytes:
    return struct.pack("<HHI", tag, bits, who)


async def test_the_access_list_is_what_the_kernel_enforces_and_not_set(w: World, table: XattrTable) -> None:
    name = b"system.posix_acl_access"
    w.write("scan.tif")
    with pytest.raises(OSError) as caught:
        await get(w, table, "scan.tif", name)
    assert caught.value.errno == errno.ENODATA  # alone in a group the bits say it all
    lab = frozenset({os.getegid()})
    bob = Actor(5002, "bob", lab)
    people = people_of(w.caller.uid, os.getegid())
    await w.rights.adopt(
        replace(people, actors={**people.actors, 5002: bob}, levels={os.getegid(): PermissionLevel.READ_ONLY})
    )
    acl = await get(w, table, "scan.tif", name)
    assert entry(2, 4, 5002) in acl
    assert name in table.listed(w.node("scan.tif"), w.caller)
    await put(w, table, "scan.tif", name, acl)  # cp -a
    for granted in (entry(2, 6, 5002), entry(2, 4, 6666), entry(8, 4, os.getegid())):
        with pytest.raises(OSError) as caught:
            await put(w, table, "scan.tif", name, struct.pack("<I", 2) + granted)
        assert caught.value.errno == errno.EOPNOTSUPP
    with pytest.raises(InvalidValue, match="POSIX ACL"):
        await put(w, table, "scan.tif", name, b"junk")
    table.answering(name).remove(w.node("scan.tif"), name, w.caller)
    assert await get(w, table, "scan.tif", name) == acl


async def test_links_have_no_attributes(w: World, table: XattrTable) -> None:
    node, _ = w.tree.symlink(w.node(""), b"link", b"/etc/passwd", w.caller)
    assert table.listed(w.seen(node), w.caller) == []
