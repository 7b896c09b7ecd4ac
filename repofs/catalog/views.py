"""Projects, datasets and images as the views in `.repofs` list them, for somebody who may not view all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Table, and_, case, exists, or_, select, true

from repofs.catalog.schema import (
    dataset_image_links,
    datasets,
    experimenters,
    fileset_entries,
    filesets,
    groups,
    images,
    project_dataset_links,
    projects,
)
from repofs.views import Listing, Look, Page, Seen, Shown

PAGE = 1000  # rows: a few milliseconds for who makes a page, and for who reads it

AnyRow = Row[tuple[Any, ...]]


def page(conn: Connection, look: Look) -> Page:
    """Return what comes next of what *look* asks for; nothing of what is not there."""
    match look.listing:
        case Listing.PROJECTS:
            return _containers(conn, look, projects, true())
        case Listing.DATASETS:
            return _containers(conn, look, datasets, _in_project(look))
        case _:
            return _images(conn, look)


def visible(seen: Seen, table: Table) -> ColumnElement[bool]:
    """Return the condition for rows of *table* that may be viewed. A former experimenter's uid is another's by now."""
    if seen.everything:
        return true()
    mine = select(experimenters.c.id).where(experimenters.c.uid == seen.uid, experimenters.c.removed.is_(None))
    own = and_(table.c.group_id.in_(_groups(seen.own_gids)), table.c.owner_id.in_(mine))
    return or_(table.c.group_id.in_(_groups(seen.gids)), own)


def _groups(gids: tuple[int, ...]) -> Any:
    return select(groups.c.id).where(groups.c.gid.in_(gids))


def _whose(table: Table) -> tuple[FromClause, list[ColumnElement[Any]]]:
    """Return *table* joined with owner and group, and the columns that tell of these."""
    source = table.join(experimenters, experimenters.c.id == table.c.owner_id)
    source = source.join(groups, groups.c.id == table.c.group_id)
    owner_uid = case((experimenters.c.removed.is_(None), experimenters.c.uid))
    return source, [owner_uid.label("owner_uid"), groups.c.gid]


# --- projects and datasets ---------------------------------------------------------------------------


def _in_project(look: Look) -> ColumnElement[bool]:
    """Return the condition for datasets of a project; 0: of none that may be viewed."""
    links = project_dataset_links.c
    link = exists().where(links.dataset_id == datasets.c.id)
    if look.number:
        return link.where(links.project_id == look.number)
    return ~link.where(links.project_id == projects.c.id, visible(look.seen, projects))


def _containers(conn: Connection, look: Look, table: Table, which: ColumnElement[bool]) -> Page:
    source, whose = _whose(table)
    query = select(table.c.id, table.c.name, *whose).select_from(source)
    query = query.where(table.c.id > look.after, which, visible(look.seen, table)).order_by(table.c.id).limit(PAGE)
    rows = conn.execute(query).all()
    return Page(tuple(Shown(row.id, row.owner_uid, row.gid, row.name) for row in rows), _after(rows))


def _after(rows: Sequence[AnyRow]) -> int | None:
    return rows[-1].id if len(rows) == PAGE else None


# --- images ------------------------------------------------------------------------------------------


def _images(conn: Connection, look: Look) -> Page:
    source, whose = _whose(filesets)
    source = source.join(images, images.c.fileset_id == filesets.c.id)
    number: ColumnElement[int] = images.c.id
    which: ColumnElement[bool] = true()
    match look.listing:
        case Listing.DATASET:
            source = source.join(dataset_image_links, dataset_image_links.c.image_id == images.c.id)
            number, which = dataset_image_links.c.image_id, dataset_image_links.c.dataset_id == look.number
        case Listing.ORPHANS:
            which = _is_orphan(look.seen)
        case Listing.IMAGE:
            which = images.c.id == look.number
    columns = [number.label("id"), *whose]
    if look.listing is not Listing.IMAGES:
        columns += [images.c.fileset_id, filesets.c.user_directory, filesets.c.import_directory, *_ends()]
    query = select(*columns).select_from(source).where(number > look.after, which, visible(look.seen, filesets))
    rows = conn.execute(query.order_by(number).limit(PAGE)).all()
    if look.listing is Listing.IMAGES:
        return Page(tuple(Shown(row.id, row.owner_uid, row.gid) for row in rows), _after(rows))
    firsts: dict[int, AnyRow] = {}
    for row in rows:
        firsts.setdefault(row.fileset_id, row)
    return Page(tuple(_with_files(conn, row) for row in firsts.values()), _after(rows))


def _is_orphan(seen: Seen) -> ColumnElement[bool]:
    """Return the condition for images that are in no dataset that may be viewed."""
    links = dataset_image_links.c
    link = exists().where(links.image_id == images.c.id, links.dataset_id == datasets.c.id)
    return ~link.where(visible(seen, datasets))


def _ends() -> list[ColumnElement[Any]]:
    """Return the columns for the names of the first and the last file of a fileset."""
    entry = fileset_entries.c
    names = select(entry.name).where(entry.fileset_id == filesets.c.id).limit(1)
    return [
        names.order_by(entry.position).scalar_subquery().label("first"),
        names.order_by(entry.position.desc()).scalar_subquery().label("last"),
    ]


def _with_files(conn: Connection, row: AnyRow) -> Shown:
    directory = row.user_directory + b"/" + row.import_directory
    return Shown(row.id, row.owner_uid, row.gid, directory=directory, names=_tops(conn, row))


def _tops(conn: Connection, row: AnyRow) -> tuple[bytes, ...]:
    """Return the names in the import directory of a fileset, in the order of its files."""
    first, _, below = row.first.partition(b"/")
    # The files of a directory follow each other: one that holds the first and the last holds all, be it a million.
    if row.first == row.last or (below and row.last.startswith(first + b"/")):
        return (first,)
    entry = fileset_entries.c
    names = conn.execute(select(entry.name).where(entry.fileset_id == row.fileset_id).order_by(entry.position))
    return tuple(dict.fromkeys(name.partition(b"/")[0] for name in names.scalars()))
