"""The import directories of a tree are found by themselves: with their files and marks, and without a log."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from repofs.inspection.imported_tree import Imported, ImportedTree
from repofs.model import Original
from tests.helpers.imported import imported, importing
from tests.helpers.importing import Repository

pytestmark = pytest.mark.trio


@pytest.fixture
async def repository(tmp_path: Path) -> Repository:
    repository = Repository.make(tmp_path / "repository")
    repository.write(repository.alice, b"ProjectX/a.zarr/0/0.0")
    repository.write(repository.alice, b"ProjectX/a.zarr/.zattrs")
    repository.write(repository.alice, b"b.tif")
    repository.write(repository.bob, b"c")
    async with importing(repository) as pipeline:
        for user, name in (
            (repository.alice, b"ProjectX/a.zarr"),
            (repository.alice, b"b.tif"),
            (repository.bob, b"c"),
        ):
            await imported(pipeline, *repository.drop(user, name))
    return repository


def names_in(tree: ImportedTree, found: Imported) -> list[bytes]:
    files = list(tree.files(found))
    assert all(isinstance(file.mark, Original) for file in files)
    return [file.name for file in files]


async def test_each_import_is_found_once_with_its_files(repository: Repository) -> None:
    tree = ImportedTree(repository.layout)
    found = list(tree)
    assert [one.user_directory for one in found] == [repository.alice, repository.alice, repository.bob]
    assert all(one.has_log and one.has_directory for one in found)
    assert [names_in(tree, one) for one in found] == [[b"a.zarr/.zattrs", b"a.zarr/0/0.0"], [b"b.tif"], [b"c"]]


async def test_one_without_a_log_is_known_by_its_marks(repository: Repository) -> None:
    tree = ImportedTree(repository.layout)
    before = list(tree)
    for one in before:
        os.unlink(tree.log_path(one))
    after = list(tree)
    assert [(one.user_directory, one.name) for one in after] == [(one.user_directory, one.name) for one in before]
    assert [names_in(tree, one) for one in after] == [[b"a.zarr/.zattrs", b"a.zarr/0/0.0"], [b"b.tif"], [b"c"]]
    assert not any(one.has_log for one in after)


async def test_a_log_whose_directory_has_gone_is_found(repository: Repository) -> None:
    tree = ImportedTree(repository.layout)
    first = next(iter(tree))
    shutil.rmtree(repository.path(first.user_directory, first.name))
    assert next(iter(tree)) == Imported(first.user_directory, first.name, has_directory=False, has_log=True)
    assert list(tree.files(next(iter(tree)))) == []


async def test_what_a_user_calls_as_a_log_is_none(repository: Repository) -> None:
    repository.write(repository.bob, b"scan.log")
    repository.write(repository.bob, b"scan/1.tif")
    assert len(list(ImportedTree(repository.layout))) == 3
