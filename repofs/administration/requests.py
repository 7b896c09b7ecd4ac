"""What may be asked of the administration. Travels as JSON over the control socket, as MessagePack to the importer."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from repofs.errors import InvalidValue
from repofs.model import PermissionLevel

MOST_ID = 2**32 - 2  # the next is (uid_t)-1, which means "leave it as it is"
MOST_NAME = 255

Number = Annotated[int, Meta(ge=0, le=MOST_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]


class AddUser(msgspec.Struct, frozen=True, tag="user.add"):
    """Make the account an experimenter with a directory of her own."""

    name: Name
    uid: Number | None = None  # None: that of the account
    group: Name | None = None  # that new imports belong to; None: the only one


class RemoveUser(msgspec.Struct, frozen=True, tag="user.remove"):
    """Take the right to use the repository from an experimenter; the data stay."""

    name: Name


class AddGroup(msgspec.Struct, frozen=True, tag="group.add"):
    """Make a Unix group a group of the repository."""

    name: Name
    gid: Number | None = None  # None: that of the Unix group
    level: PermissionLevel = PermissionLevel.PRIVATE


class SetPermissions(msgspec.Struct, frozen=True, tag="group.set-permissions"):
    """Set what members may do with each other's data."""

    group: Name
    level: PermissionLevel


class AddMember(msgspec.Struct, frozen=True, tag="group.add-member"):
    """Put an experimenter into a group, or make a member an owner, or an owner a member."""

    group: Name
    user: Name
    owner: bool = False


class RemoveMember(msgspec.Struct, frozen=True, tag="group.remove-member"):
    """Take an experimenter out of a group, whatever the Unix group says."""

    group: Name
    user: Name


class SetQuota(msgspec.Struct, frozen=True, tag="quota.set"):
    """Say how much a user, or a group, may hold."""

    name: Name
    of_group: bool = False
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None  # bytes; None: no limit
    default: bool = False  # that of the settings again, whatever *size* is


class ListPeople(msgspec.Struct, frozen=True, tag="people"):
    """Tell who the experimenters are, which groups there are and who is in them."""


class ListDropbox(msgspec.Struct, frozen=True, tag="dropbox"):
    """Tell what lies in watched folders and became of it: of the caller's own files, to administrators of all."""


Change = AddUser | RemoveUser | AddGroup | SetPermissions | AddMember | RemoveMember | SetQuota
Request = Change | ListPeople | ListDropbox


def act(request: Request) -> str | None:
    """Return what the audit trail calls *request*; None for one that changes nothing."""
    return str(request.__struct_config__.tag) if isinstance(request, Change) else None


def checked(request: Request) -> Request:
    """Return *request*. Raises InvalidValue when a name or number in it can be none of an account or a group."""
    try:
        msgspec.convert(msgspec.to_builtins(request), Request)
    except msgspec.ValidationError as error:
        raise InvalidValue(f"{error}") from None
    for field in ("name", "group", "user"):
        name = getattr(request, field, None)
        if name is not None and not _is_name(name):
            raise InvalidValue(f"{name!r} can be the name of no account and no group")
    return request


def _is_name(text: str) -> bool:
    """Whether /etc/passwd and /etc/group could have it, and a terminal show it."""
    return text.isprintable() and text == text.strip() and not any(character in text for character in ":,/")
