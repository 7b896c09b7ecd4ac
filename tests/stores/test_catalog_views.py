"""What the views in `.repofs` list of the catalogue, in pages, for who may view it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from sqlalchemy import insert

from repofs.catalog import schema, users, views
from repofs.catalog.engine import Connection
from repofs.model import PermissionLevel
from repofs.views import Listing, Look, Seen, Shown
from tests.helpers.catalogue import IMAGE, Import, Lab, imported, lab

ALL = Seen(0, True, (), ())
LAB = 5000


def listed(conn: Connection, listing: Listing, number: int = 0, seen: Seen = ALL) -> list[Shown]:
    """Return all pages of a listing."""
    found: list[Shown] = []
    after: int | None = 0
    while after is not None:
        page = views.page(conn, Look(listing, seen, number, after))
        found += page.shown
        after = page.after
    return found


def names(conn: Connection, listing: Listing, number: int = 0, seen: Seen = ALL) -> list[str]:
    return [one.name for one in listed(conn, listing, number, seen)]


@pytest.fixture
def people(conn: Connection) -> Lab:
    return lab(conn, PermissionLevel.PRIVATE)


def only(person: users.Experimenter) -> Seen:
    """Return what a member of a private group sees."""
    return Seen(person.uid, False, (), (LAB,))


def test_projects_datasets_and_images(conn: Connection, people: Lab) -> None:
    paths = (b"P/D/a.tif", b"P/E/b.tif", b"Q/D/c.tif", b"D/d.tif", b"e.tif")
    made = imported(conn, *(Import(people.alice, (path,)) for path in paths))
    assert names(conn, Listing.PROJECTS) == ["P", "Q"]
    p, q = (one.number for one in listed(conn, Listing.PROJECTS))
    assert names(conn, Listing.DATASETS, p) == ["D", "E"]
    assert names(conn, Listing.DATASETS, q) == ["D"]
    assert names(conn, Listing.DATASETS) == ["D"]
    [alone] = listed(conn, Listing.DATASETS)
    directory = made[3].user_directory + b"/" + made[3].import_directory
    expected = Shown(made[3].images[0][0], people.alice.uid, LAB, directory=directory, names=(b"d.tif",))
    assert listed(conn, Listing.DATASET, alone.number) == [expected]
    assert listed(conn, Listing.IMAGE, expected.number) == [expected]
    assert [one.names for one in listed(conn, Listing.ORPHANS)] == [(b"e.tif",)]
    assert listed(conn, Listing.IMAGES) == [
        Shown(one.images[0][0], people.alice.uid, LAB) for one in made
    ]  # without names


def test_nothing_of_what_is_not_there(conn: Connection, people: Lab) -> None:
    imported(conn, Import(people.alice, (b"P/D/a.tif",)))
    for listing in (Listing.DATASETS, Listing.DATASET, Listing.IMAGE):
        assert listed(conn, listing, 99) == []


def test_who_may_view_what(conn: Connection, people: Lab) -> None:
    alices, bobs = (Import(one, (b"P/D/a.tif",)) for one in (people.alice, people.bob))
    orphans = (Import(one, (b"o.tif",)) for one in (people.alice, people.bob))
    of_alice, of_bob, *_ = imported(conn, alices, bobs, *orphans)
    for listing in (Listing.PROJECTS, Listing.IMAGES, Listing.ORPHANS):
        both = listed(conn, listing)
        assert {one.owner_uid for one in both} == {people.alice.uid, people.bob.uid}
        assert listed(conn, listing, seen=only(people.alice)) == [
            one for one in both if one.owner_uid == people.alice.uid
        ]
        assert listed(conn, listing, seen=Seen(people.alice.uid, False, (LAB,), (LAB,))) == both
        assert listed(conn, listing, seen=Seen(people.alice.uid, False, (), ())) == []
    assert listed(conn, Listing.IMAGE, of_bob.images[0][0], only(people.alice)) == []
    assert listed(conn, Listing.IMAGE, of_alice.images[0][0], only(people.alice)) != []


def test_a_former_experimenters_uid_is_not_hers(conn: Connection, people: Lab) -> None:
    imported(conn, Import(people.alice, (b"P/D/a.tif",)))
    users.remove_experimenter(conn, people.alice.id)
    assert listed(conn, Listing.PROJECTS, seen=only(people.alice)) == []
    assert [one.owner_uid for one in listed(conn, Listing.PROJECTS)] == [None]


def test_what_is_in_what_she_may_not_view_is_in_nothing(conn: Connection, people: Lab) -> None:
    """Bob has put Alice's image into his dataset, and her dataset into his project."""
    [made] = imported(conn, Import(people.alice, (b"D/a.tif",)))
    [dataset] = listed(conn, Listing.DATASETS)
    imported(conn, Import(people.bob, (b"P/E/b.tif",)))
    [project] = listed(conn, Listing.PROJECTS)
    conn.execute(insert(schema.project_dataset_links).values(project_id=project.number, dataset_id=dataset.number))
    assert listed(conn, Listing.DATASETS) == []
    assert listed(conn, Listing.DATASETS, seen=only(people.alice)) == [dataset]
    conn.execute(
        schema.dataset_image_links.update()
        .values(dataset_id=2)
        .where(schema.dataset_image_links.c.image_id == made.images[0][0])
    )
    assert listed(conn, Listing.ORPHANS) == []
    [orphan] = listed(conn, Listing.ORPHANS, seen=only(people.alice))
    assert orphan.names == (b"a.tif",)
    assert listed(conn, Listing.DATASET, 2, only(people.alice)) == [orphan]
    assert len(listed(conn, Listing.DATASET, 2)) == 2


