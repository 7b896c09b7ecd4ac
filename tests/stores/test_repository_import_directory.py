"""An import directory is whole or not there, whatever happens on the way; and nobody's last bytes are removed."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.errors import AlreadyExists, InvalidName
from repofs.model import ImportId
from repofs.repository import import_directory, trees
from repofs.repository.durable import rename_no_replace
from repofs.repository.import_directory import (
    StagedFile,
    finish,
    give,
    linked,
    publish,
    stage,
    staged,
    undo,
    write_log,
)
from repofs.repository.layout import Layout

ALICE = b"alice_2"
N = ImportId(7)
UID, GID, OTHER_GID = (20_001, 20_002, 20_003) if os.geteuid() == 0 else (os.geteuid(), os.getegid(), os.getegid())


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    yield make_layout(tmp_path)
    subprocess.run(["rm", "-rf", tmp_path / "repository"], check=True)  # pytest's own way goes no 1500 directories deep


def make_layout(directory: Path) -> Layout:
    layout = Layout.create(directory / "repository", "")
    layout.make_user_directory("alice_2", UID, GID)
    return layout


def drop(layout: Layout, name: str, content: bytes = b"bytes") -> Path:
    path = layout.managed / "alice_2" / name
    path.write_bytes(content)
    return path


def stage_paths(layout: Layout, import_id: ImportId, names: dict[bytes, Path]) -> None:
    def files() -> Iterator[StagedFile]:
        for name, path in names.items():
            fd = os.open(path, os.O_RDONLY)
            yield StagedFile(fd, name)
            os.close(fd)

    stage(layout, import_id, files())
    write_log(layout, import_id, b"import %d\n" % import_id)


def at(attempt: int) -> bytes:
    return b"2026-11/22/21-15-03.%03d" % attempt


def tree(layout: Layout) -> dict[str, int]:
    """Return every path of the repository and its inode number."""
    return {
        os.path.join(top, name): os.lstat(os.path.join(top, name)).st_ino
        for top, directories, files in os.walk(layout.managed)
        for name in directories + files
    }


def test_a_file_gets_a_second_name_and_a_log(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    stage_paths(layout, N, {b"scan.tif": scan})
    assert staged(layout) == {N}
    assert publish(layout, N, ALICE, GID, at) == b"2026-11/22/21-15-03.000"
    directory = layout.managed / "alice_2/2026-11/22/21-15-03.000"
    assert (directory / "scan.tif").samefile(scan)
    assert directory.with_name("21-15-03.000.log").read_text() == "import 7\n"
    finish(layout, N)
    finish(layout, N)
    assert staged(layout) == set()
    assert directory.with_name("21-15-03.000.log").stat().st_nlink == 1


def test_what_is_published_is_the_users_and_the_groups_and_what_is_above_it_no_groups(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    stage_paths(layout, N, {b"a.zarr/0/0.0": scan})
    publish(layout, N, ALICE, GID, at)
    user = layout.managed / "alice_2"
    own, none = (GID, 0o700), (os.getegid(), 0o700)
    expected = {
        "2026-11": none, "2026-11/22": none, "2026-11/22/21-15-03.000": own,
        "2026-11/22/21-15-03.000/a.zarr/0": own, "2026-11/22/21-15-03.000.log": (GID, 0o400),
    }  # fmt: skip
    for name, (gid, mode) in expected.items():
        status = (user / name).stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (user.stat().st_uid, gid, mode), name


def test_an_import_directory_is_given_to_another_group_whole(layout: Layout) -> None:
    stage_paths(layout, N, {b"a.zarr/0/0.0": drop(layout, "scan.tif")})
    name = publish(layout, N, ALICE, GID, at)
    finish(layout, N)
    for _ in range(2):
        give(layout, ALICE, name, OTHER_GID, b"record of it\n")
        below = layout.managed / "alice_2" / os.fsdecode(name)
        inside = [below, below.with_name(f"{below.name}.log"), *below.rglob("*")]
        assert {path.stat().st_gid for path in inside} == {OTHER_GID}
        assert below.parent.stat().st_gid == os.getegid()
    assert below.with_name(f"{below.name}.log").read_bytes().endswith(b"record of it\n" * 2)


def test_the_next_free_name_is_taken(layout: Layout) -> None:
    day = layout.managed / "alice_2/2026-11/22"
    day.mkdir(parents=True)
    (day / "21-15-03.000").mkdir()
    (day / "21-15-03.001.log").write_text("another's")
    scan = drop(layout, "scan.tif")
    stage_paths(layout, N, {b"scan.tif": scan})
    assert publish(layout, N, ALICE, GID, at) == b"2026-11/22/21-15-03.002"
    assert (day / "21-15-03.001.log").read_text() == "another's"
    assert list((day / "21-15-03.000").iterdir()) == []
    assert not (day / "21-15-03.000.log").exists()


def test_a_template_without_another_name_is_told_so(layout: Layout) -> None:
    (layout.managed / "alice_2/2026").mkdir()
    stage_paths(layout, N, {b"scan.tif": drop(layout, "scan.tif")})
    with pytest.raises(AlreadyExists, match="%time% or %increment%"):
        publish(layout, N, ALICE, GID, lambda _: b"2026")


@pytest.mark.parametrize("name", [b"", b"/etc/x", b"../x", b"a/../x", b"a//x", b"./x", b"x/"])
def test_names_cannot_lead_elsewhere(layout: Layout, name: bytes) -> None:
    scan = drop(layout, "scan.tif")
    with pytest.raises(InvalidName):
        stage_paths(layout, N, {name: scan})
    undo(layout, N)
    stage_paths(layout, N, {b"scan.tif": scan})
    with pytest.raises(InvalidName):
        publish(layout, N, ALICE, GID, lambda _: name)


def test_a_symlink_in_the_way_is_never_followed(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere/22").mkdir(parents=True)
    (layout.managed / "alice_2/2026-11").symlink_to(tmp_path / "elsewhere")
    stage_paths(layout, N, {b"scan.tif": drop(layout, "scan.tif")})
    with pytest.raises(NotADirectoryError):
        publish(layout, N, ALICE, GID, at)
    undo(layout, N)
    assert os.listdir(tmp_path / "elsewhere") == ["22"]


components = st.binary(min_size=1, max_size=40).filter(
    lambda name: name not in (b".", b"..") and b"/" not in name and b"\0" not in name
)


@given(ways=st.lists(st.lists(components, min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_bytes_make_names(tmp_path_factory: pytest.TempPathFactory, ways: list[list[bytes]]) -> None:
    names = {b"/".join([b"d%d" % number, *way]) for number, way in enumerate(ways)}
    layout = make_layout(tmp_path_factory.mktemp("names"))
    scan = drop(layout, "scan.tif")
    before = tree(layout)
    stage_paths(layout, N, dict.fromkeys(names, scan))
    directory = os.path.join(os.fsencode(layout.managed), ALICE, publish(layout, N, ALICE, GID, at))
    assert all(os.path.samefile(os.path.join(directory, name), scan) for name in names)
    assert scan.stat().st_nlink == 1 + len(names)
    undo(layout, N)
    assert tree(layout) == before


def test_names_may_be_longer_than_any_path(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    before = tree(layout)
    deep = b"/".join([b"d" * 50] * 1500)  # no system call takes this, and no process has a descriptor for each level
    stage_paths(layout, N, {deep + b"/0.0": scan, deep + b"/0.1": scan, b"top": scan})
    publish(layout, N, ALICE, GID, at)
    assert scan.stat().st_nlink == 4
    undo(layout, N)
    assert tree(layout) == before
    assert scan.stat().st_nlink == 1


def test_the_files_of_an_import_are_found_wherever_they_are(layout: Layout) -> None:
    scan, plate = drop(layout, "scan.tif"), drop(layout, "plate.tif")
    other, elsewhere = ImportId(1), drop(layout, "other.tif")
    stage_paths(layout, other, {b"other.tif": elsewhere})
    publish(layout, other, ALICE, GID, at)
    assert list(linked(layout, N)) == []

    def found() -> list[int]:
        return sorted(os.fstat(fd).st_ino for fd in linked(layout, N))

    expected = sorted(path.stat().st_ino for path in (scan, plate))
    stage_paths(layout, N, {b"a/scan.tif": scan, b"plate.tif": plate})
    assert found() == expected
    publish(layout, N, ALICE, GID, at)
    assert found() == expected
    undo(layout, N)
    assert found() == []


def test_many_threads_never_share_a_name(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    imports = [ImportId(number) for number in range(1, 33)]
    for import_id in imports:
        stage_paths(layout, import_id, {b"%d.tif" % import_id: scan})
    names: dict[ImportId, bytes] = {}
    start = threading.Barrier(len(imports))

    def work(import_id: ImportId) -> None:
        start.wait()
        names[import_id] = publish(layout, import_id, ALICE, GID, at, durable=False)

    in_threads(work, imports)
    assert sorted(names.values()) == [at(attempt) for attempt in range(len(imports))]
    for import_id, name in names.items():
        directory = layout.managed / "alice_2" / os.fsdecode(name)
        assert os.listdir(directory) == [f"{import_id}.tif"]
        assert Path(f"{directory}.log").read_text() == f"import {import_id}\n"


def test_publish_beside_undo_of_others(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    before = tree(layout)
    imports = [ImportId(number) for number in range(1, 17)]

    def work(import_id: ImportId) -> None:
        for _ in range(20):
            stage_paths(layout, import_id, {b"scan.tif": scan})
            publish(layout, import_id, ALICE, GID, lambda attempt: b"same/way/%d" % attempt, durable=False)
            undo(layout, import_id)

    in_threads(work, imports)
    assert tree(layout) == before
    assert scan.stat().st_nlink == 1


def in_threads(work: Callable[[ImportId], None], imports: list[ImportId]) -> None:
    failures: list[BaseException] = []

    def run(import_id: ImportId) -> None:
        try:
            work(import_id)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=run, args=(import_id,)) for import_id in imports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# --- crashes -----------------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


class CrashAt:
    """Ends the process before the n-th call that changes the repository."""

    def __init__(self, patch: pytest.MonkeyPatch, n: int) -> None:
        self.left = n
        for name in ("mkdir", "link", "symlink", "unlink", "rmdir", "fchmod", "setxattr", "fsync"):
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        patch.setattr(import_directory, "rename_no_replace", self.wrap(rename_no_replace))

    def wrap(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **keywords: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise Crash
            return function(*arguments, **keywords)

        return call


def crash_at(n: int, act: Callable[[], object]) -> bool:
    """Do *act* until its n-th change; return whether it was cut off."""
    with pytest.MonkeyPatch.context() as patch:
        crash = CrashAt(patch, n)
        try:
            act()
        except Crash:
            return True
        return crash.left < 0


def test_undo_after_a_crash_anywhere(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    other = ImportId(1)  # holds the first name; its bytes have other names too, so a wrong undo could remove it
    stage_paths(layout, other, {b"scan.tif": scan})
    publish(layout, other, ALICE, GID, at)
    finish(layout, other)
    before = tree(layout)

    def make() -> None:
        stage_paths(layout, N, {b"a/b/scan.tif": scan, b"scan.tif": scan})
        publish(layout, N, ALICE, GID, lambda attempt: at(0) if attempt == 0 else b"2027-01/01/00-00-00.%03d" % attempt)

    steps = 0
    while crash_at(steps, make):
        undone = 0
        while crash_at(undone, lambda: undo(layout, N)):  # cut off at every step in turn, and begun again
            undone += 1
        undo(layout, N)
        assert tree(layout) == before, f"after step {steps}"
        steps += 1
    assert steps > 20
    undo(layout, N)
    assert tree(layout) == before


def test_finish_after_a_crash_anywhere(layout: Layout) -> None:
    stage_paths(layout, N, {b"scan.tif": drop(layout, "scan.tif")})
    name = publish(layout, N, ALICE, GID, at)
    steps = 0
    while crash_at(steps, lambda: finish(layout, N)):
        steps += 1
    assert staged(layout) == set()
    assert os.listdir(layout.managed / "alice_2" / os.fsdecode(name)) == ["scan.tif"]


def test_an_empty_user_directory_stays(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.tif"
    elsewhere.write_bytes(b"")
    before = tree(layout)
    stage_paths(layout, N, {b"scan.tif": elsewhere})
    publish(layout, N, ALICE, GID, at)
    undo(layout, N)
    assert tree(layout) == before


def test_undo_after_finish_touches_nothing(layout: Layout) -> None:
    stage_paths(layout, N, {b"scan.tif": drop(layout, "scan.tif")})
    publish(layout, N, ALICE, GID, at)
    finish(layout, N)
    before = tree(layout)
    undo(layout, N)
    assert tree(layout) == before


@pytest.mark.parametrize("published", [False, True])
def test_the_last_name_stays(layout: Layout, published: bool, capsys: pytest.CaptureFixture[str]) -> None:
    scan = drop(layout, "scan.tif", b"the only bytes")
    stage_paths(layout, N, {b"d/scan.tif": scan, b"d/again.tif": scan})
    if published:
        publish(layout, N, ALICE, GID, at)
    scan.unlink()
    undo(layout, N)
    undo(layout, N)
    kept = [path for path in map(Path, tree(layout)) if path.suffix == ".tif"]
    assert [path.read_bytes() for path in kept] == [b"the only bytes"]
    assert "the only name" in capsys.readouterr().out


def test_a_file_without_a_name_cannot_be_staged(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    with scan.open("rb") as file:
        scan.unlink()
        with pytest.raises(FileNotFoundError):
            stage(layout, N, [StagedFile(file.fileno(), b"scan.tif")])
    before = len(os.listdir("/proc/self/fd"))
    undo(layout, N)
    assert len(os.listdir("/proc/self/fd")) == before
    assert staged(layout) == set()


def test_descriptors_are_given_back(layout: Layout) -> None:
    scan = drop(layout, "scan.tif")
    before = len(os.listdir("/proc/self/fd"))
    stage_paths(layout, N, {b"a/b/c": scan})
    list(linked(layout, N))
    publish(layout, N, ALICE, GID, at)
    next(linked(layout, N))
    undo(layout, N)
    list(trees.bottom_up(layout.managed, dir_fd=-1))
    assert len(os.listdir("/proc/self/fd")) == before
