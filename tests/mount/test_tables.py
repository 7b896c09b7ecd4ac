"""Tables registered through the mount, by attributes, as ordinary users."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.helpers import arrays
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE, BOB, CAROL, Person
from tests.helpers.waiting import until

TOKEN = "the-SecretToken-of-cells"
_MORE = gzip.compress((b"1," + b"x" * 997 + b"\n") * 1000)
SETTINGS = """
[drops]
settle_seconds = 0.3
[readers]
workers = 1
[[sources]]
name = "outside"
path = "@outside@"
"""


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an array that has the TOKEN, and one without."""
    place = tmp_path_factory.mktemp("arrays")
    arrays.make(place / "with", TOKEN)
    arrays.make(place / "without", None)
    return place


def refusal(call: object) -> int:
    """Return the errno that a call is refused with."""
    assert callable(call)
    with pytest.raises(OSError) as caught:
        call()
    assert caught.value.errno is not None
    return caught.value.errno


def set_as(person: Person, path: Path, name: str, value: str | bytes) -> None:
    person.do(os.setxattr, path, f"user.repofs.{name}", value if isinstance(value, bytes) else value.encode())


@pytest.fixture
def image(drive: Drive, folder: Path, scan: Path) -> str:
    """An image of alice's: Image:N."""
    copy = folder / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    images = fact(copy, "images")
    assert images is not None
    return images


@pytest.fixture
def array(folder: Path, outside: Path, templates: Path) -> Path:
    """An array in the mount that alice has copied there."""
    return copied(templates / "with", outside, folder / "cells.tiledb")


def copied(template: Path, outside: Path, array: Path, person: Person = ALICE) -> Path:
    """Have *person* copy an array to where she wants it in the mount."""
    there = outside / f"{array.parent.name}.tiledb"
    shutil.copytree(template, there)
    person.run("cp", "-r", there, array)
    return array


def asked(*targets: str, **more: object) -> str:
    return json.dumps({"targets": targets, "token": TOKEN, **more})


def test_one_setfattr_attaches_a_table(drive: Drive, array: Path, image: str) -> None:
    ALICE.run("setfattr", "-n", "user.repofs.table.register", "-v", asked(image), array)
    listed = ALICE.run("getfattr", "-d", "--absolute-names", array).stdout
    assert 'user.repofs.table.name="cells"' in listed
    assert f'user.repofs.table.targets="{image}"' in listed
    assert 'user.repofs.table.rows="5"' in listed
    assert 'user.repofs.table.state="registered"' in listed
    columns = json.loads(ALICE.do(os.getxattr, array, "user.repofs.table.columns"))
    assert columns == {"image": "Image", "area": "Double", "name": "String"}
    told = json.loads(ALICE.do(os.getxattr, array.parent / "scan.tif", "user.repofs.tables"))
    assert [(one["name"], one["object"]) for one in told] == [("cells", fact(array, "table.id"))]
    assert json.loads(BOB.do(os.getxattr, array.parent / "scan.tif", "user.repofs.tables")) == told
    known = json.loads(ALICE.do(os.getxattr, drive.mountpoint, f"user.repofs.{image}"))
    assert known["tables"] == told
    itself = json.loads(ALICE.do(os.getxattr, drive.mountpoint, f"user.repofs.{told[0]['object']}"))
    assert {**itself, "on": [image]} == told[0]
    assert CAROL.do(refusal_of_reading, drive.mountpoint, told[0]["object"]) == errno.ENODATA


def refusal_of_reading(path: Path, name: str) -> int:
    return refusal(lambda: os.getxattr(path, f"user.repofs.{name}"))


def test_by_hand_a_target_and_then_the_token(drive: Drive, array: Path, image: str) -> None:
    set_as(ALICE, array, "target", image)
    set_as(ALICE, array, "table.token", TOKEN)
    assert fact(array, "table.targets") == image


