"""Projects and datasets: what a path or a target means, and making those that are new.

`ProjectX/DatasetY/scan.tif` goes into the dataset DatasetY of the project ProjectX; `DatasetY/scan.tif` into a
dataset outside of any project; a file directly in the user directory is an orphan. Directories below the second
do not count. A target on a directory overrides this: `Dataset:12`, `Dataset:name:Y` (the owner's newest Y in
whatever project), `Project:3`, `Project:name:X` (that project, and the dataset that the path names).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, insert, select

from repofs.access import Act, Whose, may
from repofs.catalog.forms import now
from repofs.catalog.ids import reserve
from repofs.catalog.schema import datasets, experimenters, groups, project_dataset_links, projects
from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.model import ExperimenterId, GroupId, PermissionLevel
from repofs.people import Actor


@dataclass(frozen=True, slots=True)
class Target:
    """Where images go. An int is an id, a str a name; a dataset without a project lies outside of all."""

    project: int | str | None
    dataset: int | str
    anywhere: bool = False  # the dataset is sought by its name in all projects of the owner


def target_of(path: bytes, override: str | None = None) -> Target | None:
    """Return where a drop at *path* below its user directory goes; None: its images are orphans.

    *override* is the `user.repofs.target` that holds for it. Raises InvalidValue when that is no target.
    """
    by_path = _by_path(path)
    if override is None:
        return by_path
    kind, named = _read(override)
    if kind == "Dataset":
        return Target(None, named, anywhere=True)
    # A project holds images only through a dataset: a file that no directory names one for stays an orphan.
    return Target(named, by_path.dataset) if by_path else None


def _by_path(path: bytes) -> Target | None:
    match [part.decode("utf-8", "backslashreplace") for part in path.split(b"/")[:-1]]:
        case []:
            return None
        case [dataset]:
            return Target(None, dataset)
        case [project, dataset, *_]:
            return Target(project, dataset)
    raise AssertionError(path)


def _read(text: str) -> tuple[str, int | str]:
    kind, _, rest = text.partition(":")
    name = rest.removeprefix("name:")
    if kind in ("Project", "Dataset"):
        if rest.startswith("name:") and name:
            return kind, name
        if rest.isascii() and rest.isdigit() and 0 < int(rest) < 2**63:
            return kind, int(rest)
    raise InvalidValue(f"{text!r} is no target: write Dataset:12, Dataset:name:X, Project:3 or Project:name:X")


def check_target(conn: Connection, target: Target, actor: Actor, group_id: GroupId) -> None:
    """Refuse a target by id that is not there (NotFound), that *actor* may not add to (AccessDenied), or that is of
    another group than *group_id*, to which the images belong (InvalidValue). Names need no check: they are hers.
    """
    for kind, table, named in (("Project", projects, target.project), ("Dataset", datasets, target.dataset)):
        if not isinstance(named, int):
            continue
        query = select(experimenters.c.uid, table.c.group_id, groups.c.gid, groups.c.name, groups.c.level)
        query = query.select_from(
            table.join(experimenters, table.c.owner_id == experimenters.c.id).join(
                groups, table.c.group_id == groups.c.id
            )
        )
        row = conn.execute(query.where(table.c.id == named)).one_or_none()
        if row is None:
            raise NotFound(f"there is no {kind}:{named}: set another target and retry")
        if not may(Act.LINK, actor, Whose(row.uid, row.gid, PermissionLevel(row.level))):
            raise AccessDenied(f"{actor} may not add to {kind}:{named}: set another target and retry")
        if row.group_id != group_id:
            raise InvalidValue(
                f"{kind}:{named} is of the group {row.name}, the file of another: set another target and retry"
            )


def dataset_for(conn: Connection, target: Target, owner: ExperimenterId, group_id: GroupId) -> int:
    """Return the id of the dataset that *target* means, made (with its project) in the group if it is new."""
    project = target.project
    if isinstance(project, str):
        project = newest_called(conn, projects, project, owner, group_id)
    if isinstance(target.dataset, int):
        return target.dataset
    wanted = _called(datasets, target.dataset, owner, group_id)
    if not target.anywhere:
        wanted = and_(wanted, _within(project))
    found = _newest(conn, datasets, wanted)
    if found is None:
        found = _make(conn, datasets, target.dataset, owner, group_id)
        if project is not None:
            conn.execute(insert(project_dataset_links).values(project_id=project, dataset_id=found))
    return found


def newest_called(conn: Connection, table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> int:
    """Return the owner's newest project or dataset (*table*) of that name in the group, made if there is none."""
    found = _newest(conn, table, _called(table, name, owner, group_id))
    return _make(conn, table, name, owner, group_id) if found is None else found


def _called(table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> ColumnElement[bool]:
    return and_(table.c.owner_id == owner, table.c.name == name, table.c.group_id == group_id)


def _within(project: int | None) -> ColumnElement[bool]:
    link = exists().where(project_dataset_links.c.dataset_id == datasets.c.id)
    return ~link if project is None else link.where(project_dataset_links.c.project_id == project)


def _newest(conn: Connection, table: Table, wanted: ColumnElement[bool]) -> int | None:
    found: int | None = conn.execute(select(table.c.id).where(wanted).order_by(table.c.id.desc()).limit(1)).scalar()
    return found


def _make(conn: Connection, table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> int:
    number = reserve(conn, table.name[:-1].title(), 1)[0]
    conn.execute(insert(table).values(id=number, owner_id=owner, group_id=group_id, name=name, created=now()))
    return number
