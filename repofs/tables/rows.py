"""Where the rows of a table lie in its array.

A row's *number* is its place among the rows, from 0; its *coordinate* is its value of `__tiledb_rows`. They differ in
what omero2pandas 0.4.2 makes of more than one chunk: it adds the offset of a chunk to an index that has it already, so
that 3,000 rows lie at 0 to 999, 2000 to 2999 and 4000 to 4999.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import tiledb

from repofs.errors import InvalidValue

ROWS = "__tiledb_rows"
MOST_RUNS = 1_000_000  # 16 MB

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Rows that follow each other without a hole: run i has the coordinates from `first[i]`, and begins with the row
    of number `start[i]`. Both ascend; `start` has one item more, the count of all rows."""

    first: Integers
    start: Integers

    @property
    def count(self) -> int:
        return int(self.start[-1])

    def coordinates(self, numbers: Integers) -> Integers:
        """Return where the rows of these *numbers* lie; each is at least 0 and below `count`."""
        run = np.searchsorted(self.start, numbers, side="right") - 1
        return self.first[run] + numbers - self.start[run]

    def numbers(self, coordinates: Integers) -> Integers:
        """Return the numbers of the rows that lie at *coordinates*."""
        run = np.searchsorted(self.first, coordinates, side="right") - 1
        return self.start[run] + coordinates - self.first[run]


def count(array: tiledb.SparseArray) -> int:
    """Return how many rows the array has: those of overlapping fragments once, deleted ones not."""
    if array.schema.nattr == 0:
        raise InvalidValue("the array has no columns")
    parts = _apart(array)
    if parts is not None:
        return sum(cells for _, _, cells in parts)
    return int(array.query().agg({array.attr(0).name: "count"})[:])


def runs(array: tiledb.SparseArray) -> Runs:
    """Return where all rows lie. Costs what opening does if each fragment is one run, else a look at each coordinate.

    Raises InvalidValue when there are more than MOST_RUNS.
    """
    parts = _apart(array)
    if parts is not None and all(last - first + 1 == cells for first, last, cells in parts):
        return _runs([np.array([first]) for first, _, _ in parts], [np.array([cells]) for _, _, cells in parts])
    return _scanned(array)


def _apart(array: tiledb.SparseArray) -> list[tuple[int, int, int]] | None:
    """Return the first and last coordinate of each fragment, and how many rows it has, if all its rows are the table's:
    no two fragments overlap, and nothing can have been deleted. Else None."""
    fragments = tiledb.array_fragments(array.uri, ctx=array.ctx)
    parts = sorted(
        (int(domain[0][0]), int(domain[0][1]), int(cells))
        for domain, cells in zip(fragments.nonempty_domain, fragments.cell_num, strict=True)
    )
    overlap = any(before[1] >= after[0] for before, after in pairwise(parts))
    return None if overlap or _may_have_deleted(array) else parts


def _may_have_deleted(array: tiledb.SparseArray) -> bool:
    """Deletions are commits of their own, until they are consolidated with others."""
    vfs, commits = tiledb.VFS(ctx=array.ctx), f"{array.uri}/__commits"
    return vfs.is_dir(commits) and any(commit.endswith((".del", ".upd", ".con")) for commit in vfs.ls(commits))


def _scanned(array: tiledb.SparseArray) -> Runs:
    first: list[Integers] = []
    cells: list[Integers] = []
    found = 0
    query = array.query(attrs=[], dims=[ROWS], return_arrow=True, return_incomplete=True, order="G")
    for table in query.df[:]:
        coordinates = _integers(table.column(ROWS))
        if not len(coordinates):
            continue
        breaks = np.flatnonzero(np.diff(coordinates) != 1) + 1
        bounds = np.concatenate(([0], breaks, [len(coordinates)]))
        first.append(coordinates[bounds[:-1]])
        cells.append(np.diff(bounds))
        found += len(bounds) - 1
        if found > MOST_RUNS:
            raise InvalidValue(f"the rows of the array lie in more than {MOST_RUNS} pieces: write it anew")
    return _runs(first, cells)


def _runs(first: list[Integers], cells: list[Integers]) -> Runs:
    empty = np.zeros(0, dtype=np.int64)
    start = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(np.concatenate([empty, *cells]))))
    return Runs(np.concatenate([empty, *first]), start.astype(np.int64))


def _integers(column: Any) -> Integers:
    return np.asarray(column.to_numpy(), dtype=np.int64)
