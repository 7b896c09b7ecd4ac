"""A deleted fileset is in no table but the trash, and comes back as it was."""

import pytest
from sqlalchemy import delete, insert, select, update

from repofs.catalog import filesets, imports, news, schema, thumbnails, trash
from repofs.catalog.engine import Connection
from repofs.catalog.objects import describe
from repofs.catalog.origins import NewOrigin, add
from repofs.errors import NotFound
from repofs.image import Channel, ImageInfo
from repofs.lifecycle import State
from repofs.model import FilesetId, Identity, ImageId, ObjectRef, Origin
from repofs.trash import Name, Whereabouts
from tests.helpers.catalogue import NOON, Import, imported, lab

COLOURED = ImageInfo("scan", 0, 512, 256, 1, 1, 1, "uint16", channels=(Channel("DAPI"),))
UNCHANGED = [table for table in schema.metadata.sorted_tables if table.name not in ("ids", "imports", "trash", "audit")]


def dump(conn: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table.name: sorted(map(tuple, conn.execute(select(table))), key=repr) for table in UNCHANGED}


@pytest.fixture
def one(conn: Connection) -> filesets.FinishedImport:
    """A fileset of two files that has a row in every table, beside another one."""
    alice = lab(conn).alice
    mine, _ = imported(
        conn,
        Import(alice, (b"P/D/a.tif", b"P/D/\xff.tif"), (COLOURED,), target=None),
        Import(alice, (b"P/D/b.tif",), (COLOURED,), checksum="SHA1-160:11"),
    )
    identity = Identity(1, 2, b"\x00\xfe", 10, 1, 1)
    add(conn, [NewOrigin(mine.entries[0].original_id, Origin("nas", "x/a.tif", identity, "ln_s"), False)])
    values = {"id": 1, "kind": "TagAnnotation", "owner_id": alice.id, "group_id": alice.group_id, "created": NOON}
    conn.execute(insert(schema.annotations).values(values))
    for kind, number in (("Fileset", mine.fileset_id), ("Image", mine.images[0][0])):
        link = {"annotation_id": 1, "object_kind": kind, "object_id": number, "owner_id": alice.id, "created": NOON}
        conn.execute(insert(schema.annotation_links).values(link))
    return mine


def discard(conn: Connection, one: filesets.FinishedImport) -> None:
    trash.discard(conn, one.fileset_id, 5001, [Name(b"P/D/\xff.tif", 1)], 20)


