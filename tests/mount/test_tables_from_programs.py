"""Tables from Python and from the command line, as ordinary users of a real mount."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from repofs.catalog import tables as catalogue
from repofs.catalog.engine import open_engine
from tests.helpers.mounting import CHECKOUT, Drive, fact
from tests.helpers.people import ALICE, BOB, CAROL, Person

CSV = "image,area,name,ok\n1,0.5,DAPI,True\n2,1.5,,False\n3,2.5,GFP,True\n"

SETTINGS = """
[drops]
settle_seconds = 0.3
[readers]
workers = 1
[[sources]]
name = "outside"
path = "@outside@"
[tables]
paths = [{ client = 'J:\\results', server = "@outside@" }]
"""


def python(person: Person, drive: Drive, program: str) -> str:
    """Run a program of *person*'s that imports repofs, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "REPOFS_MOUNT": str(drive.mountpoint)}
    done = person.run("env", *(f"{key}={value}" for key, value in environment.items()), sys.executable, "-c", program)
    return done.stdout.strip()


def command(person: Person, drive: Drive, *arguments: str | Path, check: bool = True) -> tuple[int, str, str]:
    """Run ``repofs table`` as *person*; return its exit code and what it has printed."""
    environment = (f"PYTHONPATH={CHECKOUT}", f"REPOFS_MOUNT={drive.mountpoint}")
    done = person.run("env", *environment, sys.executable, "-m", "repofs", "table", *arguments, check=check)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def image(drive: Drive, folder: Path, scan: Path) -> str:
    copy = folder / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    return str(fact(copy, "images"))


@pytest.fixture
def source(outside: Path, folder: Path) -> Path:
    path = outside / f"{folder.name}.csv"
    path.write_text(CSV)
    path.chmod(0o644)
    return path


def test_a_frame_is_uploaded_and_read_again(drive: Drive, folder: Path, image: str) -> None:
    number = image.removeprefix("Image:")
    program = f"""
import pandas as pd, repofs
frame = pd.DataFrame({{"image": [1, 2, 3], "area": [0.5, None, 2.5], "name": ["a", "b", None]}})
made = repofs.upload_table(frame, "{folder.name}.v1", parent_id={number})
assert repofs.get_table_size(annotation_id=made) == (3, 3)
assert repofs.get_table_columns(image_id={number}) == ("image", "area", "name")
back = repofs.read_table(annotation_id=made)
pd.testing.assert_frame_equal(back, frame)
some = repofs.read_table(annotation_id=made, column_names=["area"], query="(area > low)", variables={{"low": 1}})
assert some.index.tolist() == [2] and some.columns.tolist() == ["area"], some
rows = repofs.read_table(image_id={number}, rows=[0, 2])
assert rows["image"].tolist() == [1, 3] and rows.index.tolist() == [0, 2], rows
none = repofs.read_table(annotation_id=made, query="area > 100")
assert none.columns.tolist() == ["image", "area", "name"] and len(none) == 0
print(made)
"""
    made = python(ALICE, drive, program)
    array = drive.home(ALICE) / f"{folder.name}.v1.tiledb"
    assert fact(array, "table.id") == f"FileAnnotation:{made}"
    assert fact(array, "table.targets") == image
    read = f"import repofs; print(repofs.read_table(annotation_id={made})['image'].sum())"
    assert python(BOB, drive, read) == "6"
    with pytest.raises(AssertionError, match=f"there is no table FileAnnotation:{made} that you may see"):
        python(CAROL, drive, read)


def test_a_file_is_made_a_table_at_a_path_that_the_repository_sees_otherwise(
    drive: Drive, folder: Path, image: str, source: Path, outside: Path
) -> None:
    program = f"""
import repofs
link = ("Image", {image.removeprefix("Image:")})
there = dict(local_path="{outside}", remote_path=r"J:\\results")
print(repofs.upload_table("{source}", "far{folder.name}", links=link, **there))
"""
    made = python(ALICE, drive, program)
    shown = drive.home(ALICE) / "Tables" / f"far{folder.name}.tiledb"
    assert fact(shown, "table.id") == f"FileAnnotation:{made}"
    assert (outside / f"far{folder.name}.tiledb").is_dir()


def test_a_table_is_made_and_used_from_the_command_line(
    drive: Drive, folder: Path, image: str, source: Path, outside: Path
) -> None:
    _, told, _ = command(ALICE, drive, "create", source, "--name", folder.name, "--target", image, "--json")
    made = json.loads(told)["object"]
    _, listed, _ = command(BOB, drive, "list", "--json")
    [mine] = [table for table in json.loads(listed) if table["id"] == made]
    assert (mine["name"], mine["rows"], mine["state"]) == (folder.name, 3, "registered")
    assert (mine["targets"], mine["columns"]["ok"]) == ([image], "Bool")
    assert mine["path"] == f"{drive.home(ALICE)}/Tables/{folder.name}.tiledb"
    assert made not in command(CAROL, drive, "list")[1]
    shown = json.loads(command(BOB, drive, "show", made, "--json")[1])
    assert shown["columns"] == {"image": "Image", "area": "Double", "name": "String", "ok": "Bool"}
    assert command(BOB, drive, "head", made, "-n", "1")[1] == "image,area,name,ok\n1,0.5,DAPI,True\n"
    found = command(BOB, drive, "query", image, "(area > low) & ok", "--variable", "low=1", "-c", "name", "--json")[1]
    assert [json.loads(line) for line in found.splitlines()] == [{"name": "GFP"}]
    target = outside / f"{folder.name}.back.csv"
    command(BOB, drive, "download", made, target)
    assert target.read_text() == CSV
    code, _, told = command(BOB, drive, "download", made, target, check=False)
    assert code != 0 and f"{target} exists" in told
    code, _, told = command(BOB, drive, "unregister", made, check=False)
    assert code == 4 and "ask the owner of the table" in told
    token = command(ALICE, drive, "rotate", made)[1].strip()
    assert len(token) > 40
    command(ALICE, drive, "unregister", made)
    array = drive.home(ALICE) / f"{folder.name}.tiledb"
    assert fact(array, "table.id") is None
    again = json.loads(command(ALICE, drive, "register", array, "--target", image, "--json")[1])["object"]
    assert again != made and fact(array, "table.id") == again


