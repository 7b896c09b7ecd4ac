"""Which files below a directory belong together: each file by itself, or a directory that is one thing (`.zarr`).

Looked at with the rights of the process, never through a symbolic link: a loop of links cannot arise, and what is
found is below the directory that was named.
"""

from __future__ import annotations

import errno
import fnmatch
import functools
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from repofs.config import Drops
from repofs.image import ALONE, Members

# What TileDB makes inside an array or a group; the directory that holds one of these is a table, whatever its name.
TABLE_PARTS = frozenset(
    {b"__schema", b"__fragments", b"__commits", b"__meta", b"__fragment_meta", b"__labels", b"__group"}
)

_MAIN_SUFFIXES = (b".companion.ome", b".nd", b".pattern", b".vsi", b".ics", b".nhdr", b".par", b".imzml", b".index",
                 b".oif", b".hdr")  # fmt: skip
_MOST_NAMED = 3  # of what is missing, in a sentence
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may become one fileset."""

    directory: bytes  # the absolute path of the directory that it lies in
    name: bytes
    files: tuple[bytes, ...]  # in a directory that is one thing, all below it; else the name itself
    size: int  # bytes of all files
    is_directory: bool = False

    @property
    def path(self) -> bytes:
        return os.path.join(self.directory, self.name)

    @property
    def paths(self) -> list[bytes]:
        """The absolute paths of all files."""
        return [os.path.join(self.directory, name) for name in self.files]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What does not become a fileset, and why: by a rule, or because it cannot be read (*failed*)."""

    path: bytes
    why: str
    failed: bool = False


Found = Candidate | LeftOut


class Rules:
    """What names mean, by the settings."""

    def __init__(self, drops: Drops) -> None:
        self._temporary = any_of(drops.temporary_names)
        self._excluded = any_of(drops.exclude)
        self._directory_formats = tuple(suffix.encode().lower() for suffix in drops.directory_formats)
        self._table_formats = tuple(suffix.encode().lower() for suffix in drops.table_formats)

    def is_one_thing(self, name: bytes) -> bool:
        """Whether the directory *name* is imported as one fileset."""
        return name.lower().endswith(self._directory_formats)

    def left_out(self, name: bytes, mode: int) -> str | None:
        """Return why what is called *name*, with that st_mode, is not imported; None: it is."""
        text = os.fsdecode(name)
        if stat.S_ISLNK(mode):
            return "a symbolic link: name the place that it leads to"
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return "a FIFO, a socket or a device: only files have bytes to import"
        if self._excluded.fullmatch(text):
            return "excluded by the settings (drops.exclude)"
        if self._temporary.fullmatch(text):
            return "a temporary name (drops.temporary_names)"
        if stat.S_ISDIR(mode) and (name.lower().endswith(self._table_formats) or name in TABLE_PARTS):
            return "a table, which is not imported"
        return None


def find(path: bytes, rules: Rules, depth: int) -> Iterator[Found]:
    """Yield what is at the absolute *path*, without symlinks, and *depth* directories deep below it; in order of name.

    A file or directory that is named itself is taken whatever its name is.
    """
    directory, name = os.path.split(path)
    try:
        mode = os.lstat(path).st_mode
        refusal = rules.left_out(b"named", mode)  # its kind counts, its name does not
        if refusal is not None:
            yield LeftOut(path, refusal, failed=True)
        elif stat.S_ISDIR(mode) and not rules.is_one_thing(name):
            yield from _below(path, rules, depth)
        else:
            yield _candidate(directory, name, mode)
    except OSError as error:
        yield _unreadable(path, error)


def _below(directory: bytes, rules: Rules, depth: int) -> Iterator[Found]:
    for name, mode in _entries(directory):
        path = os.path.join(directory, name)
        refusal = rules.left_out(name, mode)
        try:
            if refusal is not None:
                yield LeftOut(path, refusal)
            elif not stat.S_ISDIR(mode) or rules.is_one_thing(name):
                yield _candidate(directory, name, mode)
            elif depth <= 1:
                yield LeftOut(path, "too deep: a larger --depth reaches it", failed=True)
            else:
                yield from _below(path, rules, depth - 1)
        except OSError as error:
            yield _unreadable(path, error)


