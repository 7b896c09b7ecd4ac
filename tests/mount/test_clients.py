"""Programs that people copy with: the content is right, the time kept where the program sets it, imported exactly once.

Each writes in its own way: beside and renames, in place and again, with times set after the last close. The settle
time is scaled down from the default of 3 s, as far as the quickest of them allow.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE

SETTINGS = """
[drops]
settle_seconds = 1.0
directory_settle_seconds = 1.5
[readers]
workers = 1
"""

MTIME = 1_600_000_000  # of all sources: long past
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Source:
    """A directory beside the mount with one file in it, and a web server that offers it."""

    directory: Path
    file: Path
    url: str

    @property
    def content(self) -> bytes:
        return self.file.read_bytes()


@pytest.fixture(scope="module")
def source(module_drive: Drive) -> Iterator[Source]:
    directory = module_drive.outside / "source"
    directory.mkdir()
    file = directory / "scan.tif"
    tifffile.imwrite(file, np.arange(4 * 300 * 400, dtype=np.uint16).reshape(4, 300, 400), photometric="minisblack")
    os.utime(file, (MTIME, MTIME))
    handler = functools.partial(QuietHandler, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Source(directory, file, f"http://127.0.0.1:{server.server_port}/scan.tif")
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def installed(*programs: str) -> None:
    """Skip the test when one of *programs* is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: scripts/test installs it")


def assert_imported_once(drive: Drive, path: Path, content: bytes) -> None:
    drive.wait_imported(path, seconds=TIMEOUT_SECONDS)
    assert path.read_bytes() == content
    original = drive.original_of(path)
    assert original.read_bytes() == content
    assert original.stat().st_ino == path.stat().st_ino
    assert fact(path, "checksum") == "SHA1-160:" + hashlib.sha1(content).hexdigest()


def names_imported_below(drive: Drive, folder: Path) -> list[str]:
    """Return the names, as dropped, of all originals that came from *folder*."""
    below = str(folder.relative_to(drive.mountpoint)) + "/"
    return sorted(
        str(one["path"]).removeprefix(below) for one in drive.originals() if str(one["path"]).startswith(below)
    )


# --- programs that copy one file ------------------------------------------------------------------

KEEPS, NEW = True, False  # whether the program sets the time of the source


@dataclass(frozen=True)
class Client:
    """A command of ``sh``; $1 is the source file, $2 the directory in the mount, $3 the source's URL."""

    script: str
    keeps_mtime: bool = NEW
    moves: bool = False


CLIENTS = {
    "cp": Client('cp "$1" "$2"'),
    "cp -p": Client('cp -p "$1" "$2"', KEEPS),
    "cp -a": Client('cp -a "$1" "$2"', KEEPS),
    "cp -r": Client('cp -r "$(dirname "$1")/." "$2"'),
    "mv": Client('mv "$1" "$2"', KEEPS, moves=True),
    "install": Client('install -m 640 "$1" "$2"'),
    "install -p": Client('install -p "$1" "$2"', KEEPS),
    "cat": Client('cat "$1" > "$2/scan.tif"'),
    ">>": Client('head -c 1000 "$1" > "$2/scan.tif"; tail -c +1001 "$1" >> "$2/scan.tif"'),
    "dd": Client('dd if="$1" of="$2/scan.tif" bs=64k'),
    "dd conv=fsync": Client('dd if="$1" of="$2/scan.tif" bs=64k conv=fsync'),
    "dd oflag=direct": Client('dd if="$1" of="$2/scan.tif" bs=4k oflag=direct'),
    "tee": Client('tee "$2/scan.tif" < "$1"'),
    "rsync": Client('rsync "$1" "$2"'),
    "rsync -a": Client('rsync -a "$1" "$2"', KEEPS),
    "rsync -a --inplace": Client('rsync -a --inplace "$1" "$2"', KEEPS),
    "rsync -a --delay-updates": Client('rsync -a --delay-updates "$1" "$2"', KEEPS),
    "rsync -a --partial": Client('rsync -a --partial "$1" "$2"', KEEPS),
    "rsync -aX --append": Client('rsync -aX --append "$1" "$2"', KEEPS),
    "rsync --remove-source-files": Client('rsync -a --remove-source-files "$1" "$2"', KEEPS, moves=True),
    "rsync twice": Client('rsync -a "$1" "$2"; rsync -a "$1" "$2"', KEEPS),
    "tar x": Client('tar c -C "$(dirname "$1")" scan.tif | tar x -C "$2"', KEEPS),
    "tar x -m": Client('tar c -C "$(dirname "$1")" scan.tif | tar x -m -C "$2"'),
    "curl -R": Client('curl -sS -R -o "$2/scan.tif" "$3"', KEEPS),
    "curl": Client('curl -sS -o "$2/scan.tif" "$3"'),
    "wget": Client('wget -q -P "$2" "$3"', KEEPS),
    "gio copy": Client('gio copy "$1" "$2/scan.tif"'),
    "rclone copy": Client('rclone --config /dev/null copy "$1" "$2"', KEEPS),
    "split and cat": Client('split -n 2 "$1" "$2/.part-" && cat "$2"/.part-* > "$2/scan.tif" && rm "$2"/.part-*'),
    ".part and mv": Client('cp -p "$1" "$2/scan.tif.part" && mv "$2/scan.tif.part" "$2/scan.tif"', KEEPS),
}


