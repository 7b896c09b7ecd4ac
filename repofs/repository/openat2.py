"""openat2(2): a path that never leads out of the directory it is looked up from, judged by the kernel in one step."""

from __future__ import annotations

import ctypes
import errno
import os

NO_WAY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)  # it was moved, or is no directory of ours

_OPENAT2 = 437  # on every machine
_NO_XDEV, _NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 1, 2, 4, 8
# Other mounts are refused (NO_XDEV): in the daemon's own one it would wait for itself, in a user's FUSE for the user.
_RESOLVE = _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS | _NO_XDEV
_MOST_BYTES = 4095  # PATH_MAX without its NUL


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(_OpenHow), ctypes.c_size_t)
_openat2.restype = ctypes.c_long


def beneath(directory: int, path: bytes, flags: int) -> int:
    """Open *path* below *directory*, over no symbolic link and into no other mount; the last name is no link either.

    Raises OSError: ELOOP for a symlink, EXDEV for ``..`` out of it, a path that starts with ``/``, another mount. A
    path that is longer than the kernel takes is gone in stages, of each of which that holds.
    """
    if len(path) <= _MOST_BYTES or (end := path.rfind(b"/", 0, _MOST_BYTES)) <= 0:
        return _in_one_step(directory, path, flags)
    stage = _in_one_step(directory, path[:end], os.O_PATH | os.O_DIRECTORY)
    try:
        return beneath(stage, path[end:].lstrip(b"/"), flags)
    finally:
        os.close(stage)


def _in_one_step(directory: int, path: bytes, flags: int) -> int:
    how = _OpenHow(flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0, _RESOLVE)
    while True:
        fd: int = _openat2(_OPENAT2, directory, path, how, ctypes.sizeof(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code), os.fsdecode(path))
