"""Thumbnails of a real mount: made of what was dropped by processes without rights, and anew when they are gone."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers import mounting
from tests.helpers.drops import drop
from tests.helpers.mounting import Drive, fact
from tests.helpers.people import ALICE
from tests.helpers.waiting import until
from tests.helpers.wicked_package import install


@pytest.fixture
def own_drive(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drive]:
    """A mount whose readers know one format more."""
    with mounting.scratch() as place:
        install(place / "site", monkeypatch)
        with mounting.mounted() as drive:
            yield drive


def image(drive: Drive, path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(os.getxattr(drive.mountpoint, f"user.repofs.{fact(path, 'images')}"))
    return told


def test_a_drop_gets_its_thumbnail_and_one_that_is_gone_is_made_anew(own_drive: Drive) -> None:
    path = drop(ALICE, own_drive.home(ALICE) / "good.wicked", b"WICKED behave")
    own_drive.wait_imported(path)
    until(lambda: image(own_drive, path).get("thumbnail") == "made", "a thumbnail")
    assert image(own_drive, path)["channels"] == [{"min": 0.0, "max": 63.0}]
    made = own_drive.layout.thumbnail(int(str(fact(path, "images")).removeprefix("Image:")))
    assert Image.open(io.BytesIO(made.read_bytes())).size == (8, 8)
    assert stat.S_IMODE(own_drive.layout.thumbnails.stat().st_mode) == 0o700
    shutil.rmtree(own_drive.layout.thumbnails)
    own_drive.stop()
    own_drive.start()
    until(made.exists, "another thumbnail")
