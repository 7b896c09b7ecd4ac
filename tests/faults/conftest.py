from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.failing_calls import build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("failing_calls"))


@pytest.fixture
def disks_are_possible() -> None:
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not Path(device).exists():
            pytest.skip(f"{device} is missing: load the kernel modules with modprobe fuse loop")
    if os.geteuid() != 0:
        pytest.skip("only root can mount disks: run the tests as root")
