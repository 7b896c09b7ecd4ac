"""Registered tables as the mount shows them: `Tables/` of a user directory, read by programs that know no repofs."""

from __future__ import annotations

import errno
import io
import json
import mmap
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tifffile
import tiledb

from tests.helpers import arrays, processes
from tests.helpers.calls import refusal
from tests.helpers.mounting import QUICK, Drive
from tests.helpers.people import ALICE, BOB, CAROL, ROOT, Person
from tests.helpers.waiting import until

SETTINGS = QUICK + '\n[[sources]]\nname = "far"\npath = "@outside@"\n'
TOKEN = "the-SecretToken-of-cells"
FRAME = pd.DataFrame({"image": range(3), "area": [0.0, 0.5, 1.0], "name": ["é"] * 3})


@pytest.fixture
def image(drive: Drive, folder: Path) -> str:
    """An image of Alice's, as ``Image:N``."""

    def write(path: Path) -> None:
        tifffile.imwrite(path, np.zeros((8, 8), dtype=np.uint16), photometric="minisblack")

    ALICE.do(write, folder / "scan.tif")
    drive.wait_imported(folder / "scan.tif")
    return os.getxattr(folder / "scan.tif", "user.repofs.images").decode()


def make(array: Path) -> None:
    ALICE.do(arrays.make_here, str(array), len(FRAME), TOKEN)


def register(array: Path, image: str, **more: str) -> None:
    asked = {"name": array.parent.name, "targets": [image], "token": TOKEN, **more}
    ALICE.do(os.setxattr, array, "user.repofs.table.register", json.dumps(asked).encode())


@pytest.fixture
def array(drive: Drive, folder: Path, image: str) -> Path:
    """An array of Alice's in a directory of its own, which is registered."""
    array = folder / "results" / folder.name / "cells.tiledb"
    ALICE.do(os.makedirs, array.parent)
    make(array)
    register(array, image)
    return array


@pytest.fixture
def shown(drive: Drive, array: Path) -> Path:
    """Where it is shown, without suffix."""
    return drive.home(ALICE) / "Tables" / array.parent.name


def suffixed(shown: Path, suffix: str) -> Path:
    return Path(f"{shown}{suffix}")


def test_tiledb_opens_it_where_it_is_shown(drive: Drive, shown: Path) -> None:
    assert "Tables" in ALICE.do(os.listdir, drive.home(ALICE))
    here = [name for name in ALICE.do(os.listdir, shown.parent) if name.startswith(shown.name)]
    assert sorted(here) == sorted(shown.name + suffix for suffix in (".csv", ".parquet", ".tiledb"))

    assert column(ALICE, suffixed(shown, ".tiledb"), "area") == [0.0, 0.5, 1.0]
    assert column(BOB, suffixed(shown, ".tiledb"), "image") == [0, 1, 2]


def column(person: Person, array: Path, name: str) -> list[float]:
    """Return a column as plain TileDB reads it, in a program of its own: a fork of one that has used it hangs."""
    program = "import json, sys, tiledb; print(json.dumps(tiledb.open_dataframe(sys.argv[1])[sys.argv[2]].tolist()))"
    found: list[float] = json.loads(person.run(sys.executable, "-c", program, array, name).stdout)
    return found


def parsed(csv: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(csv))[list(FRAME)]


READERS: dict[str, tuple[str, Callable[[str], pd.DataFrame]]] = {
    "pandas.read_csv": (".csv", lambda path: pd.read_csv(path)),
    "pandas.read_parquet": (".parquet", lambda path: pd.read_parquet(path)),
    "pyarrow": (".parquet", lambda path: pq.read_table(path).to_pandas()),
    "pyarrow, mapped": (".parquet", lambda path: pq.read_table(path, memory_map=True).to_pandas()),
    "pyarrow.ParquetFile": (".parquet", lambda path: pq.ParquetFile(path).read().to_pandas()),
}


@pytest.mark.parametrize(("suffix", "read"), READERS.values(), ids=READERS)
def test_programs_read_it_as_any_file(shown: Path, suffix: str, read: Callable[[str], pd.DataFrame]) -> None:
    for _ in range(2):  # made, and as it was made
        found = ALICE.do(read, str(suffixed(shown, suffix)))
        assert found[list(FRAME)].equals(FRAME)


@pytest.mark.parametrize("command", ["cat", "cp", "dd", "tail", "wc", "python"])
def test_a_file_that_was_never_made_is_read_to_its_end(shown: Path, outside: Path, command: str) -> None:
    csv, copy = suffixed(shown, ".csv"), outside / f"{shown.name}.csv"
    assert csv.stat().st_size == 0
    match command:
        case "cp":
            ALICE.run("cp", csv, copy)
            text = copy.read_text()
        case "dd":
            text = ALICE.run("dd", f"if={csv}", "bs=7", "status=none").stdout
        case "tail":
            text = ALICE.run("tail", "-n", "4", csv).stdout
        case "wc":
            assert ALICE.run("wc", "-l", csv).stdout.split()[0] == "4"
            text = csv.read_text()
        case "python":
            text = ALICE.do(Path.read_text, csv)
        case _:
            text = ALICE.run("cat", csv).stdout
    assert parsed(text).equals(FRAME)
    assert csv.stat().st_size == len(text.encode())


