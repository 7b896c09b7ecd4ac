"""User namespaces of ordinary people: `unshare -Ur`, in which everybody is root of what is hers."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.people import Person

_CLONE_NEWUSER = 0x10000000  # linux/sched.h
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_namespace(person: Person) -> Iterator[int]:
    """Let *person* run `unshare -Ur`; yield a descriptor of the user namespace in which she is root then."""
    holder = person.start("unshare", "-Ur", "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None and holder.stdout is not None
    try:
        holder.stdin.write(b"there\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"there\n"  # cat runs: its ids are mapped
        namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield namespace
        finally:
            os.close(namespace)
    finally:
        holder.stdin.close()
        holder.wait()
        holder.stdout.close()


def inside(namespace: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Enter *namespace* and call *function*: in a child of the tests that is the namespace's maker by now."""
    if _libc.setns(namespace, _CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    assert os.getuid() == 0
    return function(*arguments)


def require_namespaces(person: Person) -> None:
    """Skip where the kernel gives ordinary users no user namespaces."""
    if not shutil.which("unshare") or person.run("unshare", "-Ur", "true", check=False).returncode != 0:
        pytest.skip("this kernel gives ordinary users no user namespaces")
