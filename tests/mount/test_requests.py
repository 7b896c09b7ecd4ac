"""What rights cost: the kernel answers from its cache, and asks the daemon for nothing that it knows.

Each request of the kernel is one read(2) of /dev/fuse, and /proc/PID/io counts these.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from repofs.fuse import native
from tests.helpers.administered import Administered, administered
from tests.helpers.companion import Companion, answer, companion
from tests.helpers.drops import drop
from tests.helpers.people import Person
from tests.helpers.processes import descendants

LAB = 61000
ALICE = Person("alice", 61001, LAB)
BOB = Person("bob", 61002, 61002)  # a member: what he may do stands in the ACL alone
STRANGER = Person("stranger", 61009, 61009)
CALLS = 10_000
BESIDE = 60  # reads of the daemon's own meanwhile: of its timers, of the importer

pytestmark = pytest.mark.usefixtures("kernel_keeps")


@pytest.fixture(scope="module")
def drive() -> Iterator[Administered]:
    def populate(drive: Administered) -> None:
        drive.add_group("lab", LAB, "read-annotate")
        for person in (ALICE, BOB):
            drive.add_user(person, "lab")

    with administered(populate) as drive:
        yield drive


@pytest.fixture(scope="module")
def original(drive: Administered) -> Path:
    ALICE.do(os.mkdir, drive.home(ALICE) / "folder")
    path = drop(ALICE, drive.home(ALICE) / "folder" / "scan.bin")
    drive.wait_imported(path)
    return path


def requests(drive: Administered) -> int:
    """Return how often the daemon, whichever of its processes it is, has read from /dev/fuse, and from little else."""
    pids = [drive.process.pid, *descendants(drive.process.pid)]
    return sum(int(re.findall(r"syscr: (\d+)", Path(f"/proc/{pid}/io").read_text())[0]) for pid in pids)


def repeat(function: Callable[..., object], *arguments: object) -> float:
    """Call *function* CALLS times and return how long one call took, in seconds."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        function(*arguments)
    return (time.perf_counter() - begin) / CALLS


def open_and_close(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


def counted(drive: Administered, person: Companion, function: Callable[..., object], *arguments: object) -> int:
    """Return how many requests CALLS calls of *function* cost, once the kernel has what it keeps."""
    for _ in range(2):
        person.do(function, *arguments)
    before = requests(drive)
    person.do(repeat, function, *arguments)
    return requests(drive) - before


def test_every_request_is_counted(drive: Administered, original: Path) -> None:
    """Without this the tests below could not fail: attributes that are facts are asked for each time."""
    with companion(BOB) as bob:
        assert CALLS <= counted(drive, bob, os.getxattr, original, "user.repofs.checksum") <= CALLS + BESIDE


@pytest.mark.parametrize("person", [ALICE, BOB], ids=lambda person: person.name)
@pytest.mark.parametrize("kept", [False, True], ids=["dropped name", "import directory"])
def test_stat_of_a_cached_path_asks_for_nothing(
    drive: Administered, original: Path, person: Person, kept: bool, report: Callable[[str], None]
) -> None:
    path = drive.original_of(original) if kept else original
    with companion(person) as she:
        asked = counted(drive, she, os.stat, path)
    report(f"{CALLS} stats of a cached path by {person.name}: {asked} requests")
    assert asked <= BESIDE


@pytest.mark.parametrize("person", [ALICE, BOB], ids=lambda person: person.name)
def test_open_of_a_cached_path_asks_for_the_open_alone(
    drive: Administered, original: Path, person: Person, report: Callable[[str], None]
) -> None:
    """FUSE has the daemon open the file and let it go: OPEN, RELEASE; without the native module FLUSH too.

    No LOOKUP, no GETATTR, and no GETXATTR of an ACL is among them: the check of rights costs no request.
    """
    with companion(person) as she:
        asked = counted(drive, she, open_and_close, original)
        refused = counted(drive, she, os.access, original, os.R_OK)
    report(f"{CALLS} opens and closes of a cached path by {person.name}: {asked} requests (OPEN, RELEASE)")
    report(f"{CALLS} checks of r on a cached path by {person.name}: {refused} requests")
    assert asked <= (3 if native is None else 2) * CALLS + BESIDE
    assert refused <= BESIDE


def test_only_the_first_of_two_people_asks(drive: Administered, original: Path) -> None:
    """What the kernel has from Alice serves Bob too: rights are entries of one ACL."""
    with companion(ALICE) as alice, companion(BOB) as bob:
        alice.do(os.stat, original)
        alice.do(os.access, original, os.R_OK)
        before = requests(drive)
        for _ in range(100):
            bob.do(os.stat, original)
            bob.do(os.access, original, os.R_OK)
        assert requests(drive) - before <= BESIDE


def test_a_refusal_asks_once_more_and_no_oftener(drive: Administered, original: Path) -> None:
    """Before it refuses, the kernel asks for the attributes once, if what it has is not from just now."""
    with companion(STRANGER) as stranger:
        before = requests(drive)
        assert {stranger.answer(os.stat, original) for _ in range(1000)} == {"EACCES"}
        assert requests(drive) - before <= 2 * 1000 + BESIDE
        assert stranger.do(answer, os.listdir, drive.mountpoint) == "ok"


def test_stat_is_as_fast_as_on_a_bare_directory(
    drive: Administered, original: Path, report: Callable[[str], None]
) -> None:
    """Five rounds in turn; the best of each counts, since others use the machine."""
    bare = drive.outside / "a" / "b"
    bare.mkdir(parents=True)
    bare = bare / "scan.bin"
    bare.write_bytes(original.read_bytes())
    with companion(BOB) as bob:
        times = {path: min(bob.do(repeat, os.stat, path) for _ in range(5)) for path in (bare, original)}
    ratio = times[original] / times[bare]
    report(
        f"stat of a cached path: {times[original] * 1e6:.2f} µs, of a bare directory {times[bare] * 1e6:.2f} µs, "
        f"{ratio:.2f} times"
    )
    assert ratio < 3
