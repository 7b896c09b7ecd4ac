"""Levels, groups and people change while others work: what the kernel keeps is out of date at the very next call."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.accounts import accounts, gid_of
from tests.helpers.administered import Administered, administered
from tests.helpers.companion import Companion, answer, companion
from tests.helpers.drops import drop, set_on
from tests.helpers.mounting import fact
from tests.helpers.people import ROOT, Person
from tests.helpers.waiting import until

LAB, ELSEWHERE = 61000, 61010
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, LAB)  # a member by command; his session has the group's gid, which gives him nothing
BOSS = Person("boss", 61003, 61003)
CONTENT = b"what the microscope saw\n" * 100_000  # more than is read ahead


def populate(drive: Administered) -> None:
    drive.add_group("lab", LAB, "read-only")
    drive.add_group("elsewhere", ELSEWHERE, "private")
    drive.add_user(ALICE, "lab")
    for person in (BOB, BOSS):
        drive.add_user(person, "elsewhere")
        drive.add_member("lab", person)


@pytest.fixture
def drive() -> Iterator[Administered]:
    with administered(populate) as drive:
        yield drive


@pytest.fixture
def original(drive: Administered) -> Path:
    """An original of Alice's, of the group lab; a drop called "drop" stands beside it."""
    folder = drive.home(ALICE) / "folder"
    ALICE.do(os.mkdir, folder)
    path = drop(ALICE, folder / "scan.bin", CONTENT)
    drive.wait_imported(path)
    set_on(ALICE, folder, "policy", {"settle_seconds": 86400})
    drop(ALICE, folder / "drop")
    return path


def read(path: Path | str) -> bytes:
    with open(path, "rb") as file:
        return file.read(10)


