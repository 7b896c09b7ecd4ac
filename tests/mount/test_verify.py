"""`repofs verify` and `repofs rehome` beside a running daemon."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, REPOFS, Drive, fact
from tests.helpers.people import ALICE, CAROL, ROOT, Person
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


def events(drive: Drive, person: Person, path: Path) -> list[tuple[str, str | None]]:
    lines = person.do(Path.read_text, drive.mountpoint / ".repofs/events").splitlines()
    told = [json.loads(line) for line in lines]
    return [(one["event"], one["error"]) for one in told if one["path"] == below(drive, path)]


def own(drive: Drive, *paths: Path, content: bytes = CONTENT) -> None:
    """Have Alice drop a file at each of *paths*."""
    for number, path in enumerate(paths):
        ALICE.do(Path.write_bytes, path, content + b"%d" % number)
    drive.wait_imported(*paths)


def mend(drive: Drive, *paths: Path) -> None:
    """Give files their bytes back, as from a backup, and have that found."""
    for path in paths:
        with drive.backing(path).open("r+b") as file:
            file.write(CONTENT)
    assert run(drive, "verify", below(drive, paths[0].parent))[0] == 0


def test_the_running_mount_knows_at_once(drive: Drive, folder: Path) -> None:
    path = folder / "shown.dat"
    own(drive, path)
    assert ALICE.do(Path.read_bytes, path) == CONTENT + b"0"
    backing = drive.backing(path)
    with backing.open("r+b") as file:
        file.write(b"X")
    with path.open("rb") as seen:  # the mount keeps what it knows of it
        assert run(drive, "verify", "--path", below(drive, path))[0] == 1
        assert fact(path, "state") == "altered" and "restored from a backup" in str(fact(path, "error"))
        assert len(seen.read()) == len(CONTENT) + 1  # opened before
    with pytest.raises(OSError, match="Input/output error"):
        ALICE.do(Path.read_bytes, path)
    words = "its bytes are not those that were imported: restore it from a backup"
    until(lambda: events(drive, ALICE, path)[-1:] == [("altered", words)], "the event")
    assert events(drive, CAROL, path) == []
    mend(drive, path)
    assert fact(path, "state") == "imported" and ALICE.do(Path.read_bytes, path) == CONTENT + b"0"
    until(lambda: events(drive, ALICE, path)[-1:] == [("imported", None)], "the event that it is well again")


def test_a_file_that_has_gone_and_one_that_is_short(drive: Drive, folder: Path) -> None:
    gone, short = folder / "gone.dat", folder / "short.dat"
    own(drive, gone, short)
    import_path = drive.backing(drive.original_of(gone))
    import_path.unlink()
    os.truncate(drive.backing(short), len(CONTENT))
    code, found, _ = run(drive, "verify", below(drive, folder))
    assert (code, states(found)) == (1, {"gone.dat": "missing", "short.dat": "altered"})
    assert drive.originals_at(gone)[0]["state"] == "missing"
    until(lambda: [kind for kind, _ in events(drive, ALICE, gone)][-1:] == ["missing"], "the event")
    os.link(drive.backing(gone), import_path)
    with drive.backing(short).open("ab") as file:
        file.write(b"1")
    mend(drive, gone, short)
    assert drive.originals_at(gone)[0]["state"] == "imported"


def test_one_file_does_not_speak_for_its_fileset(drive: Drive, folder: Path) -> None:
    top = folder / "set.zarr"
    ALICE.do(os.mkdir, top)
    for name in ("a", "b"):
        ALICE.do(Path.write_bytes, top / name, CONTENT + name.encode())
    until(lambda: fact(top, "state") == "imported: 2 imported", lambda: str(fact(top, "state")))
    with drive.backing(top / "a").open("r+b") as file:
        file.write(b"X")
    assert run(drive, "verify", str(fact(top / "b", "fileset")))[0] == 1
    assert run(drive, "verify", str(fact(top / "b", "original")))[0] == 0
    assert {one["state"] for one in drive.originals_at(top / "b")} == {"altered"}  # as its worst file
    assert ALICE.do(Path.read_bytes, top / "b") == CONTENT + b"b"
    mend(drive, top / "a")


def verified(drive: Drive) -> dict[str, str | None]:
    """Return when each original was verified, by its name."""
    with sqlite3.connect(f"file:{drive.layout.catalogue}?mode=ro", uri=True) as catalogue:
        rows = catalogue.execute(
            "SELECT path, verified FROM original_files JOIN fileset_entries ON original_id = original_files.id"
        ).fetchall()
    catalogue.close()
    return {os.path.basename(os.fsdecode(path)): when for path, when in rows}


def test_interrupted_it_says_how_to_go_on(drive: Drive, folder: Path) -> None:
    paths = [folder / f"{number}.dat" for number in range(6)]
    own(drive, *paths, content=bytes(400_000))
    where = below(drive, folder)
    arguments = ["-C", str(drive.repository), "verify", where, "--budget", "400kB/s"]
    process = subprocess.Popen([*REPOFS, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def done() -> list[str]:
        return [path.name for path in paths if verified(drive)[path.name] is not None]

    until(lambda: len(done()) >= 1, "the first that is verified")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    before = done()
    assert process.returncode == 130 and 1 <= len(before) < 6, said
    first, command = said.splitlines()
    assert first == f"stopped after {len(before)} of 6 files"
    words = shlex.split(command.removeprefix("to go on: "))
    assert words[:4] == ["repofs", "-C", str(drive.repository), "verify"]
    words[words.index("--budget") + 1] = "1GB/s"
    code, found, _ = run(drive, *words[3:])
    assert (code, sorted(states(found))) == (0, [path.name for path in paths if path.name not in before])
    assert all(verified(drive)[path.name] is not None for path in paths)
    assert run(drive, *words[3:])[:2] == (0, [])


def test_a_part(drive: Drive, folder: Path) -> None:
    paths = [folder / f"{number}.dat" for number in range(10)]
    own(drive, *paths)
    where = below(drive, folder)
    assert len(run(drive, "verify", where, "--sample", "3")[1]) == 3
    assert len(run(drive, "verify", where, "--sample", "25%")[1]) == 3
    assert len(run(drive, "verify", where, "--sample", "1000")[1]) == 10
    assert run(drive, "verify", where, "--older-than", "1h")[1] == []
    assert len(run(drive, "verify", where, "--older-than", "0s")[1]) == 10


def test_progress_is_drawn_beside_the_report(drive: Drive, folder: Path) -> None:
    path = folder / "bad.dat"
    own(drive, path)
    with drive.backing(path).open("r+b") as file:
        file.write(b"X")
    screen, terminal = os.openpty()
    command = [*REPOFS, "-C", str(drive.repository), "verify", below(drive, folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, text=True, check=False)
    os.close(terminal)
    drawn = os.read(screen, 1 << 16).decode()
    os.close(screen)
    assert done.returncode == 1 and "1 of 1 files" in drawn and "23.4/23.4" in drawn
    assert done.stdout.splitlines()[1:] == ["0 of 1 files as imported, 1 altered"]
    assert done.stdout.startswith(f"altered: {below(drive, path)}: its bytes")
    mend(drive, path)


def test_while_files_are_imported(drive: Drive, folder: Path) -> None:
    own(drive, *(folder / f"old{number}.dat" for number in range(20)))
    command = [*REPOFS, "-C", str(drive.repository), "verify", below(drive, folder), "--budget", "200kB/s", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    own(drive, *(folder / f"new{number}.dat" for number in range(20)))
    assert process.poll() is None
    out, _ = process.communicate(timeout=60)
    found = states([json.loads(line) for line in out.splitlines()])
    assert process.returncode == 0
    assert {f"old{number}.dat" for number in range(20)} <= set(found) and set(found.values()) == {"imported"}


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
        (("verify", "Fileset:999999"), 3, "Fileset:999999 has no originals: repofs originals lists all"),
        (("verify", "alice_2/nowhere", "--quick"), 3, "alice_2/nowhere has no originals"),
        (("verify", "--path", "alice_2/nowhere", "--sample", "5%"), 3, "alice_2/nowhere has no originals"),
        (("verify", "Fileset:1", "--path", "alice_2"), 6, "name one of the two"),
        (("verify", "--older-than", "soon"), 6, "write 30d (s, min, h, d, w), or a date or time"),
        (("verify", "--sample", "half"), 6, "a number of files, or a share of them as 5%"),
        (("verify", "--budget", "100"), 6, "write 100MB/s"),
    ],
)
def test_what_is_meant_must_be_clear(drive: Drive, arguments: tuple[str, ...], code: int, said: str) -> None:
    ended, _, words = run(drive, *arguments)
    assert (ended, said in words) == (code, True), words


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
