"""Projects and datasets: what a path or a target means, and making those that are new.

`ProjectX/DatasetY/scan.tif` goes into the dataset DatasetY of the project ProjectX; `DatasetY/scan.tif` into a
dataset outside of any project; a file directly in the user directory is an orphan. Directories below the second
do not count. A target overrides this (`repofs.targets`): a dataset by id or by name in whatever project, a project (and
the dataset that the path names), or both: that dataset, put into that project too.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, func, insert, select

from repofs import targets
from repofs.access import Act, Whose, may
from repofs.catalog.forms import now
from repofs.catalog.ids import reserve
from repofs.catalog.schema import datasets, experimenters, groups, project_dataset_links, projects
from repofs.errors import AccessDenied, InvalidValue, NotFound
from repofs.model import ExperimenterId, GroupId, PermissionLevel
from repofs.people import Actor
from repofs.targets import Container, Named, Pick


@dataclass(frozen=True, slots=True)
class Target:
    """Where images go. A dataset without a project lies outside of all, unless it may be anywhere."""

    project: Container | None
    dataset: Container
    anywhere: bool = False  # the dataset is sought by its name in all projects of the owner

    @property
    def makes_new(self) -> bool:
        """Whether it means another dataset each time that it is looked up."""
        return targets.is_new(self.project) or targets.is_new(self.dataset)


@dataclass(frozen=True, slots=True)
class ContainerRow:
    """A project or dataset as it stands in its table."""

    id: int
    owner_id: ExperimenterId
    group_id: GroupId
    name: str
    created: str  # ISO 8601, UTC


@dataclass(frozen=True, slots=True)
class Home:
    """A dataset that images are in, and the projects that it is in."""

    dataset: ContainerRow
    projects: tuple[ContainerRow, ...]


def target_of(path: bytes, override: str | None = None) -> Target | None:
    """Return where a drop at *path* below its user directory goes; None: its images are orphans.

    *override* is the `user.repofs.target` that holds for it. Raises InvalidValue when that is no target.
    """
    by_path = _by_path(path)
    if override is None:
        return by_path
    asked = targets.parse(override)
    if asked.dataset is not None:
        return Target(asked.project, asked.dataset, anywhere=True)
    # A project holds images only through a dataset: a file that no directory names one for stays an orphan.
    return Target(asked.project, by_path.dataset) if by_path else None


def _by_path(path: bytes) -> Target | None:
    match [part.decode("utf-8", "backslashreplace") for part in path.split(b"/")[:-1]]:
        case []:
            return None
        case [dataset]:
            return Target(None, Named(dataset))
        case [project, dataset, *_]:
            return Target(Named(project), Named(dataset))
    raise AssertionError(path)


def check_target(conn: Connection, target: Target, actor: Actor, owner: ExperimenterId, group_id: GroupId) -> None:
    """Refuse a target that cannot be what *owner*'s images of that group are put into.

    By id: one that is not there (NotFound), that *actor* may not add to (AccessDenied), or that is of another group
    than *group_id* (InvalidValue). By name, which is always the owner's own: one that is to be the only one of its
    name and is not (InvalidValue).
    """
    for table, container in ((projects, target.project), (datasets, target.dataset)):
        match container:
            case int(number):
                _check_id(conn, table, number, actor, group_id)
            case Named(name, pick):
                if pick is Pick.ONLY:
                    _pick_one(conn, table, _called(table, name, owner, group_id), pick, name)


def _check_id(conn: Connection, table: Table, number: int, actor: Actor, group_id: GroupId) -> None:
    query = select(experimenters.c.uid, table.c.group_id, groups.c.gid, groups.c.name, groups.c.level)
    query = query.select_from(
        table.join(experimenters, table.c.owner_id == experimenters.c.id).join(groups, table.c.group_id == groups.c.id)
    )
    row = conn.execute(query.where(table.c.id == number)).one_or_none()
    kind = _kind(table)
    if row is None:
        raise NotFound(f"there is no {kind}:{number}: set another target and retry")
    if not may(Act.LINK, actor, Whose(row.uid, row.gid, PermissionLevel(row.level))):
        raise AccessDenied(f"{actor} may not add to {kind}:{number}: set another target and retry")
    if row.group_id != group_id:
        raise InvalidValue(
            f"{kind}:{number} is of the group {row.name}, the file of another: set another target and retry"
        )


def dataset_for(conn: Connection, target: Target, owner: ExperimenterId, group_id: GroupId) -> int:
    """Return the id of the dataset that *target* means, made (with its project) in the group if it is new.

    Raises InvalidValue when one that is to be the only one of its name is not.
    """
    project = target.project
    if isinstance(project, Named):
        project = _picked(conn, projects, project, _called(projects, project.name, owner, group_id), owner, group_id)
    dataset = target.dataset
    if isinstance(dataset, Named):
        wanted = _called(datasets, dataset.name, owner, group_id)
        if not target.anywhere:
            wanted = and_(wanted, _within(project))
        dataset = _picked(conn, datasets, dataset, wanted, owner, group_id)
    if project is not None:
        _put_into(conn, project, dataset)
    return dataset


def home(conn: Connection, dataset: int) -> Home:
    """Return the dataset of that id as it stands, with its projects."""
    inside = select(project_dataset_links.c.project_id).where(project_dataset_links.c.dataset_id == dataset)
    around = conn.execute(select(projects).where(projects.c.id.in_(inside)).order_by(projects.c.id))
    own = conn.execute(select(datasets).where(datasets.c.id == dataset)).one()
    return Home(ContainerRow(*own), tuple(ContainerRow(*row) for row in around))


def newest_called(conn: Connection, table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> int:
    """Return the owner's newest project or dataset (*table*) of that name in the group, made if there is none."""
    return _picked(conn, table, Named(name), _called(table, name, owner, group_id), owner, group_id)