def read_relative(directory: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(fd, 10)
    finally:
        os.close(fd)


def last_bytes(fd: int) -> bytes:
    return os.pread(fd, 24, len(CONTENT) - 24)


_mapped: dict[int, mmap.mmap] = {}  # in a companion


def map_file(fd: int) -> None:
    _mapped[fd] = mmap.mmap(fd, 0, prot=mmap.PROT_READ)


def last_mapped_bytes(fd: int) -> bytes:
    return _mapped[fd][-24:]


def create(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


# --- levels ---------------------------------------------------------------------------------------


def test_open_files_go_on_and_nothing_new_opens(drive: Administered, original: Path) -> None:
    """A group becomes private: what Bob has open he may read to its end, by whatever way he opens no more."""
    kept = drive.original_of(original)
    with companion(BOB) as bob:
        fd, other = (bob.do(os.open, path, os.O_RDONLY) for path in (original, kept))
        directory = bob.do(os.open, original.parent, os.O_RDONLY | os.O_DIRECTORY)
        path_only = bob.do(os.open, original.parent, os.O_PATH)
        bob.do(map_file, fd)
        bob.do(os.chdir, original.parent)
        bob.do(os.listdir, original.parent)
        for path in (original, kept, original.with_name("drop")):
            bob.do(read, path)
            bob.do(os.stat, path)

        drive.set_permissions("lab", "private")

        assert bob.do(last_bytes, fd) == bob.do(last_bytes, other) == CONTENT[-24:]
        assert bob.do(last_mapped_bytes, fd) == CONTENT[-24:]
        assert refusals_of_new(bob, original, kept, (fd, directory, path_only)) == []


def refusals_of_new(bob: Companion, original: Path, kept: Path, descriptors: tuple[int, int, int]) -> list[str]:
    """Try all ways to what is private now; return those that are not refused with EACCES."""
    fd, directory, path_only = descriptors
    tried = {
        "open": bob.answer(read, original),
        "open the drop": bob.answer(read, original.with_name("drop")),
        "open in the import directory": bob.answer(read, kept),
        "read the log": bob.answer(read, f"{kept.parent}.log"),
        "stat": bob.answer(os.stat, original),
        "list": bob.answer(os.listdir, original.parent),
        "list the user directory": bob.answer(os.listdir, original.parents[1]),
        "open by a kept directory": bob.answer(read_relative, directory, original.name),
        "open by a kept path": bob.answer(read_relative, path_only, original.name),
        "stat by a kept directory": bob.answer(os.stat, original.name, dir_fd=directory),
        "open beside where he stands": bob.answer(read, original.name),
        "stat beside where he stands": bob.answer(os.stat, "drop"),
        "list where he stands": bob.answer(os.listdir, "."),
        "climb from where he stands": bob.answer(os.listdir, ".."),
        "open what is open again": bob.answer(read, f"/proc/self/fd/{fd}"),
        "an attribute": bob.answer(os.getxattr, original, "user.repofs.checksum"),
        "an attribute of what is open": bob.answer(os.getxattr, fd, "user.repofs.checksum"),
    }
    return [f"{way}: {got}" for way, got in tried.items() if got != "EACCES"]


# what a member may do at each level: see, annotate, move; and of all of them: create
MEMBERS = {
    "private": ("EACCES", "EACCES", "EACCES", "EACCES"),
    "read-only": ("ok", "EACCES", "EACCES", "EACCES"),
    "read-annotate": ("ok", "ok", "EACCES", "EACCES"),
    "read-write": ("ok", "ok", "ok", "EACCES"),
}


def test_each_level_counts_from_the_next_call_on(drive: Administered, original: Path) -> None:
    with companion(BOB) as bob:
        for level in ("private", "read-annotate", "read-only", "read-write", "private", "read-write", "read-only"):
            drive.set_permissions("lab", level)
            got = (
                bob.answer(read, original),
                bob.answer(os.setxattr, original, "user.note", b"seen"),
                bob.answer(os.rename, original.with_name("drop"), original.with_name("moved")),
                bob.answer(create, original.with_name("new")),
            )
            assert got == MEMBERS[level], level
            if got[2] == "ok":
                bob.do(os.rename, original.with_name("moved"), original.with_name("drop"))


def hammer(path: Path, stop: int) -> int:
    """Look at and open *path* until the pipe *stop* is closed; return how often it was opened."""
    os.set_blocking(stop, False)
    opened = 0
    while True:
        opened += answer(read, path) == "ok"
        answer(os.stat, path)
        answer(os.listdir, path.parent)
        try:
            if os.read(stop, 1) == b"":
                return opened
        except BlockingIOError:
            continue


def test_a_look_up_under_way_brings_nothing_back(drive: Administered, original: Path) -> None:
    """Bob's processes look all the time: an answer from before the change must not be kept after it."""
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    children = [os.fork() for _ in range(2)]
    if 0 in children:
        os.close(writer)
        BOB.become()
        os._exit(0 if hammer(original, reader) else 1)
    try:
        for _ in range(4):
            drive.set_permissions("lab", "private")
            got = {BOB.do(answer, read, original) for _ in range(20)}
            assert got == {"EACCES"}
            drive.set_permissions("lab", "read-only")
            assert BOB.do(answer, read, original) == "ok"
    finally:
        os.close(writer)
        os.close(reader)
        ended = [os.waitpid(child, 0)[1] for child in children]
    assert ended == [0, 0]  # each has opened it at times


MANY = 20_000


def look_at_all(directory: Path, ready: int) -> list[str]:
    """Look at one name after the other, none twice, until that is refused; return what can be reopened then."""
    looked_at: list[int] = []
    for number in range(MANY):
        try:
            looked_at.append(os.open(directory / str(number), os.O_PATH))
        except PermissionError:
            return [name for name in (f"/proc/self/fd/{fd}" for fd in looked_at) if answer(read, name) != "EACCES"]
        if number == 0:
            os.write(ready, b"x")
        if len(looked_at) > 200:
            os.close(looked_at.pop(0))
    return ["all were looked at before the change came"]


def test_what_is_first_looked_at_during_the_change_opens_no_more(drive: Administered) -> None:
    """The kernel hears nothing of the change for an inode that it gets to know only then; Bob's session has the gid."""
    folder = drive.home(ALICE) / "folder"
    ALICE.do(os.mkdir, folder)
    set_on(ALICE, folder, "policy", {"settle_seconds": 86400})
    drive.stop()  # what is made now, the kernel has never seen
    make_files(drive.backing(folder))
    drive.layout.drop_counts.unlink()  # which knows nothing of them
    drive.start()
    reader, writer = os.pipe()
    with companion(BOB) as bob:
        bob.send(look_at_all, folder, writer)
        assert os.read(reader, 1) == b"x"
        drive.set_permissions("lab", "private")
        assert bob.receive() == []
    os.close(reader)
    os.close(writer)


def make_files(directory: Path) -> None:
    for number in range(MANY):
        path = directory / str(number)
        path.write_bytes(b"x")
        os.chown(path, ALICE.uid, LAB)


# --- members --------------------------------------------------------------------------------------


def test_a_member_who_is_taken_out_and_put_back(drive: Administered, original: Path) -> None:
    with companion(BOB) as bob:
        fd = bob.do(os.open, original, os.O_RDONLY)
        assert bob.answer(read, original) == "ok"
        drive.remove_member("lab", BOB)
        assert bob.answer(read, original) == bob.answer(os.listdir, drive.home(ALICE)) == "EACCES"
        assert drive.home(ALICE).name not in bob.do(os.listdir, drive.mountpoint)
        assert bob.do(last_bytes, fd) == CONTENT[-24:]
        assert bob.answer(create, drive.home(BOB) / "mine") == "ok"  # his own is of another group
        drive.add_member("lab", BOB)
        assert bob.answer(read, original) == "ok"
        assert drive.home(ALICE).name in bob.do(os.listdir, drive.mountpoint)


def test_an_owner_of_a_group_who_is_made_and_unmade(drive: Administered, original: Path) -> None:
    drive.set_permissions("lab", "private")
    with companion(BOSS) as boss:
        assert boss.answer(read, original) == boss.answer(create, original.with_name("early")) == "EACCES"
        drive.add_member("lab", BOSS, owner=True)
        assert boss.answer(read, original) == boss.answer(create, original.with_name("as-owner")) == "ok"
        drive.add_member("lab", BOSS)
        assert boss.answer(read, original) == boss.answer(create, original.with_name("late")) == "EACCES"
    assert sorted(os.listdir(original.parent)) == ["as-owner", "drop", original.name]


def test_who_writes_for_another_finishes_what_she_has_open(drive: Administered) -> None:
    folder = drive.home(ALICE) / "folder"
    ALICE.do(os.mkdir, folder)
    drive.add_member("lab", BOSS, owner=True)
    with companion(BOSS) as boss:
        fd = boss.do(os.open, folder / "scan.bin", os.O_WRONLY | os.O_CREAT, 0o666)
        boss.do(os.write, fd, b"first ")
        drive.add_member("lab", BOSS)
        boss.do(os.write, fd, b"second")
        boss.do(os.close, fd)
        assert boss.answer(os.open, folder / "scan.bin", os.O_WRONLY) == "EACCES"
    drive.wait_imported(folder / "scan.bin")
    assert ALICE.do((folder / "scan.bin").read_bytes) == b"first second"


# --- people ---------------------------------------------------------------------------------------


def test_an_experimenter_who_is_removed_and_added_again(drive: Administered, original: Path) -> None:
    mine = drop(BOB, drive.home(BOB) / "mine.bin")
    drive.wait_imported(mine)
    with companion(BOB) as bob:
        fd = bob.do(os.open, original, os.O_RDONLY)
        drive.command("user", "remove", BOB.name)
        assert bob.answer(read, original) == bob.answer(read, mine) == "EACCES"
        assert bob.answer(create, drive.home(BOB) / "late") == "EACCES"
        assert bob.answer(os.listdir, drive.home(BOB)) == "EACCES"
        assert bob.do(last_bytes, fd) == CONTENT[-24:]
        assert ROOT.do(mine.read_bytes)  # all data stay
        drive.add_user(BOB, "elsewhere")
        assert bob.answer(read, mine) == bob.answer(create, drive.home(BOB) / "back") == "ok"
        assert bob.answer(read, original) == "ok"


def test_a_new_experimenter_begins_at_once(drive: Administered, original: Path) -> None:
    dave = Person("dave", 61004, 61004)
    with companion(dave) as his:
        assert his.answer(read, original) == "EACCES"
        assert his.answer(os.stat, drive.mountpoint / "dave_99") == "ENOENT"
        drive.add_user(dave, "lab")
        assert drive.home(dave).name in his.do(os.listdir, drive.mountpoint)
        assert his.answer(create, drive.home(dave) / "first") == "ok"
        assert his.answer(read, original) == "ok"


def test_a_new_group_begins_at_once(drive: Administered, original: Path) -> None:
    drive.add_group("third", 61020, "read-write")
    dave = Person("dave", 61004, 61004)
    drive.add_user(dave, "third")
    drive.add_member("third", BOB)
    path = drop(dave, drive.home(dave) / "scan.bin")
    drive.wait_imported(path)
    assert BOB.do(answer, read, path) == "ok"
    assert BOSS.do(answer, read, path) == "EACCES"


# --- accounts -------------------------------------------------------------------------------------


def test_a_uid_that_was_given_to_another_account_is_a_stranger() -> None:
    """The catalogue knows the uid by the name of who had it before."""
    with accounts() as made:
        before = made.person("before")

        def add(drive: Administered) -> None:
            populate(drive)
            drive.add_user(before, "lab")

        with administered(add) as drive:
            path = drop(before, drive.home(before) / "scan.bin")
            drive.wait_imported(path)
            drive.stop()
            after = made.rename(before, "after")
            drive.allowed = [r"shut out until repofs user remove"]
            drive.start()
            for function, argument in ((read, path), (os.stat, path), (os.listdir, drive.home(before))):
                assert after.do(answer, function, argument) == "EACCES"
            assert after.do(answer, create, drive.home(before) / "new") == "EACCES"
            assert ALICE.do(answer, read, path) == "ok"  # the data stay in the group
            made.rename(after, "before")


def test_an_account_that_is_gone_keeps_its_data_shown_by_number() -> None:
    with accounts() as made:
        gone = made.person("gone")

        def add(drive: Administered) -> None:
            populate(drive)
            drive.add_user(gone, "lab")

        with administered(add) as drive:
            path = drop(gone, drive.home(gone) / "scan.bin")
            drive.wait_imported(path)
            assert fact(path, "owner") == gone.name
            drive.stop()
            made.remove(gone)
            drive.start()
            assert fact(path, "owner") == gone.name  # the catalogue's, which outlives the account
            assert ROOT.run("ls", "-l", path).stdout.split()[2] == str(gone.uid)
            assert ALICE.do(answer, read, path) == "ok"


def test_the_unix_group_makes_members_and_a_command_takes_them_out() -> None:
    """ "A member is an experimenter who is in the Unix group of that name"; remove-member counts above it."""
    with accounts() as made:
        lab = made.group("lab")
        inside, outside = made.person("in", lab), made.person("out")

        def add(drive: Administered) -> None:
            drive.add_group(lab, gid_of(lab), "read-only")
            drive.add_group("elsewhere", ELSEWHERE, "private")
            drive.add_user(ALICE, lab)
            for person in (inside, outside):
                drive.add_user(person, "elsewhere")

        with administered(add) as drive:
            path = drop(ALICE, drive.home(ALICE) / "scan.bin")
            drive.wait_imported(path)
            assert inside.do(answer, read, path) == "ok"
            assert outside.do(answer, read, path) == "EACCES"
            drive.remove_member(lab, inside)
            assert inside.do(answer, read, path) == "EACCES"
            drive.stop()
            made.into(outside, lab)
            drive.start()
            assert inside.do(answer, read, path) == "EACCES"
            until(lambda: outside.do(answer, read, path) == "ok", "a member by the Unix group")
