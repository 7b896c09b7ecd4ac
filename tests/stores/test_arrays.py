"""What is opened in an array's directory lies in it, and is a file or a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from repofs.errors import InvalidValue, NotFound, NotPermitted
from repofs.repository import arrays


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with one array, and beside it what must not be reached."""
    array = tmp_path / "managed/alice_2/t.tiledb"
    (array / "__schema").mkdir(parents=True)
    (array / "__schema/one").write_bytes(b"schema")
    (tmp_path / "secret").write_bytes(b"secret")
    (array / "out").symlink_to(tmp_path / "secret")
    (array / "inside").symlink_to("__schema/one")
    os.mkfifo(array / "pipe")
    os.mknod(array / "socket", stat.S_IFSOCK | 0o600)
    (tmp_path / "managed/alice_2/link.tiledb").symlink_to("t.tiledb")
    (tmp_path / "managed/alice_2/file.tiledb").write_bytes(b"")
    return tmp_path / "managed"


@pytest.fixture
def managed(tree: Path) -> Iterator[int]:
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def array(managed: int) -> Iterator[int]:
    fd = arrays.open_array(managed, b"alice_2/t.tiledb")
    yield fd
    os.close(fd)


def test_an_array_is_opened_by_its_path(tree: Path, array: int) -> None:
    assert os.fstat(array).st_ino == (tree / "alice_2/t.tiledb").stat().st_ino
    assert "__schema" in os.listdir(array)  # not by O_PATH: a child process lists it


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"alice_2/none.tiledb", NotFound),
        (b"alice_2/file.tiledb", InvalidValue),
        (b"alice_2/link.tiledb", InvalidValue),
        (b"../secret", InvalidValue),
        (b"/etc", InvalidValue),
        (b"", InvalidValue),
        (b"alice_2\0/t.tiledb", InvalidValue),
    ],
)
def test_what_is_no_array_directory_is_refused(managed: int, path: bytes, kind: type[OSError]) -> None:
    with pytest.raises(kind):
        arrays.open_array(managed, path)


def test_files_and_directories_are_listed_and_read(array: int) -> None:
    assert [name for name, _ in arrays.list_in(array, b"")] == [b"__schema"]
    [(name, status)] = arrays.list_in(array, b"__schema")
    assert (name, status.st_size) == (b"one", 6)
    assert arrays.status_in(array, b"__schema/one").st_ino == status.st_ino
    with closing(os.fdopen(arrays.open_in(array, b"__schema/one", directory=False), "rb")) as file:
        assert file.read() == b"schema"


@pytest.mark.parametrize("below", [b"out", b"inside", b"pipe", b"socket", b"../../secret", b"../file.tiledb", b"none"])
def test_nothing_else_is_there(array: int, below: bytes) -> None:
    with pytest.raises((NotFound, InvalidValue, NotPermitted)):
        arrays.open_in(array, below, directory=False)
    with pytest.raises((NotFound, InvalidValue)):
        arrays.status_in(array, below)


def test_a_swapped_parent_leads_nowhere_else(tree: Path, array: int) -> None:
    """The descriptor is the array's, whoever renames what lies above it."""
    (tree / "alice_2").rename(tree / "bob_3")
    (tree / "alice_2/t.tiledb").mkdir(parents=True)
    assert [name for name, _ in arrays.list_in(array, b"")] == [b"__schema"]
