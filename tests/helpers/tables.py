"""Tables for tests, as they stand in a registry."""

from __future__ import annotations

import os

from repofs.errors import NotFound
from repofs.model import ObjectRef
from repofs.registration.processes import At
from repofs.repository.as_user import Caller
from repofs.table import Column, Examined, Form, NewTable, Place, Secret, Selection, Table


class NoArrays:
    """Stands for the processes and the catalogue where a test registers nothing."""

    async def examine(self, at: At) -> Examined:
        raise NotFound("there is no array")

    async def rotate(self, at: At, token: Secret) -> None:
        raise NotFound("there is no array")

    async def export(self, at: At, form: Form, selection: Selection, into: int) -> None:
        raise NotFound("there is no array")

    async def create(self, source: bytes, target: bytes, who: Caller) -> Secret:
        raise NotFound("nothing is made")

    async def tables(self) -> list[Table]:
        return []

    async def register(self, new: NewTable, actor_uid: int) -> Table:
        raise NotFound("there is no target")

    async def check_table(self, new: NewTable, actor_uid: int) -> None:
        raise NotFound("there is no target")

    async def unregister(self, table: Table, actor_uid: int) -> None:
        raise NotFound("there is no table")

    async def table_is(self, table: Table, rotated_by: int | None = None) -> None:
        raise NotFound("there is no table")


def table(
    number: int,
    place: Place,
    *,
    name: str = "cells",
    user_directory: bytes = b"alice_2",
    owner_uid: int | None = None,
    gid: int | None = None,
) -> Table:
    """Return a table as the catalogue has it, of this process's user unless told otherwise."""
    return Table(
        id=number,
        name=name,
        user_directory=user_directory,
        owner_uid=os.geteuid() if owner_uid is None else owner_uid,
        gid=os.getegid() if gid is None else gid,
        uri=os.fsdecode(place.path),
        place=place,
        rows=3,
        columns=(Column("image", "Image", "int64"), Column("area", "Double", "float64")),
        targets=(ObjectRef("Image", 101),),
        registered="2026-11-22T12:00:00.000+00:00",
        manifest="the manifest",
        salt=b"salt",
        digest=b"digest",
    )
