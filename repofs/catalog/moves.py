"""Moving filesets to another group, with the datasets and projects that they are in: OMERO's chgrp.

A container moves along when nothing is left in it that does not move; else what moves goes into one of the same name
in the new group. What stands in somebody else's container is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, Connection, Row, Table, delete, insert, select, update

from repofs.catalog.containers import newest_called
from repofs.catalog.schema import (
    dataset_image_links,
    datasets,
    fileset_entries,
    filesets,
    images,
    original_files,
    project_dataset_links,
    projects,
)
from repofs.model import FilesetId, GroupId

_CHUNK = 500  # ids in one statement: SQLite bounds its parameters

Place = tuple[bytes, bytes]
"""User directory, and import directory below it."""


def move(conn: Connection, moved: Sequence[FilesetId], group_id: GroupId) -> list[Place]:
    """Move filesets, their files, images and containers to the group; return where the filesets lie.

    One that is in the group already stays as it is; one that is not there is passed over.
    """
    places: list[Place] = []
    for chunk in _chunks(moved):
        conn.execute(update(filesets).where(filesets.c.id.in_(chunk)).values(group_id=group_id))
        files = select(fileset_entries.c.original_id).where(fileset_entries.c.fileset_id.in_(chunk))
        conn.execute(update(original_files).where(original_files.c.id.in_(files)).values(group_id=group_id))
        lies = select(filesets.c.user_directory, filesets.c.import_directory).where(filesets.c.id.in_(chunk))
        places += [(row.user_directory, row.import_directory) for row in conn.execute(lies)]
    for dataset in _left_behind(conn, moved, group_id):
        _follow(conn, dataset, group_id)
    return places


def _chunks(ids: Sequence[FilesetId]) -> Iterable[Sequence[FilesetId]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _left_behind(conn: Connection, moved: Sequence[FilesetId], group_id: GroupId) -> list[Row[tuple[object, ...]]]:
    """Return the datasets of other groups that hold an image of *moved*."""
    found: dict[int, Row[tuple[object, ...]]] = {}
    for chunk in _chunks(moved):
        query = select(datasets).join(dataset_image_links).join(images).distinct()
        query = query.where(images.c.fileset_id.in_(chunk), datasets.c.group_id != group_id)
        found |= {row.id: row for row in conn.execute(query)}
    return list(found.values())


def _follow(conn: Connection, dataset: Row[tuple[object, ...]], group_id: GroupId) -> None:
    """Let *dataset* follow its images into the group, or part from those of them that are there now."""
    inside = dataset_image_links.c.dataset_id == dataset.id
    there = select(images.c.id).join(filesets).where(filesets.c.group_id == group_id)
    owned = filesets.c.owner_id == dataset.owner_id
    gone = [inside, dataset_image_links.c.image_id.in_(there)]
    stays = select(dataset_image_links.c.image_id).where(inside, dataset_image_links.c.image_id.not_in(there)).limit(1)
    if conn.execute(stays).first() is None:
        conn.execute(update(datasets).where(datasets.c.id == dataset.id).values(group_id=group_id))
        _follow_up(conn, dataset.id, dataset.id, group_id)
        return
    twin = newest_called(conn, datasets, dataset.name, dataset.owner_id, group_id)
    own = dataset_image_links.c.image_id.in_(there.where(owned))
    conn.execute(update(dataset_image_links).where(*gone, own).values(dataset_id=twin))
    conn.execute(delete(dataset_image_links).where(*gone))
    _follow_up(conn, dataset.id, twin, group_id)


def _follow_up(conn: Connection, before: int, now: int, group_id: GroupId) -> None:
    """Put the dataset *now*, which was (part of) *before*, into the group's projects of the names of *before*'s."""
    links = project_dataset_links
    query = select(projects).join(links).where(links.c.dataset_id == before, projects.c.group_id != group_id)
    for project in conn.execute(query).all():
        if now == before and not _holds(conn, links.c.project_id == project.id, group_id):
            conn.execute(update(projects).where(projects.c.id == project.id).values(group_id=group_id))
            continue
        twin = newest_called(conn, projects, project.name, project.owner_id, group_id)
        if now == before:
            conn.execute(delete(links).where(links.c.project_id == project.id, links.c.dataset_id == before))
        known = select(links).where(links.c.project_id == twin, links.c.dataset_id == now)
        if conn.execute(known).first() is None:
            conn.execute(insert(links).values(project_id=twin, dataset_id=now))


def _holds(conn: Connection, within: ColumnElement[bool], group_id: GroupId) -> bool:
    """Whether a project holds a dataset of another group than *group_id*."""
    links: Table = project_dataset_links
    query = select(links.c.dataset_id).join(datasets).where(within, datasets.c.group_id != group_id).limit(1)
    return conn.execute(query).first() is not None
