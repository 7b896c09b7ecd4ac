"""The daemon of an ordinary user, who mounts for herself: modes hold for it too."""

from __future__ import annotations

import stat
from collections.abc import Callable

import trio

from repofs.lifecycle import State
from repofs.namespace.request import Change
from tests.helpers.namespace import World

AsNobody = Callable[[Callable[[World], None]], None]


def test_an_ordinary_users_drop_that_its_mode_shuts_out_is_claimed(as_nobody: AsNobody) -> None:
    def body(w: World) -> None:
        w.write("scan.tif")
        w.change("scan.tif", Change(mode=0o000))
        assert w.claim("scan.tif") is not None
        assert stat.S_IMODE(w.path("scan.tif").stat().st_mode) == 0

    as_nobody(body)


def test_an_ordinary_users_unreadable_directory_does_not_end_a_scan(as_nobody: AsNobody) -> None:
    def body(w: World) -> None:
        w.mkdir("shut")
        w.write("shut/scan.tif")
        w.write("good.tif")
        w.clocks.running.clear()
        for path in ("shut/scan.tif", "good.tif"):
            activity = w.node(path).activity
            assert activity is not None
            activity.settling = False
        w.path("shut").chmod(0o300)
        trio.run(w.survey.scan, w.table.root)
        assert w.settles("good.tif")
        w.path("shut").chmod(0o600)
        trio.run(w.survey.scan, w.table.root)
        w.path("shut").chmod(0o700)

    as_nobody(body)


def test_a_file_made_read_only_is_truncated_by_its_maker(as_nobody: AsNobody) -> None:
    def body(w: World) -> None:
        fh = w.create("scan.tif", 0o444)
        w.handles.write(fh, 0, b"123456")
        w.handles.setattr(w.node("scan.tif"), Change(size=3), fh, w.caller)
        w.close(fh)
        assert w.path("scan.tif").read_bytes() == b"123"
        assert w.state("scan.tif") is State.SETTLING

    as_nobody(body)


def test_a_file_shut_even_to_its_owner_bears_marks(as_nobody: AsNobody) -> None:
    def body(w: World) -> None:
        fh = w.create("scan.tif", 0o200)
        w.handles.write(fh, 0, b"123456")
        w.close(fh)
        assert w.state("scan.tif") is State.SETTLING
        w.change("scan.tif", Change(mtime_ns=1))
        assert w.state("scan.tif") is State.SETTLING

    as_nobody(body)
