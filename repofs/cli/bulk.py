"""Bulk files, as OMERO's importer reads them: a YAML file of options, and a list or table of what to import.

    path: files.tsv                 one import a line
    columns: [target, name, path]   what the fields of a line are; without columns a line is a path
    include: /etc/imports.yml       another such file, whose keys hold where this one has none
    transfer: ln_s                  and the other options of the command, by their names

A path that is not absolute is taken from the directory of the bulk file. A field wins over a key, a key over the option
of the command line.
"""

from __future__ import annotations

import csv
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from repofs.cli.importing import Wanted, each, target
from repofs.errors import InvalidValue
from repofs.model import Exclusion

_NOT = {"no_thumbnails": "thumbnails", "no_stats_info": "minmax"}  # older words for the same
_SKIP = ("all", "checksum", "minmax", "thumbnails", "upgrade")


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is wanted of a whole command."""

    wanted: list[Wanted]
    parallel: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a bulk file, and where it stands: "bulk.yml, line 3"."""

    value: Any
    where: str


def read(file: Path, usual: Bulk) -> Bulk:
    """Return what the bulk file wants over what is *usual*, whose one Wanted has no path yet.

    Raises InvalidValue, which names file, line and key of what is wrong; OSError for a file that cannot be read.
    """
    keys = _keys(file)
    if "path" not in keys:
        raise InvalidValue(f"{file}: path is missing: name the file that lists what to import")
    base = file.absolute().parent
    wanted = usual.wanted[0]
    parallel, dry_run = usual.parallel, usual.dry_run
    skipped: tuple[str, ...] = ()
    for key, one in keys.items():
        match key:
            case "parallel" | "parallel_fileset":
                parallel = _number(key, one, 64)
            case "dry_run":
                dry_run = dry_run or _yes(key, one)
            case "no_thumbnails" | "no_stats_info" if _yes(key, one):
                skipped = (*skipped, _NOT[key])
            case "continue" | "no_upgrade_check":
                _yes(key, one)  # repofs always goes on, and checks for no upgrade
            case "parallel_upload":
                _number(key, one, 1000)
            case _ if key in _OPTIONS:
                wanted = _with(wanted, key, one)
    wanted = replace(wanted, skip=(*wanted.skip, *skipped))
    listed = base / _path("path", keys["path"])
    lines = list(_lines(listed, keys.get("columns"), wanted, base))
    return Bulk(lines, parallel, dry_run)


# --- the YAML file ---------------------------------------------------------------------------------


def _keys(file: Path) -> dict[str, _Value]:
    """Return the keys of *file* over those of the files that it includes."""
    found: dict[str, _Value] = {}
    seen: set[Path] = set()
    while True:
        file = Path(os.path.realpath(file))
        if file in seen:
            raise InvalidValue(f"{file} includes itself")
        seen.add(file)
        keys = _read(file)
        include = keys.pop("include", None)
        found = {**keys, **found}
        if include is None:
            return found
        file = file.parent / _path("include", include)


def _read(file: Path) -> dict[str, _Value]:
    try:
        with open(file, encoding="utf-8") as stream:
            loader = yaml.SafeLoader(stream)
            try:
                return _mapping(file, loader)
            finally:
                loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(f"{file} is not YAML: {error}") from None


def _mapping(file: Path, loader: yaml.SafeLoader) -> dict[str, _Value]:
    node = loader.get_single_node()
    if not isinstance(node, yaml.MappingNode):
        raise InvalidValue(f"{file}: write keys and values, for example path: files.txt")
    keys: dict[str, _Value] = {}
    for name, value in node.value:
        where = f"{file}, line {name.start_mark.line + 1}"
        key = str(name.value)
        known = key.replace("-", "_")
        if known not in _KNOWN:
            raise InvalidValue(f"{where}: {key} is no key: there are {', '.join(sorted(_KNOWN))}")
        if known in keys:
            raise InvalidValue(f"{where}: {key} stands twice")
        keys[known] = _Value(loader.construct_object(value, deep=True), where)
    return keys


# --- the list --------------------------------------------------------------------------------------