def test_who_may_not_view_it_does_not_find_it(drive: Drive, shown: Path) -> None:
    assert ROOT.do(os.listdir, shown.parent)
    for attempt in (os.listdir, os.stat):
        with pytest.raises(PermissionError):
            CAROL.do(attempt, suffixed(shown, ".tiledb"))


def test_it_is_shown_as_its_owners_and_nobody_may_write(shown: Path) -> None:
    for suffix in (".tiledb", ".tiledb/__schema", ".csv"):
        status = suffixed(shown, suffix).stat()
        assert (status.st_uid, status.st_gid) == (ALICE.uid, ALICE.gid)
        assert bool(status.st_mode & 0o222) == (suffix == ".tiledb")  # the array, by whose attributes it is taken away
    listed = ROOT.run("getfacl", "-np", suffixed(shown, ".csv")).stdout
    assert f"user:{BOB.uid}:r--" in listed
    assert str(CAROL.uid) not in listed
    assert stat.S_ISDIR(suffixed(shown, ".tiledb").stat().st_mode)


def test_nothing_is_changed_through_it(shown: Path, folder: Path) -> None:
    array, csv = suffixed(shown, ".tiledb"), suffixed(shown, ".csv")
    ALICE.do(Path.write_bytes, folder / "mine", b"x")
    changes: list[Callable[[], object]] = [
        lambda: os.open(csv, os.O_WRONLY),
        lambda: os.truncate(csv, 0),
        lambda: os.unlink(csv),
        lambda: os.chmod(csv, 0o600),
        lambda: os.utime(csv),
        lambda: os.setxattr(csv, "user.a", b"b"),
        lambda: os.mkdir(array / "new"),
        lambda: os.rmdir(array),
        lambda: os.symlink("/etc/passwd", shown.parent / "new"),
        lambda: os.open(array / "new", os.O_CREAT | os.O_WRONLY),
        lambda: os.rename(csv, shown.parent / "other"),
        lambda: os.rename(csv, folder / "other"),
        lambda: os.rename(shown.parent, folder / "all"),
        lambda: os.link(folder / "mine", shown.parent / "mine"),
        lambda: os.link(csv, folder / "linked"),
        lambda: os.rename(folder / "mine", shown.parent / "mine"),
    ]
    for number, change in enumerate(changes):
        for who in (ALICE, ROOT):
            with pytest.raises(OSError) as error:
                who.do(change)
            assert (number, error.value.errno) in {
                (number, code) for code in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EINVAL)
            }


def test_links_into_an_array_are_not_followed(shown: Path, drive: Drive, array: Path) -> None:
    """Somebody could put one there behind the mount's back."""
    (drive.backing(array) / "link").symlink_to("/etc/passwd")
    assert "link" not in os.listdir(suffixed(shown, ".tiledb"))
    with pytest.raises(OSError):
        (suffixed(shown, ".tiledb") / "link").read_bytes()


def append(path: Path) -> None:
    tiledb.from_pandas(str(path), FRAME, sparse=True, mode="append", row_start_idx=3)


def test_a_registered_array_is_not_written_until_it_is_unregistered(array: Path, shown: Path) -> None:
    before = sorted(os.listdir(array / "__fragments"))
    for who in (ALICE, ROOT):
        with pytest.raises(tiledb.TileDBError):
            who.do(append, array)
    [schema] = [entry for entry in (array / "__schema").iterdir() if entry.is_file()]
    for change in (
        lambda: os.open(schema, os.O_WRONLY),
        lambda: os.truncate(schema, 0),
        lambda: os.unlink(schema),
        lambda: os.rename(array, array.with_name("other.tiledb")),
        lambda: os.link(schema, array.parent / "schema"),
    ):
        assert refusal(change) == "EPERM"
    assert sorted(os.listdir(array / "__fragments")) == before
    assert ALICE.run("rm", "-rf", array, check=False).returncode != 0
    ALICE.do(os.setxattr, array, "user.repofs.table.unregister", b"1")
    assert not suffixed(shown, ".csv").exists()
    ALICE.do(append, array)
    assert len(os.listdir(array / "__fragments")) == 2
    ALICE.do(os.rename, array, array.with_name("other.tiledb"))


