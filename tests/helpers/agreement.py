"""Do the catalogue and the backing tree say the same? Asked of a repository whose daemon is down."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from repofs.config import load
from repofs.inspection import drop_counting
from repofs.lifecycle import State
from repofs.model import Original
from repofs.repository import drop_counts, stand_ins
from repofs.repository.layout import load_key
from repofs.repository.marks import Marks

if TYPE_CHECKING:
    from tests.helpers.mounting import Drive


def disagreements(drive: Drive) -> list[str]:
    """Return, as sentences, what does not agree: originals, their bytes, their import directories and logs."""
    originals = drive.originals()
    found = [f"staging is not empty: {left}" for left in drive.layout.staging.iterdir()]
    listed = Counter(str(one["import_path"]) for one in originals)
    found += [f"{path} is catalogued {count} times" for path, count in listed.items() if count > 1]
    inodes: Counter[int] = Counter()
    for one in originals:
        path = drive.layout.managed / str(one["import_path"])
        if not path.is_file():
            found.append(f"{path} is catalogued and not there")
            continue
        inodes[path.stat().st_ino] += 1
        content = _bytes(drive, path)
        if content is not None and one["checksum"] != "SHA1-160:" + hashlib.sha1(content).hexdigest():
            found.append(f"{path} has other bytes than the catalogue says")
    linked = {int(name) for name in os.listdir(drive.layout.linked)}
    linked -= {path.stat().st_ino for path in drive.layout.trash.glob("*/files/**/*")}
    found += [f"a hard link is kept for inode {inode}, which is no original" for inode in linked - set(inodes)]
    found += [f"inode {inode} is {count} originals" for inode, count in inodes.items() if count > 1]
    found += [f"{path} is there and not catalogued" for path in _imported(drive) if path not in listed]
    return found + _miscounted(drive)


def _miscounted(drive: Drive) -> list[str]:
    """Return what a daemon that was stopped has written down of drops and is not so."""
    written = drop_counts.load(drive.layout.drop_counts)
    if not written.whole:  # it was killed: the next counts anew
        return []
    told, there = (
        {(one.user_directory, one.gid): (one.drops, one.drop_files) for one in held if one.drop_files or one.drops}
        for held in (written.held, drop_counting.count(drive.layout, load(drive.repository)))
    )
    return [] if told == there else [f"the drops were counted as {told}, there are {there}"]


def _bytes(drive: Drive, path: Path) -> bytes | None:
    """Return the bytes of an original, be they outside; None for one whose source has changed or gone since."""
    marks = Marks(load_key(drive.layout))
    origin = stand_ins.bytes_elsewhere(os.fspath(path), marks)
    if origin is None:
        return path.read_bytes()
    mark = marks.read(os.fspath(path))
    if isinstance(mark, Original) and mark.stands is not State.IMPORTED:
        return None
    link = drive.layout.linked / str(path.stat().st_ino)
    return link.read_bytes() if link.exists() else (drive.outside / origin.path).read_bytes()


def _imported(drive: Drive) -> list[str]:
    """Return the files in import directories, without the logs beside these, below the mount."""
    months = drive.layout.managed.glob("*/????-??")
    files = [path for month in months for path in month.rglob("*") if path.is_file()]
    return [str(path.relative_to(drive.layout.managed)) for path in files if not _is_log(path)]


def _is_log(path: Path) -> bool:
    return path.suffix == ".log" and path.with_suffix("").is_dir()
