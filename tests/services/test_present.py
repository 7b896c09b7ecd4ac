"""Which of many names lie below a directory."""

from __future__ import annotations

import os
from pathlib import Path

from repofs.namespace.present import present


def test_what_is_there_and_only_that(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.tif").touch()
    (tmp_path / "b\udce9.tif").touch()
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "loop").symlink_to("loop")
    asked = {b"in/deep/a.tif", b"b\xe9.tif", b"in", b"in/a.tif", b"b\xe9.tif/x", b"link/deep", b"loop/x", b"x" * 300}
    directory = os.open(tmp_path, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    assert present(directory, asked) == {b"in/deep/a.tif", b"b\xe9.tif", b"in"}
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(directory)


def test_names_by_the_hundred_thousand_and_parts_by_the_thousand(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    assert present(directory, [b"a/%d/b" % number for number in range(100_000)]) == set()
    assert present(directory, [b"/".join([b"a"] * 2000)]) == set()
    os.close(directory)
