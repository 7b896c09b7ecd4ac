"""The audit trail in the catalogue."""

from __future__ import annotations

import pytest

from repofs.catalog import audit
from repofs.catalog.engine import Connection
from repofs.deeds import Deed
from repofs.model import ObjectRef

SECOND = 1_000_000_000
NOON = 1_795_348_800 * SECOND  # 2026-11-22T12:00:00Z


def test_who_did_what_in_order(conn: Connection) -> None:
    audit.record(conn, 0, "user.add", ObjectRef("Experimenter", 2), {"user_name": "alice"})
    audit.record(conn, 5001, "remove", path=b"bob_3/x.tif", refusal="alice may not remove this")
    told = list(audit.entries(conn))
    assert [(one.actor_uid, one.act, one.target, one.path, one.refusal, one.detail, one.times) for one in told] == [
        (0, "user.add", "Experimenter:2", None, None, {"user_name": "alice"}, 1),
        (5001, "remove", None, b"bob_3/x.tif", "alice may not remove this", {}, 1),
    ]
    assert list(audit.entries(conn, target=ObjectRef("Experimenter", 2))) == told[:1]
    assert list(audit.entries(conn, actor_uid=5001)) == told[1:]
    assert list(audit.entries(conn, refused=True)) == told[1:]
    assert list(audit.entries(conn, since=told[0].time)) == told
    assert list(audit.entries(conn, since="9999")) == []


def test_what_comes_later_stands_where_it_belongs(conn: Connection) -> None:
    audit.record(conn, 0, "user.remove", ObjectRef("Experimenter", 2))
    audit.add(conn, [Deed(NOON + 999_999_999, 5001, "remove", path=b"x"), Deed(NOON, 5001, "rename", path=b"y")])
    audit.add(conn, [])
    by_time = {one.act: one.time for one in audit.entries(conn)}
    assert by_time["rename"] == "2026-11-22T12:00:00.000+00:00"
    assert by_time["remove"] == "2026-11-22T12:00:00.999+00:00"
    assert list(by_time.values()) == sorted(by_time.values())


def test_deeds_come_back_as_they_were(conn: Connection) -> None:
    several = Deed(NOON, 5001, "rename", "Fileset:17", b"bob_3/\xff\n\x1b[2J/", "no\0body \ud800", {"to": "b"}, 9950)
    audit.add(conn, [several])
    [one] = audit.entries(conn)
    assert (one.actor_uid, one.act, one.target, one.path) == (5001, "rename", "Fileset:17", several.path)
    assert (one.refusal, one.detail, one.times) == ("no␀body \\ud800", {"to": "b"}, 9950)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (b"", [b"a_2/", b"a_2/P", b"a_2/P/x", b"a_2/P/\xff", b"a_2/P-1", b"a_2/P0", b"a_2/P/D/", b"a_2%/P"]),
        (b"a_2/P", [b"a_2/", b"a_2/P", b"a_2/P/x", b"a_2/P/\xff", b"a_2/P/D/"]),
        (b"a_2/P/x", [b"a_2/", b"a_2/P/x"]),
        (b"a_2/P/D/y", [b"a_2/", b"a_2/P/D/"]),
        (b"a_2%", [b"a_2%/P"]),
        (b"nobody", []),
    ],
)
def test_by_path_what_is_there_below_it_or_perhaps_among_several(
    conn: Connection, asked: bytes, found: list[bytes]
) -> None:
    paths = [b"a_2/", b"a_2/P", b"a_2/P/x", b"a_2/P/\xff", b"a_2/P-1", b"a_2/P0", b"a_2/P/D/", b"a_2%/P"]
    audit.add(conn, [Deed(NOON, 1, "remove", path=path) for path in paths])
    audit.record(conn, 1, "user.add", ObjectRef("Experimenter", 2))
    assert [one.path for one in audit.entries(conn, path=asked)] == found
