"""One noted drive for all tests of a module, and a folder in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.administered import Administered
from tests.helpers.natively import Folder, Noted, made_folder, noted_drive


@pytest.fixture(scope="module")
def noted() -> Iterator[Noted]:
    with noted_drive() as noted:
        yield noted


@pytest.fixture(scope="module")
def module_drive(noted: Noted) -> Administered:
    return noted.drive


@pytest.fixture
def folder(drive: Administered, noted: Noted) -> Iterator[Folder]:
    with made_folder(noted) as folder:
        yield folder
