"""Do the catalogue and the backing tree say the same? Asked of a repository whose daemon is down."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

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
        if one["checksum"] != "SHA1-160:" + hashlib.sha1(path.read_bytes()).hexdigest():
            found.append(f"{path} has other bytes than the catalogue says")
    found += [f"inode {inode} is {count} originals" for inode, count in inodes.items() if count > 1]
    return found + [f"{path} is there and not catalogued" for path in _imported(drive) if path not in listed]


def _imported(drive: Drive) -> list[str]:
    """Return the files in import directories, without the logs beside these, below the mount."""
    months = drive.layout.managed.glob("*/????-??")
    files = [path for month in months for path in month.rglob("*") if path.is_file()]
    return [str(path.relative_to(drive.layout.managed)) for path in files if not _is_log(path)]


def _is_log(path: Path) -> bool:
    return path.suffix == ".log" and path.with_suffix("").is_dir()