def with_names(conn: Connection, people: Lab, *paths: bytes) -> list[tuple[bytes, ...]]:
    """Import files that keep their path below their import directory, as one fileset; return what is listed of it."""
    [made] = imported(conn, Import(people.alice, paths))
    for file in made.entries:
        conn.execute(
            schema.fileset_entries.update()
            .values(name=file.path)
            .where(schema.fileset_entries.c.original_id == file.original_id)
        )
    return [one.names for one in listed(conn, Listing.IMAGE, made.images[0][0])]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([b"a.tif"], (b"a.tif",)),
        ([b"a.nd", b"a_1.stk", b"a_2.stk"], (b"a.nd", b"a_1.stk", b"a_2.stk")),
        ([b"x.zarr/0/0", b"x.zarr/0/1", b"x.zarr/zarr.json"], (b"x.zarr",)),
        ([b"x.zarr/zarr.json"], (b"x.zarr",)),
        ([b"a.vsi", b"_a_/stack1/frame.ets", b"_a_/stack2/frame.ets"], (b"a.vsi", b"_a_")),
        ([b"_a_/stack1/frame.ets", b"_a_/stack2/frame.ets", b"a.vsi"], (b"_a_", b"a.vsi")),
        ([b"a/1", b"ab/1"], (b"a", b"ab")),
        ([b"a", b"a/1"], (b"a",)),
    ],
)
def test_names_are_those_in_the_import_directory(
    conn: Connection, people: Lab, paths: list[bytes], expected: tuple[bytes, ...]
) -> None:
    assert with_names(conn, people, *paths) == [expected]


def test_a_fileset_of_many_images_comes_once_a_page(
    conn: Connection, people: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "PAGE", 3)
    many = [replace(IMAGE, series=number) for number in range(4)]
    first, second = imported(conn, Import(people.alice, (b"D/a.lif",), many), Import(people.alice, (b"D/b.lif",), many))
    pages = [[(b"a.lif",)], [(b"a.lif",), (b"b.lif",)], [(b"b.lif",)]]
    assert [one.names for one in listed(conn, Listing.DATASET, 1)] == list(itertools.chain(*pages))
    numbers = [number for one in (first, second) for number, _ in one.images]
    assert [one.number for one in listed(conn, Listing.IMAGES)] == numbers


@pytest.mark.parametrize("listing", [Listing.PROJECTS, Listing.IMAGES])
def test_pages_follow_each_other_without_a_gap(
    conn: Connection, people: Lab, monkeypatch: pytest.MonkeyPatch, listing: Listing
) -> None:
    monkeypatch.setattr(views, "PAGE", 2)
    imported(conn, *(Import(people.alice, (b"P%d/D/a.tif" % number,)) for number in range(4)))
    assert [one.number for one in listed(conn, listing)] == [1, 2, 3, 4]
