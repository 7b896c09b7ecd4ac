"""System calls as tests make them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from repofs.namespace.backing import renameat2
from tests.helpers.people import ALICE

AT_FDCWD = -100


def write(path: Path | str | bytes, content: bytes = b"content", mode: int = 0o666) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    assert os.write(fd, content) == len(content)
    os.close(fd)


def refusal(function: Callable[..., object], *arguments: object) -> str:
    """Return the name of the errno by which Alice is refused."""
    with pytest.raises(OSError) as caught:
        ALICE.do(function, *arguments)
    return errno.errorcode[caught.value.errno or 0]


def rename2(source: Path, target: Path, flags: int) -> None:
    renameat2(AT_FDCWD, bytes(source), AT_FDCWD, bytes(target), flags)
