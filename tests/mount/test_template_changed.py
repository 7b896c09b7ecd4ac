"""Another template between two mounts: what import directories were called before stays the repository's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.drops import drop
from tests.helpers.mounting import QUICK, Drive, mounted
from tests.helpers.people import ALICE

ANOTHER = '[repository]\ntemplate = "%user%_%userId%//imports/%time%"\n'


def refused(act: Callable[..., object], *arguments: object) -> int | None:
    with pytest.raises(OSError) as raised:
        ALICE.do(act, *arguments)
    return raised.value.errno


def test_import_directories_of_the_template_before_are_not_changed() -> None:
    with mounted() as drive:
        first = drop(ALICE, drive.home(ALICE) / "first.tif")
        drive.wait_imported(first)
        directory = drive.original_of(first).parent
        drive.stop()
        drive.layout.settings.write_text(ANOTHER + QUICK)
        drive.start()
        second = drop(ALICE, drive.home(ALICE) / "second.tif")
        drive.wait_imported(second)
        assert drive.original_of(second).parent.parent.name == "imports"
        assert refused(os.rename, directory, drive.home(ALICE) / "mine") == errno.EPERM
        assert refused(os.mkdir, directory.parent / "mine") == errno.EPERM
        assert refused(Path.unlink, directory.with_name(directory.name + ".log")) == errno.EPERM
        _deletes_whole(drive, first, directory)


@pytest.mark.parametrize(
    ("template", "reason"),
    [("%group%/%user%//%time%", "a user directory is one name"), ("%user%//%time%", "leave that before the //")],
    ids=["illegal", "other user directories"],
)
def test_a_template_that_is_refused_is_not_remembered(template: str, reason: str) -> None:
    with mounted() as drive:
        drive.stop()
        drive.layout.settings.write_text(f'[repository]\ntemplate = "{template}"\n' + QUICK)
        drive.allowed = [reason]
        with pytest.raises(AssertionError, match=reason):
            drive.start()
        drive.layout.settings.write_text(QUICK)
        drive.start()


def _deletes_whole(drive: Drive, dropped: Path, directory: Path) -> None:
    ALICE.run("rm", "-r", directory)
    assert not directory.exists() and not dropped.exists()
    assert [path.name for path in drive.layout.trash.iterdir()] == ["1"]
