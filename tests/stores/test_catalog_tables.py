"""Tables in the catalogue: registered on all their targets or on none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import func, select

from repofs.catalog import filesets, moves, schema, tables, users
from repofs.catalog.engine import Connection
from repofs.catalog.users import Experimenter
from repofs.errors import AccessDenied, AlreadyExists, InvalidValue, NotFound, OtherGroup
from repofs.model import FilesetId, GroupId, ObjectRef, PermissionLevel
from repofs.people import Actor
from repofs.table import Column, NewTable, Place, TableState
from tests.helpers.catalogue import Import, finished, lab

COLUMNS = (Column("Image", "Image", "int64"), Column("größe.µm", "Double", "float64", nullable=True))


def new(*targets: str, path: bytes = b"alice_2/cells.tiledb", owner: str = "alice_2") -> NewTable:
    place = Place("mount", "", path)
    return NewTable(
        "cells", owner.encode(), "/mnt/cells.tiledb", place, 7, COLUMNS, targets, '{"1": 2}', b"salt", b"digest"
    )


def images_of(conn: Connection, owner: Experimenter, *paths: bytes) -> list[str]:
    """Import a file at each of *paths*; return its image as a target."""
    done = [finished(conn, Import(owner, (path,))) for path in paths]
    filesets.record(conn, done)
    return [f"Image:{image}" for one in done for image, _ in one.images]


def actor(person: Experimenter) -> Actor:
    return Actor(person.uid, person.user_name, frozenset({5000, 6000}))


def counts(conn: Connection) -> list[int]:
    rows = (schema.annotations, schema.annotation_links, schema.tables)
    return [conn.execute(select(func.count()).select_from(table)).scalar_one() for table in rows]


def test_a_table_is_what_was_registered(conn: Connection) -> None:
    people = lab(conn)
    image, other = images_of(conn, people.alice, b"P/D/1", b"P/D/2")
    made = tables.register(
        conn, new(other, image, image, "Dataset:name:D", "Project:name:P"), people.alice, actor(people.alice)
    )
    assert made.ref == ObjectRef("FileAnnotation", 1)
    assert [str(target) for target in made.targets] == ["Dataset:1", image, other, "Project:1"]
    assert (made.name, made.rows, made.columns, made.gid, made.owner_uid) == ("cells", 7, COLUMNS, 5000, 5001)
    assert made.state is TableState.REGISTERED
    assert tables.every(conn) == [made]


def test_the_newest_of_a_name_is_meant(conn: Connection) -> None:
    people = lab(conn)
    images_of(conn, people.alice, b"P/D/1", b"D/2")
    made = tables.register(conn, new("Dataset:name:D"), people.alice, actor(people.alice))
    assert made.targets == (ObjectRef("Dataset", 2),)


@pytest.mark.parametrize(
    "target", ["Image:4", "Plate:1", "Dataset:9999", "Dataset:name:nowhere", "Fileset:name:x", "Well:name:A1"]
)
def test_a_target_that_is_not_there_leaves_nothing(conn: Connection, target: str) -> None:
    people = lab(conn)
    (image,) = images_of(conn, people.alice, b"1")
    with pytest.raises(NotFound, match=target.split(":")[0]):
        tables.register(conn, new(image, target), people.alice, actor(people.alice))
    assert counts(conn) == [0, 0, 0]


def test_the_name_of_somebody_elses_dataset_is_none(conn: Connection) -> None:
    people = lab(conn, PermissionLevel.READ_WRITE)
    images_of(conn, people.bob, b"D/1")
    with pytest.raises(NotFound, match="alice has no Dataset called 'D'"):
        tables.register(conn, new("Dataset:name:D"), people.alice, actor(people.alice))


def test_targets_of_two_groups_are_refused(conn: Connection) -> None:
    people = lab(conn)
    other = users.add_group(conn, "other", 6000, PermissionLevel.READ_ONLY)
    here, there = images_of(conn, people.alice, b"1", b"2")
    fileset = conn.execute(select(schema.images.c.fileset_id).where(schema.images.c.id == int(there[6:]))).scalar_one()
    conn.execute(schema.filesets.update().where(schema.filesets.c.id == fileset).values(group_id=other.id))
    with pytest.raises(OtherGroup, match="several groups"):
        tables.register(conn, new(here, there), people.alice, actor(people.alice))
    assert counts(conn) == [0, 0, 0]


@pytest.mark.parametrize("level", list(PermissionLevel))
def test_who_may_not_annotate_registers_nothing(conn: Connection, level: PermissionLevel) -> None:
    people = lab(conn, level)
    mine, hers = images_of(conn, people.bob, b"1")[0], images_of(conn, people.alice, b"2")[0]
    wanted = new(mine, hers, owner="bob_3")
    if level in (PermissionLevel.READ_ANNOTATE, PermissionLevel.READ_WRITE):
        assert tables.register(conn, wanted, people.bob, actor(people.bob)).owner_uid == people.bob.uid
    else:
        with pytest.raises(AccessDenied, match="may not register a table on this"):
            tables.register(conn, wanted, people.bob, actor(people.bob))
        assert counts(conn) == [0, 0, 0]


def test_an_array_is_one_table(conn: Connection) -> None:
    people = lab(conn)
    (image,) = images_of(conn, people.alice, b"1")
    tables.register(conn, new(image), people.alice, actor(people.alice))
    with pytest.raises(AlreadyExists, match="as FileAnnotation:1"):
        tables.register(conn, replace(new(image), name="other"), people.alice, actor(people.alice))
    tables.register(conn, new(image, path=b"alice_2/other.tiledb"), people.alice, actor(people.alice))
    assert counts(conn) == [2, 2, 2]


def test_unregistered_it_is_gone_with_its_links(conn: Connection) -> None:
    people = lab(conn)
    image, other = images_of(conn, people.alice, b"1", b"2")
    made = tables.register(conn, new(image, other), people.alice, actor(people.alice))
    tables.unregister(conn, made.id)
    assert counts(conn) == [0, 0, 0]
    with pytest.raises(NotFound):
        tables.unregister(conn, made.id)
    with pytest.raises(NotFound):
        tables.change(conn, made)
    again = tables.register(conn, new(image), people.alice, actor(people.alice))
    assert again.id == made.id + 1


def test_a_change_is_kept(conn: Connection) -> None:
    people = lab(conn)
    (image,) = images_of(conn, people.alice, b"1")
    made = tables.register(conn, new(image), people.alice, actor(people.alice))
    moved = replace(made, place=Place("mount", "", b"alice_2/moved.tiledb"), state=TableState.CHANGED, digest=b"other")
    tables.change(conn, moved)
    assert tables.get(conn, made.id) == moved


def into_group(conn: Connection, image: str, group: int) -> None:
    fileset = select(schema.images.c.fileset_id).where(schema.images.c.id == int(image.removeprefix("Image:")))
    moves.move(conn, [FilesetId(conn.execute(fileset).scalar_one())], GroupId(group))
    tables.follow(conn)


def test_a_table_moves_with_the_last_of_its_targets(conn: Connection) -> None:
    people = lab(conn)
    other = users.add_group(conn, "other", 6000, PermissionLevel.READ_ONLY)
    image, second = images_of(conn, people.alice, b"1", b"2")
    whole = tables.register(conn, new(image), people.alice, actor(people.alice))
    both = tables.register(conn, new(image, second, path=b"alice_2/b.tiledb"), people.alice, actor(people.alice))
    into_group(conn, image, other.id)
    assert (tables.get(conn, whole.id).gid, tables.get(conn, whole.id).targets) == (6000, whole.targets)
    parted = tables.get(conn, both.id)
    assert (parted.gid, [str(ref) for ref in parted.targets]) == (5000, [second])
    into_group(conn, second, other.id)
    assert (tables.get(conn, both.id).gid, tables.get(conn, both.id).targets) == (6000, parted.targets)


def test_many_targets_at_once(conn: Connection) -> None:
    people = lab(conn)
    targets = images_of(conn, people.alice, *(b"%d" % number for number in range(600)))
    assert len(tables.register(conn, new(*targets), people.alice, actor(people.alice)).targets) == 600


def test_a_number_that_no_database_has_is_refused(conn: Connection) -> None:
    people = lab(conn)
    with pytest.raises(InvalidValue):
        tables.register(conn, new("Image:1e9"), people.alice, actor(people.alice))
