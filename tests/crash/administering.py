"""What the daemon is asked to do meanwhile: to delete, restore and remove filesets, and to change who there is."""

from __future__ import annotations

import json
import os
import zlib
from functools import partial
from itertools import islice
from pathlib import Path

from tests.crash.ledger import BEGUN, CLOSED, Place
from tests.crash.writers import Writer
from tests.helpers.mounting import fact
from tests.helpers.waiting import until

FIRST_GID = 100_000  # beyond those of the machine


def deleted(one: Writer) -> None:
    """Filesets that go to the trash and come back, by command and by rm -r, and for good at last."""
    files = list(islice(one.names("tif"), 3))
    for path, version in files:
        one.note(path, version, BEGUN)
        path.write_bytes(version.content())
        one.note(path, version, CLOSED)
    for number, (path, version) in enumerate(files):
        until(partial(_is_imported, path), f"{path} imported", 60)
        fileset = str(fact(path, "fileset"))
        [told] = json.loads(one.ask("delete", "--dry-run", "--json", fileset))
        os.link(path, path.with_suffix(".same"))
        one.move(path, version, Place.TRASH, one.ask, "delete", "--yes", fileset)
        one.move(path, version, Place.TREE, one.ask, "trash", "restore", fileset)
        if number > 0:
            one.move(path, version, Place.TRASH, one.remove, path.parents[3] / told["import_directory"])
        if number > 1:
            one.move(path, version, Place.NOWHERE, one.ask, "trash", "empty", "--yes", fileset)


def _is_imported(path: Path) -> bool:
    return fact(path, "state") == "imported"


def people(one: Writer) -> None:
    """Groups are made."""
    for number in range(one.files):
        name = f"{one.seed.replace('/', '-')}-{number}"
        one.ask("group", "add", name, "--gid", str(FIRST_GID + zlib.crc32(name.encode())))
