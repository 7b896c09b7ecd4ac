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
