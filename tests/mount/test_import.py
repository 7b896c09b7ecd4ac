"""What is copied into the mount is imported: end to end, through the kernel, as the people who do it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import stat
import time
from pathlib import Path

import pytest
import tifffile

from tests.helpers.drops import described, drop, set_on
from tests.helpers.mounting import Drive, fact, facts, tell
from tests.helpers.people import ALICE, BOB, CAROL
from tests.helpers.slow_copy import SlowCopy
from tests.helpers.waiting import until

# --- from cp to original --------------------------------------------------------------------------


def test_a_copied_image_is_imported(drive: Drive, folder: Path, scan: Path) -> None:
    copy = folder / "scan.tif"
    ALICE.run("cp", "-p", scan, copy)
    drive.wait_imported(copy)
    found = facts(copy)
    assert found.keys() == {
        "state",
        "fileset",
        "images",
        "original",
        "checksum",
        "transfer",
        "imported",
        "log",
        "owner",
        "actor",
    }
    assert (found["owner"], found["actor"]) == ("alice", "alice")
    assert re.fullmatch(r"Fileset:\d+", found["fileset"])
    assert re.fullmatch(r"Image:\d+", found["images"])
    assert re.fullmatch(r"OriginalFile:\d+", found["original"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", found["imported"])
    assert found["checksum"] == "SHA1-160:" + hashlib.sha1(scan.read_bytes()).hexdigest()
    assert found["transfer"] == "upload"
    assert copy.read_bytes() == scan.read_bytes()
    assert copy.stat().st_mtime_ns == scan.stat().st_mtime_ns


def test_the_import_directory_holds_the_same_inode(drive: Drive, folder: Path, scan: Path) -> None:
    copy = folder / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    original = drive.original_of(copy)
    assert re.fullmatch(
        r"alice_2/\d{4}-\d\d/\d\d/\d\d-\d\d-\d\d\.\d{3}/scan\.tif", str(original.relative_to(drive.mountpoint))
    )
    one, two = copy.stat(), original.stat()
    assert (one.st_ino, one.st_nlink) == (two.st_ino, two.st_nlink) == (one.st_ino, 2)
    assert two.st_uid == ALICE.uid
    assert facts(original) == facts(copy)
    image = ALICE.do(lambda: tifffile.imread(original).sum())
    assert image == tifffile.imread(scan).sum()
    with pytest.raises(PermissionError):
        CAROL.do(original.read_bytes)


def test_the_states_on_the_way(drive: Drive, folder: Path, outside: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})
    path = folder / "slow.bin"
    with SlowCopy(ALICE, outside, path) as copy:
        copy.write(b"first half, ")
        assert fact(path, "state") == "writing"
        assert ALICE.do(path.read_bytes) == b"first half, "
        copy.write(b"second half")
        assert copy.close() == 0
    drive.wait_state(path, "settling")
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)
    assert path.read_bytes() == b"first half, second half"


def test_the_log_begins_with_the_first_event(drive: Drive, folder: Path, scan: Path) -> None:
    copy = folder / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    log = drive.mountpoint / str(fact(copy, "log"))
    assert log == Path(f"{drive.original_of(copy).parent}.log")
    text = ALICE.do(log.read_text)
    lines = [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", "", line) for line in text.splitlines()]
    assert re.fullmatch(rf"created by uid {ALICE.uid}, cp \(pid \d+\)", lines[0])
    assert f"closed: {scan.stat().st_size} bytes" in lines
    assert any(str(fact(copy, "checksum")) in line for line in lines)
    assert any("format TIFF" in line for line in lines)
    assert f"{fact(copy, 'fileset')}, {fact(copy, 'original')}, {fact(copy, 'images')}" in lines
    with pytest.raises(PermissionError):
        CAROL.do(log.read_text)


def test_what_the_catalogue_knows_is_read_from_the_mount(drive: Drive, scan: Path) -> None:
    directory = drive.home(ALICE) / "ProjectX" / "DatasetY"
    ALICE.do(os.makedirs, directory)
    copy = directory / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    number = str(fact(copy, "images"))
    until(lambda: described(drive, ALICE, number).get("thumbnail"), "its thumbnail, which is the last to come")
    metadata = json.loads(ALICE.do(os.getxattr, copy, "user.repofs.metadata"))
    assert metadata["object"] == fact(copy, "fileset")
    assert metadata["format"] == "TIFF"
    [image] = metadata["images"]
    assert (image["size_x"], image["size_y"], image["pixel_type"]) == (40, 32, "uint16")
    assert image["size_z"] * image["size_c"] * image["size_t"] == 3
    [dataset] = metadata["datasets"]
    assert dataset["name"] == "DatasetY"
    assert [project["name"] for project in dataset["projects"]] == ["ProjectX"]
    assert described(drive, ALICE, fact(copy, "fileset")) == metadata
    assert described(drive, ALICE, fact(copy, "images"))["fileset"] == fact(copy, "fileset")
    assert described(drive, ALICE, fact(copy, "original"))["checksum"] == fact(copy, "checksum")
    for what in (str(fact(copy, "fileset")), "Fileset:99999", "Fileset:0", "Nonsense:1", "Fileset:x"):
        with pytest.raises(OSError) as caught:
            CAROL.do(os.getxattr, drive.mountpoint, f"user.repofs.{what}")
        assert caught.value.errno == errno.ENODATA


def test_a_file_in_the_user_directory_itself_is_an_orphan(drive: Drive, scan: Path) -> None:
    path = drop(BOB, drive.home(BOB) / "orphan.tif", scan.read_bytes())
    drive.wait_imported(path)
    assert described(drive, BOB, fact(path, "fileset"))["datasets"] == []


def test_the_same_bytes_twice_are_two_originals(drive: Drive, folder: Path) -> None:
    one, two = drop(ALICE, folder / "one.bin", b"same"), drop(ALICE, folder / "two.bin", b"same")
    drive.wait_imported(one, two)
    assert fact(one, "original") != fact(two, "original")


def test_two_names_of_one_drop_are_one_original(drive: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "one.bin")
    ALICE.do(os.link, path, folder / "two.bin")
    drive.wait_imported(path, folder / "two.bin")
    assert facts(path) == facts(folder / "two.bin")
    assert path.stat().st_nlink == 3
    assert len(drive.originals_at(path) + drive.originals_at(folder / "two.bin")) == 1


def test_a_name_that_is_not_text_is_imported(drive: Drive, folder: Path) -> None:
    path = Path(os.fsdecode(bytes(folder) + b"/\xff\xfe\n\x01.bin"))
    drop(ALICE, path, b"odd name")
    drive.wait_imported(path)
    directory = (drive.mountpoint / str(fact(path, "log"))).with_suffix("")
    assert os.listdir(bytes(directory)) == [b"\xff\xfe\n\x01.bin"]


# --- what waits -----------------------------------------------------------------------------------


def test_an_empty_file_waits_ten_settle_times_for_its_content(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 0.2})
    began = time.monotonic()
    empty = drop(ALICE, folder / "empty.tif", b"")
    later = drop(ALICE, folder / "later.bin")
    drive.wait_imported(later)
    assert fact(empty, "state") == "settling"
    drive.wait_imported(empty)
    assert time.monotonic() - began >= 2.0
    assert "empty" in str(fact(empty, "error"))
    assert drive.original_of(empty).stat().st_size == 0


def test_an_empty_file_that_gets_its_content_is_imported_with_it(drive: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "late.bin", b"")
    drop(ALICE, path, b"content")
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"content"
    assert len(drive.originals_at(path)) == 1


@pytest.mark.parametrize("name", [".scan.tif.XXuM3R", "scan.tif.part", "scan.crdownload", "~$scan.tif", "scan.tif~"])
def test_a_temporary_name_waits_for_its_rename(drive: Drive, folder: Path, name: str) -> None:
    temporary = drop(ALICE, folder / name)
    other = drop(ALICE, folder / "other.bin")
    drive.wait_imported(other)
    assert fact(temporary, "state") == "incomplete"
    assert "renamed" in str(fact(temporary, "error"))
    ALICE.do(os.rename, temporary, folder / "final.tif")
    drive.wait_imported(folder / "final.tif")
    assert drive.originals_at(temporary) == []


def test_a_drop_settles_anew_when_it_is_touched(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 0.5})
    path = drop(ALICE, folder / "restless.bin")
    log = []
    for number in range(10):
        ALICE.do(os.utime, path, (number, number))
        ALICE.do(os.rename, path, folder / f"restless{number}.bin")
        path = folder / f"restless{number}.bin"
        log.append(fact(path, "state"))
    assert set(log) == {"settling"}
    drive.wait_imported(path)
    assert path.stat().st_mtime == 9


def test_a_file_is_not_imported_while_somebody_may_write_it(drive: Drive, folder: Path, outside: Path) -> None:
    path = drop(ALICE, folder / "held.bin", b"early")
    held = os.open(path, os.O_RDWR)  # writes nothing yet
    other = drop(ALICE, folder / "other.bin")
    drive.wait_imported(other)
    assert fact(path, "state") != "imported"
    os.write(held, b"later")
    os.close(held)
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"later"


def test_a_settling_directory_may_be_renamed(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})
    ALICE.do(os.mkdir, folder / "before")
    drop(ALICE, folder / "before" / "file.bin")
    ALICE.do(os.rename, folder / "before", folder / "after")
    ALICE.do(tell, folder / "after" / "file.bin", "now")
    drive.wait_imported(folder / "after" / "file.bin")
    assert len(drive.originals_at(folder / "after" / "file.bin")) == 1


# --- what has no image ----------------------------------------------------------------------------


def test_a_file_that_no_reader_knows_is_an_original_and_says_so(drive: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "notes.txt")
    drive.wait_imported(path)
    assert fact(path, "images") is None
    assert "without an image" in str(fact(path, "error"))


@pytest.mark.parametrize("kept", [8, 200, 3000, 7000])
def test_a_truncated_image_is_kept_and_the_reader_tells_why(drive: Drive, folder: Path, scan: Path, kept: int) -> None:
    path = drop(ALICE, folder / "cut.tif", scan.read_bytes()[:kept])
    drive.wait_imported(path)
    assert len(str(fact(path, "error"))) > 20
    assert drive.original_of(path).read_bytes() == scan.read_bytes()[:kept]


def test_garbage_in_place_of_an_image_is_kept(drive: Drive, folder: Path, scan: Path) -> None:
    path = drop(ALICE, folder / "garbage.tif", os.urandom(10_000))
    half = drop(ALICE, folder / "half.tif", scan.read_bytes()[:8] + os.urandom(10_000))
    drive.wait_imported(path, half)
    assert fact(path, "error")
    assert fact(half, "error")
    ALICE.run("cp", scan, folder / "good.tif")
    drive.wait_imported(folder / "good.tif")
    assert fact(folder / "good.tif", "images")


# --- after the import -----------------------------------------------------------------------------


def test_times_and_mode_stay_the_owners(drive: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "file.bin")
    drive.wait_imported(path)
    ALICE.do(os.utime, path, (1000, 2000))
    ALICE.do(os.chmod, path, 0o700)  # the bits of group and others follow the level, read-only
    ALICE.do(os.setxattr, path, "user.comment", b"mine")
    found = drive.original_of(path).stat()
    assert (found.st_mtime, stat.S_IMODE(found.st_mode)) == (2000, 0o750)
    assert fact(path, "state") == "imported"


def test_replacing_the_name_starts_a_new_import(drive: Drive, folder: Path, outside: Path) -> None:
    path = drop(ALICE, folder / "file.bin", b"first")
    drive.wait_imported(path)
    first = drive.original_of(path)
    (outside / "second").write_bytes(b"second")
    refused = ALICE.run("cp", outside / "second", path, check=False)
    assert refused.returncode != 0
    assert "Operation not permitted" in refused.stderr
    ALICE.run("cp", "-f", outside / "second", path)
    drive.wait_imported(path)
    assert first.read_bytes() == b"first"
    assert sorted(str(one["size"]) for one in drive.originals_at(path)) == ["5", "6"]


def test_a_copy_of_an_original_does_not_inherit_its_facts(drive: Drive, folder: Path) -> None:
    path = drop(ALICE, folder / "file.bin")
    drive.wait_imported(path)
    for program in (["cp", "-a"], ["rsync", "-aX"]):
        copy = folder / f"{program[0]}.bin"
        ALICE.run(*program, path, copy)
        drive.wait_imported(copy)
        assert fact(copy, "original") != fact(path, "original")
        assert fact(copy, "checksum") == fact(path, "checksum")


def test_an_inode_number_that_is_given_again_has_no_memory(drive: Drive, folder: Path) -> None:
    def again() -> list[str]:
        states = []
        for number in range(50):
            path = folder / f"{number}.bin"
            path.write_bytes(b"%d" % number)
            os.setxattr(path, "user.repofs.import", b"cancel")
            os.unlink(path)
            (folder / "new.bin").write_bytes(b"new")
            states.append(os.getxattr(folder / "new.bin", "user.repofs.state").decode())
            os.unlink(folder / "new.bin")
        return states

    assert set(ALICE.do(again)) <= {"settling", "importing", "imported"}


# --- many -----------------------------------------------------------------------------------------


def test_a_user_with_2000_files_does_not_keep_another_waiting(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})

    def many() -> None:
        for number in range(2000):
            (folder / f"{number:04d}.bin").write_bytes(b"%d" % number)

    ALICE.do(many)
    quick = drive.home(BOB) / "Quick"
    BOB.do(os.mkdir, quick)
    set_on(BOB, quick, "policy", {"settle_seconds": 3600})
    single = drop(BOB, quick / "single.bin")
    ALICE.do(tell, folder, "now")
    BOB.do(tell, single, "now")
    drive.wait_imported(single)
    until(lambda: fact(folder, "state") == "imported: 2000 imported", lambda: str(fact(folder, "state")), 90.0)
    begins = (str(folder.relative_to(drive.mountpoint)) + "/", str(single.relative_to(drive.mountpoint)))
    imported = sorted(
        (int(str(one["original"]).split(":")[1]), str(one["path"]))
        for one in drive.originals()
        if str(one["path"]).startswith(begins)
    )
    assert len(imported) == 2001
    place = [path for _, path in imported].index(begins[1])
    assert place < 500, "Bob's file came after many that Alice had dropped before"
