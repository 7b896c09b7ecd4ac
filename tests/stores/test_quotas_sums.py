"""Sums of what is held."""

from __future__ import annotations

from repofs.quotas import Held, less, summed


def test_changes_are_summed_by_user_directory_and_group() -> None:
    one, other = Held(b"alice_2", 100, drops=-5, drop_files=-1), Held(b"alice_2", 101, originals=5, original_files=1)
    assert summed([one, other, one, Held(b"bob_3", 100, coming=7)]) == [
        Held(b"alice_2", 100, drops=-10, drop_files=-2),
        other,
        Held(b"bob_3", 100, coming=7),
    ]
    assert summed([one, *less([one])]) == [Held(b"alice_2", 100)]