def test_without_a_target_it_is_on_the_dataset_of_its_path(
    drive: Drive, folder: Path, outside: Path, scan: Path, templates: Path
) -> None:
    dataset = drive.home(ALICE) / "ProjectT" / f"DatasetT{folder.name}"
    ALICE.do(os.makedirs, dataset)
    ALICE.run("cp", scan, dataset / "scan.tif")
    drive.wait_imported(dataset / "scan.tif")
    array = copied(templates / "with", outside, dataset / "cells.tiledb")
    set_as(ALICE, array, "table.token", TOKEN)
    targets = fact(array, "table.targets")
    assert targets is not None and targets.startswith("Dataset:")
    told = json.loads(ALICE.do(os.getxattr, dataset / "scan.tif", "user.repofs.tables"))
    assert [one["targets"] for one in told] == [[targets]]


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [
        (asked("Image:999999"), errno.ENOENT, "there is no Image:999999"),
        (asked("Image:-1"), errno.EINVAL, "write for example Image:101"),
        (asked("Image:1e9"), errno.EINVAL, "write for example Image:101"),
        (asked("Plate:1"), errno.ENOENT, "there is no Plate:1"),
        (asked(*(f"Image:{number}" for number in range(1, 2000))), errno.EINVAL, "1000 are allowed"),
        (asked("IMAGE", token="wrong"), errno.EKEYREJECTED, "not the SecretToken of the array"),
        (asked("IMAGE", token=""), errno.EINVAL, "a SecretToken has 1 to"),
        (asked("IMAGE", token="x\0y"), errno.EINVAL, "a SecretToken has 1 to"),
        (asked("IMAGE", token="x" * 60_000), errno.EINVAL, "a SecretToken has 1 to"),
        (asked("IMAGE", token=None), errno.EINVAL, "the SecretToken of the array is missing"),
        (asked("IMAGE", uri="../../bob_3/x.tiledb"), errno.EINVAL, "without .."),
        (asked("IMAGE", uri="/etc"), errno.EINVAL, "lies neither in the mount nor in a declared source"),
        (asked("IMAGE", uri="file:///etc/passwd"), errno.EINVAL, "write a path, or s3://"),
        (asked("IMAGE", uri="http://169.254.169.254/latest"), errno.EINVAL, "write a path, or s3://"),
        (asked("IMAGE", uri="s3://other-bucket/x"), errno.EINVAL, "lies in no declared store"),
        (asked("IMAGE", uri="nowhere.tiledb"), errno.ENOENT, "not there"),
        (asked("IMAGE", name="a/b"), errno.EINVAL, "name: "),
        (asked("IMAGE", unknown=1), errno.EINVAL, "an unknown key"),
        ('{"token": "a", "token": "b"}', errno.EINVAL, "a key stands twice"),
        ('{"token": ', errno.EINVAL, "not JSON"),
        ("[]", errno.EINVAL, "write a JSON object"),
    ],
)
def test_what_is_wrong_has_its_errno_and_reason(
    drive: Drive, array: Path, image: str, value: str, code: int, reason: str
) -> None:
    assert ALICE.do(refusal_of_setting, array, "table.register", value.replace("IMAGE", image)) == code
    told = fact(array, "error")
    assert told is not None and reason in told
    assert TOKEN not in told
    assert fact(array, "table.id") is None


def refusal_of_setting(path: Path, name: str, value: str) -> int:
    return refusal(lambda: os.setxattr(path, f"user.repofs.{name}", value.encode()))


def test_an_array_without_a_token_is_refused(
    drive: Drive, folder: Path, outside: Path, image: str, templates: Path
) -> None:
    array = copied(templates / "without", outside, folder / "cells.tiledb")
    assert ALICE.do(refusal_of_setting, array, "table.register", asked(image)) == errno.ENOKEY


def test_a_directory_that_is_no_array_is_refused(drive: Drive, folder: Path, image: str) -> None:
    array = folder / "no.tiledb"
    ALICE.do(os.mkdir, array)
    assert ALICE.do(refusal_of_setting, array, "table.register", asked(image)) == errno.EINVAL
    assert fact(array, "error") == "this is no TileDB array"
    assert ALICE.do(refusal_of_setting, folder, "table.register", asked(image)) == errno.EINVAL


def test_registered_twice_it_is_refused(drive: Drive, array: Path, image: str) -> None:
    set_as(ALICE, array, "table.register", asked(image))
    assert ALICE.do(refusal_of_setting, array, "table.register", asked(image)) == errno.EEXIST


def test_who_may_not_annotate_the_target_may_not_register(
    drive: Drive, image: str, folder: Path, outside: Path, templates: Path
) -> None:
    """The group lab is read-only: bob reads alice's image, and no more."""
    place = drive.home(BOB) / folder.name
    BOB.do(os.mkdir, place)
    array = copied(templates / "with", outside, place / "cells.tiledb", BOB)
    assert BOB.do(refusal_of_setting, array, "table.register", asked(image)) == errno.EACCES
    told = fact(array, "error")
    assert told is not None and "may not register a table on this" in told


