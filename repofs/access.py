"""Who may do what, as far as the kernel cannot know it. Pure: every door asks here before anything is done."""

from __future__ import annotations

from repofs.model import PermissionLevel

# Permission bits of a user directory. The owner's are always full; what the group gets follows its level.
_DIRECTORY_MODES = {
    PermissionLevel.PRIVATE: 0o700,
    PermissionLevel.READ_ONLY: 0o750,
    PermissionLevel.READ_ANNOTATE: 0o750,
    PermissionLevel.READ_WRITE: 0o770,
}


def may_view(uid: int, owner_uid: int) -> bool:
    """Whether *uid* may see what the catalogue says of an object of *owner_uid*: its owner and root may."""
    return uid in (0, owner_uid)


def user_directory_mode(level: PermissionLevel) -> int:
    """Return the permission bits of the user directory of a member of a group of *level*."""
    return _DIRECTORY_MODES[level]
