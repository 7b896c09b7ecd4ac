"""The cells of the permission matrix: what each person does to each object, and what the kernel answers."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.omero_matrix import Act, Role, Thing

SECRET = "user.secret"  # an attribute of the owner's on every object
ELSEWHERE = 65534  # a uid to which things are given away


@dataclass(frozen=True)
class Objects:
    """Where the objects of one cell lie."""

    drop: Path
    original: Path
    kept: Path
    in_place: Path
    table: Path
    home: Path
    mount_root: Path
    original_file: str  # of the original: "OriginalFile:7"

    def path(self, thing: Thing) -> Path:
        return {
            Thing.DROP: self.drop,
            Thing.ORIGINAL: self.original,
            Thing.KEPT: self.kept,
            Thing.IN_PLACE: self.in_place,
            Thing.IMPORT_DIRECTORY: self.kept.parent,
            Thing.LOG: self.kept.parent.with_name(self.kept.parent.name + ".log"),
            Thing.TABLE: self.table,
            Thing.TABLE_FILE: self.table / "data",
            Thing.HOME: self.home,
            Thing.MOUNT_ROOT: self.mount_root,
        }[thing]


@dataclass(frozen=True)
class Cell:
    role: Role
    level: str
    thing: Thing
    act: Act
    objects: Objects
    run: str  # of which run of the matrix: makes new names unique
    in_namespace: bool = False

    def __str__(self) -> str:
        return f"{self.role} × {self.level} × {self.thing} × {self.act}"

    @property
    def path(self) -> Path:
        return self.objects.path(self.thing)

    @property
    def is_directory(self) -> bool:
        return self.thing in (Thing.IMPORT_DIRECTORY, Thing.TABLE, Thing.HOME, Thing.MOUNT_ROOT)

    @property
    def new(self) -> Path:
        """A name that is not there: in the object, or beside it."""
        directory = self.path if self.is_directory else self.path.parent
        return directory / f"new-{self.run}-{self.level}-{self.role.name}-{self.thing.name}-{self.act.name}"

    @property
    def removable(self) -> str:
        """An attribute on the object that no other cell removes."""
        if self.thing in (Thing.IMPORT_DIRECTORY, Thing.LOG, Thing.MOUNT_ROOT):
            return SECRET  # nobody removes it
        return f"user.{self.thing.name}.{self.run}.{self.role.name}"

    @property
    def name(self) -> Path:
        """The name that is moved or removed: the object's own; of the root, that of a user directory."""
        return self.objects.home if self.thing is Thing.MOUNT_ROOT else self.path


def answers(cells: Sequence[Cell]) -> list[str]:
    """Do all *cells*, as who this process is, and return "ok" or the name of an errno of each."""
    return [_answer(cell) for cell in cells]


def _answer(cell: Cell) -> str:
    try:
        _ACTS[cell.act](cell)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "ok"


def _open(path: Path, flags: int) -> None:
    os.close(os.open(path, flags, 0o666))


def _link(cell: Cell) -> None:
    source = cell.objects.drop if cell.is_directory else cell.path
    os.link(source, cell.new, follow_symlinks=False)


def _chmod(cell: Cell) -> None:
    os.chmod(cell.path, 0o755 if cell.is_directory else 0o644)


def _chown(cell: Cell) -> None:
    """Give it away who has it, take it who has not; in a namespace one can only take."""
    given = cell.role in (Role.OWNER, Role.ROOT) and not cell.in_namespace
    os.chown(cell.path, ELSEWHERE if given else os.getuid(), -1)


def _remove(cell: Cell) -> None:
    if cell.is_directory:
        os.rmdir(cell.name)
    else:
        os.unlink(cell.name)


def _secret(cell: Cell) -> None:
    name = f"user.repofs.{cell.objects.original_file}" if cell.thing is Thing.MOUNT_ROOT else SECRET
    assert os.getxattr(cell.path, name)


_ACTS: dict[Act, Callable[[Cell], object]] = {
    Act.LIST: lambda cell: os.listdir(cell.path),
    Act.STAT: lambda cell: os.stat(cell.path),
    Act.OPEN_R: lambda cell: _open(cell.path, os.O_RDONLY),
    Act.OPEN_W: lambda cell: _open(cell.path, os.O_WRONLY),
    Act.TRUNCATE: lambda cell: os.truncate(cell.path, 3),
    Act.CREATE: lambda cell: _open(cell.new, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    Act.MKDIR: lambda cell: os.mkdir(cell.new),
    Act.SYMLINK: lambda cell: os.symlink("target", cell.new),
    Act.LINK: _link,
    Act.RENAME: lambda cell: os.rename(cell.name, cell.name.with_name(f"{cell.name.name}-renamed")),
    Act.UNLINK: _remove,
    Act.CHMOD: _chmod,
    Act.UTIMES: lambda cell: os.utime(cell.path, ns=(10**18, 10**18)),
    Act.TOUCH: lambda cell: os.utime(cell.path),
    Act.CHOWN: _chown,
    Act.SET_FACT: lambda cell: os.setxattr(cell.path, "user.repofs.checksum", b"x"),
    Act.SET_COMMAND: lambda cell: os.setxattr(cell.path, "user.repofs.import", b"retry"),
    Act.ANNOTATE: lambda cell: os.setxattr(cell.path, "user.note", b"seen"),
    Act.REMOVE: lambda cell: os.removexattr(cell.path, cell.removable),
    Act.SECRET: _secret,
}


def explained(failures: Sequence[tuple[Cell, frozenset[str], str]]) -> str:
    """Return a line for each object, act and pair of answers that differ: with the people and levels concerned."""
    grouped: dict[tuple[str, str, str, str], dict[Role, list[str]]] = {}
    for cell, expected, got in failures:
        key = (cell.thing, cell.act, " or ".join(sorted(expected)), got)
        grouped.setdefault(key, {}).setdefault(cell.role, []).append(cell.level)
    return "\n".join(_lines(grouped))


def _lines(grouped: dict[tuple[str, str, str, str], dict[Role, list[str]]]) -> Iterator[str]:
    for (thing, act, expected, got), people in grouped.items():
        who = "; ".join(f"{role} ({', '.join(levels)})" for role, levels in people.items())
        yield f"{thing} × {act}: expected {expected}, got {got}: {who}"