def test_who_has_a_file_open_writes_no_more_once_it_is_registered(drive: Drive, folder: Path, image: str) -> None:
    array = folder / "cells.tiledb"
    make(array)
    fd = os.open(array / "beside", os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, b"before")
        register(array, image)
        with pytest.raises(PermissionError):
            os.write(fd, b"after")
        ALICE.do(os.setxattr, array, "user.repofs.table.unregister", b"1")
        os.write(fd, b"again")
    finally:
        os.close(fd)
    assert (array / "beside").read_bytes() == b"beforeagain"


def test_who_has_mapped_a_file_shows_others_nothing_else(drive: Drive, folder: Path, image: str) -> None:
    array = folder / "results" / folder.name / "cells.tiledb"
    ALICE.do(os.makedirs, array.parent)
    make(array)
    file = next(path for path in arrays.files_of(array) if path.stat().st_size)
    before = file.read_bytes()
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        register(array, image)
        mapped[:4] = b"evil"
        with pytest.raises(PermissionError):
            mapped.flush()
        assert file.read_bytes() == before
    assert file.read_bytes() == before


def test_who_waits_for_a_file_can_be_killed(drive: Drive, shown: Path) -> None:
    [maker] = [
        pid
        for pid in processes.descendants(drive.process.pid)
        if b"repofs.tables.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(maker, signal.SIGSTOP)  # now nothing is made
    try:
        waiting = ALICE.start("cat", suffixed(shown, ".parquet"))
        opening = Path(f"/proc/{waiting.pid}/wchan")
        until(lambda: opening.read_text() == "request_wait_answer", "the open to wait")
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(5) == -signal.SIGTERM
    finally:
        os.kill(maker, signal.SIGCONT)
    assert ALICE.do(pd.read_parquet, suffixed(shown, ".parquet"))["image"].tolist() == [0, 1, 2]


def test_it_is_found_where_a_directory_above_it_was_moved(array: Path, shown: Path, folder: Path) -> None:
    ALICE.do(os.rename, folder / "results", folder / "moved")
    array = folder / "moved" / folder.name / "cells.tiledb"
    assert refusal(os.rename, array, folder / "other.tiledb") == "EPERM"
    assert os.getxattr(array, "user.repofs.table.name") == folder.name.encode()
    assert parsed(ALICE.do(Path.read_text, suffixed(shown, ".csv"))).equals(FRAME)


def test_the_name_is_taken(drive: Drive) -> None:
    for name in ("Tables", "Tables (registered)"):
        assert refusal(os.mkdir, drive.home(BOB) / name) in ("EACCES", "EINVAL")
        assert refusal(os.rename, drive.home(ALICE), drive.home(ALICE) / name) == "EINVAL"


def test_an_array_outside_is_shown_and_found_out_when_it_is_away(
    drive: Drive, folder: Path, image: str, outside: Path
) -> None:
    far = outside / f"{folder.name}.tiledb"
    make(far)
    register(folder, image, uri=str(far), name=far.stem)
    shown = drive.home(ALICE) / "Tables" / far.stem
    assert column(ALICE, suffixed(shown, ".tiledb"), "image") == [0, 1, 2]
    assert parsed(ALICE.do(Path.read_text, suffixed(shown, ".csv"))).equals(FRAME)
    far.rename(far.with_suffix(".away"))
    drive.allowed = ["cannot be exported", "stands otherwise"]
    assert refusal(os.listdir, suffixed(shown, ".tiledb")) == "EHOSTUNREACH"
    assert suffixed(shown, ".parquet").name in ALICE.do(os.listdir, shown.parent)
    assert refusal(Path.read_bytes, suffixed(shown, ".parquet")) == "EIO"
    far.with_suffix(".away").rename(far)
    assert ALICE.do(pd.read_parquet, suffixed(shown, ".parquet"))["image"].tolist() == [0, 1, 2]


def test_what_was_moved_to_its_place_is_read_by_its_owner_only_if_she_can_reach_it(
    drive: Drive, folder: Path, image: str, outside: Path
) -> None:
    """In a directory where everybody may rename, Bob's own is closed, and what is in it is not."""
    ours, bobs = outside / folder.name, outside / f"{folder.name} of bob"
    for person, directory in ((ALICE, ours), (BOB, bobs)):
        person.do(os.mkdir, directory)
        person.do(arrays.make_here, str(directory / "cells.tiledb"), len(FRAME), TOKEN)
    BOB.do(os.chmod, bobs, 0o700)
    register(folder, image, uri=str(ours / "cells.tiledb"), name=folder.name)
    shown = drive.home(ALICE) / "Tables" / folder.name
    assert ALICE.do(os.listdir, suffixed(shown, ".tiledb"))
    ALICE.do(os.rename, ours, outside / f"{folder.name} away")
    ALICE.do(os.rename, bobs, ours)
    drive.allowed = ["cannot be exported", "stands otherwise"]
    assert refusal(os.listdir, suffixed(shown, ".tiledb")) == "EHOSTUNREACH"
    assert refusal(Path.read_bytes, suffixed(shown, ".csv")) == "EIO"
