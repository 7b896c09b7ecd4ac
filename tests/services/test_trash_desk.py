"""Requests about deleting as the importer sees to them, and the trash that empties itself."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from sqlalchemy import insert, select, update

from repofs import config
from repofs.catalog import audit, schema, tables
from repofs.catalog.engine import open_engine
from repofs.importer import trash_desk
from repofs.importer.commits import Bell
from repofs.importer.disposal import Disposal
from repofs.importer.requests import Delete, Empty, ListTrash, Restore, TrashRequest
from repofs.importer.trash_desk import TrashDesk
from repofs.importer.wire import Trashing
from repofs.lifecycle import State
from repofs.people import Actor, People
from repofs.quotas import Held
from repofs.repository.trash_can import TrashCan
from repofs.threads import in_thread
from tests.helpers.importing import FakeCounts, Repository
from tests.helpers.standing_in import take
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio

ALICE, BOB = 5000, 5001
LAB = frozenset({os.getgid()})
PEOPLE = People({uid: Actor(uid, name, LAB) for uid, name in ((ALICE, "alice"), (BOB, "bob"))})
LONG_AGO = "2026-01-01T00:00:00.000+00:00"


class Desk:
    def __init__(self, repository: Repository, days: float) -> None:
        self.repository = repository
        self.bell = Bell()
        disposal = Disposal.of(repository.layout, config.Settings(), repository.engine)
        self.reading = open_engine(repository.layout.catalogue, read_only=True)
        self.counts = FakeCounts()
        self.desk = TrashDesk(config.Trash(days=days), disposal, self.reading, self.bell, lambda: PEOPLE, self.counts)

    async def ask(self, request: TrashRequest, uid: int = ALICE) -> Any:
        """Return what is told; raises what is refused."""
        answer = await self.desk.see_to(Trashing(1, request, uid, uid))
        if answer.json is None:
            raise OSError(answer.errno, answer.error)
        return json.loads(answer.json)

    def deeds(self) -> list[tuple[str, int]]:
        with self.reading.begin() as conn:
            return [(one.act, one.actor_uid) for one in audit.entries(conn)]

    def age(self) -> None:
        """Let all in the trash be old."""
        with self.repository.engine.begin() as conn:
            conn.execute(update(schema.trash).values(deleted=LONG_AGO))


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With one fileset, Fileset:1."""
    made = Repository.make(tmp_path / "repository")
    made.write(made.alice, b"scan.tif")
    assert take(made, tmp_path / "none" / "x", *made.drop(made.alice, b"scan.tif")).state is State.IMPORTED
    return made


@pytest.fixture
def desk(repository: Repository) -> Iterator[Desk]:
    made = Desk(repository, 30.0)
    yield made
    made.reading.dispose()


async def test_what_is_asked_is_done_and_told(desk: Desk) -> None:
    asked = await desk.ask(Delete("Fileset:1", only_ask=True))
    assert (asked["size"], asked["files"], asked["days"], asked["transfers"]) == (6, 1, 30.0, ["upload"])
    assert await desk.ask(ListTrash()) == []
    committed = desk.bell.next
    done = await desk.ask(Delete("Fileset:1"))
    assert committed.is_set() and (done["freed"], done["size"]) == (0, 6)
    [shown] = await desk.ask(ListTrash())
    assert (shown["owner"], shown["by"], shown["until"]) == ("alice", "alice", done["until"])
    restored = await desk.ask(Restore("Fileset:1"))
    assert restored["told"] == [] and restored["import_directory"] == done["import_directory"]
    await desk.ask(Delete("Fileset:1"))
    assert (await desk.ask(Empty()))["freed"] == 6
    assert desk.deeds() == [("delete", ALICE), ("restore", ALICE), ("delete", ALICE), ("empty", ALICE)]


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Delete("Fileset:1"), "bob may not delete this"),
        (Delete("Fileset:9"), "there is no Fileset:9"),
        (Delete("Dataset:1"), "name a Fileset, or an Image of one"),
        (Delete("Image:9"), "there is no Image:9"),
        (Restore("Fileset:1"), "Fileset:1 is not in the trash"),
        (Restore("Image:1"), "is not what the trash holds"),
        (Empty("nonsense"), "is not an object"),
    ],
)
async def test_what_cannot_be_is_refused_with_a_sentence(desk: Desk, request_: TrashRequest, sentence: str) -> None:
    with pytest.raises(OSError, match=sentence):
        await desk.ask(request_, BOB)
    assert desk.deeds() == []