def test_it_is_in_no_other_table(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    with pytest.raises(NotFound, match=r"was deleted at .* repofs trash restore Fileset:1"):
        describe(conn, ObjectRef("Fileset", one.fileset_id))
    with pytest.raises(NotFound):
        describe(conn, ObjectRef("Image", one.images[0][0]))
    assert filesets.find_duplicate(conn, one.owner, 10, "SHA1-160:00") is None
    assert conn.execute(select(schema.annotation_links)).all() == []
    assert conn.execute(select(schema.origins)).all() == []
    assert imports.get(conn, one.import_id).state is State.DELETED


def test_it_is_shown_with_its_size_and_names(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    [found] = trash.every(conn)
    assert (found.fileset, found.owner, found.files, found.size) == (one.fileset_id, "alice", 2, 20)
    assert (found.step, found.names) == (Whereabouts.MOVING, (Name(b"P/D/\xff.tif", 1),))
    place, images = trash.contents(conn, found)
    assert (place.files, place.is_directory, images) == ((b"a.tif", b"\xff.tif"), False, (one.images[0][0],))


def test_what_deleting_needs_to_know(conn: Connection, one: filesets.FinishedImport) -> None:
    held = trash.held(conn, one.fileset_id)
    assert held.place.files == (b"a.tif", b"\xff.tif")
    assert held.dropped == (b"P/D/a.tif", b"P/D/\xff.tif")
    assert (held.owner, held.of.uid, held.of.gid) == ("alice", 5001, 5000)
    assert held.transfers == {"ln_s", "upload"}


def test_it_comes_back_where_its_files_are(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    trash.note(conn, one.fileset_id, Whereabouts.MOVING, import_directory=b"2026-11/22/beside", names=[])
    [found] = trash.every(conn)
    assert (found.import_directory, found.names) == (b"2026-11/22/beside", ())
    trash.restore(conn, one.fileset_id)
    assert describe(conn, ObjectRef("Fileset", one.fileset_id))["import_directory"] == "alice_2/2026-11/22/beside"


def test_it_comes_back_as_it_was(conn: Connection, one: filesets.FinishedImport) -> None:
    before = dump(conn)
    discard(conn, one)
    assert dump(conn) != before
    assert trash.restore(conn, one.fileset_id) == []
    assert dump(conn) == before
    assert trash.every(conn) == []
    assert imports.get(conn, one.import_id).state is State.IMPORTED


def test_an_original_that_was_missing_is_missing_again(conn: Connection, one: filesets.FinishedImport) -> None:
    imports.advance(conn, one.import_id, State.IMPORTED, State.MISSING)
    discard(conn, one)
    trash.restore(conn, one.fileset_id)
    assert imports.get(conn, one.import_id).state is State.MISSING


def test_a_dataset_that_has_gone_is_made_again(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    conn.execute(delete(schema.dataset_image_links))
    conn.execute(delete(schema.project_dataset_links))
    conn.execute(delete(schema.datasets))
    [told] = trash.restore(conn, one.fileset_id)
    assert told == "Dataset:1 is not there for it any more: it is in Dataset:2, called 'D' too"
    assert describe(conn, ObjectRef("Dataset", 2))["name"] == "D"
    assert conn.execute(select(schema.project_dataset_links)).all() == [(1, 2)]


def test_an_annotation_that_has_gone_is_left_out(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    conn.execute(delete(schema.annotations))
    assert trash.restore(conn, one.fileset_id) == ["annotations that have been removed meanwhile are left out"]


def test_only_what_is_on_its_way_is_unfinished(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    assert [found.fileset for found in trash.unfinished(conn)] == [one.fileset_id]
    trash.note(conn, one.fileset_id, Whereabouts.KEPT)
    assert trash.unfinished(conn) == []
    trash.note(conn, one.fileset_id, Whereabouts.EMPTYING)
    assert [found.step for found in trash.unfinished(conn)] == [Whereabouts.EMPTYING]


def test_older_than_is_by_when_it_was_deleted(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    conn.execute(update(schema.trash).values(deleted=NOON))
    assert trash.older_than(conn, "2026-11-22T11:59:59.999+00:00") == []
    assert len(trash.older_than(conn, NOON)) == 1


def test_a_picture_that_is_made_meanwhile_is_of_nothing(conn: Connection, one: filesets.FinishedImport) -> None:
    discard(conn, one)
    looked = thumbnails.Looked(one.images[0][0], thumbnails.Thumbnail.MADE, ((0.0, 1.0),))
    thumbnails.record(conn, [looked])
    trash.restore(conn, one.fileset_id)
    assert thumbnails.due(conn) is not None  # it is made anew


def test_its_owner_hears_of_it(conn: Connection, one: filesets.FinishedImport) -> None:
    newest = news.newest(conn)
    discard(conn, one)
    [heard] = news.after(conn, newest)
    assert (heard.kind, heard.fileset) == (State.DELETED, one.fileset_id)
    trash.restore(conn, one.fileset_id)
    [heard] = news.after(conn, heard.number)
    assert (heard.kind, heard.fileset) == (State.IMPORTED, one.fileset_id)


def test_what_is_not_there(conn: Connection, one: filesets.FinishedImport) -> None:
    for fileset in (one.fileset_id, 99):
        with pytest.raises(NotFound, match=f"Fileset:{fileset} is not in the trash"):
            trash.get(conn, fileset)
    with pytest.raises(NotFound, match="there is no Fileset:99"):
        trash.held(conn, 99)
    with pytest.raises(NotFound, match="there is no Image:99"):
        trash.fileset_of(conn, 99)
    assert trash.fileset_of(conn, ImageId(one.images[0][0])) == FilesetId(one.fileset_id)
    discard(conn, one)
    with pytest.raises(NotFound, match="was deleted"):
        discard(conn, one)
