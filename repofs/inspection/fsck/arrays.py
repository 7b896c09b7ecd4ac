"""Registered tables: is the array of each where it was registered? What is in it is `Tables/`'s to compare."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from repofs.catalog import tables
from repofs.errors import InvalidValue, NotFound, NotPermitted
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.subject import Subject
from repofs.repository.arrays import open_array
from repofs.repository.outside import Root, open_beneath
from repofs.repository.trees import opened
from repofs.table import Place, Table


class _Offline(Exception):
    """Nobody can tell whether the array is there."""


def check(subject: Subject) -> Iterator[Finding]:
    """Look for the array of each table."""
    for table in subject.ask(tables.every):
        yield from subject.twice(partial(_look, subject, table))


def _look(subject: Subject, table: Table) -> list[Finding]:
    what, uri = f"FileAnnotation:{table.id}", f"{table.uri}, of the table {table.name!r}"
    try:
        _stands(subject, table.place)
    except _Offline as error:
        return [Finding(Code.TABLE_OFFLINE, what, f"{uri}: {error}")]
    except (NotFound, InvalidValue, NotPermitted) as error:
        return [Finding(Code.TABLE_GONE, what, f"{uri}: {error}")]
    return []


def _stands(subject: Subject, place: Place) -> None:
    """Raise NotFound, InvalidValue or NotPermitted when no array is at *place*, _Offline when that cannot be told."""
    match place.kind:
        case "mount":
            with opened(subject.managed) as managed:
                os.close(open_array(managed, place.path))
        case "source":
            _in_source(subject, place)
        case _:
            try:
                subject.store_stands(place.root, place.path)
            except NotFound:
                raise
            except OSError as error:
                raise _Offline(str(error)) from error


def _in_source(subject: Subject, place: Place) -> None:
    try:
        root = subject.sources.root(place.root)
    except OSError as error:
        raise _Offline(str(error)) from error
    with root:
        try:
            open_beneath(root, place.path, None, directory=True).close()
        except NotFound as error:
            if _is_empty(root):  # as the place where a store is mounted looks without it
                raise _Offline(f"the source {root.name} is empty: mount it") from error
            raise


def _is_empty(root: Root) -> bool:
    return not os.listdir(f"/proc/self/fd/{root.fd}")
