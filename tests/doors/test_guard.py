"""The one wrapper around every handler: no exception of the house reaches pyfuse3's loop."""

from __future__ import annotations

import errno

import pyfuse3
import pytest
import trio

from repofs.errors import InvalidName, ReadOnly
from repofs.fuse.guard import guarded, unexpected
from repofs.fuse.operations import Operations
from repofs.health import Health
from repofs.lifecycle import State
from repofs.namespace.virtual import FIRST
from repofs.repository.sources import OriginLost

pytestmark = pytest.mark.trio


@guarded
class Stumbling(pyfuse3.Operations):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    async def forget(self, inode_list: object) -> None:
        raise self.error


@guarded
class Waiting(pyfuse3.Operations):
    async def forget(self, inode_list: object) -> None:
        await trio.sleep_forever()


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (FileNotFoundError(errno.ENOENT, "gone"), errno.ENOENT),
        (InvalidName("taken"), errno.EINVAL),
        (OSError("without a number"), errno.EIO),
        (pyfuse3.FUSEError(errno.ERANGE), errno.ERANGE),
        (RuntimeError("nobody foresaw"), errno.EIO),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogate"), errno.EIO),
        (RecursionError(), errno.EIO),
        (MemoryError(), errno.EIO),
    ],
)
async def test_every_exception_becomes_an_errno(error: Exception, number: int) -> None:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Stumbling(error).forget([])
    assert caught.value.errno == number


async def test_what_nobody_foresaw_is_counted_and_what_was_foreseen_is_not() -> None:
    before = unexpected["forget"]
    for error in (KeyError("x"), FileNotFoundError(2, "gone"), KeyError("y")):
        with pytest.raises(pyfuse3.FUSEError):
            await Stumbling(error).forget([])
    assert unexpected["forget"] == before + 2


async def test_cancellation_passes() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Waiting().forget([])
    assert scope.cancelled_caught
    with pytest.raises(KeyboardInterrupt):
        await Stumbling(KeyboardInterrupt()).forget([])


def handlers() -> list[str]:
    return [name for name in vars(Operations) if name in vars(pyfuse3.Operations) and not name.startswith("_")]


async def test_every_handler_of_the_mount_is_guarded() -> None:
    wrapped = {name for name in handlers() if hasattr(getattr(Operations, name), "__wrapped__")}
    plain = {name for name in handlers() if callable(getattr(Operations, name))} - wrapped
    assert {"lookup", "forget", "create", "read", "write", "release", "readdir", "setxattr", "rename"} <= wrapped
    assert not plain


@guarded
class Failing(pyfuse3.Operations):
    def __init__(self, error: OSError | None) -> None:
        self.health = Health()
        self.error = error

    async def unlink(self, parent: int, name: bytes, ctx: object) -> None:
        self._fail()

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: object) -> None:
        self._fail()

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    async def getattr(self, inode: int, ctx: object) -> str:
        return "read"


async def refused(operations: Failing, inode: int = 1) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await operations.unlink(inode, b"name", None)
    return caught.value.errno


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EUCLEAN])
async def test_after_an_error_of_the_disk_nothing_is_changed_and_reading_goes_on(number: int) -> None:
    operations = Failing(OSError(number, "the disk"))
    assert await refused(operations) == number
    operations.error = None
    assert await refused(operations) == errno.EROFS
    with pytest.raises(pyfuse3.FUSEError):
        await operations.setxattr(1, b"user.note", b"", None)
    assert await operations.getattr(1, None) == "read"
    assert operations.health.failure is not None and "unlink" in operations.health.failure


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        PermissionError(errno.EACCES, "no"),
        ReadOnly("here only"),
        OriginLost(State.MISSING, "its source is gone"),
    ],
)
async def test_a_full_disk_and_a_refusal_are_no_error_of_the_disk(error: OSError) -> None:
    operations = Failing(error)
    assert await refused(operations) == error.errno
    operations.error = None
    await operations.unlink(1, b"name", None)


async def test_errors_of_what_is_outside_are_not_the_disks() -> None:
    operations = Failing(OSError(errno.EIO, "a source"))
    assert await refused(operations, FIRST) == errno.EIO
    with pytest.raises(pyfuse3.FUSEError):
        await operations.setxattr(1, b"user.repofs.import.link", b"/data/x", None)
    assert operations.health.failure is None
