"""News from the rows of imports: in the order of commits, none lost, each hook going on where it was."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import text

from repofs.catalog import imports, moves, news, users
from repofs.catalog.engine import Connection, Engine
from repofs.events import KINDS
from repofs.lifecycle import State
from repofs.model import PermissionLevel
from tests.helpers.catalogue import Import, drop, imported, lab


def test_what_has_ended_is_news_in_the_order_of_its_end(conn: Connection) -> None:
    alice = lab(conn).alice
    first, second, third = imports.begin(conn, [drop(alice, name) for name in (b"a", b"b", b"c")])
    assert news.after(conn, 0) == [] and news.newest(conn) == 0
    for number in (third, first):
        imports.advance(conn, number, State.IMPORTING, State.FAILED, error=f"{number} is broken")
    imports.advance(conn, second, State.IMPORTING, State.SETTLING, error="interrupted")
    found = news.after(conn, 0)
    assert [(one.importing, one.kind, one.error) for one in found] == [
        (third, State.FAILED, f"{third} is broken"),
        (first, State.FAILED, f"{first} is broken"),
    ]
    assert news.after(conn, found[0].number) == found[1:]
    assert news.newest(conn) == found[-1].number
    assert news.after(conn, 0, limit=1) == found[:1]


def test_an_imported_fileset_and_a_failed_drop(conn: Connection) -> None:
    there = lab(conn)
    [done] = imported(conn, Import(there.alice, (b"P/D/scan.tif",)))
    [number] = imports.begin(conn, [replace(drop(there.bob, b"\xff.tif"), gid=6000, source=b"scope/x", actor_uid=7)])
    imports.advance(conn, number, State.IMPORTING, State.DUPLICATE, error="there is one")
    good, bad = news.after(conn, 0)
    assert (good.user, good.fileset, good.gid, good.error, good.path) == (
        "alice", done.fileset_id, 5000, None, b"P/D/scan.tif",
    )  # fmt: skip
    assert (good.user_directory, good.time, good.source) == (done.user_directory, done.imported, None)
    assert good.log == done.user_directory + b"/" + done.import_directory + b".log"
    assert (bad.user, bad.fileset, bad.gid, bad.source, bad.actor_uid) == ("bob", None, 6000, b"scope/x", 7)
    assert bad.log == b".repofs/log/bob_3/%d.log" % number
    assert news.after(conn, 0, [State.DUPLICATE]) == [bad]


def test_the_group_is_the_one_that_a_fileset_was_moved_to(conn: Connection) -> None:
    there = lab(conn)
    [done] = imported(conn, Import(there.alice))
    other = users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE)
    moves.move(conn, [done.fileset_id], other.id)
    [one] = news.after(conn, 0)
    assert one.gid == 6000


def test_another_state_is_newer_news_of_the_same_import(conn: Connection) -> None:
    there = lab(conn)
    first, _ = imported(conn, Import(there.alice), Import(there.bob, checksum="SHA1-160:01"))
    before = news.after(conn, 0)
    imports.advance(conn, first.import_id, State.IMPORTED, State.MISSING, error="its source is gone")
    [kept, newer] = news.after(conn, 0)
    assert kept == before[1]
    assert (newer.importing, newer.kind, newer.number > kept.number) == (first.import_id, State.MISSING, True)


def test_news_are_found_by_an_index(conn: Connection) -> None:
    query = "SELECT id FROM imports WHERE state IN ('failed', 'imported') AND ending > 5 ORDER BY ending LIMIT 10"
    plan = [row.detail for row in conn.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    assert any("ix_imports_ending (state=? AND ending>?)" in detail for detail in plan), plan


def test_a_new_hook_begins_at_present_and_goes_on_where_it_was(catalogue: Engine) -> None:
    with catalogue.begin() as conn:
        imported(conn, Import(lab(conn).alice))
        assert news.begin(conn, ["mail"]) == [1]
    with catalogue.begin() as conn:
        [number] = imports.begin(conn, [drop(users.experimenters(conn)[0])])
        imports.advance(conn, number, State.IMPORTING, State.FAILED, error="broken")
        assert news.begin(conn, ["mail", "chat"]) == [1, 2]
        assert news.delivered(conn, [("mail", 2), ("chat", 2)]) == [None, None]
    with catalogue.begin() as conn:
        assert news.begin(conn, ["chat", "mail"]) == [2, 2]
        assert len(news.after(conn, 0, tuple(KINDS))) == 2
