"""Drops and finished imports for tests of the catalogue and of what writes into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from repofs.catalog import filesets, ids, imports
from repofs.catalog.containers import target_of
from repofs.catalog.engine import Connection
from repofs.catalog.users import Experimenter, Group, add_experimenter, add_group
from repofs.image import ImageInfo
from repofs.model import FilesetId, ImageId, ImportId, OriginalFileId, PermissionLevel, Transfer

NOON = "2026-11-22T12:00:00.000+00:00"
IMAGE = ImageInfo("scan", 0, 512, 256, 1, 2, 1, "uint16")


@dataclass(frozen=True)
class Lab:
    group: Group
    alice: Experimenter
    bob: Experimenter


def lab(conn: Connection, level: PermissionLevel = PermissionLevel.READ_ONLY) -> Lab:
    """Make a group of two."""
    group = add_group(conn, "lab", 5000, level)
    return Lab(group, add_experimenter(conn, "alice", 5001, group.id), add_experimenter(conn, "bob", 5002, group.id))


def drop(owner: Experimenter, path: bytes = b"scan.tif", **more: object) -> imports.NewImport:
    """Return a drop as the importer would see it."""
    usual = imports.NewImport(
        owner.id, user_directory(owner), path, device=66, inode=12, size=10, mtime_ns=1, transfer=Transfer.UPLOAD,
        actor_uid=owner.uid, attempts=1, started=NOON,
    )  # fmt: skip
    return replace(usual, **more)  # type: ignore[arg-type]


def user_directory(owner: Experimenter) -> bytes:
    return f"{owner.user_name}_{owner.id}".encode()


@dataclass(frozen=True)
class Import:
    """What to import: one fileset of the files at *paths*."""

    owner: Experimenter
    paths: Sequence[bytes] = (b"scan.tif",)
    images: Sequence[ImageInfo] = (IMAGE,)
    checksum: str = "SHA1-160:00"
    target: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    note: str | None = None
    mtime_ns: int = 1


def finished(conn: Connection, one: Import) -> filesets.FinishedImport:
    """Begin an import and return how it ended; not yet recorded."""
    [import_id] = imports.begin(conn, [drop(one.owner, one.paths[0])])
    fileset = FilesetId(ids.reserve(conn, "Fileset", 1)[0])
    originals = ids.reserve(conn, "OriginalFile", len(one.paths))
    numbers = ids.reserve(conn, "Image", len(one.images))
    files = [
        filesets.FinishedFile(OriginalFileId(number), path, path.split(b"/")[-1], 10, one.mtime_ns, one.checksum)
        for number, path in zip(originals, one.paths, strict=True)
    ]
    return filesets.FinishedImport(
        ImportId(import_id), fileset, one.owner.id, one.owner.group_id, user_directory(one.owner),
        b"2026-11/22/12-00-00.%03d" % fileset, Transfer.UPLOAD, NOON, target_of(one.paths[0], one.target), "TIFF",
        tuple(files), tuple((ImageId(n), info) for n, info in zip(numbers, one.images, strict=True)),
        one.metadata, one.note,
    )  # fmt: skip


def imported(conn: Connection, *wanted: Import) -> list[filesets.FinishedImport]:
    """Import in one batch and return what was recorded."""
    batch = [finished(conn, one) for one in wanted]
    filesets.record(conn, batch)
    return batch