def test_what_is_refused_is_said_in_a_sentence(drive: Drive, folder: Path, image: str, source: Path) -> None:
    code, _, told = command(
        ALICE, drive, "create", source, "--name", folder.name, "--target", "Image:99999", check=False
    )
    assert code != 0 and "there is no Image:99999; the array stays, for repofs table register /" in told
    assert (drive.home(ALICE) / f"{folder.name}.tiledb").is_dir()  # whole, and to be registered by the next command
    command(ALICE, drive, "register", drive.home(ALICE) / f"{folder.name}.tiledb", "--target", image)
    for arguments in (("head", "FileAnnotation:99999"), ("head", image + "9"), ("show", source), ("head", "Dataset:1")):
        code, printed, told = command(ALICE, drive, *arguments, check=False)
        assert code != 0 and told.count("\n") == 1 and not printed, (arguments, told)
    code, _, told = command(ALICE, drive, "query", image, "nothing > 1", check=False)
    assert code != 0 and "nothing" in told


def test_targets_that_are_none_are_refused_before_an_array_is_made(drive: Drive, source: Path, outside: Path) -> None:
    place = outside / "never.tiledb"
    for targets, words in (((), "--no-register"), (("--target", "Image"), "Image:101")):
        code, _, told = command(ALICE, drive, "create", source, *targets, "--local-path", place, check=False)
        assert code != 0 and words in told
    assert not place.exists()


def test_json_has_each_value_as_it_is(drive: Drive, outside: Path) -> None:
    source, array = outside / "values.csv", outside / "values.tiledb"
    source.write_text("exact,tiny,gone\n3.141592653589793,1e-300,\n63.69616873214543,inf,x\n")
    source.chmod(0o644)
    command(ALICE, drive, "create", source, "--local-path", array, "--no-register")
    rows = [json.loads(line) for line in command(ALICE, drive, "head", array, "--json")[1].splitlines()]
    assert rows == [
        {"exact": 3.141592653589793, "tiny": 1e-300, "gone": None},
        {"exact": 63.69616873214543, "tiny": None, "gone": "x"},
    ]


def test_a_table_of_the_dataset_is_not_the_images_own(drive: Drive, folder: Path, scan: Path, source: Path) -> None:
    dataset = folder / "DatasetZ"
    ALICE.do(os.mkdir, dataset)
    ALICE.run("cp", scan, dataset / "scan.tif")
    drive.wait_imported(dataset / "scan.tif")
    image = str(fact(dataset / "scan.tif", "images"))
    command(ALICE, drive, "create", source, "--name", f"all {folder.name}", "--target", "Dataset:name:DatasetZ")
    assert "has no table" in command(ALICE, drive, "head", image, check=False)[2]
    command(ALICE, drive, "create", source, "--name", f"one {folder.name}", "--target", image)
    assert command(ALICE, drive, "head", image, "-n", "1", "-c", "area")[1] == "area\n0.5\n"
    told = json.loads(ALICE.do(os.getxattr, dataset / "scan.tif", "user.repofs.tables"))
    assert sorted(kind for table in told for kind in (on.partition(":")[0] for on in table["on"])) == [
        "Dataset",
        "Image",
    ]


def test_without_registering_an_array_is_only_made(drive: Drive, folder: Path, source: Path, outside: Path) -> None:
    place = outside / f"{folder.name}.tiledb"
    command(ALICE, drive, "create", source, "--local-path", place, "--no-register")
    assert command(ALICE, drive, "head", place, "-n", "1", "-c", "area")[1] == "area\n0.5\n"


def test_by_each_door_it_is_the_same_in_the_catalogue(drive: Drive, folder: Path, image: str, source: Path) -> None:
    """By the attribute of the array, by that of the file it is made of, and by a program; HTTPS has its own test."""
    one = folder / "cells.csv"
    ALICE.run("cp", source, one)
    ALICE.do(os.setxattr, one, "user.repofs.table.create", json.dumps({"targets": [image]}).encode())
    command(ALICE, drive, "create", source, "--name", "cells", "--target", image, "--local-path", folder / "two.tiledb")
    ALICE.run("cp", "-r", folder / "two.tiledb", folder / "three.tiledb")
    program = f"import tiledb; print(tiledb.open('{folder / 'three.tiledb'}').meta['SecretToken'])"
    asked = {"targets": [image], "name": "cells", "token": python(ALICE, drive, program)}
    ALICE.do(os.setxattr, folder / "three.tiledb", "user.repofs.table.register", json.dumps(asked).encode())
    engine = open_engine(drive.layout.catalogue, read_only=True)
    with engine.begin() as conn:
        found = [table for table in catalogue.every(conn) if image in map(str, table.targets)]
    engine.dispose()
    kinds = {(t.name, t.user_directory, t.gid, t.rows, t.columns, t.targets, t.place.kind, t.state) for t in found}
    assert (len(found), len(kinds)) == (3, 1)
