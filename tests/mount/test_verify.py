"""`repofs verify` and `repofs rehome` beside a running daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, REPOFS, Drive, fact
from tests.helpers.people import ALICE, ROOT
from tests.helpers.waiting import until

SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n'
CONTENT = b"what the microscope saw\n" * 1000


@pytest.fixture(autouse=True)
def _expected(drive: Drive) -> None:
    drive.allowed = ["an original in place"]


def run(drive: Drive, *arguments: str | Path) -> tuple[int, list[dict[str, str]], str]:
    """Return exit code, findings and stderr of a command with --json, as root."""
    command = [*REPOFS, "-C", str(drive.repository), *map(str, arguments), "--json"]
    done = ROOT.run(*command, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def linked(drive: Drive, folder: Path, source: Path) -> Path:
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(CONTENT)
    ALICE.do(os.symlink, source, folder / source.name)
    drive.wait_imported(folder / source.name)
    return folder / source.name


def below(drive: Drive, path: Path) -> str:
    return str(path.relative_to(drive.mountpoint))


def states(found: list[dict[str, str]]) -> dict[str, str]:
    return {os.path.basename(one["path"]): one["state"] for one in found}


def test_originals_are_compared_with_their_checksums(drive: Drive, folder: Path, outside: Path) -> None:
    path = linked(drive, folder, outside / "good.dat")
    ALICE.do(Path.write_bytes, folder / "own.dat", CONTENT)
    ALICE.do(Path.write_bytes, folder / "rotten.dat", CONTENT + b"!")
    drive.wait_imported(folder / "own.dat", folder / "rotten.dat")
    code, found, _ = run(drive, "verify", folder)
    assert (code, states(found)) == (0, dict.fromkeys(("good.dat", "own.dat", "rotten.dat"), "imported"))
    backing = drive.backing(folder / "rotten.dat")
    with backing.open("r+b") as file:
        file.write(b"X")
    code, found, _ = run(drive, "verify", below(drive, folder))
    assert (code, states(found)) == (1, {"good.dat": "imported", "own.dat": "imported", "rotten.dat": "altered"})
    [one] = drive.originals_at(folder / "rotten.dat")
    assert one["state"] == "altered"
    code, found, _ = run(drive, "verify", str(fact(path, "fileset")))
    assert (code, states(found)) == (0, {"good.dat": "imported"})
    with backing.open("r+b") as file:
        file.write(CONTENT[:1])
    assert run(drive, "verify", below(drive, folder))[0] == 0
    assert drive.originals_at(folder / "rotten.dat")[0]["state"] == "imported"


def test_sources_in_place_are_looked_at(drive: Drive, folder: Path, outside: Path) -> None:
    path = linked(drive, folder, outside / "moves.dat")
    source = outside / "moves.dat"
    source.write_bytes(b"X" * len(CONTENT))
    for arguments in (("--quick",), ()):
        code, found, _ = run(drive, "verify", below(drive, folder), *arguments)
        assert (code, states(found)) == (1, {"moves.dat": "altered"})
    assert fact(path, "state") == "altered"
    source.unlink()
    assert states(run(drive, "verify", "--quick", below(drive, folder))[1]) == {"moves.dat": "missing"}
    source.write_bytes(CONTENT)  # another inode, another time, the very bytes: from a backup
    assert states(run(drive, "verify", "--quick", below(drive, folder))[1]) == {"moves.dat": "altered"}
    code, found, _ = run(drive, "verify", below(drive, folder))
    assert (code, states(found)) == (0, {"moves.dat": "imported"})
    assert ALICE.do(Path.read_bytes, path) == CONTENT
    assert fact(path, "state") == "imported"
    assert states(run(drive, "verify", "--quick", below(drive, folder))[1]) == {"moves.dat": "imported"}


def test_originals_are_rehomed_on_proof(drive: Drive, folder: Path, outside: Path) -> None:
    paths = [linked(drive, folder, outside / "old" / name) for name in ("a.dat", "b.dat", "c.dat")]
    assert ALICE.do(Path.read_bytes, paths[0]) == CONTENT
    (outside / "new").mkdir()
    for name in ("a.dat", "b.dat"):
        (outside / "old" / name).rename(outside / "new" / name)
    (outside / "new/b.dat").write_bytes(b"X" * len(CONTENT))
    code, found, _ = run(drive, "rehome", outside / "old", outside / "new", "--dry-run")
    assert (code, states(found)) == (1, {"a.dat": "imported", "b.dat": "altered", "c.dat": "missing"})
    with pytest.raises(OSError):
        ALICE.do(Path.read_bytes, paths[0])
    code, found, _ = run(drive, "rehome", outside / "old", outside / "new")
    assert (code, states(found)) == (1, {"a.dat": "imported", "b.dat": "altered", "c.dat": "missing"})
    assert ALICE.do(Path.read_bytes, paths[0]) == CONTENT
    assert json.loads(os.getxattr(paths[0], "user.repofs.origin"))["path"] == "new/a.dat"
    assert json.loads(os.getxattr(paths[1], "user.repofs.origin"))["path"] == "old/b.dat"
    assert ALICE.do(Path.read_bytes, paths[2]) == CONTENT
    found = run(drive, "verify", "--quick", below(drive, folder))[1]
    assert states(found) == {"a.dat": "imported", "b.dat": "missing", "c.dat": "imported"}
    code, found, _ = run(drive, "rehome", "scope1:old/c.dat", outside / "new/c.dat")
    assert (code, states(found)) == (1, {"c.dat": "missing"})


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("rehome", "/etc", "/etc"), 6, "lies in no declared source"),
        (("rehome", "relative", "/etc"), 6, "write an absolute path"),
        (("verify", "Image:1"), 6, "no files of its own"),
    ],
)
def test_what_is_meant_must_be_clear(drive: Drive, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, _, words = run(drive, *arguments)
    assert (ended, said in words) == (code, True), words


def test_others_use_sudo(drive: Drive) -> None:
    done = ALICE.run(*REPOFS, "-C", str(drive.repository), "verify", check=False)
    assert done.returncode == 4 and "use sudo" in done.stderr


def test_a_linked_directory_that_nobody_lists_is_in_place_too(drive: Drive, folder: Path, outside: Path) -> None:
    top = outside / "set.zarr"
    (top / "0").mkdir(parents=True)
    for name in (".zgroup", "0/0.0", "0/0.1"):
        (top / name).write_bytes(CONTENT + name.encode())
    ALICE.do(os.symlink, top, folder / "set.zarr")
    until(lambda: fact(folder, "state") == "imported: 3 imported", lambda: str(fact(folder, "state")))
    assert all(one["state"] == "imported" for one in run(drive, "verify", below(drive, folder))[1])
    assert fact(folder / "set.zarr/.zgroup", "transfer") == "ln_s"
    moved = outside / "archive"
    moved.mkdir()
    top.rename(moved / "set.zarr")
    found = run(drive, "verify", "--quick", below(drive, folder))[1]
    assert set(states(found).values()) == {"missing"}
    (moved / "set.zarr/0/0.1").write_bytes(b"other")
    code, found, _ = run(drive, "rehome", top, moved / "set.zarr")
    assert (code, states(found)) == (1, {".zgroup": "imported", "0.0": "imported", "0.1": "altered"})
    assert {one["state"] for one in drive.originals_at(folder / "set.zarr/0/0.0")} == {"missing"}  # as its worst file
    assert ALICE.do(Path.read_bytes, folder / "set.zarr/0/0.0") == CONTENT + b"0/0.0"
    (moved / "set.zarr/0/0.1").write_bytes(CONTENT + b"0/0.1")
    assert run(drive, "rehome", top, moved / "set.zarr")[0] == 0
    assert {one["state"] for one in drive.originals_at(folder / "set.zarr/0/0.0")} == {"imported"}
