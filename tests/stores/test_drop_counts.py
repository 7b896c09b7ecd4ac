"""What drops hold is written down, read again, and counted from the files when that cannot be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from repofs import config
from repofs.inspection import drop_counting
from repofs.model import Closed, Identity, Origin, Original, Transfer
from repofs.quotas import Held
from repofs.repository import drop_counts, stand_ins
from repofs.repository.drop_counts import Counts
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import ORIGINAL_BIT, Marks


def test_counts_are_kept_with_whether_they_are_so(tmp_path: Path) -> None:
    held = Held(b"al\xffice", 5, 10, 1)
    drop_counts.save(tmp_path / "drops.json", [held], whole=True)
    assert drop_counts.load(tmp_path / "drops.json") == Counts((held,), True)
    drop_counts.save(tmp_path / "drops.json", [held], whole=False)
    assert drop_counts.load(tmp_path / "drops.json") == Counts((held,), False)


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"held": [3], "whole": true}'])
def test_what_is_missing_or_damaged_is_counted_anew(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "drops.json").write_bytes(content)
    assert not drop_counts.load(tmp_path / "drops.json").whole


def test_drops_are_counted_once_and_nothing_else(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path / "repository", "")
    layout.make_user_directory("alice_2", os.getuid(), os.getgid())
    home, marks = layout.managed / "alice_2", Marks(load_key(layout))
    (home / "d").mkdir()
    (home / "d" / "a").write_bytes(b"x" * 10)
    (home / "b").hardlink_to(home / "d" / "a")
    (home / "link").symlink_to("d/a")
    (home / "2026-11").mkdir()
    (home / "2026-11" / "original").write_bytes(b"x" * 100)
    (home / "dropped").hardlink_to(home / "2026-11" / "original")
    mark = Original(1, 1, (), "SHA1-160:00", Transfer.UPLOAD, "2026", "alice_2", "2026-11", "original", 1)
    marks.write(os.fspath(home / "dropped"), mark)
    (home / "dropped").chmod(0o600 | ORIGINAL_BIT)
    origin = Origin("scope", "x", Identity(1, 2, b"", 1000, 1, 1), "cp")
    directory = os.open(home, os.O_RDONLY)
    stand_ins.make(directory, b"stand-in", origin, uid=os.getuid(), gid=os.getgid(), actor_uid=0, marks=marks)
    os.close(directory)
    (home / "sticky").write_bytes(b"xyz")  # as somebody may make it in the backing tree
    (home / "sticky").chmod(0o600 | ORIGINAL_BIT)
    marks.write(os.fspath(home / "sticky"), Closed(3, 1))
    assert drop_counting.count(layout, config.Settings()) == [Held(b"alice_2", os.getgid(), 13, 2)]
