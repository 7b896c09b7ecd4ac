"""What the audit trail tells: a deed, done or refused, and the words for what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# `docs/howto/audit.md` has the same table.
ACTS: Mapping[str, str] = {
    "view": "enter or list a directory, open a file for reading, read an attribute (told only when refused)",
    "import": "put a file into one's own directory (told only when refused: imports have their own table)",
    "import-as": "put a file into another user's directory, for that user",
    "write": "open a drop for writing or truncate it; for an original always refused",
    "rename": "rename a file or directory",
    "remove": "remove the name of a file or a directory",
    "set": "set or remove an attribute of a drop or a directory",
    "annotate": "annotate an object, set an attribute of an original",
    "link": "add an image to a dataset, a dataset to a project",
    "register": "register a table on objects",
    "unregister": "take a table away from its objects",
    "rotate": "give a table another SecretToken",
    "delete": "delete a fileset: it goes to the trash",
    "restore": "bring a deleted fileset back",
    "empty": "remove a deleted fileset from the trash for good; by 0 when its time was over",
    "chgrp": "move data to another group",
    "chown": "give data to another user",
    "user.add": "make a Unix account an experimenter",
    "user.remove": "make an experimenter a former one",
    "group.add": "make a Unix group a group of the repository",
    "group.set-permissions": "set the permission level of a group",
    "group.add-member": "put an experimenter into a group, make a member an owner or an owner a member",
    "group.remove-member": "take an experimenter out of a group",
    "quota.set": "set how much a user or a group may hold",
    "session.create": "begin a session of the HTTPS API by command, one's own or as another user",
}
"""Every act that is recorded, and what was asked for. Those of `access.Act` bear its names."""


@dataclass(frozen=True, slots=True)
class Deed:
    """Somebody has done something, or was refused it; or several alike, within a second or so."""

    time_ns: int  # since the epoch, of the first of them
    actor_uid: int
    act: str  # one of ACTS
    object: str | None = None  # "Fileset:17"; None: of no object
    path: bytes | None = None  # below the mount; of several files their directory, with a slash: b"alice_2/ProjectX/"
    refusal: str | None = None  # why, in a sentence; None: it was done
    detail: dict[str, str] = field(default_factory=dict)  # what was given and what changed
    times: int = 1
