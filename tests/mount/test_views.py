"""Views of the catalogue in `.repofs` of a real mount: programs follow its links to the originals, as who may view."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tifffile

from repofs.catalog import engine, ids, schema
from tests.helpers.administered import Administered, administered
from tests.helpers.catalogue import IMAGE
from tests.helpers.companion import companion
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

LAB, CLOSED = 61000, 61010
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, CLOSED)  # a member of the same group, where members read
CAROL = Person("carol", 61003, CLOSED)
DORA = Person("dora", 61004, CLOSED)  # both in a private group
EVE = Person("eve", 61099, 61099)  # a stranger


def populate(drive: Administered) -> None:
    drive.add_group("lab", LAB, "read-only")
    drive.add_group("closed", CLOSED, "private")
    for person, group in ((ALICE, "lab"), (BOB, "closed"), (CAROL, "closed"), (DORA, "closed")):
        drive.add_user(person, group)
    drive.add_member("lab", BOB)


@pytest.fixture(scope="module")
def module_drive() -> Iterator[Administered]:
    with administered(populate) as drive:
        for person in (ALICE, CAROL, DORA):
            scans = [
                scan(drive, person, below, number)
                for number, below in enumerate(("P/D/scan.tif", "P/D/deeper/scan.tif", "Alone/scan.tif", "orphan.tif"))
            ]
            drive.wait_imported(*scans)
        yield drive


def scan(drive: Drive, person: Person, below: str, number: int) -> Path:
    """Copy an image of *person*'s into her directory; all its samples are its number."""
    path = drive.home(person) / below
    person.do(os.makedirs, path.parent, 0o755, True)
    person.do(write, path, person.uid % 100 * 10 + number)
    return path


def write(path: Path, value: int) -> None:
    tifffile.imwrite(path, np.full((8, 9), value, dtype=np.uint16), photometric="minisblack")


def read(path: Path) -> int:
    pixels = tifffile.imread(path)
    assert pixels.shape == (8, 9)
    return int(pixels.flat[0])


def image_of(path: Path) -> int:
    return int(os.getxattr(path, "user.repofs.images").decode().removeprefix("Image:"))


def own(drive: Drive, *below: str) -> Path:
    return drive.mountpoint.joinpath(".repofs", *below)


def tree(person: Person, top: Path) -> list[str]:
    """Return what find finds below *top*, as *person*."""
    return sorted(person.run("find", top, "-mindepth", "1", "-printf", "%P %y\n").stdout.splitlines())


def test_a_person_finds_what_she_may_view_by_its_target(drive: Drive) -> None:
    first, second = (image_of(drive.home(ALICE) / "P/D" / name) for name in ("scan.tif", "deeper/scan.tif"))
    assert first != second
    last = max(first, second)  # they are imported in any order
    expected = [
        "Alone d", "Alone/scan.tif l", "Orphans d", "Orphans/orphan.tif l",
        "P d", "P/D d", f"P/D/scan (Image:{last}).tif l", "P/D/scan.tif l",
    ]  # fmt: skip
    assert tree(ALICE, own(drive, "by-target")) == expected
    assert tree(BOB, own(drive, "by-target")) == expected


def test_in_a_private_group_each_finds_her_own(drive: Drive) -> None:
    for person in (CAROL, DORA):
        found = tree(person, own(drive, "by-target"))
        assert len(found) == 8
        links = [own(drive, "by-target") / line[:-2] for line in found if line.endswith(" l")]
        assert {person.do(Path.resolve, link).relative_to(drive.home(person)).name for link in links} == {
            "scan.tif", "orphan.tif",
        }  # fmt: skip
    everything = tree(ROOT, own(drive, "by-target"))
    assert len([line for line in everything if line.endswith(" l")]) == 12
    assert len([line for line in everything if line.startswith("P")]) == 3 * 4


