"""Tables as they are read: which there are, their columns, and their rows as a stream of Arrow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from repofs.errors import Busy, InvalidValue, NotFound
from repofs.model import ObjectRef
from repofs.table import Column, Selection, Table, TableState, read_json
from repofs.web.answers import Data
from repofs.web.callers import Asking
from repofs.web.piped import Piped
from repofs.web.services import Here

ARROW = "application/vnd.apache.arrow.stream"
_MOST = (1 << 63) - 1

Id = Annotated[int, Field(ge=1, le=_MOST)]
Row = Annotated[int, Field(ge=0, le=_MOST)]

router = APIRouter(prefix="/api/v0/tables")


class _Parameters(BaseModel):
    """Of a request. A misspelt one would be one that is not heeded."""

    model_config = ConfigDict(extra="forbid")
    bsession: Annotated[str | None, Field(description="The key of a session")] = None  # read in `callers`


class Linked(_Parameters):
    """Objects, by their ids."""

    image: list[Id] = []
    dataset: list[Id] = []
    project: list[Id] = []
    fileset: list[Id] = []
    plate: list[Id] = []
    screen: list[Id] = []
    well: list[Id] = []
    roi: list[Id] = []

    def refs(self) -> list[ObjectRef]:
        """Return the objects."""
        kinds = self.model_dump(exclude={"bsession"}).items()
        return [ObjectRef(kind.capitalize(), number) for kind, numbers in kinds for number in numbers]


class Rows(_Parameters):
    """Which rows and columns; all, if nothing is said."""

    columns: Annotated[list[str], Field(description="Names, in the order in which they are to come")] = []
    start: Annotated[Row | None, Field(description="The first row, from 0")] = None
    stop: Annotated[Row | None, Field(description="The row after the last")] = None
    query: Annotated[str | None, Field(description="A condition on columns: (area > 50) & (name == who)")] = None
    variables: Annotated[str | None, Field(description='What the query names, in JSON: {"who": "HeLa"}')] = None

    def selection(self) -> Selection:
        """Return what is selected. Raises InvalidValue for variables that are none."""
        variables = read_json((self.variables or "{}").encode(), "variables", '{"who": "HeLa"}')
        scalars = {name: value for name, value in variables.items() if isinstance(value, (str, int, float, bool))}
        if len(scalars) < len(variables):
            raise InvalidValue("variables: a value is a text, a number, true or false")
        return Selection(tuple(self.columns), None, self.start, self.stop, self.query, scalars)


async def _table(here: Here, asker: Asking, number: Annotated[int, Path(ge=1, le=_MOST)]) -> Table:
    table = here.registry.get(number)
    if table is None or not here.may_view(table, asker.uid):
        raise NotFound(f"FileAnnotation:{number} is no table")
    return table


Seen = Annotated[Table, Depends(_table)]


@dataclass(frozen=True, slots=True)
class Described:
    """A table, as it is told."""

    id: int  # of its FileAnnotation
    name: str
    uri: str  # as who registered it has written it
    rows: int
    columns: int
    targets: list[str]  # "Image:101"
    state: TableState
    registered: str  # ISO 8601, UTC


def _described(table: Table) -> Described:
    return Described(
        table.id,
        table.name,
        table.uri,
        table.rows,
        len(table.columns),
        [str(target) for target in table.targets],
        table.state,
        table.registered,
    )


@dataclass(frozen=True, slots=True)
class Size:
    """What a table had when it was registered."""

    rows: int
    columns: int


@router.get("")
async def list_tables(here: Here, asker: Asking, linked: Annotated[Linked, Query()]) -> Data[list[Described]]:
    """The tables that you may see: all of them, or those that are linked to any of the given objects."""
    refs = linked.refs()
    tables = here.registry.linked(refs) if refs else here.registry.all()
    return Data(data=[_described(table) for table in tables if here.may_view(table, asker.uid)])


@router.get("/{number}")
async def get_table(table: Seen) -> Data[Described]:
    """A table, by the number of its FileAnnotation."""
    return Data(data=_described(table))


@router.get("/{number}/columns")
async def get_columns(table: Seen) -> Data[list[Column]]:
    """Its columns: names, OMERO's types, NumPy's types, and whether they have NULLs."""
    return Data(data=list(table.columns))


@router.get("/{number}/size")
async def get_size(table: Seen) -> Data[Size]:
    """How many rows and columns it had when it was registered."""
    return Data(data=Size(table.rows, len(table.columns)))


@router.get("/{number}/rows", status_code=200, response_class=Piped, responses={200: {"content": {ARROW: {}}}})
async def get_rows(here: Here, asker: Asking, table: Seen, rows: Annotated[Rows, Query()]) -> Piped:
    """Its rows as a stream of Arrow's IPC format, of one table at a time; broken off, it has no end-of-stream mark."""
    selection, uid = rows.selection(), asker.session.uid

    async def write(into: int) -> None:
        if uid in here.readers:  # each reader keeps one of few processes, as long as she likes
            raise Busy("you are reading a table already: one at a time")
        here.readers.add(uid)
        try:
            await here.export(table, "arrow", selection, into)
        finally:
            here.readers.remove(uid)

    return Piped(write, ARROW)
