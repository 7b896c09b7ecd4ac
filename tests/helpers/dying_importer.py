"""An importer process that is killed at one step: python -m tests.helpers.dying_importer STEP --fd N DIRECTORY."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from repofs.catalog import filesets, imports
from repofs.importer import __main__ as importer
from repofs.importer import bringing, recovery, transactions
from repofs.importer.placement import Placement
from repofs.repository import import_directory


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(act: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: die()


def after(act: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **more: (act(*args, **more), die())


def at_poison(act: Callable[..., Any]) -> Callable[..., Any]:
    """Die when the file is called poison."""

    def checksum(fd: int, algorithm: str) -> str:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("poison"):
            die()
        return str(act(fd, algorithm))

    return checksum


def second_link(act: Callable[..., Any]) -> Callable[..., Any]:
    """Link one file into staging, and die at the next."""

    def stage(layout: Any, number: Any, staged: Any) -> None:
        def one() -> Any:
            yield next(staged)
            die()

        act(layout, number, one())

    return stage


def second_mark(act: Callable[..., Any]) -> Callable[..., Any]:
    """Mark one file as an original, and die at the next."""

    def mark(placement: Placement, drop: Any, fd: int, gid: int, finished: Any) -> None:
        write, left = placement.marks.write, [1]

        def once(target: Any, value: Any) -> None:
            if not left:
                die()
            left.pop()
            write(target, value)

        placement.marks.write = once  # type: ignore[method-assign]
        act(placement, drop, fd, gid, finished)
        die()

    return mark


DEATHS: dict[str, tuple[object, str, Callable[[Callable[..., Any]], Callable[..., Any]]]] = {
    "intent row not committed": (imports, "begin", after),
    "before the checksum": (bringing, "checksum", before),
    "after the checksum": (bringing, "checksum", after),
    "ids reserved, not committed": (transactions, "reserve", after),
    "in the middle of the links": (import_directory, "stage", second_link),
    "links staged": (import_directory, "stage", after),
    "log written": (import_directory, "write_log", after),
    "published": (import_directory, "publish", after),
    "in the middle of the marks": (Placement, "mark", second_mark),
    "marked": (Placement, "mark", after),
    "synced": (import_directory, "sync", after),
    "final rows not committed": (filesets, "record", after),
    "committed": (import_directory, "finish", before),
    "staging cleared": (import_directory, "finish", after),
    "poison": (bringing, "checksum", at_poison),
    "recovery, marks taken back": (import_directory, "undo", before),
    "recovery, links removed": (import_directory, "undo", after),
    "recovery, rows released": (recovery, "_release", after),
}


if __name__ == "__main__":
    holder, name, how = DEATHS[sys.argv.pop(1)]
    setattr(holder, name, how(getattr(holder, name)))
    importer.main()
