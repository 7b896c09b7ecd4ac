"""Recording what was imported, and reading it back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from repofs.catalog import filesets, imports, objects, schema
from repofs.catalog.engine import Connection, Engine
from repofs.errors import NotFound
from repofs.image import Channel
from repofs.lifecycle import State
from repofs.model import ObjectRef
from tests.helpers.catalogue import IMAGE, NOON, Import, finished, imported, lab


def describe(conn: Connection, text: str) -> dict[str, object]:
    """Return a description after the trip through JSON that it makes on its way to the user."""
    facts: dict[str, object] = json.loads(json.dumps(objects.describe(conn, ObjectRef.parse(text)), allow_nan=False))
    return facts


def test_a_recorded_import_is_imported(conn: Connection) -> None:
    [one] = imported(conn, Import(lab(conn).alice))
    row = imports.get(conn, one.import_id)
    assert (row.state, row.ended) == (State.IMPORTED, NOON)
    assert imports.unfinished(conn) == []


def test_originals_tell_both_names_and_what_was_found(conn: Connection) -> None:
    people = lab(conn)
    imported(
        conn,
        Import(people.alice, [b"P/D/scan.tif"], [IMAGE, replace(IMAGE, series=1)], "SHA1-160:aa"),
        Import(people.bob, [b"notes.txt"], [], "SHA1-160:bb"),
    )
    assert list(objects.originals(conn)) == [
        {
            "path": "alice_2/P/D/scan.tif",
            "import_path": "alice_2/2026-11/22/12-00-00.001/scan.tif",
            "state": "imported",
            "size": 10,
            "checksum": "SHA1-160:aa",
            "fileset": "Fileset:1",
            "images": ["Image:1", "Image:2"],
            "original": "OriginalFile:1",
        },
        {
            "path": "bob_3/notes.txt",
            "import_path": "bob_3/2026-11/22/12-00-00.002/notes.txt",
            "state": "imported",
            "size": 10,
            "checksum": "SHA1-160:bb",
            "fileset": "Fileset:2",
            "images": [],
            "original": "OriginalFile:2",
        },
    ]


def test_a_name_that_is_not_utf8_survives_json(conn: Connection) -> None:
    name = bytes(set(range(1, 256)) - {ord("/")})
    imported(conn, Import(lab(conn).alice, [name]))
    [told] = json.loads(json.dumps(list(objects.originals(conn))))
    assert told["path"].encode("utf-8", "surrogateescape") == b"alice_2/" + name


def test_one_bad_import_leaves_nothing_of_its_batch(catalogue: Engine) -> None:
    with catalogue.begin() as conn:
        people = lab(conn)
        good, bad = finished(conn, Import(people.alice)), finished(conn, Import(people.alice))
        imports.advance(conn, bad.import_id, State.IMPORTING, State.SETTLING)
    with pytest.raises(LookupError), catalogue.begin() as conn:
        filesets.record(conn, [good, bad])
    with pytest.raises(IntegrityError), catalogue.begin() as conn:
        filesets.record(conn, [good, replace(good, import_id=bad.import_id)])
    with catalogue.begin() as conn:
        assert conn.execute(select(func.count()).select_from(schema.filesets)).scalar() == 0
        assert imports.get(conn, good.import_id).state is State.IMPORTING
        filesets.record(conn, [good])


def test_nothing_to_record_is_nothing_recorded(conn: Connection) -> None:
    filesets.record(conn, [])


def test_what_a_hostile_file_says_can_be_kept(conn: Connection) -> None:
    info = replace(
        IMAGE, name="a\0b\udcff", size_x=10**30, physical_size_x_um=float("nan"), time_increment_s=float("inf"),
        channels=(Channel(name="\ud800", emission_nm=float("-inf")),),
    )  # fmt: skip
    imported(conn, Import(lab(conn).alice, images=[info], metadata={"k\0": "\udc80"}, note="\udcfe", mtime_ns=10**20))
    image = describe(conn, "Image:1")
    assert (image["name"], image["size_x"]) == ("a␀b\\udcff", 2**63 - 1)
    assert not {"physical_size_x_um", "time_increment_s"} & image.keys()
    assert image["channels"] == [{"name": "\\ud800"}]
    assert describe(conn, "Fileset:1")["original_metadata"] == {"k␀": "\\udc80"}


def test_images_go_into_the_dataset_that_the_path_names(conn: Connection) -> None:
    people = lab(conn)
    imported(conn, Import(people.alice, [b"P/D/a.tif"]), Import(people.alice, [b"P/D/b.tif"]))
    imported(conn, Import(people.alice, [b"P/D/c.tif"]), Import(people.alice, [b"c.tif"]))
    dataset, project = describe(conn, "Dataset:1"), describe(conn, "Project:1")
    assert (dataset["name"], dataset["image_count"], dataset["projects"]) == (
        "D",
        3,
        [{"object": "Project:1", "name": "P"}],
    )
    assert (project["name"], project["datasets"]) == ("P", [{"object": "Dataset:1", "name": "D"}])
    assert describe(conn, "Image:4")["datasets"] == []


def test_a_file_without_an_image_makes_no_dataset(conn: Connection) -> None:
    imported(conn, Import(lab(conn).alice, [b"P/D/notes.txt"], []))
    with pytest.raises(NotFound):
        describe(conn, "Dataset:1")


@pytest.mark.parametrize("text", ["Fileset:1", "Image:1", "OriginalFile:1", "Dataset:1", "Project:1"])
def test_every_description_says_whose_it_is(conn: Connection, text: str) -> None:
    imported(conn, Import(lab(conn).alice, [b"P/D/scan.tif"]))
    facts = describe(conn, text)
    assert facts["object"] == text
    whose = {name: facts[name] for name in ("owner", "owner_uid", "group", "group_id", "group_level")}
    assert whose == {
        "owner": "alice", "owner_uid": 5001, "group": "lab", "group_id": 3, "group_level": "read-only",
    }  # fmt: skip


def test_filesets_images_and_originals_lead_to_each_other(conn: Connection) -> None:
    channels = (Channel("DAPI", "#0000FF", 405.0, 461.0), Channel())
    imported(conn, Import(lab(conn).alice, [b"a.tif", b"b.tif"], [replace(IMAGE, channels=channels)], note="odd"))
    fileset, image, original = (describe(conn, text) for text in ("Fileset:1", "Image:1", "OriginalFile:2"))
    assert [file["path"] for file in fileset["files"]] == ["alice_2/a.tif", "alice_2/b.tif"]  # type: ignore[attr-defined]
    assert fileset["files"] == image["files"]
    assert fileset["file_count"] == 2
    assert image["channels"] == [
        {"name": "DAPI", "color": "#0000FF", "excitation_nm": 405.0, "emission_nm": 461.0}, {},
    ]  # fmt: skip
    assert image["fileset"] == original["fileset"] == "Fileset:1"
    assert original["images"] == ["Image:1"]
    assert original["import_path"] == "alice_2/2026-11/22/12-00-00.001/b.tif"
    for facts in (fileset, image, original):
        assert (facts["state"], facts["format"], facts["note"]) == ("imported", "TIFF", "odd")
        assert facts["log"] == "alice_2/2026-11/22/12-00-00.001.log"


@pytest.mark.parametrize("text", ["Fileset:9", "Image:9", "OriginalFile:9", "Dataset:9", "Project:9", "Experimenter:2"])
def test_what_is_not_there_is_not_found(conn: Connection, text: str) -> None:
    with pytest.raises(NotFound):
        describe(conn, text)


def test_a_description_fits_into_an_attribute(conn: Connection) -> None:
    paths = [b"Project of some length/Dataset of some length/scan_%04d_of_the_series.ome.tif" % n for n in range(500)]
    images = [replace(IMAGE, name=f"scan {n}" * 4, series=n) for n in range(500)]
    metadata = {"XML": "x" * 200_000, **{f"key {n}": "value" * 10 for n in range(1000)}}
    imported(conn, Import(lab(conn).alice, paths, images, metadata=metadata))
    facts = describe(conn, "Fileset:1")
    assert len(json.dumps(facts)) < 65_536
    assert (facts["file_count"], facts["image_count"]) == (500, 500)
    kept = facts["original_metadata"]
    assert isinstance(kept, dict)
    assert "XML" not in kept
    assert len(kept) + int(str(facts["original_metadata_more"])) == 1001


def test_a_duplicate_is_one_of_the_same_owner(conn: Connection) -> None:
    people = lab(conn)
    imported(conn, Import(people.alice, checksum="SHA1-160:aa"), Import(people.alice, checksum="SHA1-160:aa"))
    assert filesets.find_duplicate(conn, people.alice.id, 10, "SHA1-160:aa") == ObjectRef("Fileset", 1)
    assert filesets.find_duplicate(conn, people.alice.id, 11, "SHA1-160:aa") is None
    assert filesets.find_duplicate(conn, people.alice.id, 10, "SHA1-160:ab") is None
    assert filesets.find_duplicate(conn, people.bob.id, 10, "SHA1-160:aa") is None
