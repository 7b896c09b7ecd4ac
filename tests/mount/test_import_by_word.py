"""What people say of their drops by attributes: targets, policies, commands; and what directories tell."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.helpers.drops import described, drop, set_on, status
from tests.helpers.mounting import Drive, fact, facts, tell
from tests.helpers.people import ALICE, BOB

# --- what people say ------------------------------------------------------------------------------


def test_a_target_is_inherited_and_can_be_overridden(drive: Drive, folder: Path, scan: Path) -> None:
    set_on(ALICE, folder, "target", "Dataset:name:Chosen")
    ALICE.do(os.makedirs, folder / "a" / "b")
    path = drop(ALICE, folder / "a" / "b" / "scan.tif", scan.read_bytes())
    drive.wait_imported(path)
    [dataset] = described(drive, ALICE, fact(path, "fileset"))["datasets"]
    assert dataset["name"] == "Chosen"
    assert os.getxattr(folder, "user.repofs.target") == b"Dataset:name:Chosen"
    set_on(ALICE, folder / "a" / "b", "target", dataset["object"])
    again = drop(ALICE, folder / "a" / "b" / "again.tif", scan.read_bytes())
    drive.wait_imported(again)
    assert described(drive, ALICE, fact(again, "fileset"))["datasets"] == [dataset]


def test_an_import_that_fails_leaves_the_file_with_its_reason_and_can_be_retried(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "target", "Dataset:999999")
    path = drop(ALICE, folder / "file.bin")
    drive.wait_state(path, "failed")
    assert "Dataset:999999" in str(fact(path, "error"))
    assert ALICE.do((drive.mountpoint / str(fact(path, "log"))).read_text).splitlines()[0].endswith(")")
    assert drive.originals_at(path) == []
    assert path.stat().st_nlink == 1
    ALICE.do(tell, path, "retry")
    drive.wait_state(path, "failed")
    ALICE.do(os.removexattr, folder, "user.repofs.target")
    ALICE.do(tell, path, "retry")
    drive.wait_imported(path)
    assert len(drive.originals_at(path)) == 1


def test_a_failed_file_is_its_owners_to_write_again(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "target", "Dataset:999999")
    path = drop(ALICE, folder / "file.bin")
    drive.wait_state(path, "failed")
    ALICE.do(os.removexattr, folder, "user.repofs.target")
    drop(ALICE, path, b"better")
    drive.wait_imported(path)
    assert drive.original_of(path).read_bytes() == b"better"


def test_duplicates_are_refused_where_the_directory_says_so(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"duplicates": "refuse"})
    first = drop(ALICE, folder / "first.bin", b"one of a kind")
    drive.wait_imported(first)
    second = drop(ALICE, folder / "second.bin", b"one of a kind")
    drive.wait_state(second, "duplicate")
    assert str(fact(first, "fileset")) in str(fact(second, "error"))
    assert second.read_bytes() == b"one of a kind"
    assert drive.originals_at(second) == []


def test_cancelling_leaves_the_file_and_now_imports_it(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})
    path = drop(ALICE, folder / "file.bin")
    assert fact(path, "state") == "settling"
    ALICE.do(tell, path, "cancel")
    assert fact(path, "state") == "incomplete"
    assert "cancelled" in str(fact(path, "error"))
    ALICE.do(tell, path, "now")
    drive.wait_imported(path)


def test_a_command_to_a_directory_concerns_all_drops_in_it(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})
    ALICE.do(os.makedirs, folder / "a" / "b")
    paths = [drop(ALICE, folder / "a" / "one.bin"), drop(ALICE, folder / "a" / "b" / ".two.part")]
    ALICE.do(tell, folder / "a", "now")
    drive.wait_imported(*paths)


def test_who_may_not_write_gives_no_commands(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"settle_seconds": 3600})
    path = drop(ALICE, folder / "file.bin")
    for where, name in ((path, "import"), (folder, "policy"), (folder, "target"), (folder, "import")):
        with pytest.raises(PermissionError):
            BOB.do(os.setxattr, where, f"user.repofs.{name}", b"now")
    assert fact(path, "state") == "settling"


MALFORMED = [
    ("import", b"soon", "now, retry, cancel"),
    ("import", b"\xff", "UTF-8"),
    ("target", b"Datset:name:X", "Dataset:name:X"),
    ("target", b"Dataset:0", "number above 0"),
    ("target", b"Dataset:name:", "Dataset:name:X"),
    ("policy", b"{", "JSON"),
    ("policy", b"[]", "JSON object"),
    ("policy", b'{"settle_seconds": 0}', "0.1 to 86400"),
    ("policy", b'{"settle_seconds": true}', "0.1 to 86400"),
    ("policy", b'{"setle_seconds": 3}', "setle_seconds"),
    ("policy", b'{"duplicates": "maybe"}', "import, refuse"),
    ("policy", b'{"exclude": "*.log"}', "list of patterns"),
    ("policy", b"[" * 60_000, "JSON"),
    ("polcy", b"{}", "polcy"),
]


@pytest.mark.parametrize(("name", "value", "reason"), MALFORMED)
def test_a_malformed_value_is_refused_and_the_reason_told(folder: Path, name: str, value: bytes, reason: str) -> None:
    with pytest.raises(OSError) as caught:
        ALICE.do(os.setxattr, folder, f"user.repofs.{name}", value)
    assert caught.value.errno == errno.EINVAL
    assert reason in str(fact(folder, "error"))
    set_on(ALICE, folder, "policy", {})
    assert fact(folder, "error") is None


def test_an_excluded_name_is_left_alone(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"exclude": ["*.log"]})
    left = drop(ALICE, folder / "scope.log")
    drive.wait_imported(drop(ALICE, folder / "scan.bin"))
    assert fact(left, "state") == "incomplete"
    assert "excluded" in str(fact(left, "error"))
    assert fact(folder, "state") == "imported: 1 imported"


def test_a_marker_file_ends_the_waiting(drive: Drive, folder: Path) -> None:
    set_on(ALICE, folder, "policy", {"marker": "done.txt"})
    path = drop(ALICE, folder / "scan.bin")
    ALICE.do(os.mkdir, folder / "other")
    set_on(ALICE, folder / "other", "policy", {})
    drive.wait_imported(drop(ALICE, folder / "other" / "unmarked.bin"))
    assert fact(path, "state") == "settling"
    drop(ALICE, folder / "done.txt", b"")
    drive.wait_imported(path)


# --- directories ----------------------------------------------------------------------------------


def test_a_directory_format_is_one_fileset(drive: Drive, folder: Path) -> None:
    image = folder / "image.zarr"
    ALICE.do(os.makedirs, image / "0" / "c")
    files = {"zarr.json": b"{}", "0/zarr.json": b"{ }", "0/c/0": b"chunk 0", "0/c/1": b"chunk 1", ".zattrs": b"{  }"}
    for name, content in files.items():
        drop(ALICE, image / name, content)
    drive.wait_imported(*(image / name for name in files))
    [fileset] = {fact(image / name, "fileset") for name in files}
    assert len({fact(image / name, "original") for name in files}) == len(files)
    directory = (drive.mountpoint / str(fact(image / "zarr.json", "log"))).with_suffix("")
    for name, content in files.items():
        assert (directory / "image.zarr" / name).read_bytes() == content
        assert (directory / "image.zarr" / name).stat().st_ino == (image / name).stat().st_ino
    assert described(drive, ALICE, fileset)["file_count"] == len(files)


def test_a_table_is_never_imported(drive: Drive, folder: Path) -> None:
    ALICE.do(os.makedirs, folder / "table.tiledb" / "__fragments")
    ALICE.do(os.makedirs, folder / "array" / "__schema")
    inside = drop(ALICE, folder / "table.tiledb" / "data.bin"), drop(ALICE, folder / "array" / "__schema" / "1")
    drive.wait_imported(drop(ALICE, folder / "other.bin"))
    assert [facts(path) for path in inside] == [{}, {}]


def test_a_directory_tells_the_worst_below_it_with_counts(drive: Drive, folder: Path) -> None:
    assert fact(folder, "state") == "empty"
    drive.wait_imported(drop(ALICE, folder / "a.bin"), drop(ALICE, folder / "b.bin"))
    assert fact(folder, "state") == "imported: 2 imported"
    ALICE.do(os.mkdir, folder / "below")
    set_on(ALICE, folder / "below", "target", "Dataset:999999")
    failed = drop(ALICE, folder / "below" / "c.bin", b"123")
    drive.wait_state(failed, "failed")
    assert fact(folder, "state") == "failed: 1 failed, 2 imported"
    told = status(folder)
    assert told["counts"] == {"imported": 2, "failed": 1}
    assert told["bytes"] == {"imported": sum((folder / n).stat().st_size for n in ("a.bin", "b.bin")), "failed": 3}
    [problem] = told["problems"]
    assert problem["path"] == str(failed.relative_to(drive.mountpoint))
    assert problem["error"] == fact(failed, "error")
    assert ALICE.do(os.listxattr, folder) == ["system.posix_acl_access", "user.repofs.state"]
