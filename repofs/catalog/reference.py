"""Prints `docs/reference/catalogue.md` from the comments of the schema: `python -m repofs.catalog.reference`."""

from __future__ import annotations

from sqlalchemy import Column, Table

from repofs.catalog import schema

_TYPES = {
    "INTEGER": "integer",
    "BIGINT": "integer",
    "FLOAT": "number",
    "TEXT": "text",
    "BLOB": "bytes",
    "BOOLEAN": "boolean",
}
_START = """\
# The catalogue

`catalogue.sqlite` in the repository directory. This page is printed from `repofs/catalog/schema.py`.
A column may be null only where its type says so; a key is bold.
"""


def page() -> str:
    """Return the reference page of all tables, in Markdown."""
    assert schema.__doc__ is not None
    forms = schema.__doc__.partition("Forms that hold for all tables:")[2].strip()
    tables = [_table(table) for table in schema.metadata.tables.values()]
    return "\n".join([_START, "## Forms\n", forms.replace("``", "`"), "", *tables])


def _table(table: Table) -> str:
    rows = [f"| {_name(column)} | {_type(column)} | {column.comment} |" for column in table.columns]
    return "\n".join(
        [f"## {table.name}\n", f"{table.comment}\n", "| column | type | what it is |", "|---|---|---|", *rows, ""]
    )


def _name(column: Column[object]) -> str:
    return f"**{column.name}**" if column.primary_key else column.name


def _type(column: Column[object]) -> str:
    kind = _TYPES[str(column.type)] + (" or null" if column.nullable else "")
    return ", ".join([kind, *(f"→ {key.target_fullname}" for key in column.foreign_keys)])


if __name__ == "__main__":
    print(page(), end="")
