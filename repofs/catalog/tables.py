"""Tables: registered on what their owner may annotate, all or nothing, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, and_, delete, insert, select, update
from sqlalchemy import Table as Relation

from repofs.access import Act, Whose, require
from repofs.catalog.forms import now
from repofs.catalog.ids import reserve
from repofs.catalog.schema import (
    annotation_links,
    datasets,
    experimenters,
    filesets,
    groups,
    images,
    projects,
    tables,
)
from repofs.catalog.schema import annotations as _annotations
from repofs.catalog.users import Experimenter
from repofs.errors import AlreadyExists, NotFound, OtherGroup
from repofs.model import ObjectRef, PermissionLevel
from repofs.people import Actor
from repofs.table import Column, NewTable, Place, Table, TableState

_CHUNK = 500  # ids in one statement: SQLite bounds its parameters


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a table is to be linked to."""

    ref: ObjectRef
    of: Whose
    group_id: int


def check(conn: Connection, new: NewTable, owner: Experimenter, actor: Actor) -> list[Target]:
    """Return what *new* is to be linked to, if *actor* may register it as a table of *owner*.

    Raises NotFound for a target that is not there, OtherGroup when they are not all in one group, AccessDenied for one
    that *actor* may not annotate, AlreadyExists when the array is a table already.
    """
    targets = _targets(conn, new.targets, owner)
    if len({target.group_id for target in targets}) > 1:
        raise OtherGroup("the targets are of several groups: register the table on those of one")
    for target in targets:
        require(Act.REGISTER, actor, target.of)
    known = conn.execute(select(tables.c.annotation_id).where(_lies_at(new.place))).scalar()
    if known is not None:
        raise AlreadyExists(f"the array is registered already, as FileAnnotation:{known}")
    return targets


def register(conn: Connection, new: NewTable, owner: Experimenter, actor: Actor) -> Table:
    """Make *new* a table of *owner*, linked to all its targets, and return it. Raises as `check`."""
    targets = check(conn, new, owner, actor)
    number = reserve(conn, "Annotation", 1)[0]
    whose = {"owner_id": owner.id, "created": now()}
    group_id = targets[0].group_id
    conn.execute(insert(_annotations).values(id=number, kind="FileAnnotation", group_id=group_id, **whose))
    links = [{"object_kind": target.ref.kind, "object_id": target.ref.id} for target in targets]
    conn.execute(insert(annotation_links), [{"annotation_id": number, **whose, **link} for link in links])
    conn.execute(insert(tables).values(annotation_id=number, state=TableState.REGISTERED, **_values(new)))
    return get(conn, number)


def unregister(conn: Connection, number: int) -> None:
    """Take the table away with its links; the array stays as it is. Raises NotFound."""
    if not conn.execute(delete(tables).where(tables.c.annotation_id == number)).rowcount:
        raise NotFound(f"there is no table FileAnnotation:{number}")
    conn.execute(delete(annotation_links).where(annotation_links.c.annotation_id == number))
    conn.execute(delete(_annotations).where(_annotations.c.id == number))


def change(conn: Connection, table: Table) -> None:
    """Write what may change of a table: place, rows, columns, manifest, token and state. Raises NotFound."""
    values = {**_values(table), "state": table.state}
    if not conn.execute(update(tables).where(tables.c.annotation_id == table.id).values(values)).rowcount:
        raise NotFound(f"there is no table FileAnnotation:{table.id}")


def follow(conn: Connection) -> None:
    """Let each table be of the group of its targets, after some have moved to another one.

    One whose targets have all moved moves along; else it parts from those that are in another group than it.
    """
    for table in every(conn):
        groups_of = {target.ref: (target.group_id, target.of.gid) for target in _located(conn, table.targets)}
        here = [ref for ref, (_, gid) in groups_of.items() if gid == table.gid]
        if len(here) == len(groups_of):
            continue
        if not here:  # all have moved: to where the first is now
            group_id, gid = next(iter(groups_of.values()))
            conn.execute(update(_annotations).where(_annotations.c.id == table.id).values(group_id=group_id))
            here = [ref for ref, (_, other) in groups_of.items() if other == gid]
        for ref in groups_of.keys() - set(here):
            link = and_(annotation_links.c.object_kind == ref.kind, annotation_links.c.object_id == ref.id)
            conn.execute(delete(annotation_links).where(annotation_links.c.annotation_id == table.id, link))


def get(conn: Connection, number: int) -> Table:
    """Return ``FileAnnotation:number``. Raises NotFound when that is no table."""
    row = conn.execute(_query().where(tables.c.annotation_id == number)).one_or_none()
    if row is None:
        raise NotFound(f"there is no table FileAnnotation:{number}")
    links = select(annotation_links).where(annotation_links.c.annotation_id == number)
    return _table(row, [ObjectRef(link.object_kind, link.object_id) for link in _in_order(conn, links)])


def every(conn: Connection) -> list[Table]:
    """Return all tables by id."""
    links: dict[int, list[ObjectRef]] = {}
    query = select(annotation_links).join(tables, tables.c.annotation_id == annotation_links.c.annotation_id)
    for link in _in_order(conn, query):
        links.setdefault(link.annotation_id, []).append(ObjectRef(link.object_kind, link.object_id))
    rows = conn.execute(_query().order_by(tables.c.annotation_id))
    return [_table(row, links.get(row.annotation_id, [])) for row in rows]


