"""What may be asked of the importer from outside the mount. Travels as JSON over the control socket, with the
descriptor of a directory beside it, and as MessagePack to the importer process."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from repofs.model import Exclusion, Skip, Transfer

MOST_PATH_BYTES = 4096  # PATH_MAX
MOST_TEXT = 1024

Text = Annotated[str, Meta(min_length=1, max_length=MOST_TEXT)]
Path = Annotated[bytes, Meta(min_length=1, max_length=MOST_PATH_BYTES)]


class Import(msgspec.Struct, frozen=True, tag="import"):
    """Import one fileset. The descriptor of *directory*, as the caller has opened it, comes with it."""

    directory: Path  # its absolute path, as the caller sees it
    name: Path  # in it: a file, or a directory that is one thing
    is_directory: bool = False
    transfer: Text = Transfer.UPLOAD
    target: Text | None = None  # None: orphans
    owner: Text | None = None  # whose it becomes, by login name; None: the caller's
    group: Text | None = None  # that it is to belong to; None: that of the owner's directory
    image_name: Text | None = None  # None: as the file says
    exclude: tuple[Exclusion, ...] = ()
    checksum_algorithm: Text | None = None  # None: that of the settings
    skip: tuple[Skip, ...] = ()
    wait: bool = True  # answer when it is imported; else once it is certain to be seen to


class Delete(msgspec.Struct, frozen=True, tag="delete"):
    """Move a fileset to the trash."""

    what: Text  # Fileset:17, or Image:101 for the fileset that it is in
    only_ask: bool = False  # tell what would be deleted


class ListTrash(msgspec.Struct, frozen=True, tag="trash.list"):
    """Tell which filesets are in the trash that the caller may delete."""


class Restore(msgspec.Struct, frozen=True, tag="restore"):
    """Put a fileset back that is in the trash."""

    what: Text  # Fileset:17


class Empty(msgspec.Struct, frozen=True, tag="empty"):
    """Remove for good what is in the trash: a fileset, or all that is the caller's to remove."""

    what: Text | None = None  # Fileset:17; None: all of hers, of administrators and group owners all that they may
    older_than_days: Annotated[float, Meta(ge=0.0, le=36_500.0)] = 0.0
    only_ask: bool = False  # tell what would be removed


TrashRequest = Delete | ListTrash | Restore | Empty
