"""chgrp in the catalogue: filesets move to another group, and their datasets and projects with them."""

from __future__ import annotations

from sqlalchemy import select, update

from repofs.catalog import filesets, moves, users
from repofs.catalog.engine import Connection
from repofs.catalog.schema import (
    dataset_image_links,
    datasets,
    original_files,
    project_dataset_links,
    projects,
)
from repofs.catalog.schema import filesets as fileset_rows
from repofs.catalog.users import Experimenter
from repofs.model import FilesetId, GroupId, PermissionLevel
from tests.helpers.catalogue import Import, finished, lab


def imported(conn: Connection, owner: Experimenter, *paths: bytes) -> list[FilesetId]:
    """Import one file at each of *paths*; return their filesets."""
    done = [finished(conn, Import(owner, (path,))) for path in paths]
    filesets.record(conn, done)
    return [one.fileset_id for one in done]


def other_group(conn: Connection) -> GroupId:
    return users.add_group(conn, "other", 6000, PermissionLevel.PRIVATE).id


def tree(conn: Connection, group: GroupId) -> dict[str, list[str]]:
    """Return the projects of *group* ("" for none) with their datasets and how many images each has."""
    found: dict[str, list[str]] = {}
    for dataset in conn.execute(select(datasets).where(datasets.c.group_id == group).order_by(datasets.c.name)):
        count = len(
            conn.execute(select(dataset_image_links).where(dataset_image_links.c.dataset_id == dataset.id)).all()
        )
        query = select(projects.c.name, projects.c.group_id).join(project_dataset_links)
        names = conn.execute(query.where(project_dataset_links.c.dataset_id == dataset.id)).all()
        assert all(row.group_id == group for row in names)
        for name in [row.name for row in names] or [""]:
            found.setdefault(name, []).append(f"{dataset.name} {count}")
    empty = select(projects.c.name).where(projects.c.group_id == group)
    return {**{name: [] for name in conn.execute(empty).scalars()}, **found}


def test_a_project_whose_images_all_move_moves_itself(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    moved = imported(conn, people.alice, b"P/D/1", b"P/D/2", b"P/E/3", b"4")
    before = conn.execute(select(datasets.c.id)).scalars().all()
    places = moves.move(conn, moved, other)
    assert len(set(places)) == 4
    assert tree(conn, other) == {"P": ["D 2", "E 1"]}
    assert tree(conn, people.group.id) == {}
    assert conn.execute(select(datasets.c.id)).scalars().all() == before
    assert set(conn.execute(select(fileset_rows.c.group_id)).scalars()) == {other}
    assert set(conn.execute(select(original_files.c.group_id)).scalars()) == {other}


def test_what_stays_keeps_its_dataset_and_what_moves_gets_one_of_that_name(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    first, second, third = imported(conn, people.alice, b"P/D/1", b"P/D/2", b"P/E/3")
    moves.move(conn, [first], other)
    assert tree(conn, people.group.id) == {"P": ["D 1", "E 1"]}
    assert tree(conn, other) == {"P": ["D 1"]}
    moves.move(conn, [third], other)
    assert tree(conn, other) == {"P": ["D 1", "E 1"]}
    moves.move(conn, [second], other)
    assert tree(conn, people.group.id) == {}
    assert tree(conn, other) == {"P": ["D 1", "D 1", "E 1"]}  # no dataset loses its number to another


def test_datasets_of_one_name_in_two_projects_stay_two(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    a, _, b, _ = imported(conn, people.alice, b"P/D/1", b"P/D/2", b"Q/D/3", b"Q/D/4")
    moves.move(conn, [a, b], other)
    assert tree(conn, other) == {"P": ["D 1"], "Q": ["D 1"]}
    assert tree(conn, people.group.id) == {"P": ["D 1"], "Q": ["D 1"]}


def test_a_move_may_be_made_again_and_back(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    moved = imported(conn, people.alice, b"D/1", b"D/2")
    for group in (other, other, people.group.id):
        moves.move(conn, moved, group)
        assert tree(conn, group) == {"": ["D 2"]}


def test_what_stands_in_somebody_elses_dataset_is_taken_out_of_it(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    [mine] = imported(conn, people.alice, b"D/1")
    imported(conn, people.bob, b"B/2")
    bobs = conn.execute(select(datasets.c.id).where(datasets.c.name == "B")).scalar_one()
    conn.execute(update(dataset_image_links).where(dataset_image_links.c.image_id == 1).values(dataset_id=bobs))
    moves.move(conn, [mine], other)
    assert tree(conn, other) == {}
    assert tree(conn, people.group.id)[""] == ["B 1", "D 0"]


def test_thousands_at_once(conn: Connection) -> None:
    people, other = lab(conn), other_group(conn)
    moved = imported(conn, people.alice, *(b"P/D/%d" % number for number in range(1201)))
    assert len(moves.move(conn, [*moved, FilesetId(99_999)], other)) == 1201
    assert tree(conn, other) == {"P": ["D 1201"]}
