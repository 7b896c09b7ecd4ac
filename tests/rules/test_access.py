"""Who sees what, as far as the kernel cannot know it."""

from __future__ import annotations

import stat

from hypothesis import given
from hypothesis import strategies as st

from repofs.access import may_view, user_directory_mode
from repofs.model import PermissionLevel

uids = st.integers(0, 2**32 - 2)


@given(uids, uids)
def test_only_its_owner_and_root_view_an_object(uid: int, owner: int) -> None:
    assert may_view(owner, owner) and may_view(0, owner)
    assert may_view(uid, owner) == (uid in (0, owner))


def test_a_directorys_group_may_what_its_level_says_and_others_nothing() -> None:
    modes = {level: user_directory_mode(level) for level in PermissionLevel}
    assert all(mode & stat.S_IRWXU == stat.S_IRWXU and not mode & stat.S_IRWXO for mode in modes.values())
    assert [mode >> 3 & 7 for mode in modes.values()] == [0, 5, 5, 7]