@pytest.mark.parametrize("name", CLIENTS)
def test_a_program_that_copies(drive: Drive, folder: Path, outside: Path, source: Source, name: str) -> None:
    client = CLIENTS[name]
    installed(*client.script.split()[:1])
    mine = outside / folder.name / "scan.tif"
    ALICE.do(mine.parent.mkdir)
    ALICE.run("cp", "-p", source.file, mine)
    ALICE.run("sh", "-ec", client.script, "sh", mine, folder, source.url)
    path = folder / "scan.tif"
    if client.keeps_mtime:
        assert path.stat().st_mtime == MTIME
    assert_imported_once(drive, path, source.content)
    assert mine.exists() != client.moves
    assert names_imported_below(drive, folder) == ["scan.tif"]
    assert os.listdir(folder) == ["scan.tif"]
    assert fact(path, "images")
    if client.keeps_mtime:
        assert path.stat().st_mtime == MTIME
    if name == "install":
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_shutil_copies_and_moves(drive: Drive, folder: Path, outside: Path, source: Source) -> None:
    mine = outside / f"{folder.name}.tif"
    ALICE.run("cp", "-p", source.file, mine)
    ALICE.do(shutil.copyfile, mine, folder / "copyfile.tif")
    ALICE.do(shutil.copy, mine, folder / "copy.tif")
    ALICE.do(shutil.copy2, mine, folder / "copy2.tif")
    ALICE.do(shutil.move, mine, folder / "move.tif")
    for name in ("copyfile.tif", "copy.tif", "copy2.tif", "move.tif"):
        assert_imported_once(drive, folder / name, source.content)
    assert (folder / "copy2.tif").stat().st_mtime == (folder / "move.tif").stat().st_mtime == MTIME
    assert not mine.exists()


# --- whole trees ----------------------------------------------------------------------------------

FILES = {
    f"{directory}{number:02d}.bin": b"%d" % number * 1000 for directory in ("", "deep/er/") for number in range(20)
}
TREES = {
    "cp -r": 'cp -r "$1/." "$2"',
    "cp -a": 'cp -a "$1/." "$2"',
    "rsync -a": 'rsync -a "$1/" "$2"',
    "rsync -aX, twice": 'rsync -aX "$1/" "$2"; rsync -aX "$1/" "$2"',
    "rsync -a --delay-updates": 'rsync -a --delay-updates "$1/" "$2"',
    "tar x": 'tar c -C "$1" . | tar x -C "$2"',
    "unzip": 'unzip -q "$1/../tree.zip" -d "$2"',
    "rclone": 'rclone --config /dev/null copy "$1" "$2"',
    "mv": 'cp -a "$1" "$1.moved"; mv "$1.moved"/* "$2"',
}