def _called(table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> ColumnElement[bool]:
    return and_(table.c.owner_id == owner, table.c.name == name, table.c.group_id == group_id)


def _within(project: int | None) -> ColumnElement[bool]:
    link = exists().where(project_dataset_links.c.dataset_id == datasets.c.id)
    return ~link if project is None else link.where(project_dataset_links.c.project_id == project)


def _picked(
    conn: Connection, table: Table, named: Named, wanted: ColumnElement[bool], owner: ExperimenterId, group_id: GroupId
) -> int:
    found = _pick_one(conn, table, wanted, named.pick, named.name)
    return _make(conn, table, named.name, owner, group_id) if found is None else found


def _pick_one(conn: Connection, table: Table, wanted: ColumnElement[bool], pick: Pick, name: str) -> int | None:
    """Return which of the *wanted* is meant; None: a new one."""
    if pick is Pick.NEW:
        return None
    if pick is Pick.ONLY:
        count = conn.execute(select(func.count()).select_from(table).where(wanted)).scalar_one()
        if count > 1:
            raise InvalidValue(f"{count} {table.name} are called {name!r}: name one as {_kind(table)}:id and retry")
    order = table.c.id if pick is Pick.OLDEST else table.c.id.desc()
    found: int | None = conn.execute(select(table.c.id).where(wanted).order_by(order).limit(1)).scalar()
    return found


def _put_into(conn: Connection, project: int, dataset: int) -> None:
    """Put the dataset into the project, unless it is in there."""
    links = project_dataset_links
    link = and_(links.c.project_id == project, links.c.dataset_id == dataset)
    if conn.execute(select(links.c.project_id).where(link)).first() is None:
        conn.execute(insert(links).values(project_id=project, dataset_id=dataset))


def _make(conn: Connection, table: Table, name: str, owner: ExperimenterId, group_id: GroupId) -> int:
    number = reserve(conn, _kind(table), 1)[0]
    conn.execute(insert(table).values(id=number, owner_id=owner, group_id=group_id, name=name, created=now()))
    return number


def _kind(table: Table) -> str:
    return table.name[:-1].title()