def test_guesses_are_bounded(own_drive: Drive, templates: Path) -> None:
    dropped = own_drive.home(ALICE) / "scan.bin"
    ALICE.do(dropped.write_bytes, b"no image")
    own_drive.wait_imported(dropped)
    image = str(fact(dropped, "fileset"))
    array = copied(templates / "with", own_drive.outside, own_drive.home(ALICE) / "cells.tiledb")
    codes = [ALICE.do(refusal_of_setting, array, "table.register", asked(image, token=f"guess{n}")) for n in range(7)]
    assert codes == [errno.EKEYREJECTED] * 5 + [errno.EBUSY] * 2


def test_unregistered_it_is_its_owners_again(drive: Drive, array: Path, image: str) -> None:
    set_as(ALICE, array, "table.register", asked(image))
    set_as(ALICE, array, "table.unregister", "1")
    assert fact(array, "table.id") is None
    assert json.loads(ALICE.do(os.getxattr, array.parent / "scan.tif", "user.repofs.tables")) == []
    set_as(ALICE, array, "table.register", asked(image))


def test_an_array_that_another_has_registered_stays_its_owners(drive: Drive, array: Path) -> None:
    """Bob, who reads alice's array and thereby its token, puts it on a file of his."""
    dropped = drive.home(BOB) / f"{array.parent.name}.bin"
    BOB.do(dropped.write_bytes, b"no image")
    drive.wait_imported(dropped)
    set_as(
        BOB, drive.home(BOB), "table.register", asked(str(fact(dropped, "fileset")), uri=str(array), name=dropped.stem)
    )
    shown = drive.home(BOB) / "Tables" / f"{dropped.stem}.tiledb"
    assert BOB.do(refusal_of_setting, shown, "table.rotate", "a token of bob's") == errno.EACCES
    set_as(ALICE, array, "table.unregister", "1")
    assert fact(array, "table.id") is None
    ALICE.do(shutil.rmtree, array)


def test_rotated_the_old_token_is_worth_nothing(drive: Drive, array: Path, image: str) -> None:
    set_as(ALICE, array, "table.register", asked(image))
    set_as(ALICE, array, "table.rotate", "another-token-of-cells")
    assert fact(array, "table.state") == "registered"
    set_as(ALICE, array, "table.unregister", "1")
    assert ALICE.do(refusal_of_setting, array, "table.register", asked(image)) == errno.EKEYREJECTED
    set_as(ALICE, array, "table.register", asked(image, token="another-token-of-cells"))


def test_an_array_outside_is_registered_by_who_can_read_it(
    drive: Drive, outside: Path, image: str, templates: Path
) -> None:
    for name in ("mine.tiledb", "closed.tiledb"):
        shutil.copytree(templates / "with", outside / name)
    (outside / "closed.tiledb").chmod(0o700)  # root's
    home = drive.home(ALICE)
    set_as(ALICE, home, "table.register", asked(image, uri=str(outside / "mine.tiledb"), name="outside"))
    told = json.loads(ALICE.do(os.getxattr, home, "user.repofs.tables"))
    assert (told[0]["name"], told[0]["uri"]) == ("outside", str(outside / "mine.tiledb"))
    closed = asked(image, uri=str(outside / "closed.tiledb"))
    assert ALICE.do(refusal_of_setting, home, "table.register", closed) == errno.EACCES
    shutil.rmtree(outside / "mine.tiledb")
    os.symlink("closed.tiledb", outside / "link.tiledb")
    link = asked(image, uri=str(outside / "link.tiledb"))
    assert ALICE.do(refusal_of_setting, home, "table.register", link) == errno.EINVAL


def test_the_token_comes_back_nowhere(drive: Drive, array: Path, image: str) -> None:
    set_as(ALICE, array, "table.register", asked(image))
    for name in ("table.token", "table.register", "table.rotate"):
        assert ALICE.do(refusal_of_reading, array, name) == errno.ENODATA
    assert not any(b"token" in name.encode() for name in ALICE.do(os.listxattr, array))
    for path in (drive.log, drive.layout.catalogue, *drive.repository.glob("catalogue.sqlite-*")):
        assert TOKEN.encode() not in path.read_bytes(), path


def test_tables_are_there_after_a_restart(own_drive: Drive, templates: Path) -> None:
    with_image = own_drive.home(ALICE) / "scan.bin"
    ALICE.do(with_image.write_bytes, b"no image")
    own_drive.wait_imported(with_image)
    fileset = fact(with_image, "fileset")
    array = copied(templates / "with", own_drive.outside, own_drive.home(ALICE) / "cells.tiledb")
    set_as(ALICE, array, "table.register", asked(str(fileset)))
    number = fact(array, "table.id")
    own_drive.kill()
    own_drive.start()
    assert (fact(array, "table.id"), fact(array, "table.state")) == (number, "registered")