def _entries(directory: bytes) -> list[tuple[bytes, int]]:
    """Return name and mode of everything in *directory*; what vanishes meanwhile is not in it."""
    fd = os.open(directory, _DIRECTORY)
    try:
        return [
            (os.fsencode(name), status.st_mode)
            for name in sorted(os.listdir(fd))
            if (status := _lstat(name, fd)) is not None
        ]
    finally:
        os.close(fd)


def _lstat(name: str, directory_fd: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _candidate(directory: bytes, name: bytes, mode: int) -> Candidate:
    """Return *name* in *directory* as one fileset. Raises OSError when a part of it cannot be looked at."""
    path = os.path.join(directory, name)
    if not stat.S_ISDIR(mode):
        return Candidate(directory, name, (name,), os.lstat(path).st_size)
    files: list[bytes] = []
    size = 0
    for here, below, names, fd in os.fwalk(path, onerror=_raise):
        below.sort()
        for entry in sorted(names):
            status = os.stat(entry, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                files.append(os.path.relpath(os.path.join(here, entry), directory))
                size += status.st_size
    return Candidate(directory, name, tuple(files), size, is_directory=True)


def _raise(error: OSError) -> None:
    raise error


def _unreadable(path: bytes, error: OSError) -> LeftOut:
    match error.errno:
        case errno.EACCES | errno.EPERM:
            why = "you may not read it: ask its owner"
        case errno.ENOENT:
            why = "it is not there"
        case _:
            why = error.strerror or str(error)
    return LeftOut(path, why, failed=True)


def names_others(name: bytes) -> bool:
    """Whether a file *name* mostly tells which others form a fileset with it: it is looked at before these."""
    return name.lower().endswith(_MAIN_SUFFIXES)


def as_main_says(own: bytes, said: Members, mains: Members | None) -> Members:
    """Return which files form one fileset with the file *own*: as its main file says, where that was asked."""
    if mains is None:
        return said
    return mains if os.fsdecode(own) in mains.names else ALONE


def main_first(said: Members, names: Iterable[str]) -> tuple[bytes, ...]:
    """Return *names* in order, that of the main file first."""
    return tuple(map(os.fsencode, sorted(names, key=lambda name: (name != said.main, name))))


def main_beside(folder: bytes, name: bytes) -> bytes | None:
    """Return the file beside the directory *folder* that the file *name* below that is of, if their names tell that.

    Olympus puts the planes of ``NAME.oif`` into ``NAME.oif.files`` and the pyramids of ``NAME.vsi`` below ``_NAME_``.
    """
    stem, _, suffix = folder.rpartition(b".")
    if suffix.lower() == b"files" and stem.lower().endswith(b".oif"):
        return stem
    if name.lower().endswith(b".ets") and len(folder) > 2 and folder.startswith(b"_") and folder.endswith(b"_"):
        return folder[1:-1] + b".vsi"
    return None


def lacks(said: Members, missing: Sequence[bytes]) -> str:
    """Return which files of a fileset are *missing*, for a sentence: a few of many."""
    if os.fsencode(said.main) in missing:
        return f"{said.main}, the main file of its fileset, is missing"
    some = ", ".join(os.fsdecode(name) for name in missing[:_MOST_NAMED])
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    return f"{some}{more} {'is' if len(missing) == 1 else 'are'} missing in the fileset of {said.main}"


@functools.lru_cache(maxsize=256)
def any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return what matches when one of the fnmatch *patterns* does, without regard to case; never for none."""
    joined = "|".join(fnmatch.translate(pattern) for pattern in patterns) or "(?!)"
    return re.compile(joined, re.IGNORECASE | re.DOTALL)