def _lines(listed: Path, columns: _Value | None, wanted: Wanted, base: Path) -> Iterator[Wanted]:
    """Yield what each line of *listed* wants."""
    names = None if columns is None else _columns(columns)
    with open(listed, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        for number, fields in _fields(listed, stream, names is None):
            where = f"{listed}, line {number}"
            if names is None:
                yield from each(wanted, [base / _path("path", _Value(fields[0], where))])
                continue
            if len(fields) != len(names):
                raise InvalidValue(f"{where}: {len(fields)} fields, where the columns are {', '.join(names)}")
            one, path = wanted, base
            for name, text in zip(names, fields, strict=True):
                if name == "path":
                    path = base / _path(name, _Value(text, where))
                else:
                    one = _with(one, name, _Value(text, where))
            yield from each(one, [path])


def _fields(listed: Path, stream: Any, whole: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line that is not empty: as the file is called, else as a shell does."""
    delimiter = {".csv": ",", ".tsv": "\t"}.get(listed.suffix.lower())
    if delimiter is not None and not whole:
        reader = csv.reader(stream, delimiter=delimiter)
        try:
            yield from ((reader.line_num, fields) for fields in reader if fields)
        except csv.Error as error:
            raise InvalidValue(f"{listed}, line {reader.line_num}: {error}") from None
        return
    for number, line in enumerate(stream, 1):
        text = line.strip()
        if not text:
            continue
        try:
            yield number, [text] if whole else shlex.split(text)
        except ValueError as error:
            raise InvalidValue(f"{listed}, line {number}: {error}") from None


def _columns(columns: _Value) -> list[str]:
    names = columns.value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidValue(f"{columns.where}: columns: write a list, for example [target, name, path]")
    known = [name.replace("-", "_") for name in names]
    for name in known:
        if name != "path" and name not in _OPTIONS:
            raise InvalidValue(
                f"{columns.where}: columns: {name} is no column: there are {', '.join(sorted(('path', *_OPTIONS)))}"
            )
    if len(set(known)) != len(known) or "path" not in known:
        raise InvalidValue(f"{columns.where}: columns: each name once, and path among them")
    return known


# --- values ----------------------------------------------------------------------------------------


def _text(key: str, one: _Value) -> str:
    if not isinstance(one.value, (str, int)) or isinstance(one.value, bool) or one.value == "":
        raise InvalidValue(f"{one.where}: {key} = {one.value!r}: write a text")
    return str(one.value)


def _path(key: str, one: _Value) -> Path:
    try:
        name = os.fsencode(_text(key, one))
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name:
        raise InvalidValue(f"{one.where}: {key} = {one.value!r}: no file can be called so")
    return Path(os.fsdecode(name))


def _number(key: str, one: _Value, most: int) -> int:
    try:
        number = int(_text(key, one))
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        raise InvalidValue(f"{one.where}: {key} = {one.value!r}: a number from 1 to {most}")
    return number


def _yes(key: str, one: _Value) -> bool:
    if not isinstance(one.value, bool):
        raise InvalidValue(f"{one.where}: {key} = {one.value!r}: true or false")
    return one.value


def _words(key: str, one: _Value, known: tuple[str, ...]) -> tuple[str, ...]:
    words = one.value if isinstance(one.value, list) else [one.value]
    for word in words:
        if word not in known:
            raise InvalidValue(f"{one.where}: {key} = {word!r}: there are {', '.join(known)}")
    return tuple(words)


_OPTIONS: dict[str, Callable[[str, _Value], dict[str, Any]]] = {
    "transfer": lambda key, one: {"transfer": _text(key, one)},
    "target": lambda key, one: {"target": target(_text(key, one))},
    "name": lambda key, one: {"name": _text(key, one)},
    "as": lambda key, one: {"owner": _text(key, one)},
    "group": lambda key, one: {"group": _text(key, one)},
    "skip": lambda key, one: {"skip": _words(key, one, _SKIP)},
    "exclude": lambda key, one: {"exclude": tuple(map(Exclusion, _words(key, one, tuple(Exclusion))))},
    "checksum_algorithm": lambda key, one: {"checksum_algorithm": _text(key, one)},
    "depth": lambda key, one: {"depth": _number(key, one, 1000)},
}
_KNOWN = {
    *_OPTIONS, "path", "columns", "include", "dry_run", "parallel", "parallel_fileset", "parallel_upload", "continue",
    "no_stats_info", "no_thumbnails", "no_upgrade_check",
}  # fmt: skip


def _with(wanted: Wanted, key: str, one: _Value) -> Wanted:
    """Return *wanted* with the option *key*. Raises InvalidValue, which says where it stands."""
    try:
        return replace(wanted, **_OPTIONS[key](key, one))
    except InvalidValue as error:
        raise InvalidValue(error.message if error.message.startswith(one.where) else f"{one.where}: {error}") from None
