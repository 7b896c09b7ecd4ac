"""Arrivals of several files: gathered where they lie, imported once, whichever of them is asked for."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from repofs.image import Members
from repofs.importer import gathering
from repofs.lifecycle import State
from repofs.model import Arrived, Original
from tests.helpers.importing import Repository
from tests.services.test_arrivals import Hall, hall

pytestmark = pytest.mark.trio

SET = Members("a.ics", ("a.ics", "a.ids"))
SERIES = {f"{n}.dcm": Members(f"{n}.dcm", (f"{n}.dcm",), key="dicom:1.2") for n in range(3)}


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository.make(tmp_path / "repository")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "scope1"
    directory.mkdir()
    return directory


def lay(h: Hall, says: dict[str, Members], *, without: str = "") -> None:
    """Let there be a file for each name, and a reader that says what *says* has for it."""
    h.readers.filesets.update(says)
    for name in says:
        if name != without:
            (h.source / name).write_bytes(name.encode())


def files(repository: Repository, arrived: Arrived) -> list[str]:
    assert arrived.import_directory is not None, arrived
    directory = repository.layout.managed / arrived.import_directory
    return sorted(os.path.relpath(one, directory) for one in directory.rglob("*") if one.is_file())


@pytest.mark.parametrize("asked", ["a.ics", "a.ids"])
async def test_whichever_is_asked_for_brings_the_others(repository: Repository, source: Path, asked: str) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET})
        arrived = await h.taking.take(h.arrival(asked))
        other = await h.taking.take(h.arrival({"a.ics": "a.ids", "a.ids": "a.ics"}[asked]))
    assert (arrived.state, arrived.files, len(arrived.originals)) == (State.IMPORTED, ("a.ics", "a.ids"), 2)
    assert files(repository, arrived) == ["a.ics", "a.ids"]
    assert (other.state, other.fileset) == (State.IMPORTED, arrived.fileset)


async def test_all_asked_for_at_once_are_one_fileset(repository: Repository, source: Path) -> None:
    ended: list[Arrived] = []
    async with hall(repository, source) as h:
        lay(h, SERIES)

        async def take(name: str) -> None:
            ended.append(await h.taking.take(h.arrival(name)))

        async with trio.open_nursery() as nursery:
            for name in SERIES:
                nursery.start_soon(take, name)
    assert {one.state for one in ended} == {State.IMPORTED} and len({one.fileset for one in ended}) == 1
    (whole,) = [one for one in ended if one.files]
    assert files(repository, whole) == sorted(SERIES)


async def test_a_missing_file_is_named_and_nothing_is_imported(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET}, without="a.ids")
        failed = await h.taking.take(h.arrival("a.ics"))
        assert failed.state is State.FAILED and failed.log is not None
        assert failed.error == (
            "a.ids is missing in the fileset of a.ics: put what is missing beside it, then import again"
        )
        h.check_empty()
        (source / "a.ids").write_bytes(b"it comes")
        assert (await h.taking.take(h.arrival("a.ics"))).state is State.IMPORTED


async def test_a_watched_folder_waits_for_the_rest(
    repository: Repository,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET}, without="a.ids")
        waits = await h.taking.take(h.arrival("a.ics", waits=True))
        assert waits.state is State.SETTLING and "a.ids is missing in the fileset of a.ics" in str(waits.error)
        monkeypatch.setattr(time, "time", lambda: os.stat(source / "a.ics").st_ctime + 61)
        assert (await h.taking.take(h.arrival("a.ics", waits=True))).state is State.FAILED


async def test_a_watched_folder_waits_until_no_more_of_a_series_come(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        lay(h, SERIES)
        waits = await h.taking.take(h.arrival("0.dcm", waits=True))
        assert waits.state is State.SETTLING and "more files of its series" in str(waits.error)


async def test_what_only_looks_like_a_part_stands_alone(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a_w1.tif": Members("a.nd", ("a.nd", "a_w1.tif"), certain=False)})
        arrived = await h.taking.take(h.arrival("a_w1.tif"))
    assert (arrived.state, arrived.files) == (State.IMPORTED, ())


async def test_its_main_file_does_not_name_it(repository: Repository, source: Path) -> None:
    guess = Members("a.nd", ("a.nd", "a_w9.tif"), certain=False)
    async with hall(repository, source) as h:
        lay(h, {"a.nd": Members("a.nd", ("a.nd", "a_w1.tif")), "a_w1.tif": guess, "a_w9.tif": guess})
        arrived = await h.taking.take(h.arrival("a_w9.tif"))
        whole = await h.taking.take(h.arrival("a.nd"))
    assert (arrived.state, arrived.files) == (State.IMPORTED, ())
    assert whole.files == ("a.nd", "a_w1.tif")


async def test_a_name_that_leads_out_is_refused(repository: Repository, source: Path) -> None:
    (source.parent / "secret").write_bytes(b"another's")
    async with hall(repository, source) as h:
        for name in ("../secret", "/etc/passwd", str(source.parent / "secret")):
            lay(h, {"a.ics": replace(SET, names=("a.ics", name))} if name else {})
            failed = await h.taking.take(h.arrival("a.ics"))
            assert failed.state is State.FAILED
        h.check_empty()


@pytest.mark.parametrize("transfer", ["upload_rm", "ln_rm"])
async def test_all_sources_go_when_the_fileset_is_imported(
    repository: Repository,
    source: Path,
    transfer: str,
) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET})
        arrived = await h.taking.take(h.arrival("a.ids", transfer=transfer))
    assert (arrived.state, arrived.source) == (State.IMPORTED, "removed")
    assert os.listdir(source) == []
    mark = repository.mark(repository.layout.managed / str(arrived.import_directory) / "a.ids")
    assert isinstance(mark, Original) and mark.transfer == transfer


async def test_asking_again_is_a_duplicate(repository: Repository, source: Path) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET})
        first = [(await h.taking.take(h.arrival(name))).state for name in SET.names]
        again = [(await h.taking.take(h.arrival(name))).state for name in SET.names]
    assert first == [State.IMPORTED, State.IMPORTED]
    assert again == [State.DUPLICATE, State.DUPLICATE]


@pytest.mark.parametrize("transfer", ["upload_rm", "ln_rm"])
async def test_who_asks_for_a_file_that_went_with_its_fileset_hears_of_that(
    repository: Repository,
    source: Path,
    transfer: str,
) -> None:
    ended: list[Arrived] = []
    async with hall(repository, source) as h:
        lay(h, SERIES)

        async def take(name: str) -> None:
            ended.append(await h.taking.take(h.arrival(name, transfer=transfer)))

        async with trio.open_nursery() as nursery:
            for name in SERIES:
                nursery.start_soon(take, name)
        ended.append(await h.taking.take(h.arrival("0.dcm", transfer=transfer)))
        never = await h.taking.take(h.arrival("9.dcm", transfer=transfer))
    assert {(one.state, one.source) for one in ended} == {(State.IMPORTED, "removed")}
    assert len({one.fileset for one in ended}) == 1 and os.listdir(source) == []
    assert never.state is State.FAILED


async def test_a_file_that_goes_while_its_set_is_gathered(
    repository: Repository,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET})
        gather = h.taking._gathering.gather

        async def and_remove(*args: object, **how: object) -> object:
            gathered = await gather(*args, **how)  # type: ignore[arg-type]
            (source / "a.ids").unlink()
            return gathered

        monkeypatch.setattr(h.taking._gathering, "gather", and_remove)
        failed = await h.taking.take(h.arrival("a.ics"))
        h.check_empty()
    assert failed.state is State.FAILED and "a.ids' in the source scope1 is not there" in str(failed.error)


PATTERN = {"z.pattern": Members("z.pattern", ("z.pattern", "p0.tif", "p1.tif"))}


@pytest.mark.parametrize("waits", [False, True])
async def test_a_file_that_cannot_know_brings_the_one_that_names_it(
    repository: Repository, source: Path, waits: bool
) -> None:
    async with hall(repository, source) as h:
        lay(h, PATTERN)
        for name in ("p0.tif", "p1.tif", "lone.tif"):
            (source / name).write_bytes(name.encode())
        whole = await h.taking.take(h.arrival("p0.tif", waits=waits))
        others = [await h.taking.take(h.arrival(name, waits=waits)) for name in ("p1.tif", "z.pattern")]
        lone = await h.taking.take(h.arrival("lone.tif", waits=waits))
    assert (whole.state, whole.files) == (State.IMPORTED, ("z.pattern", "p0.tif", "p1.tif"))
    assert [(one.state, one.fileset) for one in others] == [(State.IMPORTED, whole.fileset)] * 2
    assert (lone.state, lone.files) == (State.IMPORTED, ()) and lone.fileset != whole.fileset


async def test_a_plane_below_its_main_file_brings_that(repository: Repository, source: Path) -> None:
    plane = "_a_/stack1/frame_t.ets"
    async with hall(repository, source) as h:
        h.readers.filesets["a.vsi"] = Members("a.vsi", ("a.vsi", plane))
        (source / plane).parent.mkdir(parents=True)
        (source / plane).write_bytes(b"pyramid")
        waits = await h.taking.take(h.arrival(plane, waits=True))
        (source / "a.vsi").write_bytes(b"main")
        whole = await h.taking.take(h.arrival(plane, waits=True))
    assert waits.state is State.SETTLING and "a.vsi, the main file of its fileset, is missing" in str(waits.error)
    assert files(repository, whole) == [plane, "a.vsi"]


async def test_a_file_that_came_along_and_was_changed_since_is_not_called_imported(
    repository: Repository, source: Path
) -> None:
    async with hall(repository, source) as h:
        lay(h, {"a.ics": SET, "a.ids": SET})
        first = await h.taking.take(h.arrival("a.ics"))
        (source / "a.ids").write_bytes(b"other bytes")
        again = await h.taking.take(h.arrival("a.ids"))
    assert again.state is State.IMPORTED and again.fileset != first.fileset


async def test_one_lists_a_directory_for_all_that_arrive_from_it_at_once(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    files = gathering._Look.files
    monkeypatch.setattr(gathering, "_LISTED_SECONDS", 3600.0)
    monkeypatch.setattr(gathering._Look, "files", lambda look: (listed.append(look.directory), files(look))[1])
    names = [f"{number}.bin" for number in range(30)]
    async with hall(repository, source) as h:
        lay(h, PATTERN)
        for name in ("p0.tif", "p1.tif", *names):
            (source / name).write_bytes(name.encode())
        async with trio.open_nursery() as nursery:
            for name in ("p0.tif", *names):
                nursery.start_soon(h.taking.take, h.arrival(name))
    assert listed == [b""]
    assert len(repository.originals()) == 33
