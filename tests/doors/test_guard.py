"""The one wrapper around every handler: no exception of the house reaches pyfuse3's loop."""

from __future__ import annotations

import errno

import pyfuse3
import pytest
import trio

from repofs.errors import InvalidName
from repofs.fuse.guard import guarded, unexpected
from repofs.fuse.operations import Operations

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
