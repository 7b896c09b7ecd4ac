"""Daemons that are killed while links are imported: the next start goes on, nothing comes twice or as half a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mounting import QUICK, Drive, fact, mounted
from tests.helpers.people import ALICE
from tests.helpers.waiting import until

SETTINGS = QUICK + '\n[[sources]]\nname = "scope1"\npath = "@outside@"\n'
FILES = 1500


@pytest.fixture
def linked() -> Iterator[Drive]:
    """A mount for one test, which may kill its daemon."""
    with mounted(SETTINGS) as drive:
        drive.allowed = ["imports were interrupted"]
        yield drive


def content(number: int) -> bytes:
    return b"%d" % number * 100


def test_a_tree_that_was_being_filled_is_filled_and_imported_once(linked: Drive) -> None:
    tree = linked.outside / "run"
    for number in range(FILES):
        (tree / str(number % 10)).mkdir(parents=True, exist_ok=True)
        (tree / str(number % 10) / f"{number}.dat").write_bytes(content(number))
    ALICE.do(os.symlink, tree, linked.home(ALICE) / "run")
    until(lambda: list((linked.home(ALICE) / "run").glob("*/*")), "the first files")
    linked.kill()
    made = len(list(linked.backing(linked.home(ALICE) / "run").glob("*/*")))
    linked.start()
    shown = linked.home(ALICE) / "run"
    until(lambda: fact(shown, "state") == f"imported: {FILES} imported", lambda: f"{made}: {fact(shown, 'state')}", 90)
    for number in (0, 7, FILES - 1):
        assert (shown / str(number % 10) / f"{number}.dat").read_bytes() == content(number)
    paths = [str(one["path"]) for one in linked.originals()]
    assert len(paths) == len(set(paths)) == FILES
    assert "user.repofs.from" not in os.listxattr(linked.backing(shown))
    assert os.listdir(linked.layout.staging) == []


@pytest.mark.parametrize("transfer", ["cp_rm", "ln_rm", "upload"])
def test_a_transfer_that_was_under_way_is_done_again(linked: Drive, transfer: str) -> None:
    folder, sources = linked.home(ALICE) / "many", linked.outside / "many"
    ALICE.do(os.mkdir, folder)
    ALICE.do(os.mkdir, sources)
    for number in range(60):
        ALICE.do(Path.write_bytes, sources / f"{number}.dat", content(number) * 2000)
        value = json.dumps({"source": str(sources / f"{number}.dat"), "transfer": transfer})
        ALICE.do(os.setxattr, folder, b"user.repofs.import.link", value.encode())
    until(lambda: "imported" in str(fact(folder, "state")), "the first imports")
    linked.kill()
    for number in range(60):  # whatever was killed: the bytes are here or there, and whole
        source = sources / f"{number}.dat"
        if not source.exists():
            assert any(one["path"].endswith(f"/{number}.dat") for one in linked.originals())  # type: ignore[attr-defined]
    linked.start()
    until(lambda: fact(folder, "state") == "imported: 60 imported", lambda: str(fact(folder, "state")), 90)
    for number in range(60):
        assert (folder / f"{number}.dat").read_bytes() == content(number) * 2000
    if transfer.endswith("_rm"):
        until(lambda: not os.listdir(sources), "the end of the sources")
    assert len(linked.originals()) == 60