def test_a_csv_file_becomes_a_table_beside_it(drive: Drive, folder: Path, image: str) -> None:
    csv = folder / "cells.v1.csv"
    ALICE.do(csv.write_text, "image,area,größe.µm\n1,2.5,x\n2,,\n")
    ALICE.run("setfattr", "-n", "user.repofs.table.create", "-v", json.dumps({"targets": [image]}), csv)
    array = folder / "cells.v1.tiledb"
    assert (fact(array, "table.name"), fact(array, "table.rows")) == ("cells.v1", "2")
    columns = json.loads(ALICE.do(os.getxattr, array, "user.repofs.table.columns"))
    assert columns == {"image": "Image", "area": "Double", "größe.µm": "String"}
    assert array.stat().st_uid == ALICE.uid
    assert sorted(path.name for path in folder.iterdir()) == ["cells.v1.csv", "cells.v1.tiledb", "scan.tif"]


@pytest.mark.parametrize(
    ("content", "asked", "code"),
    [
        ("", {}, errno.EINVAL),
        ("a,a\n1,2\n", {}, errno.EINVAL),
        ("a,b\n1,2\n", {"targets": ["Image:999999"]}, errno.ENOENT),
        ("a,b\n1,2\n", {"name": "a/b"}, errno.EINVAL),
        ("a,b\n1,2\n", {"token": "x"}, errno.EINVAL),
    ],
)
def test_a_file_that_becomes_no_table_leaves_nothing(
    drive: Drive, folder: Path, image: str, content: str, asked: dict[str, object], code: int
) -> None:
    csv = folder / "cells.csv"
    ALICE.do(csv.write_text, content)
    value = json.dumps({"targets": [image], **asked})
    assert ALICE.do(refusal_of_setting, csv, "table.create", value) == code
    assert fact(csv, "error")
    assert sorted(path.name for path in folder.iterdir()) == ["cells.csv", "scan.tif"]


def test_who_waits_for_a_table_can_be_killed(drive: Drive, folder: Path, image: str) -> None:
    """A file that has a gigabyte when it is unpacked."""
    packed = folder / "cells.csv.gz"
    ALICE.do(packed.write_bytes, gzip.compress(b"a,b\n" + (b"1," + b"x" * 997 + b"\n") * 1000) + _MORE * 1000)
    value = json.dumps({"targets": [image]})
    waiting = ALICE.start("setfattr", "-n", "user.repofs.table.create", "-v", value, packed)
    until(lambda: any(path.name.startswith(".cells") for path in folder.iterdir()), "the array in the making")
    waiting.kill()
    waiting.wait(10)
    assert not (folder / "cells.tiledb").exists()


def test_an_array_that_is_there_is_not_replaced(drive: Drive, array: Path, image: str) -> None:
    csv = array.with_suffix(".csv")
    ALICE.do(csv.write_text, "a\n1\n")
    value = json.dumps({"targets": [image]})
    assert ALICE.do(refusal_of_setting, csv, "table.create", value) == errno.EEXIST
    set_as(ALICE, array, "table.register", asked(image))
    assert fact(array, "table.rows") == "5"


def test_no_more_tables_are_told_than_a_value_has_room_for(
    drive: Drive, folder: Path, image: str, templates: Path
) -> None:
    deep = drive.outside / folder.name / "/".join(["d" * 200] * 15)
    deep.mkdir(parents=True)
    for number in range(10):
        shutil.copytree(templates / "with", deep / f"{number}.tiledb")
        uri = str(deep / f"{number}.tiledb")
        set_as(ALICE, drive.home(ALICE), "table.register", asked(image, uri=uri, name=f"deep{number}"))
    told = json.loads(ALICE.do(os.getxattr, folder / "scan.tif", "user.repofs.tables"))
    assert 5 < len(told) < 10
    newest = json.loads(ALICE.do(os.getxattr, drive.home(ALICE), "user.repofs.tables"))[0]
    assert newest["name"] == "deep9"
    shutil.rmtree(drive.outside / folder.name)


def test_a_dataset_whose_name_is_no_text_is_none(drive: Drive, image: str, outside: Path, templates: Path) -> None:
    strange = os.path.join(os.fsencode(drive.home(ALICE)), b"set\xff")
    ALICE.do(os.mkdir, strange)
    array = copied(templates / "with", outside, Path(os.fsdecode(strange)) / "cells.tiledb")
    assert ALICE.do(refusal_of_setting, array, "table.token", TOKEN) == errno.ENOENT
    assert fact(array, "error") == r"alice has no Dataset called 'set\\xff'"
