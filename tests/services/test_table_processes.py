"""Looks into arrays: whose rights they have, what is left to them, and what a hang, a crash or a cancellation costs."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas
import pyarrow.ipc
import pytest
import trio

from repofs import config, privileges
from repofs.confinement import landlock
from repofs.errors import AccessDenied, InvalidValue, RepofsError, Unreachable
from repofs.registration import children, processes
from repofs.registration.processes import At, TableProcesses
from repofs.repository.as_user import Caller
from repofs.table import WHOLE, Examined, Form, Secret, Selection
from tests.helpers.arrays import ROWS, files_of, give, make
from tests.helpers.processes import alive, descendants

pytestmark = pytest.mark.trio
ROOT = Path(__file__).parents[2]
ALICE, BOB = 54321, 54322
TOKEN = "token-of-an-array-that-nobody-tells"
OURSELVES = Caller(os.getuid(), os.getgid(), tuple(os.getgroups()))

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can read as somebody else")


@pytest.fixture
def wicked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children do what a file `deed` in the array says."""
    monkeypatch.setattr(children, "PROGRAM", ("-P", "-m", "tests.helpers.wicked_tables"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "made.tiledb"
    make(path, TOKEN)
    return path


@pytest.fixture
def array(made: Path, tmp_path: Path) -> Path:
    """An array of the test's own."""
    return Path(shutil.copytree(made, tmp_path / "good.tiledb"))


def of(**settings: object) -> TableProcesses:
    return TableProcesses(config.Tables.model_validate(settings))


@contextmanager
def opened(array: Path, who: Caller | None = OURSELVES) -> Iterator[At]:
    directory = os.open(array, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield At(directory, None, b"", who)
    finally:
        os.close(directory)


async def examined(some: TableProcesses, array: Path, who: Caller | None = OURSELVES) -> Examined:
    with opened(array, who) as at:
        return await some.examine(at)


def a_deed(path: Path, deed: str) -> Path:
    path.mkdir()
    (path / "deed").write_text(deed)
    return path


async def test_an_array_is_examined(array: Path) -> None:
    some = of()
    async with some.running():
        found = await examined(some, array)
        again = await examined(some, array)
    assert found.token is not None and found.token.reveal() == TOKEN.encode()
    assert (found.rows, [column.name for column in found.columns]) == (ROWS, ["image", "area", "name"])
    assert found.manifest == again.manifest


async def test_a_token_is_rotated(array: Path) -> None:
    some = of()
    async with some.running():
        with opened(array) as at:
            await some.rotate(at, Secret(b"another-token"))
        found = await examined(some, array)
    assert found.token is not None and found.token.reveal() == b"another-token"
    assert not [path for path in files_of(array) if TOKEN.encode() in path.read_bytes()]


async def test_nothing_runs_before_the_first_need_and_nothing_is_left(array: Path) -> None:
    before, descriptors = descendants(os.getpid()), len(os.listdir("/proc/self/fd"))
    some = of()
    async with some.running():
        assert descendants(os.getpid()) == before
        await examined(some, array)
        await trio.sleep(0.05)
        started = set(descendants(os.getpid())) - set(before)
        assert len(started) == 1  # the parent: its child has ended
    assert not [pid for pid in started if alive(pid)]
    assert len(os.listdir("/proc/self/fd")) == descriptors


@root_only
async def test_an_array_is_read_with_the_rights_of_who_asks(array: Path) -> None:
    give(array, ALICE)
    some = of()
    async with some.running():
        assert (await examined(some, array, Caller(ALICE, ALICE, ()))).rows == ROWS
        for other in (Caller(BOB, BOB, ()), None):
            with pytest.raises(AccessDenied):
                await examined(some, array, other)
        with pytest.raises(RepofsError), opened(array, Caller(BOB, BOB, ())) as at:
            await some.rotate(at, Secret(b"hers"))
        give(array, ALICE, 60001, mode=0o750)
        assert (await examined(some, array, Caller(BOB, BOB, (60001,)))).rows == ROWS
        with pytest.raises(AccessDenied):
            await examined(some, array, Caller(0, 0, ()))  # root without a capability is one among others


@root_only
async def test_a_closed_file_among_open_ones_is_no_array(array: Path) -> None:
    give(array, ALICE, mode=0o755)
    next(path for path in files_of(array) if path.parent.name == "__schema").chmod(0o600)
    some = of()
    async with some.running():
        with pytest.raises(AccessDenied, match="cannot be read"):
            await examined(some, array, Caller(BOB, BOB, ()))


async def test_an_ordinary_user_s_daemon_reads_for_nobody_else(array: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root's daemon reads for everybody")
    some = of()
    async with some.running():
        with pytest.raises(AccessDenied, match="only root's reads arrays for uid"):
            await examined(some, array, Caller(os.getuid() + 1, 1, ()))


@pytest.mark.parametrize(
    ("deed", "sentence"),
    [
        ("crash", "the array cannot be read: its reader was ended by SIGSEGV"),
        ("leave", "the array cannot be read: its reader ended with exit code 3"),
        ("eat", "the array cannot be read within 512 MiB"),
        ("stumble", "the array cannot be read: ValueError"),
        ("nonsense", "the answer makes no sense"),
        ("boast", "the answer is too large (4294967295 bytes, 4194304 are allowed)"),
        ("other", "the array cannot be read: its reader answers something else"),
        ("flood", "the array cannot be read: there are 5242928 bytes to be said of it, 4194304 are allowed"),
    ],
)
async def test_a_wicked_array_costs_one_sentence(
    wicked: None, array: Path, tmp_path: Path, deed: str, sentence: str
) -> None:
    some = of(memory_bytes=512 << 20)
    async with some.running():
        with pytest.raises(InvalidValue) as refused:
            await examined(some, a_deed(tmp_path / "a", deed))
        assert refused.value.message == sentence
        assert (await examined(some, array)).rows == ROWS


async def test_a_long_answer_comes_whole(wicked: None, tmp_path: Path) -> None:
    some = of()
    async with some.running():
        assert len((await examined(some, a_deed(tmp_path / "a", "large"))).manifest) == 3 << 20


@pytest.mark.parametrize("deed", ["hang", "spin"])
async def test_who_takes_too_long_is_ended(wicked: None, tmp_path: Path, deed: str) -> None:
    some = of(timeout_seconds=1.0)
    async with some.running():
        before = time.monotonic()
        with pytest.raises(InvalidValue, match=r"not read within 1 s|too much processor time"):
            await examined(some, a_deed(tmp_path / "a", deed))
        assert time.monotonic() - before < 15
        await no_child(some)


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - of other processes: nothing of trio's tells
            await trio.sleep(0.01)


async def no_child(some: TableProcesses) -> None:
    """Wait until the parent has no child any more."""
    await until(lambda: not descendants(parent_of(some)), 5)


def parent_of(some: TableProcesses) -> int:
    assert some._parent is not None
    return some._parent.process.pid


async def a_child(some: TableProcesses) -> int:
    await until(lambda: some._parent is not None and descendants(parent_of(some)))
    return descendants(parent_of(some))[0]


def status_of(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: words.split() for name, _, words in (line.partition(":") for line in lines)}


async def test_who_is_not_waited_for_is_ended(wicked: None, tmp_path: Path) -> None:
    some, array = of(), a_deed(tmp_path / "a", "hang")
    async with some.running():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(examined, some, array)
            child = await a_child(some)
            nursery.cancel_scope.cancel()
        await no_child(some)
        assert not alive(child)


async def test_long_exports_do_not_hold_up_looks(wicked: None, array: Path, tmp_path: Path) -> None:
    some, into = of(), os.open(os.devnull, os.O_WRONLY)
    async with some.running():
        with opened(a_deed(tmp_path / "a", "hang")) as at:
            async with trio.open_nursery() as nursery:
                for _ in range(processes.EXPORTS + 2):
                    nursery.start_soon(some.export, at, "csv", WHOLE, into)
                await a_child(some)
                with trio.fail_after(10):
                    assert (await examined(some, array)).rows == ROWS
                nursery.cancel_scope.cancel()
        await no_child(some)
    os.close(into)


async def test_slow_clients_do_not_hold_up_files(wicked: None, array: Path, tmp_path: Path) -> None:
    some, into = of(), os.open(os.devnull, os.O_WRONLY)
    async with some.running():
        with opened(a_deed(tmp_path / "a", "hang")) as slow, opened(array) as at:
            async with trio.open_nursery() as nursery:
                for _ in range(processes.STREAMS + 2):
                    nursery.start_soon(some.export, slow, "arrow", WHOLE, into)
                await a_child(some)
                with trio.fail_after(10):
                    await some.export(at, "csv", WHOLE, into)
                nursery.cancel_scope.cancel()
        await no_child(some)
    os.close(into)


async def test_a_child_that_is_killed(wicked: None, tmp_path: Path) -> None:
    some, array = of(), a_deed(tmp_path / "a", "hang")

    async def kill() -> None:
        os.kill(await a_child(some), signal.SIGKILL)

    async with some.running(), trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(InvalidValue, match=r"was ended by SIGKILL \(out of memory\?\)"):
            await examined(some, array)


async def test_a_look_that_crashes_once_is_taken_again(wicked: None, array: Path) -> None:
    some, deed = of(), array / "deed"
    deed.write_text("hang")

    async def crash() -> None:
        child = await a_child(some)
        await until(lambda: status_of(child)["Seccomp"] == ["2"])
        await trio.sleep(0.5)  # it hangs by now
        deed.unlink()
        os.kill(child, signal.SIGSEGV)

    async with some.running(), trio.open_nursery() as nursery:
        nursery.start_soon(crash)
        assert (await examined(some, array)).rows == ROWS


async def test_a_parent_that_died_is_replaced(wicked: None, array: Path, tmp_path: Path) -> None:
    some, bad = of(), a_deed(tmp_path / "a", "hang")

    async def kill() -> None:
        child = await a_child(some)
        os.kill(parent_of(some), signal.SIGKILL)
        await until(lambda: not alive(child), 5)  # it ends with its parent

    async with some.running():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(Unreachable, match="has ended: try again"):
                await examined(some, bad)
        assert (await examined(some, array)).rows == ROWS


async def test_termination_is_for_the_daemon_to_decide(array: Path) -> None:
    some = of()
    async with some.running():
        await examined(some, array)
        parent = parent_of(some)
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(parent, number)
        await examined(some, array)
        assert parent_of(some) == parent


async def test_what_a_child_has(wicked: None, tmp_path: Path) -> None:
    some, array = of(), a_deed(tmp_path / "a", "hang")
    if os.geteuid() == 0:
        give(array, ALICE)
    who = Caller(ALICE, ALICE, (60001,)) if os.geteuid() == 0 else OURSELVES
    async with some.running(), trio.open_nursery() as nursery:
        nursery.start_soon(examined, some, array, who)
        child = await a_child(some)
        await until(lambda: status_of(child)["Seccomp"] == ["2"])
        status, parent = status_of(child), status_of(parent_of(some))
        leads = open_to(child) if os.geteuid() == 0 else [str(array), "socket:"]  # hidden from its own user
        nursery.cancel_scope.cancel()
    assert {int(status[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert status["NoNewPrivs"] == parent["NoNewPrivs"] == ["1"]
    assert str(array) in leads
    assert {lead for lead in leads if lead.startswith("/")} <= {"/dev/null", "/dev/urandom", str(array)}
    assert sum(lead.startswith("socket:") for lead in leads) == 1
    assert "anon_inode:[pidfd]" not in leads  # of other children
    if os.geteuid() == 0:
        assert (status["Uid"], status["Gid"], status["Groups"]) == ([str(ALICE)] * 4, [str(ALICE)] * 4, ["60001"])
        assert int(parent["CapPrm"][0], 16) == sum(1 << one for one in privileges.FORKING)


def open_to(pid: int) -> list[str]:
    """Return what the descriptors of a process lead to."""
    return [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]


async def test_an_array_that_takes_its_reader_over_gains_nothing(wicked: None, tmp_path: Path) -> None:
    """All that its code could try is refused, though its user might read what lies outside."""
    array = a_deed(tmp_path / "a", "attack")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "secret").chmod(0o666)
    (array / "outside").symlink_to("../secret")
    (array / "outside_directory").symlink_to("..")
    (array / "daemon").write_text(str(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        (array / "port").write_text(str(listening.getsockname()[1]))
        some = of()
        async with some.running():
            outcomes = json.loads((await examined(some, array)).manifest)
    by_landlock = {"read over a symlink", "list over a symlink", "read by ..", "read /etc/passwd"}
    by_landlock |= {"read its own environment", "read the parent's memory"}
    without = by_landlock if not landlock.version() else set()
    assert {name: how for name, how in outcomes.items() if not how.startswith("refused")}.keys() <= without
    assert len(outcomes) >= 28
    assert (array / "deed").read_text() == "attack"


@pytest.mark.skipif(not landlock.version(), reason="the kernel has no Landlock")
async def test_a_symlink_in_an_array_leads_nowhere(array: Path, tmp_path: Path) -> None:
    """As whoever replaces files of an array would have it: the daemon's reader looks elsewhere for her."""
    other = tmp_path / "other.tiledb"
    make(other, "another's")
    shutil.rmtree(array / "__meta")
    (array / "__meta").symlink_to(other / "__meta")
    some = of()
    async with some.running():
        try:
            found = await examined(some, array)
        except RepofsError as error:
            assert "another's" not in error.message
        else:
            assert found.token is None


@pytest.mark.parametrize("form", ["csv", "parquet", "arrow"])
async def test_rows_are_written_into_a_descriptor(array: Path, tmp_path: Path, form: Form) -> None:
    """With all that writing takes from the libraries, in a child that can open no file of theirs."""
    some, into = of(), tmp_path / f"out.{form}"
    async with some.running():
        with opened(array) as at, into.open("wb") as file:
            await some.export(at, form, WHOLE, file.fileno())
            with pytest.raises(InvalidValue, match="nowhere"):
                await some.export(at, form, Selection(column_names=("nowhere",)), file.fileno())
    assert rows_of(into) == ROWS


def rows_of(path: Path) -> int:
    """Return how many rows a file of an export has."""
    match path.suffix:
        case ".csv":
            return len(pandas.read_csv(path))
        case ".parquet":
            return len(pandas.read_parquet(path))
        case _:
            return int(pyarrow.ipc.open_stream(path).read_all().num_rows)


async def test_an_array_is_made_of_a_file(tmp_path: Path) -> None:
    some, source = of(), tmp_path / "cells.csv"
    source.write_text("image,area\n1,0.5\n2,1.5\n")
    async with some.running():
        token = await some.create(bytes(source), bytes(tmp_path / "cells.tiledb"), OURSELVES)
        found = await examined(some, tmp_path / "cells.tiledb")
        with pytest.raises(RepofsError):
            await some.create(bytes(tmp_path / "none.csv"), bytes(tmp_path / "none.tiledb"), OURSELVES)
    assert found.rows == 2
    assert found.token is not None and found.token.reveal() == token.reveal()
    assert sorted(os.listdir(tmp_path)) == ["cells.csv", "cells.tiledb"]


@root_only
async def test_an_array_is_made_with_the_rights_of_who_asks(tmp_path: Path) -> None:
    some, source, hers = of(), Path("/tmp") / f"repofs-{os.getpid()}", Caller(ALICE, ALICE, ())
    source.mkdir()
    try:
        (source / "cells.csv").write_text("image\n1\n")
        (source / "closed.csv").write_text("image\n1\n")
        (source / "closed.csv").chmod(0o600)
        async with some.running():
            with pytest.raises(AccessDenied):  # the directory is not hers to write
                await some.create(bytes(source / "cells.csv"), bytes(source / "cells.tiledb"), hers)
            os.chown(source, ALICE, ALICE)
            with pytest.raises(AccessDenied):
                await some.create(bytes(source / "closed.csv"), bytes(source / "closed.tiledb"), hers)
            await some.create(bytes(source / "cells.csv"), bytes(source / "cells.tiledb"), hers)
        made = (source / "cells.tiledb").stat()
        assert (made.st_uid, made.st_gid) == (ALICE, ALICE)
        assert sorted(os.listdir(source)) == ["cells.csv", "cells.tiledb", "closed.csv"]
    finally:
        shutil.rmtree(source)


async def test_damaged_arrays_cost_a_sentence_each(array: Path, tmp_path: Path) -> None:
    some, chance = of(timeout_seconds=20.0), random.Random(5)
    answers: dict[str, int] = {}
    async with some.running():
        for number in range(60):
            copy = tmp_path / f"{number}.tiledb"
            shutil.copytree(array, copy)
            path = chance.choice([file for file in files_of(copy) if file.stat().st_size])
            raw = bytearray(path.read_bytes())
            if number % 4 == 0:
                del raw[chance.randrange(len(raw)) :]
            for _ in range(chance.choice([1, 4, 32]) if raw else 0):
                raw[chance.randrange(len(raw))] = chance.randrange(256)
            path.write_bytes(raw)
            try:
                await examined(some, copy)
                said = "answer"
            except (InvalidValue, AccessDenied) as error:
                assert "/proc/" not in error.message and str(tmp_path) not in error.message
                said = type(error).__name__
            answers[said] = answers.get(said, 0) + 1
            shutil.rmtree(copy)
        await no_child(some)
    assert sum(answers.values()) == 60
    assert answers["InvalidValue"] >= 10


async def test_what_is_no_array(array: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    some = of()
    async with some.running():
        with pytest.raises(InvalidValue, match="no TileDB array"):
            await examined(some, tmp_path / "empty")


@root_only
async def test_tokens_are_not_left_in_the_parent_s_memory(array: Path) -> None:
    """Each child has a copy of it: what one array's child has heard, another's must not find."""
    some = of()
    async with some.running():
        await examined(some, array)
        with opened(array) as at:
            await some.rotate(at, Secret(b"rotated-to-what-nobody-else-hears"))
        await examined(some, array)
        memory = memory_of(parent_of(some))
    assert b"repofs.tables.process" in memory
    assert b"rotated-to-what-nobody-else-hears" not in memory
    assert TOKEN.encode() not in memory


def memory_of(pid: int) -> bytes:
    """Return all that a process has written in its memory."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(word, 16) for word in span.split("-"))
                memory.seek(start)
                found.append(memory.read(end - start))
    return b"".join(found)


async def test_a_token_is_in_no_log_and_no_exception(
    wicked: None, array: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wickedly = a_deed(tmp_path / "b", "stumble")
    some, told = of(), []
    async with some.running():
        found = await examined(some, array)
        told.append(repr(found))
        for act in (some.examine, lambda at: some.rotate(at, Secret(TOKEN.encode()))):
            with opened(wickedly) as at, pytest.raises(RepofsError) as refused:
                await act(at)
            told += [repr(refused.value), str(refused.getrepr(showlocals=True, style="long"))]
    captured = capfd.readouterr()
    assert TOKEN not in "\n".join([*told[:2], told[3], captured.out, captured.err])
    assert "token=Secret(***)" in told[0]
