"""The pool of reader processes: answers, and what a hang, a crash, a bomb or a flood of metadata costs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import trio

from repofs.errors import ReaderFailed
from repofs.importer import readers
from repofs.importer.lending import InDirectory, LentFiles, OneFile
from repofs.importer.readers import Readers
from tests.helpers.formats import recognised
from tests.helpers.processes import alive
from tests.helpers.reader_pool import all_busy, deed, made, pids, pool, read, still_works, tiff
from tests.helpers.waiting import until

pytestmark = pytest.mark.trio


def status_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


async def test_answers_are_the_registry_s(tmp_path: Path) -> None:
    raw = tiff(5)
    fd = made(tmp_path / "scan.tif", raw)
    os.lseek(fd, 7, os.SEEK_SET)
    async with pool() as some:
        assert await read(some, fd, b"scan.tif") == recognised(raw, "scan.tif")
        assert os.lseek(fd, 0, os.SEEK_CUR) == 7
        empty = made(tmp_path / "empty", b"")
        assert (await read(some, empty, b"empty")).note == "the file is empty: kept as an original without an image"
        directory = os.open(tmp_path, os.O_RDONLY)
        beside = InDirectory(b"a.zarr", directory)
        assert "no reader knows this kind of directory" in str((await some.read(b"a.zarr/", beside)).note)
    for one in (fd, empty, directory):
        os.close(one)


async def test_names_are_bytes_in_the_tree(tmp_path: Path) -> None:
    fd = made(tmp_path / "scan", tiff())
    async with pool() as some:
        found = await read(some, fd, b"caf\xe9.tif")
    os.close(fd)
    assert found.images[0].name == "caf\N{REPLACEMENT CHARACTER}.tif"


async def test_many_files_over_few_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "FILES_PER_WORKER", 10)
    found: dict[int, int] = {}

    async def one(some: Readers, z: int) -> None:
        fd = made(tmp_path / f"{z}.tif", tiff(z))
        found[z] = (await read(some, fd, f"{z}.tif".encode())).images[0].size_z
        os.close(fd)

    async with pool(workers=2) as some, trio.open_nursery() as nursery:
        for z in range(1, 41):
            nursery.start_soon(one, some, z)
    assert found == {z: z for z in range(1, 41)}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("crash", "the reader process was ended by SIGSEGV"),
        ("leave", "the reader process ended with exit code 3"),
        ("bomb", "the WICKED reader ran out of memory: kept as an original without an image"),
        ("fill", "the WICKED reader ran out of memory: kept as an original without an image"),
        ("flood", "the reader found more than 4194304 bytes of metadata: kept as an original without an image"),
        ("surrogate", "the reader found text that is none: kept as an original without an image"),
        ("stumble", "the WICKED reader broke on it (ValueError: it has no legs): kept as an original without an image"),
        ("boast", "the answer of the reader is too large (4294967295 bytes, 4194304 are allowed)"),
    ],
)
async def test_a_wicked_file_costs_one_sentence(wicked: None, tmp_path: Path, name: str, sentence: str) -> None:
    async with pool() as some:
        with pytest.raises(ReaderFailed) as failed:
            await deed(some, tmp_path, name)
        assert failed.value.message == sentence
        await still_works(some, tmp_path)


async def test_small_files_that_are_asked_for_together_each_get_their_own(wicked: None, tmp_path: Path) -> None:
    ends: dict[str, str] = {}

    async def one(some: Readers, name: str, content: bytes) -> None:
        fd = made(tmp_path / name, content)
        lent = OneFile(name.encode(), fd, at_hand=True)
        assert lent.is_small
        try:
            ends[name] = str((await some.read(name.encode(), lent, b"alice_2")).images[0].size_z)
        except ReaderFailed as error:
            ends[name] = error.message
        finally:
            os.close(fd)

    async with pool(timeout_seconds=1.0) as some:
        await still_works(some, tmp_path)  # the process is up: what follows is the hang alone
        async with trio.open_nursery() as nursery:
            for z in range(1, 30):
                nursery.start_soon(one, some, f"{z}.tif", tiff(z))
                if z % 5 == 0:
                    deed = ("crash", "hang", "stumble", "lie", "flood")[z // 5 - 1]
                    nursery.start_soon(one, some, f"{deed}.wicked", f"WICKED {deed}".encode())
    assert {name: end for name, end in ends.items() if name.endswith(".tif")} == {
        f"{z}.tif": str(z) for z in range(1, 30)
    }
    assert ends["crash.wicked"] == "the reader process was ended by SIGSEGV"
    assert ends["hang.wicked"] == "the reader did not finish within 1 s"
    assert "it has no legs" in ends["stumble.wicked"]
    assert "makes no sense" in ends["lie.wicked"]
    assert "more than 4194304 bytes" in ends["flood.wicked"]


async def test_who_asks_with_others_and_is_cancelled_leaves_them_their_answers(wicked: None, tmp_path: Path) -> None:
    sizes: list[int] = []
    fd, other = made(tmp_path / "hang.wicked", b"WICKED hang"), made(tmp_path / "7.tif", tiff(7))
    async with pool() as some, trio.open_nursery() as nursery:
        with trio.move_on_after(0.5):
            hangs = OneFile(b"hang.wicked", fd, at_hand=True)
            nursery.start_soon(asks_for, some, other, sizes)
            await some.read(b"hang.wicked", hangs, b"alice_2")
    assert sizes == [7]
    os.close(fd)
    os.close(other)


async def asks_for(some: Readers, fd: int, sizes: list[int]) -> None:
    found = await some.read(b"7.tif", OneFile(b"7.tif", fd, at_hand=True), b"alice_2")
    sizes.append(found.images[0].size_z)


async def test_an_answer_that_makes_no_sense(wicked: None, tmp_path: Path) -> None:
    async with pool() as some:
        with pytest.raises(ReaderFailed, match="the answer of the reader makes no sense"):
            await deed(some, tmp_path, "lie")
        await still_works(some, tmp_path)


async def test_a_hang_ends_at_the_timeout(wicked: None, tmp_path: Path) -> None:
    async with pool(timeout_seconds=0.5) as some:
        await still_works(some, tmp_path)  # the process is up: what follows is the hang alone
        before = time.monotonic()
        with pytest.raises(ReaderFailed, match=r"did not finish within 0\.5 s"):
            await deed(some, tmp_path, "hang")
        assert time.monotonic() - before < 5


async def test_processor_time_is_bounded_without_us(wicked: None, tmp_path: Path) -> None:
    async with pool(timeout_seconds=0.9) as some:
        some._timeout_seconds = 60.0  # the limit of processor time stays at 1 s
        with pytest.raises(ReaderFailed, match="used more than 1 s of processor time"):
            await deed(some, tmp_path, "spin")
        await still_works(some, tmp_path)


async def test_a_process_that_died_while_idle_is_no_fault_of_the_next_file(tmp_path: Path) -> None:
    async with pool() as some:
        await still_works(some, tmp_path)
        [pid] = pids(some)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not pids(some), "its end")
        await still_works(some, tmp_path)


async def test_a_cancelled_call_leaves_no_half_answer(wicked: None, tmp_path: Path) -> None:
    async with pool() as some:
        with trio.move_on_after(0.2) as scope:
            await deed(some, tmp_path, "hang")
        assert scope.cancelled_caught
        await still_works(some, tmp_path)


async def test_closing_ends_every_process(wicked: None, tmp_path: Path) -> None:
    async with pool(workers=3) as some:
        await all_busy(some, tmp_path, 3)
        assert some.parent is not None and len(pids(some)) == 3
        ended = [some.parent.process.pid, *pids(some)]
        open_before = len(os.listdir("/proc/self/fd"))
    until(lambda: not any(map(alive, ended)), "the end of all processes")
    assert len(os.listdir("/proc/self/fd")) == open_before - 7  # two a process, one of their parent


async def test_what_a_reader_process_has(wicked: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "token")
    async with pool() as some:
        told = (await deed(some, tmp_path, "confess")).original_metadata
        [pid] = pids(some)
        lines = status_of(pid)
        directory = os.readlink(f"/proc/{pid}/cwd") if os.geteuid() == 0 else "/"
    status = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
    assert (status["NoNewPrivs"], status["Seccomp"]) == (["1"], ["2"])
    assert {int(status[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert len(told["descriptors"].split()) == 6  # the three standard ones, the socket, the file as given and as lent
    assert "SECRET" not in told["environment"]
    assert directory == "/"
    if os.geteuid() == 0:
        assert (status["Uid"], status["Gid"], status["Groups"]) == (["65534"] * 4, ["65534"] * 4, [])


async def test_what_a_reader_writes_is_in_no_log(
    wicked: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with pool() as some:
        assert (await deed(some, tmp_path, "confess")).original_metadata["log"] == "27"
    assert capfd.readouterr().err == ""


async def test_a_file_that_takes_its_reader_over_gains_nothing(wicked: None, tmp_path: Path) -> None:
    """All that code in a reader process could try is refused, and a second one goes on beside it."""
    async with pool(workers=2) as some:
        await all_busy(some, tmp_path, 2)
        both = pids(some)
        outcomes = (await deed(some, tmp_path, "attack", *both)).original_metadata
        assert [f"{name}, {how}" for name, how in outcomes.items() if not how.startswith("refused")] == []
        assert len(outcomes) > 35
        assert pids(some) == both
        await still_works(some, tmp_path)


async def test_termination_is_for_the_importer_to_decide(tmp_path: Path) -> None:
    """systemd and a terminal send SIGTERM and SIGINT to every process: files in hand are finished all the same."""
    async with pool() as some:
        await still_works(some, tmp_path)
        assert some.parent is not None
        [pid] = pids(some)
        for one in (some.parent.process.pid, pid):
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(one, number)
        await still_works(some, tmp_path)
        assert pids(some) == [pid]


async def test_the_parent_of_all_is_started_again(tmp_path: Path) -> None:
    async with pool() as some:
        await still_works(some, tmp_path)
        assert some.parent is not None
        ended = [some.parent.process.pid, *pids(some)]
        some.parent.process.kill()
        until(lambda: not any(map(alive, ended)), "the end of all processes")
        await still_works(some, tmp_path)
        assert not set(ended).intersection(pids(some))


async def test_a_new_process_is_there_at_once(wicked: None, tmp_path: Path) -> None:
    """What a file costs that ends its reader is not the time to load all readers again."""
    async with pool() as some:
        await still_works(some, tmp_path)
        before = time.monotonic()
        for _ in range(5):
            with pytest.raises(ReaderFailed):
                await deed(some, tmp_path, "crash")
        assert time.monotonic() - before < 2.0


async def test_a_reader_sees_the_files_of_its_fileset_and_no_other(wicked: None, tmp_path: Path) -> None:
    for name in ("mine", "also mine", "another's"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "link").symlink_to("/etc/passwd")
    asked = ["mine", "another's", "link", "../mine", "/etc/passwd", "gone", "."]
    (tmp_path / "main.wicked").write_text("WICKED wander " + " ".join(asked))
    directory = os.open(tmp_path, os.O_RDONLY)
    async with pool() as some:
        members = (b"main.wicked", b"mine", b"also mine", b"link", b"gone", b".", b"../mine", b"/etc/passwd")
        found = await some.read(b"main.wicked", LentFiles(directory, members))
        await still_works(some, tmp_path)
    os.close(directory)
    told = {name: words.partition(":")[0] for name, words in found.original_metadata.items()}
    assert told == {name: "done" if name == "mine" else "refused" for name in asked}


@pytest.mark.parametrize(
    "names", ["../a a.wicked", "/etc/passwd a.wicked", "a//b a.wicked", "a.wicked a.wicked", "./b"]
)
async def test_names_that_lead_out_are_no_fileset(wicked: None, tmp_path: Path, names: str) -> None:
    fd = made(tmp_path / "a.wicked", f"WICKED together {names}".encode())
    async with pool() as some:
        with pytest.raises(ReaderFailed, match="the answer of the reader makes no sense"):
            await some.look(b"a.wicked", OneFile(b"a.wicked", fd))
        await still_works(some, tmp_path)
    os.close(fd)
