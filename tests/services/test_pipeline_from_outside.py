"""Imports of stand-ins: every transfer, what becomes of the source, and that nothing is removed on doubt."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs import config
from repofs.catalog import origins
from repofs.errors import StoreFull
from repofs.importer import bringing, removal
from repofs.importer.commits import Commits
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Duplicates, Origin, Original, Outcome, Policy, Refused
from repofs.repository import stand_ins
from repofs.repository.outside import Root
from repofs.repository.sources import Sources
from repofs.repository.transfers import transfers
from repofs.threads import in_thread
from tests.helpers import mounting
from tests.helpers.importing import Repository
from tests.helpers.standing_in import ME, identity, stand_in, take
from tests.helpers.waiting import until

ALL = ["upload", "upload_rm", "ln", "ln_rm", "ln_s", "cp", "cp_rm"]
IN_PLACE = ["ln", "ln_rm", "ln_s"]
REMOVES = ["upload_rm", "ln_rm", "cp_rm"]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "scope1"
    directory.mkdir()
    file = directory / "scan.tif"
    file.write_bytes(b"pixels")
    os.utime(file, ns=(1_600_000_000_000_000_001, 1_600_000_000_000_000_001))
    return file


def removals(repository: Repository) -> list[str | None]:
    with repository.engine.begin() as conn:
        return [row[0] for row in conn.exec_driver_sql("SELECT removal FROM origins ORDER BY original_id")]


def check_nothing_brought(repository: Repository, path: Path) -> None:
    """The stand-in at *path* stands for its source, and none of its bytes is in the repository."""
    assert path.stat().st_size == 6 and path.read_bytes() == bytes(6)
    assert os.listdir(repository.layout.linked) == []
    assert list(repository.import_directories()) == []
    assert repository.originals() == []
    repository.check_clean()


@pytest.mark.parametrize("transfer", ALL)
def test_every_transfer_imports_and_does_with_the_source_what_omero_says(
    repository: Repository, source: Path, transfer: str
) -> None:
    before = source.stat()
    path, drop, fd = stand_in(repository, source, transfer)
    outcome = take(repository, source, drop, fd)
    assert (outcome.state, outcome.kept) == (State.IMPORTED, None)
    mark = repository.check_whole(path, bytes(6) if transfer in IN_PLACE else b"pixels")
    assert mark.transfer == transfer
    assert path.stat().st_size == 6 and path.stat().st_mtime_ns == before.st_mtime_ns
    assert source.exists() is (transfer not in REMOVES)
    assert removals(repository) == (["done"] if transfer in REMOVES else [None])
    if transfer in ("ln", "ln_rm"):
        link = repository.layout.linked / str(path.stat().st_ino)
        assert link.read_bytes() == b"pixels" and link.stat().st_ino == before.st_ino
        assert (link.stat().st_uid, link.stat().st_mode) == (before.st_uid, before.st_mode)
    else:
        assert os.listdir(repository.layout.linked) == []


def test_reflink_says_where_it_cannot(repository: Repository, source: Path) -> None:
    path, drop, fd = stand_in(repository, source, "reflink")
    outcome = take(repository, source, drop, fd)
    if outcome.state is State.IMPORTED:  # XFS, Btrfs
        repository.check_whole(path)
        return
    assert outcome.state is State.FAILED
    assert "cannot reflink" in str(outcome.error) and "use cp" in str(outcome.error)
    check_nothing_brought(repository, path)


def test_what_failed_is_imported_from_its_source_when_it_is_retried(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, drop, fd = stand_in(repository, source, "cp_rm")
    again = os.dup(fd)
    copy = bringing.checksum
    with monkeypatch.context() as broken:
        broken.setattr(bringing, "checksum", lambda fd, algorithm: f"SHA1-160:{fd}")
        outcome = take(repository, source, drop, fd)
    assert outcome.state is State.FAILED and "checksum mismatch" in str(outcome.error)
    assert isinstance(repository.mark(path), Refused)
    assert source.read_bytes() == b"pixels"
    check_nothing_brought(repository, path)
    assert bringing.checksum is copy
    assert (take(repository, source, drop, again)).state is State.IMPORTED
    repository.check_whole(path)
    assert not source.exists()


@pytest.mark.parametrize("transfer", ["ln_rm", "cp_rm"])
def test_a_source_that_was_written_after_it_was_imported_is_kept(
    repository: Repository, source: Path, transfer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, drop, fd = stand_in(repository, source, transfer)
    remove = removal.remove

    def written(sources: Sources, due: list[removal.Due]) -> list[removal.Ended]:
        source.write_bytes(b"other pixels")
        return remove(sources, due)

    monkeypatch.setattr(removal, "remove", written)
    outcome = take(repository, source, drop, fd)
    assert outcome.state is State.IMPORTED
    assert "not the file that was imported" in str(outcome.kept)
    assert source.read_bytes() == b"other pixels"
    assert str(removals(repository)[0]).startswith("kept: ")
    assert isinstance(repository.mark(path), Original)


@pytest.mark.parametrize("transfer", REMOVES)
def test_a_duplicate_removes_nothing(repository: Repository, source: Path, transfer: str) -> None:
    _, drop, fd = stand_in(repository, source, "cp", "first.tif")
    first = take(repository, source, drop, fd)
    path, drop, fd = stand_in(repository, source, transfer, duplicates=Duplicates.REFUSE)
    second = take(repository, source, drop, fd)
    assert (first.state, second.state) == (State.IMPORTED, State.DUPLICATE)
    assert f"Fileset:{first.fileset}" in str(second.error)
    assert source.read_bytes() == b"pixels"
    assert path.read_bytes() == bytes(6) and os.listdir(repository.layout.linked) == []


@pytest.mark.parametrize("transfer", ALL)
def test_a_source_that_is_being_written_is_waited_for(repository: Repository, source: Path, transfer: str) -> None:
    path, drop, fd = stand_in(repository, source, transfer)
    again = os.dup(fd)
    with source.open("ab") as writer:
        outcome = take(repository, source, drop, fd)
        assert (outcome.state, outcome.error and "open for writing" in outcome.error) == (State.SETTLING, True)
        check_nothing_brought(repository, path)
        writer.write(b" and more")
    outcome = take(repository, source, drop, again := os.dup(again))
    assert outcome.state is State.SETTLING and "was changed" in str(outcome.error)
    mark = repository.mark(path)
    assert isinstance(mark, Closed) and mark.size == 15 == path.stat().st_size
    outcome = take(repository, source, drop, os.open(path, os.O_RDONLY))
    assert outcome.state is State.IMPORTED
    [known] = repository.originals()
    assert known["size"] == 15


def test_another_file_under_the_name_of_the_source_is_not_imported(repository: Repository, source: Path) -> None:
    path, drop, fd = stand_in(repository, source, "ln_s")
    source.rename(source.with_name("older"))
    source.write_bytes(b"secret")
    outcome = take(repository, source, drop, fd)
    assert outcome.state is State.FAILED and "another file" in str(outcome.error)
    check_nothing_brought(repository, path)


def test_a_source_that_has_gone_fails_and_is_imported_when_it_is_back(repository: Repository, source: Path) -> None:
    path, drop, fd = stand_in(repository, source, "ln_s")
    again = os.dup(fd)
    source.rename(source.with_name("away"))
    outcome = take(repository, source, drop, fd)
    assert outcome.state is State.FAILED and "has gone" in str(outcome.error)
    source.with_name("away").rename(source)
    assert (take(repository, source, drop, again)).state is State.IMPORTED
    repository.check_whole(path, bytes(6))


def test_what_was_due_when_the_importer_died_is_removed_at_the_next_start(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, drop, fd = stand_in(repository, source, "cp_rm")

    def die(sources: Sources, due: list[removal.Due]) -> list[removal.Ended]:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(removal, "remove", die)
        with pytest.raises(BaseExceptionGroup):
            take(repository, source, drop, fd)
    assert source.exists() and removals(repository) == ["due"]
    trio.run(resumed, repository, source)
    assert not source.exists() and removals(repository) == ["done"]


def test_the_end_of_a_removal_that_finds_no_room_in_the_catalogue_is_written_later(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, drop, fd = stand_in(repository, source, "cp_rm")

    def full(*_: object) -> None:
        raise StoreFull("make room")

    with monkeypatch.context() as filled:
        filled.setattr(origins, "removed", full)
        outcome = take(repository, source, drop, fd)
    assert outcome.state is State.IMPORTED and outcome.again_seconds is None
    assert not source.exists() and removals(repository) == ["due"]
    monkeypatch.setattr(removal, "FULL_SECONDS", 0.0)
    left = [full, origins.removed]
    monkeypatch.setattr(origins, "removed", lambda *given: left.pop(0)(*given))
    trio.run(resumed, repository, source)
    assert left == [] and removals(repository) == ["done"]


async def resumed(repository: Repository, source: Path) -> None:
    """See to removals until none is due."""
    commits = Commits(repository.engine)
    sources = Sources((config.Source(name="scope1", path=source.parent),), repository.layout.root)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(commits.run)
        nursery.start_soon(removal.Removals(commits, sources).run)
        await in_thread(until, lambda: "due" not in removals(repository), "an end of removals")
        nursery.cancel_scope.cancel()


def test_a_directory_that_was_handed_over_serves_instead_of_a_source(repository: Repository, source: Path) -> None:
    origin = Origin("", os.fspath(source), identity(source), "upload")
    user = repository.path(repository.alice, b".")
    fd = os.open(user, os.O_RDONLY)
    stand_ins.make(fd, b"scan.tif", origin, uid=ME, gid=os.getgid(), actor_uid=ME, marks=repository.marks)
    os.close(fd)
    path = user / "scan.tif"
    policy = Policy(3.0, Duplicates.IMPORT)
    drop = Drop(path.stat().st_ino, repository.alice, b"scan.tif", False, None, policy, (), ME, "me", os.getgid())
    directory = os.open(source.parent, os.O_PATH | os.O_DIRECTORY)
    with Root.given(directory, source.parent, repository=repository.layout.root) as root:
        without = take(repository, source, drop, os.open(path, os.O_RDONLY))
        outcome = take(repository, source, drop, os.open(path, os.O_RDONLY), root)
    assert without.state is State.FAILED and "import it again" in str(without.error)
    assert outcome == Outcome(
        drop.token, State.IMPORTED, fileset=outcome.fileset, import_directory=outcome.import_directory
    )
    repository.check_whole(path)


@pytest.mark.parametrize("transfer", ["ln", "ln_rm", "reflink"])
def test_what_works_within_one_file_system_only_is_refused_before_anything_is_done(transfer: str, source: Path) -> None:
    if os.stat("/dev/shm").st_dev == source.stat().st_dev:
        pytest.skip("/dev/shm is no file system of its own here")
    here, there = os.open(source, os.O_RDONLY), os.open("/dev/shm", os.O_RDONLY)
    try:
        with pytest.raises(OSError, match="file system") as refused:
            transfers()[transfer].check(here, there)
        assert refused.value.errno == errno.EXDEV
    finally:
        os.close(here)
        os.close(there)


def test_what_the_kernel_makes_up_is_not_imported(repository: Repository, source: Path) -> None:
    """A file of /proc says that it has no bytes, and has some."""
    made_up = Path("/proc/version")
    origin = Origin("", "/proc/version", identity(made_up), "upload")
    user = repository.path(repository.alice, b".")
    fd = os.open(user, os.O_RDONLY)
    stand_ins.make(fd, b"version", origin, uid=ME, gid=os.getgid(), actor_uid=ME, marks=repository.marks)
    os.close(fd)
    policy = Policy(3.0, Duplicates.IMPORT)
    drop = Drop(1, repository.alice, b"version", False, None, policy, (), ME, "me", os.getgid())
    directory = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    with Root.given(directory, Path("/proc"), repository=repository.layout.root) as root:
        outcome = take(repository, source, drop, os.open(user / "version", os.O_RDONLY), root)
    assert outcome.state is State.FAILED and "as many bytes" in str(outcome.error)
    assert repository.originals() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can open files as somebody else")
def test_bytes_written_after_the_right_to_read_was_taken_away_are_not_imported(repository: Repository) -> None:
    with mounting.scratch() as reachable:  # for everybody, which pytest's own directories are not
        source = reachable / "scan.tif"
        source.write_bytes(b"pixels")
        check_withdrawn(repository, source)


def check_withdrawn(repository: Repository, source: Path) -> None:
    path, drop, fd = stand_in(repository, source, "ln_s")
    mark = repository.mark(path)
    assert isinstance(mark, Closed)
    repository.marks.write(os.fspath(path), replace(mark, actor_uid=5000))
    source.chmod(0o600)
    source.write_bytes(b"secret pixels")
    outcome = take(repository, source, drop, fd)
    assert outcome.state is State.FAILED and "may not read" in str(outcome.error)
