"""repofs show: all that is known of an object of the catalogue, or of a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from repofs.cli import attributes, location
from repofs.cli.output import AsJson, print_facts, print_json
from repofs.errors import InvalidValue, NotFound
from repofs.model import ObjectRef


def show(
    context: typer.Context,
    what: Annotated[str, typer.Argument(metavar="Fileset:N|Image:N|PATH", help="An object, or a file in the mount.")],
    as_json: AsJson = False,
    as_ome_xml: Annotated[bool, typer.Option("--ome-xml", help="Print an image's metadata as OME-XML.")] = False,
) -> None:
    """Show a fileset, an image or a file."""
    reference = reference_of(what)
    if as_ome_xml:
        if reference is None or reference.kind != "Image":
            raise InvalidValue(f"{what} is no image: name one, for example Image:101")
        from repofs.cli.ome_xml import ome_xml

        print(ome_xml(describe(context, reference)))
        return
    facts = _of_path(Path(what)) if reference is None else describe(context, reference)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def reference_of(text: str) -> ObjectRef | None:
    """Return the object that *text* names; None for a path, and for an existing file that is called like an object."""
    if os.path.lexists(text):
        return None
    try:
        return ObjectRef.parse(text)
    except InvalidValue:
        return None


def describe(context: typer.Context, reference: ObjectRef) -> dict[str, Any]:
    """Return what the catalogue says of *reference*. Raises NotFound, also for what the caller may not see."""
    mountpoint = location.mount(context).mountpoint
    told: dict[str, Any] | None = attributes.read_json(mountpoint, str(reference))
    if told is None:
        raise NotFound(f"there is no {reference} that you may see")
    return told


def _of_path(path: Path) -> dict[str, Any]:
    location.mount_of(path)
    known: dict[str, Any] = {"path": os.fspath(path.absolute()), **attributes.facts(path)}
    metadata = attributes.read_json(path, "metadata")
    return known if metadata is None else {**known, "metadata": metadata}