@pytest.mark.parametrize("name", TREES)
def test_a_tree_is_imported_file_by_file(drive: Drive, folder: Path, outside: Path, name: str) -> None:
    installed(name.split()[0])
    tree = outside / folder.name / "tree"
    for relative, content in FILES.items():
        path = tree / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MTIME, MTIME))
    with zipfile.ZipFile(tree.parent / "tree.zip", "w") as archive:
        for relative in FILES:
            archive.write(tree / relative, relative)
    subprocess.run(["chown", "-R", f"{ALICE.uid}:{ALICE.gid}", tree.parent], check=True)
    ALICE.run("sh", "-ec", TREES[name], "sh", tree, folder)
    paths = [folder / relative for relative in FILES]
    drive.wait_imported(*paths, seconds=TIMEOUT_SECONDS)
    assert {str(path.relative_to(folder)): path.read_bytes() for path in paths} == FILES
    assert names_imported_below(drive, folder) == sorted(FILES)
    if name != "cp -r":
        assert {path.stat().st_mtime for path in paths} <= {MTIME, MTIME + 1}  # zip keeps every second second


def test_tar_with_hard_links(drive: Drive, folder: Path, outside: Path) -> None:
    tree = outside / folder.name
    tree.mkdir()
    (tree / "a.bin").write_bytes(b"one inode")
    os.link(tree / "a.bin", tree / "b.bin")
    tree.chmod(0o755)
    ALICE.run("sh", "-ec", 'tar c -C "$1" . | tar x -C "$2" --no-same-permissions -m', "sh", tree, folder)
    drive.wait_imported(folder / "a.bin", folder / "b.bin", seconds=TIMEOUT_SECONDS)
    assert (folder / "a.bin").stat().st_ino == (folder / "b.bin").stat().st_ino
    assert len(names_imported_below(drive, folder)) == 1


# --- editors --------------------------------------------------------------------------------------

EDITORS = {
    "sed": 'sed -i s/one/two/ "$1"',
    "ex": 'ex -s -c "%s/one/two/" -c wq "$1"',
    "vi": 'vi -es -c "%s/one/two/" -c wq "$1"',
    "perl": 'perl -pi -e s/one/two/ "$1"',
    "sh": 'echo two >> "$1"',
}


@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("imported", [False, True], ids=["while it settles", "after its import"])
def test_an_editor(drive: Drive, folder: Path, editor: str, imported: bool) -> None:
    installed(editor)
    path = folder / "notes.txt"
    ALICE.do(path.write_bytes, b"one\n")
    if imported:
        drive.wait_imported(path)
        first = drive.original_of(path)
    edited = ALICE.run("sh", "-c", EDITORS[editor], "sh", path, check=False, timeout=30)
    if imported and path.read_bytes() == b"one\n":  # it writes in place, which is refused
        assert "not permitted" in (edited.stdout + edited.stderr).lower() or edited.returncode != 0
        assert fact(path, "state") == "imported"
        return
    drive.wait_imported(path)
    assert b"two" in path.read_bytes()
    assert len(drive.originals_at(path)) == 1 + imported
    if imported:
        assert first.read_bytes() == b"one\n"
    assert {fact(folder / name, "state") for name in os.listdir(folder)} == {"imported"}


# --- libraries ------------------------------------------------------------------------------------

PLANE = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


def write_at_once(path: Path) -> None:
    tifffile.imwrite(path, np.stack([PLANE] * 3), photometric="minisblack")


