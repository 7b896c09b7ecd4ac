"""Which rows a query asks for: the language of OMERO.tables (PyTables, numexpr), made into a condition of TileDB's.

    (area > 50) & (name == 'cell') | ~(well <= 2)        also: and or not, in, not in, 1 < area < 5
    `mean.area` > 5       attr("mean.area") > 5          columns whose names are no identifiers
    flag                                                 a column of Booleans stands for itself
    name == who                                          who is a variable, or else a column
    taken >= '2024-03-01T10:00'                          times are written as texts, in UTC

A column is compared with a value; columns are not reckoned with nor compared with each other. A missing value fulfils
no comparison and no negation of one, but `== None`; not-a-number and not-a-time fulfil `!=`, as in NumPy. So
``~(area <= 2)`` is ``area > 2``. Nothing of a query is ever executed: its syntax tree is walked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tiledb

from repofs.errors import InvalidValue
from repofs.tables.comparing import Column, Condition, compare, joined, listed
from repofs.tables.rows import ROWS

MOST_CHARACTERS = 64 << 10
MOST_PARTS = 20_000
_MOST_DEPTH = 100

_QUOTED = re.compile(r"""('(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`([^`]*)`""", re.DOTALL)
_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def compiled(text: str, variables: Mapping[str, object], array: tiledb.SparseArray) -> str | None:
    """Return *text* as the expression of a tiledb.QueryCondition; None if all rows fulfil it.

    Raises InvalidValue: it cannot be read, names what is neither a column nor a variable, uses another operator, or
    compares a column with a value of another type.
    """
    condition = _Compiler(array, variables).condition(_parsed(text), negated=False)
    if condition is False:
        first = array.schema.domain.dim(0).domain[0]
        return f"dim({ROWS!r}) < {int(first)}"
    return None if condition is True else str(condition)


def _parsed(text: str) -> ast.expr:
    if len(text) > MOST_CHARACTERS:
        raise InvalidValue(f"the query has {len(text)} characters: {MOST_CHARACTERS} are allowed")
    bare = _QUOTED.sub(lambda match: match[1] or f"attr({match[2]!r})", text.strip())
    try:
        tree = ast.parse(bare, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "it is nested too deeply, or has a NUL"
        raise InvalidValue(
            f"the query cannot be read: {reason}: write for example (area > 50) & (name == 'a')"
        ) from None
    if sum(1 for _ in ast.walk(tree)) > MOST_PARTS or _depth(tree) > _MOST_DEPTH:
        raise InvalidValue("the query is too long or nested too deeply")
    return tree


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


class _Compiler:
    """Walks a query's syntax tree. Negations are moved down to the comparisons, so that what is missing stays out."""

    def __init__(self, array: tiledb.SparseArray, variables: Mapping[str, object]) -> None:
        self._array, self._variables = array, variables
        self._columns = {array.schema.attr(number).name for number in range(array.schema.nattr)}

    def condition(self, node: ast.expr, *, negated: bool) -> Condition:
        """Return what *node*, or its opposite, asks of a row."""
        match node:
            case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
                return self.condition(operand, negated=not negated)
            case ast.BoolOp(op=op, values=values):
                return joined(
                    [self.condition(one, negated=negated) for one in values], isinstance(op, ast.And) != negated
                )
            case ast.BinOp(left=left, op=(ast.BitAnd() | ast.BitOr()) as op, right=right):
                both = [self.condition(one, negated=negated) for one in (left, right)]
                return joined(both, isinstance(op, ast.BitAnd) != negated)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                pairs = zip(sides, ops, sides[1:], strict=False)
                return joined([self._comparison(*pair, negated=negated) for pair in pairs], not negated)
        operand = self._operand(node)
        if isinstance(operand, Column) and self._array.attr(operand.name).dtype.kind == "b":
            return compare(self._array, operand, "==", not negated)
        if isinstance(operand, bool):
            return operand is not negated
        raise InvalidValue(f"query: {_text(node)} is no condition: compare a column with a value")

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr, *, negated: bool) -> Condition:
        if isinstance(op, ast.In | ast.NotIn):
            return self._membership(left, right, negated=isinstance(op, ast.NotIn) != negated)
        if type(op) not in _OPERATORS:
            raise InvalidValue("query: the operators are < <= > >= == != in, & | ~ and or not")
        sign = _OPERATORS[type(op)]
        first, second = self._operand(left), self._operand(right)
        if isinstance(second, Column) and not isinstance(first, Column):
            first, second, sign = second, first, _MIRRORED[sign]
        if not isinstance(first, Column) or isinstance(second, Column):
            raise InvalidValue(f"query: {_text(left)} {sign} {_text(right)}: compare one column with one value")
        return compare(self._array, first, _NEGATED[sign] if negated else sign, second)

    def _membership(self, left: ast.expr, right: ast.expr, *, negated: bool) -> Condition:
        column = self._operand(left)
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            values: Any = [self._operand(one) for one in right.elts]
        else:
            values = self._operand(right)
        if not isinstance(column, Column) or not isinstance(values, list | tuple):
            raise InvalidValue(f"query: {_text(left)} in {_text(right)}: write a column in a list of values")
        sign = "!=" if negated else "=="
        found = [compare(self._array, column, sign, one) for one in values]
        return joined(listed(self._array, column, sign, found), negated)

    def _operand(self, node: ast.expr) -> Any:
        """Return the column, or the value, that *node* stands for."""
        match node:
            case ast.Constant(value=value):
                return _plain(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.Name(id=name) if name in self._variables:
                return _plain(self._variables[name])
            case (
                ast.Name(id=name)
                | ast.Call(func=ast.Name(id="attr"), args=[ast.Constant(value=str() as name)], keywords=[])
            ):
                if name in self._columns:
                    return Column(name)
                raise InvalidValue(f"query: {name!r} is neither a column nor a variable")
        raise InvalidValue(
            f"query: {_text(node)} is not supported: compare columns with values, set each comparison in parentheses, "
            "and write a name such as a.b in `backticks`"
        )


def _text(node: ast.expr) -> str:
    return ast.unparse(node)[:100]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, np.datetime64):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value  # PyTables 3 writes b'a'
