"""Marks come back as they were written, and only if this repository wrote them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.lifecycle import State
from repofs.model import Closed, Mark, Original, Refused, Transfer
from repofs.repository.marks import Marks
from repofs.xattrs import MARK

KEY = bytes(range(32))
CLOSED = Closed(5, 1_700_000_000_000_000_000)

names = st.binary(min_size=1, max_size=60).map(os.fsdecode)
sentences = st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace").decode())
numbers = st.integers(min_value=0, max_value=2**63 - 1)
originals = st.builds(
    Original,
    original=numbers, fileset=numbers, images=st.lists(numbers, max_size=20).map(tuple), checksum=sentences,
    transfer=st.sampled_from(Transfer), imported=sentences, user_directory=names, import_directory=names,
    name=names, importing=numbers, note=st.none() | sentences,
)  # fmt: skip
marks: st.SearchStrategy[Mark] = st.one_of(
    st.builds(Closed, numbers, st.integers(min_value=-(2**63), max_value=2**63 - 1)),
    st.builds(Refused, numbers, numbers, st.sampled_from([State.FAILED, State.DUPLICATE]), sentences, names),
    originals,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marks") / "scan.tif"
    path.write_bytes(b"bytes")
    return path


@pytest.fixture
def fd(file: Path) -> Iterator[int]:
    fd = os.open(file, os.O_RDONLY)
    yield fd
    os.close(fd)


@given(mark=marks)
def test_round_trip(file: Path, mark: Mark) -> None:
    Marks(KEY).write(str(file), mark)
    assert Marks(KEY).read(os.fsencode(file)) == mark


def test_every_kind_of_target(file: Path, fd: int) -> None:
    kept = Marks(KEY)
    targets: list[int | str | bytes] = [fd, str(file), os.fsencode(file)]
    for written in targets:
        kept.write(written, CLOSED)
        assert [kept.read(target) for target in targets] == [CLOSED] * 3
        kept.clear(written)
        assert [kept.read(target) for target in targets] == [None] * 3
        kept.clear(written)
    directory = str(file.parent)
    kept.write(directory, CLOSED)
    assert kept.read(directory) == CLOSED


@given(other=st.binary(min_size=1, max_size=64).filter(lambda key: key != KEY))
def test_another_key_reads_nothing(file: Path, other: bytes) -> None:
    Marks(KEY).write(str(file), CLOSED)
    assert Marks(other).read(str(file)) is None


@given(data=st.data(), mark=marks)
def test_a_changed_mark_reads_as_none(file: Path, data: st.DataObject, mark: Mark) -> None:
    Marks(KEY).write(str(file), mark)
    value = bytearray(os.getxattr(file, MARK))
    place = data.draw(st.integers(min_value=0, max_value=len(value) - 1))
    value[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    os.setxattr(file, MARK, bytes(value))
    assert Marks(KEY).read(str(file)) is None


@given(value=st.binary(max_size=300))
def test_anything_else_reads_as_none(file: Path, value: bytes) -> None:
    os.setxattr(file, MARK, value)
    assert Marks(KEY).read(str(file)) is None


def test_a_forged_mark_is_warned_of(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.setxattr(file, MARK, b'AAAAAAAAAAAAAAAAAAAAAA closed {"size":5,"mtime_ns":1}')
    assert Marks(KEY).read(str(file)) is None
    assert "forged or damaged" in capsys.readouterr().out


def test_a_symlink_is_never_followed(tmp_path: Path, file: Path) -> None:
    kept = Marks(KEY)
    kept.write(str(file), CLOSED)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert kept.read(str(link)) is None
    with pytest.raises(PermissionError):
        kept.write(str(link), Closed(6, 6))
    with pytest.raises(PermissionError):
        kept.clear(str(link))
    assert kept.read(str(file)) == CLOSED


def test_what_is_gone_is_an_error_not_an_absent_mark(tmp_path: Path) -> None:
    kept = Marks(KEY)
    for act in (kept.read, kept.clear, lambda target: kept.write(target, CLOSED)):
        with pytest.raises(FileNotFoundError):
            act(str(tmp_path / "gone"))


@pytest.mark.parametrize("mode", [0o444, 0o400, 0o200, 0o000])
def test_the_owners_mode_is_no_obstacle(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "read-only"
    path.write_bytes(b"")
    path.chmod(mode)
    kept = Marks(KEY)
    kept.write(str(path), CLOSED)
    assert kept.read(str(path)) == CLOSED
    kept.clear(str(path))
    assert kept.read(str(path)) is None
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_thousands_of_images_and_a_long_error_find_room(tmp_path: Path) -> None:
    path = tmp_path / "plate.lif"
    path.write_bytes(b"")
    kept = Marks(KEY)
    images = (7, *range(100, 10_100))
    mark = Original(1, 2, images, "MD5-128:0", Transfer.LN, "2026", "a_2", "d", "plate.lif", 3, "no image: " * 1000)
    kept.write(str(path), mark)
    back = kept.read(str(path))
    assert isinstance(back, Original) and back.images == images and back.note is not None
    assert mark.note is not None and mark.note.startswith(back.note)
    kept.write(str(path), Refused(1, 2, State.FAILED, "broken \udcff" * 1000, "log"))
    refused = kept.read(str(path))
    assert isinstance(refused, Refused) and refused.error.startswith("broken \\udcff")
    assert len(os.getxattr(path, MARK)) < 3_500
