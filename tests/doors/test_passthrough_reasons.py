"""Why the kernel reads no file by itself: what people are told."""

from __future__ import annotations

import pytest

from repofs.fuse import mount


class Native:
    def __init__(self, agreed: bool | None) -> None:
        self.agreed = lambda: agreed


@pytest.mark.parametrize(
    ("wanted", "device", "native", "words"),
    [
        (False, True, Native(True), "mount.passthrough"),
        (True, False, Native(True), "root"),
        (True, True, None, "native module"),
        (True, True, Native(None), "libfuse of its own"),
        (True, True, Native(False), "does not offer it"),
    ],
)
def test_each_reason_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, wanted: bool, device: bool, native: Native | None, words: str
) -> None:
    monkeypatch.setattr(mount, "native", native)
    told = mount.why_no_passthrough(wanted=wanted, device=device)
    assert told is not None and words in told


def test_there_is_none_where_the_kernel_has_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount, "native", Native(True))
    assert mount.why_no_passthrough(wanted=True, device=True) is None