def _in_order(conn: Connection, links: Select[Any]) -> Iterator[Row[Any]]:
    return iter(conn.execute(links.order_by(annotation_links.c.object_kind, annotation_links.c.object_id)))


def _query() -> Select[Any]:
    source = tables.join(_annotations, _annotations.c.id == tables.c.annotation_id)
    source = source.join(experimenters, experimenters.c.id == _annotations.c.owner_id)
    source = source.join(groups, groups.c.id == _annotations.c.group_id)
    more = (experimenters.c.uid, experimenters.c.removed, groups.c.gid, _annotations.c.created)
    return select(*tables.c, *more).select_from(source)


def _table(row: Row[Any], targets: Sequence[ObjectRef]) -> Table:
    return Table(
        id=row.annotation_id,
        name=row.name,
        user_directory=row.user_directory,
        owner_uid=row.uid if row.removed is None else None,
        gid=row.gid,
        uri=row.uri,
        place=Place(row.place_kind, row.place_root, row.place_path),
        rows=row.row_count,
        columns=msgspec.json.decode(row.columns, type=tuple[Column, ...]),
        targets=tuple(targets),
        registered=row.created,
        manifest=row.manifest,
        salt=row.token_salt,
        digest=row.token_digest,
        state=TableState(row.state),
    )


def _values(table: NewTable | Table) -> dict[str, object]:
    return {
        "name": table.name,
        "user_directory": table.user_directory,
        "uri": table.uri,
        "place_kind": table.place.kind,
        "place_root": table.place.root,
        "place_path": table.place.path,
        "row_count": table.rows,
        "columns": msgspec.json.encode(table.columns).decode(),
        "manifest": table.manifest,
        "token_salt": table.salt,
        "token_digest": table.digest,
    }


def _lies_at(place: Place) -> Any:
    return and_(tables.c.place_kind == place.kind, tables.c.place_root == place.root, tables.c.place_path == place.path)


# --- targets -------------------------------------------------------------------------------------

_KINDS: dict[str, tuple[Relation, Any]] = {  # the relation, and what bears owner and group of its rows
    "Image": (images, filesets),
    "Fileset": (filesets, filesets),
    "Dataset": (datasets, datasets),
    "Project": (projects, projects),
}


def _targets(conn: Connection, asked: Sequence[str], owner: Experimenter) -> list[Target]:
    """Return the targets, each once, in the order in which they are asked for. Raises NotFound."""
    refs = list(dict.fromkeys(_ref(conn, text, owner) for text in asked))
    found = _located(conn, refs)
    missing = next((ref for ref in refs if ref not in {target.ref for target in found}), None)
    if missing is not None:
        raise NotFound(f"there is no {missing}")
    return found


def _located(conn: Connection, refs: Sequence[ObjectRef]) -> list[Target]:
    """Return those of *refs* that are there, in their order."""
    found: dict[ObjectRef, Target] = {}
    for kind in {ref.kind for ref in refs} & _KINDS.keys():
        found |= _found(conn, kind, [ref.id for ref in refs if ref.kind == kind])
    return [found[ref] for ref in refs if ref in found]


def _ref(conn: Connection, text: str, owner: Experimenter) -> ObjectRef:
    kind, _, which = text.partition(":")
    if not which.startswith("name:"):
        return ObjectRef.parse(text)
    name = which.removeprefix("name:")
    if kind not in _KINDS or "name" not in _KINDS[kind][0].c:
        raise NotFound(f"there is no {kind} called {name!r}")
    relation, bearer = _KINDS[kind]
    query = _joined(relation, bearer).where(relation.c.name == name, bearer.c.owner_id == owner.id)
    newest = conn.execute(query.order_by(relation.c.id.desc()).limit(1)).first()
    if newest is None:
        raise NotFound(f"{owner.user_name} has no {kind} called {name!r}")
    return ObjectRef(kind, newest.id)


def _found(conn: Connection, kind: str, ids: Sequence[int]) -> dict[ObjectRef, Target]:
    relation, bearer = _KINDS[kind]
    found = {}
    for start in range(0, len(ids), _CHUNK):
        query = _joined(relation, bearer).where(relation.c.id.in_(ids[start : start + _CHUNK]))
        for row in conn.execute(query):
            ref = ObjectRef(kind, row.id)
            uid = row.uid if row.removed is None else None
            found[ref] = Target(ref, Whose(uid, row.gid, PermissionLevel(row.level)), row.group_id)
    return found


def _joined(relation: Relation, bearer: Relation) -> Select[Any]:
    source: Any = relation
    if relation is not bearer:
        source = source.join(bearer, bearer.c.id == relation.c.fileset_id)
    source = source.join(experimenters, experimenters.c.id == bearer.c.owner_id)
    source = source.join(groups, groups.c.id == bearer.c.group_id)
    columns = (relation.c.id, bearer.c.group_id, experimenters.c.uid, experimenters.c.removed, groups.c.gid)
    return select(*columns, groups.c.level).select_from(source)
