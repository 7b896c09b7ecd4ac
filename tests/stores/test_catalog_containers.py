"""What a path and a target mean, and the projects and datasets that come of it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from repofs.catalog import containers, users
from repofs.catalog.containers import Target, dataset_for, target_of
from repofs.catalog.engine import Connection
from repofs.catalog.schema import datasets, project_dataset_links, projects
from repofs.catalog.users import Experimenter, Group
from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.model import PermissionLevel
from repofs.people import Actor
from repofs.targets import Named, Pick
from tests.helpers.catalogue import Lab, lab


@pytest.mark.parametrize(
    ("path", "override", "target"),
    [
        (b"scan.tif", None, None),
        (b"D/scan.tif", None, Target(None, Named("D"))),
        (b"P/D/scan.tif", None, Target(Named("P"), Named("D"))),
        (b"P/D/deep/er/scan.tif", None, Target(Named("P"), Named("D"))),
        (b"\xff\xe9/\xc3\xa9/x", None, Target(Named("\\xff\\xe9"), Named("é"))),
        (b"P/D/x", "Dataset:12", Target(None, 12, anywhere=True)),
        (b"x", "Dataset:name:My day: 1", Target(None, Named("My day: 1"), anywhere=True)),
        (b"P/D/x", "Project:3", Target(3, Named("D"))),
        (b"D/x", "Project:name:Q", Target(Named("Q"), Named("D"))),
        (b"x", "Project:name:Q", None),
        (b"x", "Project:name:Q/Dataset:-name:D", Target(Named("Q"), Named("D", Pick.OLDEST), anywhere=True)),
    ],
)
def test_path_and_override_say_where(path: bytes, override: str | None, target: Target | None) -> None:
    assert target_of(path, override) == target


@pytest.mark.parametrize(
    "text",
    ["", "Dataset", "Dataset:", "Dataset:name:", "Dataset:0", "Dataset:-1", "Dataset:²", "Image:1", f"Project:{2**63}"],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="target="):
        target_of(b"P/D/x", text)


def made(conn: Connection, people: Lab, path: bytes, override: str | None = None) -> int:
    target = target_of(path, override)
    assert target is not None
    return dataset_for(conn, target, people.alice.id, people.group.id)


def test_containers_are_made_once(conn: Connection) -> None:
    people = lab(conn)
    first = made(conn, people, b"P/D/a")
    assert made(conn, people, b"P/D/b") == first
    assert conn.execute(select(projects.c.name, projects.c.owner_id)).all() == [("P", people.alice.id)]
    assert conn.execute(select(datasets.c.name)).all() == [("D",)]
    assert conn.execute(select(project_dataset_links)).all() == [(1, first)]


def test_datasets_of_one_name_in_two_projects_are_two(conn: Connection) -> None:
    people = lab(conn)
    in_p, in_q, alone = (made(conn, people, path) for path in (b"P/D/x", b"Q/D/x", b"D/x"))
    assert len({in_p, in_q, alone}) == 3
    assert [made(conn, people, path) for path in (b"P/D/x", b"Q/D/x", b"D/x")] == [in_p, in_q, alone]


def test_a_dataset_by_name_is_the_newest_wherever_it_lies(conn: Connection) -> None:
    people = lab(conn)
    made(conn, people, b"D/x")
    newest = made(conn, people, b"P/D/x")
    assert made(conn, people, b"Other/E/x", "Dataset:name:D") == newest
    assert made(conn, people, b"x", "Dataset:name:New") not in (newest, None)


def test_names_are_each_owners_own(conn: Connection) -> None:
    people = lab(conn)
    target = Target(Named("P"), Named("D"))
    alices = dataset_for(conn, target, people.alice.id, people.group.id)
    assert dataset_for(conn, target, people.bob.id, people.group.id) != alices


def test_a_project_by_id_gets_the_dataset_of_the_path(conn: Connection) -> None:
    people = lab(conn)
    made(conn, people, b"P/D/x")
    dataset = made(conn, people, b"E/x", "Project:1")
    assert (1, dataset) in conn.execute(select(project_dataset_links)).all()


def actor(person: Experimenter, *groups: Group) -> Actor:
    return Actor(person.uid, person.user_name, frozenset(group.gid for group in groups))


@pytest.mark.parametrize("target", [Target(None, 99), Target(99, Named("D"))])
def test_a_target_that_is_not_there_is_refused(conn: Connection, target: Target) -> None:
    people = lab(conn)
    with pytest.raises(NotFound, match=":99"):
        containers.check_target(conn, target, actor(people.alice, people.group), people.alice.id, people.group.id)


@pytest.mark.parametrize("level", list(PermissionLevel))
def test_only_a_read_write_group_lets_its_members_add_to_others_datasets(
    conn: Connection, level: PermissionLevel
) -> None:
    people = lab(conn, level)
    far = users.add_group(conn, "far", 7000, level)
    stranger = users.add_experimenter(conn, "eve", 7001, far.id)
    target = Target(None, made(conn, people, b"P/D/x"))
    containers.check_target(conn, target, actor(people.alice, people.group), people.alice.id, people.group.id)
    with pytest.raises(AccessDenied, match="eve may not add"):
        containers.check_target(conn, target, actor(stranger, far), stranger.id, far.id)
    if level is PermissionLevel.READ_WRITE:
        containers.check_target(conn, target, actor(people.bob, people.group), people.bob.id, people.group.id)
    else:
        with pytest.raises(AccessDenied):
            containers.check_target(conn, target, actor(people.bob, people.group), people.bob.id, people.group.id)


def test_images_of_one_group_do_not_go_into_a_dataset_of_another(conn: Connection) -> None:
    people = lab(conn)
    other = users.add_group(conn, "other", 7000, PermissionLevel.PRIVATE)
    target = Target(None, made(conn, people, b"P/D/x"))
    with pytest.raises(InvalidValue, match="is of the group lab"):
        containers.check_target(conn, target, actor(people.alice, people.group, other), people.alice.id, other.id)


def test_of_several_of_one_name_the_sign_says_which(conn: Connection) -> None:
    people = lab(conn)
    first = made(conn, people, b"x", "Dataset:@name:D")
    second = made(conn, people, b"x", "Dataset:@name:D")
    assert first < second
    assert made(conn, people, b"x", "Dataset:-name:D") == first
    assert made(conn, people, b"x", "Dataset:+name:D") == second
    with pytest.raises(InvalidValue, match="2 datasets are called 'D'"):
        made(conn, people, b"x", "Dataset:%name:D")
    only = made(conn, people, b"x", "Dataset:%name:E")
    assert made(conn, people, b"x", "Dataset:%name:E") == only


def test_what_is_to_be_the_only_one_is_refused_before_anything_is_read(conn: Connection) -> None:
    people = lab(conn)
    for _ in range(2):
        made(conn, people, b"x", "Project:@name:P/Dataset:name:D")
    target = target_of(b"x", "Project:%name:P/Dataset:name:D")
    assert target is not None
    alice = actor(people.alice, people.group)
    with pytest.raises(InvalidValue, match="2 projects are called 'P'"):
        containers.check_target(conn, target, alice, people.alice.id, people.group.id)
    containers.check_target(conn, target, alice, people.bob.id, people.group.id)  # of his there are none


def test_a_dataset_is_put_into_the_project_that_is_named_with_it_and_stays_where_it_was(conn: Connection) -> None:
    people = lab(conn)
    dataset = made(conn, people, b"P/D/x")
    for _ in range(2):
        assert made(conn, people, b"x", "Project:name:Q/Dataset:name:D") == dataset
    links = conn.execute(select(projects.c.name, project_dataset_links.c.dataset_id).join(project_dataset_links)).all()
    assert sorted(links) == [("P", dataset), ("Q", dataset)]