def test_programs_read_the_original_through_the_link(drive: Drive, outside: Path) -> None:
    link, original = own(drive, "by-target", "Alone", "scan.tif"), drive.home(ALICE) / "Alone/scan.tif"
    assert BOB.do(read, link) == 12
    assert BOB.do(os.stat, link).st_ino == original.stat().st_ino
    target = BOB.do(os.readlink, link)
    assert target.startswith(f"../../../{drive.home(ALICE).name}/20")
    assert BOB.do(os.lstat, link).st_size == len(target)
    listed = BOB.run("ls", "-l", link.parent).stdout
    assert f"scan.tif -> {target}" in listed
    copy = outside / "copy"
    BOB.run("cp", "-rL", own(drive, "by-target", "P"), copy)
    assert sorted(BOB.do(read, path) for path in copy.rglob("*.tif")) == [10, 11]
    files = BOB.run("find", "-L", own(drive, "by-target"), "-type", "f").stdout.splitlines()
    assert len(files) == 4
    assert fact(link, "images") == f"Image:{image_of(original)}"


def test_every_image_is_found_by_its_number(drive: Drive) -> None:
    of_alice, of_carol = (image_of(drive.home(person) / "Alone/scan.tif") for person in (ALICE, CAROL))
    assert BOB.do(read, own(drive, "images", str(of_alice), "scan.tif")) == 12
    assert BOB.do(os.listdir, own(drive, "images", str(of_alice))) == ["scan.tif"]
    found = {int(name) for name in BOB.do(os.listdir, own(drive, "images"))}
    assert found == {image_of(path) for path in drive.home(ALICE).rglob("*.tif")}
    assert len(found) == 4
    assert len(ROOT.do(os.listdir, own(drive, "images"))) == 12
    assert len(CAROL.do(os.listdir, own(drive, "images"))) == 4
    for name in (str(of_carol), "999", "0", f"0{of_alice}", "scan.tif", "9" * 30):
        with pytest.raises(FileNotFoundError):
            BOB.do(os.lstat, own(drive, "images", name))


def test_who_may_view_stands_in_the_acl(drive: Drive) -> None:
    of_carol = own(drive, "images", str(image_of(drive.home(CAROL) / "Alone/scan.tif")))
    CAROL.do(os.listdir, of_carol)
    for person in (DORA, ALICE):
        with pytest.raises(FileNotFoundError):
            person.do(os.listdir, of_carol)
    directory = own(drive, "by-target", "Alone")
    status = ALICE.do(os.stat, directory)
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode) & 0o222) == (ALICE.uid, LAB, 0)
    assert f"user:{BOB.uid}:r-x" in ALICE.run("getfacl", "-np", directory).stdout
    with pytest.raises(PermissionError):
        EVE.do(os.listdir, own(drive))
    with pytest.raises(PermissionError):
        EVE.do(os.listdir, own(drive, "images"))


def test_thumbnails_are_files_of_who_may_view_the_image(drive: Drive) -> None:
    number = image_of(drive.home(CAROL) / "orphan.tif")
    shown, kept = own(drive, "thumbnails", f"Image-{number}.png"), thumbnail(drive, number)
    for content in (b"\x89PNG as it was made" * 1000, b"\x89PNG made anew"):
        kept.write_bytes(content)
        assert CAROL.do(shown.read_bytes) == content
        assert CAROL.do(os.stat, shown).st_size == len(content)
    ROOT.run("cmp", shown, kept)
    assert shown.name in CAROL.do(os.listdir, shown.parent)
    assert shown.name not in DORA.do(os.listdir, shown.parent)
    with pytest.raises(FileNotFoundError):
        DORA.do(shown.read_bytes)
    for name in (f"Image-0{number}.png", f"Image-{number}.PNG", f"{number}.png"):
        assert not CAROL.do(os.path.lexists, shown.with_name(name))
    kept.unlink()
    assert shown.name not in CAROL.do(os.listdir, shown.parent)
    with pytest.raises(FileNotFoundError):
        CAROL.do(shown.read_bytes)


def thumbnail(drive: Drive, number: int) -> Path:
    """Wait until nobody will write the thumbnail of an image any more; return where one is kept."""
    described = f"user.repofs.Image:{number}"
    until(lambda: json.loads(os.getxattr(drive.mountpoint, described)).get("thumbnail"), "a look at the image")
    kept = drive.layout.thumbnail(number)
    kept.parent.mkdir(exist_ok=True)
    return kept


