"""Which formats can be read here, by what, and which more could be."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from repofs.formats import registry

HOUSE = "repofs"


@dataclass(frozen=True, slots=True)
class Format:
    """A format by one reader of it."""

    format: str
    suffixes: tuple[str, ...]
    library: str | None  # the distribution that does the reading; None where a third party does not say
    version: str | None  # of the library, None when it is not installed
    reader: str  # the distribution that the reader comes with
    installed: bool
    extra: str | None = None  # what brings the library, for pip: "repofs[em]"


def formats() -> list[Format]:
    """Return all formats in the order in which their readers are asked, then those whose library is missing."""
    others = {id(reader): point.dist.name if point.dist else point.value for point, reader in registry.third_parties()}
    found = []
    for reader in registry.readers():
        library = getattr(reader, "library", None)
        by = others.get(id(reader), HOUSE)
        found.append(Format(reader.name, reader.suffixes, library, _version(library), by, installed=True))
    for extra in registry.missing():
        install = f"{HOUSE}[{extra.extra}]"
        found.append(Format(extra.name, extra.suffixes, extra.library, None, HOUSE, installed=False, extra=install))
    return found


def _version(library: str | None) -> str | None:
    try:
        return version(library) if library else None
    except PackageNotFoundError:  # a third party may call it as it likes
        return None
