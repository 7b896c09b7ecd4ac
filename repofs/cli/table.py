"""repofs table: result tables, made into arrays, attached to images, read."""

from __future__ import annotations

import json
import math
import os
import secrets
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from repofs.cli import attributes, location
from repofs.cli.output import AsJson, print_columns, print_facts, print_json
from repofs.cli.show import reference_of
from repofs.errors import InvalidValue, NotFound, RepofsError, told
from repofs.table import SHOWN_AS, checked_target, checked_token

app = typer.Typer(help="Make tables, attach them to images, read them.", no_args_is_help=True)

_TOKEN_BYTES = 32
_LISTED = ("id", "name", "rows", "state", "targets", "path")

What = Annotated[
    str, typer.Argument(metavar="TABLE", help="FileAnnotation:N, Image:N that has one table, or the path of an array.")
]
_TARGET = typer.Option("--target", "-T", metavar="KIND:ID", help="What the table is about: Image:101; may be repeated.")
Columns = Annotated[
    list[str] | None, typer.Option("--column", "-c", metavar="NAME", help="A column to read; may be repeated.")
]
Variables = Annotated[
    list[str] | None,
    typer.Option("--variable", metavar="NAME=VALUE", help="A variable of the query; VALUE is JSON or a text."),
]


@app.command()
def create(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV, TSV, Parquet or Arrow file.")],
    target: Annotated[list[str] | None, _TARGET] = None,
    name: Annotated[str | None, typer.Option(help="The table's name; else that of the file.")] = None,
    local_path: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where the array is made: a directory, or NAME.tiledb; else your directory."),
    ] = None,
    remote_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="The same as the repository sees it, if otherwise.")
    ] = None,
    chunk_size: Annotated[int | None, typer.Option(min=1, help="Rows that are converted at a time.")] = None,
    register: Annotated[bool, typer.Option(help="Whether the array is registered; else it is only made.")] = True,
    as_json: AsJson = False,
) -> None:
    """Make an array of a file, and register it as a table."""
    from repofs import client, client_mount

    targets = [checked_target(one) for one in target or ()]
    if register and not targets:
        raise InvalidValue("no object is named that the table is about: --target Image:101, or --no-register")
    there = _mountpoint(context) if register or local_path is None else None
    called = name if name is not None else source.stem
    place = local_path if local_path is not None else client_mount.own_directory(_known(there))
    path = client.array_path(place, called)
    with _bar(source) as progress:
        token = client.make_array(source, path, chunk_size=chunk_size, progress=progress)
    made: dict[str, object] = {"array": str(path)}
    if register:
        uri = client.remote_uri(remote_path, path)
        try:
            made["object"] = f"FileAnnotation:{client_mount.register(_known(there), uri, called, targets, token)}"
        except RepofsError as error:
            stays = f"the array stays, for repofs table register {shlex.quote(str(path))}"
            raise told(error.errno or 0, f"{error.message}; {stays}") from None
    print_json(made) if as_json else print(f"{made.get('object', 'array')}: {path}")


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List all tables that you may see."""
    rows = [facts for path in _all(_mountpoint(context)) if "id" in (facts := _facts(path))]
    if as_json:
        print_json(rows)
    else:
        print_columns([name.upper() for name in _LISTED], ([row[name] for name in _LISTED] for row in rows))


@app.command()
def show(context: typer.Context, what: What, as_json: AsJson = False) -> None:
    """Show what is known of a table."""
    facts = _facts(_path(context, what))
    if "id" not in facts:
        raise NotFound(f"{what} is no registered table")
    print_json(facts) if as_json else print_facts(facts)


@app.command()
def head(
    context: typer.Context,
    what: What,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, help="How many rows.")] = 10,
    columns: Columns = None,
    as_json: AsJson = False,
) -> None:
    """Print the first rows of a table."""
    _print_frame(_read(context, what, column_names=columns or (), rows=range(rows)), as_json)


@app.command()
def query(
    context: typer.Context,
    what: What,
    condition: Annotated[str, typer.Argument(metavar="QUERY", help="For example: (area > 50) & (name == 'DAPI')")],
    columns: Columns = None,
    variables: Variables = None,
    as_json: AsJson = False,
) -> None:
    """Print the rows of a table for which a query holds."""
    named = _variables(variables or [])
    _print_frame(_read(context, what, column_names=columns or (), query=condition, variables=named), as_json)


@app.command()
def download(
    context: typer.Context,
    what: What,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="NAME.csv, NAME.parquet or NAME.arrow; no file yet.")],
    columns: Columns = None,
    condition: Annotated[
        str | None, typer.Option("--query", metavar="QUERY", help="Only the rows that it holds for.")
    ] = None,
    variables: Variables = None,
) -> None:
    """Write a table, or part of it, to a file."""
    from repofs import client

    path = _path(context, what)
    client.download_table(
        target, path, column_names=columns or (), query=condition, variables=_variables(variables or [])
    )


@app.command()
def register(
    context: typer.Context,
    array: Annotated[str, typer.Argument(metavar="ARRAY", help="The path of an array, or its URI: s3://BUCKET/KEY.")],
    target: Annotated[list[str], _TARGET],
    name: Annotated[str | None, typer.Option(help="The table's name; else that of the array.")] = None,
    token_file: Annotated[
        typer.FileText | None,
        typer.Option(help="A file with the SecretToken, - is the input; else it is read from the array at its path."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Attach an array that is there to what it is about."""
    from repofs import client, client_mount

    mountpoint = _mountpoint(context)
    uri = array if "://" in array else os.path.abspath(array)
    called = name if name is not None else os.path.basename(uri.rstrip("/")).removesuffix(".tiledb")
    token = client.token_of(uri) if token_file is None else checked_token(token_file.read().strip().encode())
    number = client_mount.register(mountpoint, uri, called, target, token)
    print_json({"object": f"FileAnnotation:{number}"}) if as_json else print(f"FileAnnotation:{number}")


