"""Bytes and files of the originals, by user, group, target, transfer or state, for somebody who may not view all."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, func, select

from repofs.catalog.holdings import FILES, SIZE
from repofs.catalog.schema import (
    dataset_image_links,
    datasets,
    filesets,
    groups,
    images,
    imports,
    original_files,
    project_dataset_links,
    projects,
    trash,
)
from repofs.catalog.views import visible
from repofs.usage import By, Sum, Sums


def sums(conn: Connection, asked: Sums) -> list[Sum]:
    """Return the sums of all that may be viewed, those of the trash by themselves."""
    return [*_originals(conn, asked), *_trash(conn, asked)]


def _originals(conn: Connection, asked: Sums) -> list[Sum]:
    source, key = _key(asked)
    stored, all_bytes = func.sum(SIZE), func.sum(original_files.c.size)
    query = select(key, stored, func.count(), all_bytes - stored).select_from(source)
    rows = conn.execute(query.where(visible(asked.seen, filesets)).group_by(key))
    found = [Sum(_bytes(value), stored, files, outside) for value, stored, files, outside in rows]
    return [_named(conn, one) for one in found] if asked.by is By.TARGET else found


def _bytes(key: Any) -> Any:
    return key.encode() if isinstance(key, str) else key


def _key(asked: Sums) -> tuple[FromClause, ColumnElement[Any]]:
    match asked.by:
        case By.USER:
            return FILES, filesets.c.user_directory
        case By.GROUP:
            return FILES, groups.c.gid
        case By.TRANSFER:
            return FILES, filesets.c.transfer
        case By.STATE:
            return FILES.join(imports, imports.c.id == filesets.c.import_id), imports.c.state
        case By.TARGET:
            links = dataset_image_links.join(images, images.c.id == dataset_image_links.c.image_id)
            links = links.join(datasets, datasets.c.id == dataset_image_links.c.dataset_id)
            first = select(func.min(datasets.c.id)).select_from(links)
            first = first.where(images.c.fileset_id == filesets.c.id, visible(asked.seen, datasets))
            return FILES, first.correlate(filesets).scalar_subquery()


def _named(conn: Connection, one: Sum) -> Sum:
    """Return *one*, whose key is a dataset's id, by that dataset's name: PROJECT/DATASET (Dataset:12)."""
    if one.key is not None:
        links = project_dataset_links
        above = links.join(projects, projects.c.id == links.c.project_id)
        project = select(func.min(projects.c.name)).select_from(above).where(links.c.dataset_id == one.key)
        query = select(datasets.c.id, datasets.c.name, project.scalar_subquery()).where(datasets.c.id == one.key)
        number, name, over = conn.execute(query).one()
        one.key = f"{name if over is None else f'{over}/{name}'} (Dataset:{number})".encode()
    return one


def _trash(conn: Connection, asked: Sums) -> list[Sum]:
    keys: dict[By, ColumnElement[Any]] = {By.USER: trash.c.user_directory, By.GROUP: groups.c.gid}
    key = keys.get(asked.by)
    numbers = (func.coalesce(func.sum(trash.c.size), 0), func.coalesce(func.sum(trash.c.files), 0))
    query = select(*numbers).join(groups, groups.c.id == trash.c.group_id).where(visible(asked.seen, trash))
    if key is not None:
        rows = conn.execute(query.add_columns(key).group_by(key))
        return [Sum(value, trash=size, trash_files=files) for size, files, value in rows]
    size, files = conn.execute(query).one()
    name = b"in the trash" if asked.by is By.STATE else None
    return [Sum(name, trash=size, trash_files=files)] if files else []
