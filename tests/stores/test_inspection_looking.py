"""How one original is found: as its bytes are, or as whatever the file system answers."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from repofs.catalog.originals import Held
from repofs.config import Settings, Source
from repofs.inspection.looking import Looking
from repofs.lifecycle import State
from repofs.model import FilesetId, Identity, ImportId, Origin, OriginalFileId
from repofs.repository import gently
from repofs.repository.layout import Layout
from repofs.repository.outside import identity_of

BYTES = b"what the microscope saw\n" * 1000


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "ManagedRepository").mkdir()
    (tmp_path / "ManagedRepository/scan.tif").write_bytes(BYTES)
    return Layout(tmp_path)


@pytest.fixture
def looking(layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Looking:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "scan.tif").write_bytes(BYTES)
    settings = Settings(sources=(Source(name="scope", path=outside),))
    return Looking(layout, settings, lambda count: None)


@pytest.fixture
def source(looking: Looking) -> Path:
    return looking._sources.path("scope") / "scan.tif"


HELD = Held(
    OriginalFileId(1), FilesetId(1), ImportId(1), State.IMPORTED, None, b"scan.tif", b"scan.tif", len(BYTES),
    f"SHA1-160:{hashlib.sha1(BYTES).hexdigest()}", None,
)  # fmt: skip


def in_place(source: Path) -> Held:
    fd = os.open(source, os.O_RDONLY)
    identity = identity_of(fd)
    os.close(fd)
    return replace(HELD, origin=Origin("scope", source.name, identity, "ln_s"))


def flip(path: Path) -> None:
    """Change a byte, as a failing disk would: nothing else of the file tells."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"W")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_very_bytes(looking: Looking) -> None:
    found = looking.look(HELD)
    assert found.well and found.verified is not None and found.origin is None
    assert looking.look(HELD, quick=True).verified is None


def test_a_flipped_byte(looking: Looking, layout: Layout) -> None:
    flip(layout.managed / "scan.tif")
    found = looking.look(HELD)
    assert (found.state, found.verified is not None) == (State.ALTERED, True)
    assert "not those that were imported" in str(found.error)
    assert looking.look(HELD, quick=True).well  # nobody has read it
    altered = replace(HELD, stands=State.ALTERED)
    assert looking.look(altered, quick=True).state is State.ALTERED  # nor has anybody found it well


@pytest.mark.parametrize("quick", [False, True])
def test_a_truncated_file(looking: Looking, layout: Layout, quick: bool) -> None:
    os.truncate(layout.managed / "scan.tif", 100)
    found = looking.look(HELD, quick=quick)
    assert found.state is State.ALTERED and "100 bytes, and 24,000 were imported" in str(found.error)


@pytest.mark.parametrize("quick", [False, True])
def test_a_file_that_has_gone(looking: Looking, layout: Layout, quick: bool) -> None:
    (layout.managed / "scan.tif").unlink()
    assert looking.look(HELD, quick=quick).state is State.MISSING
    (layout.managed / "scan.tif").write_bytes(BYTES)
    assert looking.look(replace(HELD, stands=State.MISSING), quick=quick).well


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        (errno.EIO, State.ALTERED, "cannot be read (Input/output error): have the disk looked at"),
        (errno.EBADMSG, State.ALTERED, "cannot be read"),
        (errno.ESTALE, State.OFFLINE, "does not answer (Stale file handle)"),
        (errno.EMFILE, State.IMPORTED, "cannot be looked at now"),
    ],
)
def test_a_disk_that_does_not_read(
    looking: Looking, monkeypatch: pytest.MonkeyPatch, code: int, state: State, said: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(gently.os, "preadv", refuse)
    found = looking.look(HELD)
    assert found.state is state and said in str(found.error) and not found.well
    assert (found.verified is not None) is (state is State.ALTERED)


def test_a_source_in_place(looking: Looking, source: Path) -> None:
    held = in_place(source)
    assert looking.look(held).well and looking.look(held, quick=True).well
    source.rename(source.with_name("away"))
    assert looking.look(held).state is State.MISSING
    source.write_bytes(BYTES)  # from a backup
    assert looking.look(held, quick=True).state is State.ALTERED
    found = looking.look(held)
    assert found.well and found.origin is not None and found.origin.identity != held.origin.identity  # type: ignore[union-attr]
    source.write_bytes(BYTES.upper())
    assert looking.look(held).state is State.ALTERED


def test_a_source_whose_bytes_rot(looking: Looking, source: Path) -> None:
    """Its size and time say that it is the same file: it must not be taken for well by who looks at those."""
    held = in_place(source)
    flip(source)
    assert looking.look(held, quick=True).well
    found = looking.look(held)
    assert found.state is State.ALTERED and found.origin is not None
    assert looking.look(replace(held, origin=found.origin), quick=True).state is State.ALTERED
    with source.open("r+b") as file:
        file.write(BYTES[:1])
    assert looking.look(replace(held, origin=found.origin)).well


def test_a_source_that_is_declared_no_more(layout: Layout) -> None:
    nowhere = Origin("scope", "scan.tif", Identity(1, 2, b"", 3, 4, 5), "ln_s")
    found = Looking(layout, Settings(), lambda count: None).look(replace(HELD, origin=nowhere))
    assert found.state is State.OFFLINE and found.verified is None