async def test_others_neither_restore_nor_empty_it(desk: Desk) -> None:
    await desk.ask(Delete("Fileset:1"))
    assert await desk.ask(ListTrash(), BOB) == []
    assert (await desk.ask(Empty(), BOB))["filesets"] == []
    for request in (Restore("Fileset:1"), Empty("Fileset:1")):
        with pytest.raises(OSError, match="bob may not delete this"):
            await desk.ask(request, BOB)


async def test_older_than_leaves_the_newer(desk: Desk) -> None:
    await desk.ask(Delete("Fileset:1"))
    assert (await desk.ask(Empty(older_than_days=1.0)))["filesets"] == []
    desk.age()
    [found] = (await desk.ask(Empty(older_than_days=1.0, only_ask=True)))["filesets"]
    assert found["fileset"] == "Fileset:1"
    assert len(await desk.ask(ListTrash())) == 1
    await desk.ask(Empty(older_than_days=1.0))
    assert await desk.ask(ListTrash()) == []


async def test_after_its_time_it_goes_by_itself(
    desk: Desk, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trash_desk, "LOOK_SECONDS", 0.05)
    await desk.ask(Delete("Fileset:1"))
    with monkeypatch.context() as patch:
        patch.setattr(TrashCan, "remove", _refused)
        desk.age()
        nursery.start_soon(desk.desk.run)
        await in_thread(until, lambda: len(desk.deeds()) > 1, "it is begun")
        await trio.sleep(0.2)
        assert desk.deeds() == [("delete", ALICE), ("empty", 0)]  # and tried again later
        assert await desk.ask(ListTrash()) != []
    for _ in range(200):
        if not await desk.ask(ListTrash()):
            return
        await trio.sleep(0.05)
    raise AssertionError("it is still there")


def _refused(*_: object) -> int:
    raise OSError(5, "Input/output error")


async def test_with_no_days_it_goes_at_once(repository: Repository) -> None:
    desk = Desk(repository, 0.0)
    done = await desk.ask(Delete("Fileset:1"))
    assert done["freed"] == 6
    assert await desk.ask(ListTrash()) == []
    assert os.listdir(repository.layout.trash) == []
    desk.reading.dispose()


async def test_what_fails_unexpectedly_is_answered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(Disposal, "delete", broken)
    with pytest.raises(OSError, match="the catalogue refused it: broken"):
        await desk.ask(Delete("Fileset:1"))
    monkeypatch.setattr(Disposal, "delete", _refused)
    with pytest.raises(OSError, match=r"it is not done yet: .*Input/output error"):
        await desk.ask(Delete("Fileset:1"))


async def test_a_table_on_it_stays_and_is_on_it_again(desk: Desk) -> None:
    engine = desk.repository.engine
    with engine.begin() as conn:
        owner = conn.execute(select(schema.filesets.c.owner_id, schema.filesets.c.group_id)).one()
        whose = {"owner_id": owner.owner_id, "created": LONG_AGO}
        conn.execute(insert(schema.annotations).values(id=1, kind="FileAnnotation", group_id=owner.group_id, **whose))
        link = {"annotation_id": 1, "object_kind": "Fileset", "object_id": 1}
        conn.execute(insert(schema.annotation_links).values(**link, **whose))
        conn.execute(
            insert(schema.tables).values(
                annotation_id=1, name="t", user_directory=b"alice_2", uri="u", place_kind="mount", place_root="",
                place_path=b"t", row_count=0, columns="[]", manifest="", token_salt=b"", token_digest=b"",
                state="registered",
            )
        )  # fmt: skip
    await desk.ask(Delete("Fileset:1"))
    with engine.begin() as conn:
        tables.follow(conn)
        assert tables.get(conn, 1).targets == ()
    await desk.ask(Restore("Fileset:1"))
    with engine.begin() as conn:
        assert [str(target) for target in tables.get(conn, 1).targets] == ["Fileset:1"]


async def test_what_is_in_the_trash_is_held_until_that_is_emptied(desk: Desk) -> None:
    await desk.ask(Delete("Fileset:1"))
    assert desk.counts.total() == Held(b"", 0)
    await desk.ask(Restore("Fileset:1"))
    assert desk.counts.total() == Held(b"", 0)
    await desk.ask(Delete("Fileset:1"))
    await desk.ask(Empty())
    assert desk.counts.total() == Held(b"", 0, originals=-6, original_files=-1)