def test_nothing_is_changed_through_it(drive: Drive) -> None:
    number = image_of(drive.home(ALICE) / "orphan.tif")
    thumbnail(drive, number).write_bytes(b"PNG")
    link, picture = own(drive, "by-target", "Alone", "scan.tif"), own(drive, "thumbnails", f"Image-{number}.png")
    changes = [
        lambda: os.unlink(link),
        lambda: os.rmdir(link.parent),
        lambda: os.mkdir(link.with_name("new")),
        lambda: os.symlink("x", own(drive, "images", "new")),
        lambda: os.rename(link, link.with_name("other")),
        lambda: os.rename(link, drive.home(ALICE) / "other"),
        lambda: os.open(picture, os.O_WRONLY),
        lambda: os.open(picture.with_name("new"), os.O_CREAT | os.O_WRONLY),
        lambda: os.chmod(picture, 0o600),
        lambda: os.rename(own(drive, "images"), own(drive, "other")),
        lambda: os.mkdir(own(drive, "by-target")),
    ]
    refused = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EINVAL, errno.EEXIST)
    for change in changes:
        for person in (ALICE, ROOT):
            with pytest.raises(OSError) as error:
                person.do(change)
            assert error.value.errno in refused
    with pytest.raises(OSError):
        ALICE.do(link.write_bytes, b"x")  # the original is immutable


def test_what_lies_in_repofs_is_as_before(drive: Drive) -> None:
    assert sorted(ALICE.do(os.listdir, own(drive))) == ["by-target", "events", "failed", "images", "log", "thumbnails"]


def test_who_is_taken_out_of_a_group_finds_no_name(drive: Administered) -> None:
    number = str(image_of(drive.home(ALICE) / "Alone/scan.tif"))
    link = own(drive, "by-target", "Alone", "scan.tif")
    with companion(BOB) as bob:
        assert "scan.tif" in bob.do(os.listdir, link.parent)
        directory = bob.do(os.open, link.parent, os.O_RDONLY | os.O_DIRECTORY)
        path_only = bob.do(os.open, link, os.O_PATH | os.O_NOFOLLOW)
        bob.do(os.chdir, link.parent)
        bob.do(os.lstat, link)
        drive.remove_member("lab", BOB)
        try:
            assert bob.answer(os.lstat, link) == "ENOENT"
            assert bob.answer(os.lstat, "scan.tif") in ("EACCES", "ENOENT")
            assert bob.answer(os.readlink, b"", dir_fd=path_only) == "EACCES"
            assert bob.answer(os.listdir, directory) == "EACCES"
            assert bob.do(os.listdir, own(drive, "by-target")) == ["Orphans"]
            assert bob.do(os.listdir, own(drive, "by-target", "Orphans")) == []
            assert bob.do(os.listdir, own(drive, "images")) == []
            assert bob.answer(os.stat, own(drive, "images", number)) == "ENOENT"
        finally:
            drive.add_member("lab", BOB)
        assert "scan.tif" in bob.do(os.listdir, link.parent)


def test_a_directory_that_is_an_image_is_one_link(drive: Drive, folder: Path, outside: Path) -> None:
    directory = folder / "plate.zarr"
    ALICE.do(os.makedirs, directory / "0")
    for name in ("zarr.json", "0/chunk"):
        ALICE.do(write_text, directory / name, name)
    drive.wait_imported(directory / "0/chunk")
    number = add_image(drive, int((fact(directory / "0/chunk", "fileset") or "").removeprefix("Fileset:")))
    link = own(drive, "images", str(number), "plate.zarr")
    assert BOB.do(os.listdir, link.parent) == ["plate.zarr"]
    assert stat.S_ISLNK(BOB.do(os.lstat, link).st_mode)
    assert BOB.run("find", "-L", link, "-type", "f", "-printf", "%P\\n").stdout.split() == ["zarr.json", "0/chunk"]
    BOB.run("cp", "-rL", link.parent, outside / "copied")
    assert (outside / "copied/plate.zarr/0/chunk").read_text() == "0/chunk"


def write_text(path: Path, text: str) -> None:
    path.write_text(text)


def add_image(drive: Drive, fileset: int) -> int:
    """Write an image of *fileset* into the catalogue, as if a reader had found it."""
    opened = engine.open_engine(drive.layout.catalogue)
    with opened.begin() as conn:
        [number] = ids.reserve(conn, "Image", 1)
        described = {name: value for name, value in asdict(IMAGE).items() if name in schema.images.columns}
        conn.execute(schema.images.insert().values(id=number, fileset_id=fileset, **described))
    opened.dispose()
    return number