def write_plane_by_plane(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for _ in range(3):
            writer.write(PLANE, photometric="minisblack", contiguous=True)


def append(path: Path) -> None:
    for _ in range(3):
        tifffile.imwrite(path, PLANE, append=path.exists(), photometric="minisblack")


def write_through_a_memory_map(path: Path) -> None:
    memory = tifffile.memmap(path, shape=(3, 64, 64), dtype=np.uint16, photometric="minisblack")
    memory[:] = PLANE
    memory.flush()


def write_ome(path: Path) -> None:
    tifffile.imwrite(path, np.stack([PLANE] * 3), ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")


@pytest.mark.parametrize(
    "write",
    [write_at_once, write_plane_by_plane, append, write_through_a_memory_map, write_ome],
    ids=lambda w: w.__name__,
)
def test_tifffile(drive: Drive, folder: Path, outside: Path, write: Callable[[Path], None]) -> None:
    path = folder / ("stack.ome.tif" if write is write_ome else "stack.tif")
    write(outside / f"{write.__name__}-{path.name}")  # imports all that it needs, which Alice may not be able to read
    ALICE.do(write, path)
    assert_imported_once(drive, path, path.read_bytes())
    original = drive.original_of(path)
    planes = ALICE.do(lambda: tifffile.imread(original, key=slice(None)))
    assert planes.shape == (3, 64, 64)
    assert all((plane == PLANE).all() for plane in planes)
    assert fact(path, "images")


def test_h5py(drive: Drive, folder: Path, outside: Path) -> None:
    h5py = pytest.importorskip("h5py")

    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["plane"] = PLANE
        with h5py.File(path, "r+") as file:
            file.create_dataset("more", data=PLANE, compression="gzip", chunks=(16, 16))

    write(outside / "warm.h5")
    ALICE.do(write, folder / "data.h5")
    assert_imported_once(drive, folder / "data.h5", (folder / "data.h5").read_bytes())

    original = drive.original_of(folder / "data.h5")

    def read() -> bool:
        with h5py.File(original, "r") as file:
            return bool((file["plane"][:] == PLANE).all() and (file["more"][:] == PLANE).all())

    assert ALICE.do(read)


def test_zarr(drive: Drive, folder: Path, outside: Path) -> None:
    zarr = pytest.importorskip("zarr")

    def write(path: Path) -> None:
        array = zarr.create_array(store=str(path), shape=(64, 64), chunks=(16, 16), dtype="uint16")
        array[:] = PLANE
        array.attrs["note"] = "written later"

    write(outside / "warm.zarr")
    image = folder / "image.zarr"
    ALICE.do(write, image)
    files = [path for path in image.rglob("*") if path.is_file()]
    drive.wait_imported(*files, seconds=TIMEOUT_SECONDS)
    assert len({fact(path, "fileset") for path in files}) == 1
    assert len(names_imported_below(drive, folder)) == len(files) == 17
    log = drive.mountpoint / str(fact(files[0], "log"))
    assert ALICE.do(lambda: bool((zarr.open_array(str(log.with_suffix("") / "image.zarr"))[:] == PLANE).all()))


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_sqlite(drive: Drive, folder: Path, journal: str) -> None:
    path = folder / "results.sqlite"

    def write() -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE cells (area REAL)")
            for number in range(20):
                with connection:
                    connection.execute("INSERT INTO cells VALUES (?)", (number,))

    ALICE.do(write)
    assert_imported_once(drive, path, path.read_bytes())
    assert names_imported_below(drive, folder) == ["results.sqlite"]
    copy = drive.outside / f"{journal}.sqlite"
    shutil.copyfile(drive.original_of(path), copy)
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT count(*), sum(area) FROM cells").fetchone() == (20, 190.0)


def test_manual_import_gui_copy(drive: Drive, folder: Path, outside: Path) -> None:
    """A person drags a folder of images onto the drive: file managers copy by GIO, name by name."""
    run = outside / "run7"
    run.mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(run / name, np.full((2, 16, 16), ord(name[0]), dtype=np.uint8), photometric="minisblack")
        os.utime(run / name, (MTIME, MTIME))
    ALICE.do(os.mkdir, folder / "run7")
    for name in ("a.tif", "b.tif"):
        ALICE.run("gio", "copy", "--progress", run / name, folder / "run7")
    drive.wait_imported(folder / "run7/a.tif", folder / "run7/b.tif")
    for name in ("a.tif", "b.tif"):
        assert (folder / "run7" / name).read_bytes() == (run / name).read_bytes()  # and the source stays
        assert (folder / "run7" / name).stat().st_mtime == MTIME
        assert fact(folder / "run7" / name, "images")