@app.command()
def unregister(context: typer.Context, what: What) -> None:
    """Take a table away from what it is about. The array stays."""
    attributes.command(_path(context, what), "table.unregister", "1")


@app.command()
def rotate(context: typer.Context, what: What) -> None:
    """Give the array of a table another SecretToken, and print that. It is told nowhere else."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    attributes.command(_path(context, what), "table.rotate", token)
    print(token)


# --- which table ---------------------------------------------------------------------------------


def _mountpoint(context: typer.Context) -> Path:
    """Return the mountpoint of the repository that is named, else that of `client_mount.find`."""
    from repofs import client_mount

    return client_mount.find(None) if context.find_root().obj is None else location.mount(context).mountpoint


def _path(context: typer.Context, what: str) -> Path:
    """Return the path of the array that *what* names. Raises NotFound, InvalidValue."""
    from repofs import client_mount

    reference = reference_of(what)
    if reference is None:
        return Path(what)
    mountpoint = _mountpoint(context)
    if reference.kind == "FileAnnotation":
        return client_mount.table_path(mountpoint, reference.id)
    if reference.kind == "Image":
        return client_mount.table_path_of_image(mountpoint, reference.id)
    raise InvalidValue(f"{what}: name a table as FileAnnotation:N, by an image as Image:N, or by its path")


def _all(mountpoint: Path) -> list[Path]:
    """Return the arrays of all tables that the caller may see, as the mount shows them; maybe some that are no tables,
    in a directory Tables of old."""
    found: list[Path] = []
    for home in sorted(mountpoint.iterdir()):
        tops = [home / os.fsdecode(name) for name in SHOWN_AS if not home.name.startswith(".")]
        shown = [top for top in tops if top.is_dir()]
        found += sorted(shown[-1].glob("*.tiledb")) if shown else []
    return found


def _facts(path: Path) -> dict[str, object]:
    """Return what is known of the table whose array *path* is, as JSON has it; only its path when it is none."""
    known = attributes.facts(path)
    facts = {name.removeprefix("table."): value for name, value in known.items() if name.startswith("table.")}
    if "id" in facts:
        facts["rows"] = int(str(facts["rows"]))
        facts["targets"] = str(facts["targets"]).split(",")
        facts["columns"] = json.loads(str(facts["columns"]))
    return {**facts, "path": str(path)}


def _known(mountpoint: Path | None) -> Path:
    assert mountpoint is not None
    return mountpoint


# --- reading -------------------------------------------------------------------------------------


def _read(context: typer.Context, what: str, **selection: Any) -> Any:
    from repofs import client

    return client.read_table(_path(context, what), **selection)


def _print_frame(frame: Any, as_json: bool) -> None:
    """Print a DataFrame: a CSV with a header, or a line of JSON for each row."""
    if as_json:  # not by pandas, which cuts the digits of floats
        for row in frame.astype(object).where(frame.notna(), None).to_dict("records"):
            print(json.dumps({name: _json_value(value) for name, value in row.items()}))
    else:
        frame.to_csv(sys.stdout, index=False)


def _json_value(value: Any) -> Any:
    """Return a value as JSON has it: an infinite one as null, a time as a text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime) else value


def _variables(given: list[str]) -> dict[str, Any]:
    variables: dict[str, Any] = {}
    for one in given:
        name, equals, value = one.partition("=")
        if not equals:
            raise InvalidValue(f"--variable {one}: write NAME=VALUE")
        try:
            variables[name] = json.loads(value)
        except ValueError:
            variables[name] = value
    return variables


def _bar(source: Path) -> AbstractContextManager[Callable[[int, int | None], None] | None]:
    """Return a progress bar of rows on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    from repofs.cli.counting_bar import bar

    return bar(source.name, "rows")
