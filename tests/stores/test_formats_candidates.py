"""What is found below a path, what is left out, and that every file is one or the other."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from repofs.config import Drops
from repofs.formats.candidates import Candidate, Found, LeftOut, Rules, find
from tests.helpers.mounting import scratch
from tests.helpers.people import ALICE

RULES = Rules(Drops())


def make(top: Path, *names: str) -> None:
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def found(path: Path, depth: int = 4) -> list[Found]:
    return list(find(os.fsencode(path), RULES, depth))


def candidates(path: Path, depth: int = 4) -> list[str]:
    return [os.path.relpath(os.fsdecode(one.path), path) for one in found(path, depth) if isinstance(one, Candidate)]


def left_out(path: Path, depth: int = 4) -> dict[str, LeftOut]:
    return {os.path.relpath(os.fsdecode(one.path), path): one for one in found(path, depth) if isinstance(one, LeftOut)}


def test_each_file_is_one_and_a_directory_format_is_one(tmp_path: Path) -> None:
    make(tmp_path, "b.tif", "a.tif", "run/plate.ZARR/0/0", "run/plate.ZARR/.zattrs", "run/plate.ZARR/inner.n5/x")
    assert candidates(tmp_path) == ["a.tif", "b.tif", "run/plate.ZARR"]
    plate = found(tmp_path)[-1]
    assert isinstance(plate, Candidate) and plate.is_directory
    assert (plate.size, plate.files) == (15, (b"plate.ZARR/.zattrs", b"plate.ZARR/0/0", b"plate.ZARR/inner.n5/x"))


def test_what_is_named_is_taken_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.tif", "plate.zarr/0")
    [file] = found(tmp_path / ".hidden.tif")
    assert file == Candidate(os.fsencode(tmp_path), b".hidden.tif", (b".hidden.tif",), 5)
    [plate] = found(tmp_path / "plate.zarr")
    assert isinstance(plate, Candidate) and plate.is_directory


def test_depth_counts_directories_as_omero_counts_them(tmp_path: Path) -> None:
    make(tmp_path, "1.tif", "a/2.tif", "a/b/3.tif", "a/b/c/4.tif", "a/b/c/d/5.tif")
    assert candidates(tmp_path, 1) == ["1.tif"]
    assert candidates(tmp_path) == ["1.tif", "a/2.tif", "a/b/3.tif", "a/b/c/4.tif"]
    assert left_out(tmp_path)["a/b/c/d"].why == "too deep: a larger --depth reaches it"
    assert left_out(tmp_path)["a/b/c/d"].failed  # a job of cron would lose it without a word


def test_what_is_left_out_says_why(tmp_path: Path) -> None:
    make(tmp_path, "Thumbs.db", "scan.tif.part", ".snapshot/a.tif", "t.tiledb/x", "u/__schema/x", "good.tif")
    os.symlink("good.tif", tmp_path / "link.tif")
    os.symlink("..", tmp_path / "loop")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.fspath(tmp_path / "socket"))
    words = {
        "Thumbs.db": "drops.exclude", "scan.tif.part": "temporary", ".snapshot": "temporary", "t.tiledb": "table",
        "u/__schema": "table", "link.tif": "symbolic link", "loop": "symbolic link", "fifo": "FIFO", "socket": "socket",
    }  # fmt: skip
    assert left_out(tmp_path).keys() == words.keys()
    for name, one in left_out(tmp_path).items():
        assert words[name] in one.why and not one.failed
    assert candidates(tmp_path) == ["good.tif"]


@pytest.mark.parametrize(("name", "why"), [("link", "symbolic link"), ("fifo", "FIFO"), ("none", "not there")])
def test_what_is_named_and_cannot_be_imported_has_failed(tmp_path: Path, name: str, why: str) -> None:
    os.symlink("elsewhere", tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    [one] = found(tmp_path / name)
    assert isinstance(one, LeftOut) and one.failed and why in one.why


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_what_may_not_be_read_has_failed_and_the_others_go_on() -> None:
    with scratch() as top:
        make(top, "a.tif", "closed/b.tif", "plate.zarr/closed/c", "z.tif")
        for closed in (top / "closed", top / "plate.zarr/closed"):
            closed.chmod(0o700)
        names, failed = ALICE.do(_look, top)
    assert names == ["a.tif", "z.tif"]
    assert failed == {
        "closed": "you may not read it: ask its owner",
        "plate.zarr": "you may not read it: ask its owner",
    }


def _look(top: Path) -> tuple[list[str], dict[str, str]]:
    return candidates(top), {name: one.why for name, one in left_out(top).items() if one.failed}


def test_a_file_that_vanishes_in_the_middle_of_the_walk_is_not_there(tmp_path: Path) -> None:
    make(tmp_path, "a.tif", "b.tif", "c/d.tif", "e.tif")
    walk = find(os.fsencode(tmp_path), RULES, 4)
    first = next(walk)
    (tmp_path / "b.tif").unlink()
    (tmp_path / "c/d.tif").unlink()
    (tmp_path / "c").rmdir()
    rest = list(walk)
    assert isinstance(first, Candidate) and first.name == b"a.tif"
    assert [(os.path.basename(one.path), isinstance(one, Candidate)) for one in rest] == [
        (b"b.tif", False), (b"c", False), (b"e.tif", True),
    ]  # fmt: skip
    assert all(one.failed and "not there" in one.why for one in rest if isinstance(one, LeftOut))


def test_a_name_may_be_any_bytes(tmp_path: Path) -> None:
    name = bytes(set(range(1, 256)) - {ord("/")})
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
        pass
    [one] = found(tmp_path)
    assert isinstance(one, Candidate) and (one.name, one.files, one.size) == (name, (name,), 0)
