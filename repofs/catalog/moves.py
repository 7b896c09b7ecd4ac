"""Moving filesets to another group, with the datasets and projects that they are in: OMERO's chgrp.

A dataset moves along when none of its images stays behind; else those that move go into one of the same name in the new
group. A project likewise, with its datasets. What stands in somebody else's dataset is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, exists, insert, literal, select, update

from repofs.catalog.containers import Target, dataset_for, newest_called
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
from repofs.targets import Named

_CHUNK = 500  # ids in one statement: SQLite bounds its parameters

Place = tuple[FilesetId, bytes, bytes]
"""A fileset, its user directory, and its import directory below it."""

Container = Row[tuple[Any, ...]]


def move(conn: Connection, moved: Sequence[FilesetId], group_id: GroupId) -> list[Place]:
    """Move filesets, their files, images and containers to the group; return where the filesets lie.

    One that is in the group already stays as it is; one that is not there is passed over.
    """
    places: list[Place] = []
    for chunk in chunks(moved):
        conn.execute(update(filesets).where(filesets.c.id.in_(chunk)).values(group_id=group_id))
        files = select(fileset_entries.c.original_id).where(fileset_entries.c.fileset_id.in_(chunk))
        conn.execute(update(original_files).where(original_files.c.id.in_(files)).values(group_id=group_id))
        lies = select(filesets.c.id, filesets.c.user_directory, filesets.c.import_directory).where(
            filesets.c.id.in_(chunk)
        )
        places += [(row.id, row.user_directory, row.import_directory) for row in conn.execute(lies)]
    for chunk in chunks(moved):
        for dataset in conn.execute(_left_behind(chunk, group_id)).all():
            _let_follow(conn, dataset, group_id)
    return places


def chunks(ids: Sequence[FilesetId]) -> Iterable[Sequence[FilesetId]]:
    """Return *ids* in parts that a statement takes."""
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _left_behind(moved: Sequence[FilesetId], group_id: GroupId) -> Select[Any]:
    """Return the query for the datasets of other groups that hold an image of *moved*."""
    mine = select(images.c.id).where(images.c.fileset_id.in_(moved))
    holding = select(dataset_image_links.c.dataset_id).where(dataset_image_links.c.image_id.in_(mine))
    return select(datasets).where(datasets.c.id.in_(holding), datasets.c.group_id != group_id)


def _images_of(group_id: GroupId, owner_id: int | None = None) -> Select[Any]:
    query = select(images.c.id).join(filesets, filesets.c.id == images.c.fileset_id)
    query = query.where(filesets.c.group_id == group_id)
    return query if owner_id is None else query.where(filesets.c.owner_id == owner_id)


def _let_follow(conn: Connection, dataset: Container, group_id: GroupId) -> None:
    """Let *dataset* follow its images into the group; if some stay behind, let the others part from it."""
    links = dataset_image_links
    inside = links.c.dataset_id == dataset.id
    own = links.c.image_id.in_(_images_of(group_id, dataset.owner_id))
    if not _any(conn, inside, ~own):
        conn.execute(update(datasets).where(datasets.c.id == dataset.id).values(group_id=group_id))
        for project in _projects_of(conn, dataset.id, group_id):
            _let_project_follow(conn, project, dataset.id, group_id)
        return
    if _any(conn, inside, own):
        twin = _twin(conn, dataset, group_id)
        known = select(links.c.image_id).where(links.c.dataset_id == twin)
        going = select(literal(twin), links.c.image_id).where(inside, own, links.c.image_id.not_in(known))
        conn.execute(insert(links).from_select(["dataset_id", "image_id"], going))
    conn.execute(delete(links).where(inside, links.c.image_id.in_(_images_of(group_id))))


def _projects_of(conn: Connection, dataset: int, group_id: GroupId) -> Sequence[Container]:
    """Return the projects of other groups that *dataset* is in."""
    holding = select(project_dataset_links.c.project_id).where(project_dataset_links.c.dataset_id == dataset)
    return conn.execute(select(projects).where(projects.c.id.in_(holding), projects.c.group_id != group_id)).all()


def _let_project_follow(conn: Connection, project: Container, dataset: int, group_id: GroupId) -> None:
    """Let *project* follow its last dataset into the group; before that, *dataset* goes into one of the same name."""
    links = project_dataset_links
    others = select(datasets.c.id).where(datasets.c.group_id != group_id)
    if not _any(conn, links.c.project_id == project.id, links.c.dataset_id.in_(others)):
        conn.execute(update(projects).where(projects.c.id == project.id).values(group_id=group_id))
        return
    conn.execute(delete(links).where(links.c.project_id == project.id, links.c.dataset_id == dataset))
    _link(conn, newest_called(conn, projects, project.name, project.owner_id, group_id), dataset)


def _twin(conn: Connection, dataset: Container, group_id: GroupId) -> int:
    """Return the group's dataset that is called as *dataset*, in projects that are called as those of *dataset*."""
    names = [project.name for project in _projects_of(conn, dataset.id, group_id)]
    twin = dataset_for(
        conn, Target(Named(names[0]) if names else None, Named(dataset.name)), dataset.owner_id, group_id
    )
    for name in names[1:]:
        _link(conn, newest_called(conn, projects, name, dataset.owner_id, group_id), twin)
    return twin


def _link(conn: Connection, project: int, dataset: int) -> None:
    links = project_dataset_links
    if not _any(conn, links.c.project_id == project, links.c.dataset_id == dataset):
        conn.execute(insert(links).values(project_id=project, dataset_id=dataset))


def _any(conn: Connection, *which: ColumnElement[bool]) -> bool:
    """Whether a row of a link table is there."""
    return bool(conn.execute(select(exists().where(*which))).scalar())
