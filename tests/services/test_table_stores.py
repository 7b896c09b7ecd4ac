"""Arrays in stores: looked into, listed and read with the keys of the settings, and from nowhere else."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from repofs import config
from repofs.confinement import landlock
from repofs.errors import InvalidValue, NotFound, SettingsError, Unreachable
from repofs.registration import processes, stores
from repofs.registration.processes import At, TableProcesses
from tests.helpers.arrays import files_of, make
from tests.helpers.processes import descendants
from tests.helpers.s3 import S3, s3_server
from tests.services.test_table_processes import no_child, parent_of, wicked

pytestmark = pytest.mark.trio

__all__ = ["wicked"]  # a fixture
TOKEN = "token-of-an-array-that-nobody-tells"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def array(s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An array, and its copy in the store as tables/cells.tiledb."""
    made = tmp_path_factory.mktemp("arrays") / "cells.tiledb"
    make(made, TOKEN, rows=4)
    s3.upload(made, "tables/cells.tiledb")
    s3.upload(made, "tables/cells.tiledb", "others")
    return made


@pytest.fixture
def store(s3: S3, tmp_path: Path) -> config.Store:
    return store_of(s3.endpoint, s3.credentials(tmp_path / "keys.toml"))


def store_of(endpoint: str | None, keys: Path | None, uri: str = "s3://results/tables") -> config.Store:
    return config.Store(name="lab", uri=uri, endpoint=endpoint, credentials_file=keys)


def at(store: config.Store, path: bytes = b"cells.tiledb") -> At:
    return At(None, store, path, None)


def of(**settings: object) -> TableProcesses:
    return TableProcesses(config.Tables.model_validate(settings))


async def test_an_array_is_examined_as_the_same_on_disk_is(store: config.Store, array: Path) -> None:
    some = of()
    async with some.running():
        found = await some.examine(at(store))
    assert found.token is not None and found.token.reveal() == TOKEN.encode()
    assert (found.rows, [column.name for column in found.columns]) == (4, ["image", "area", "name"])


async def test_files_are_listed_and_read(store: config.Store, array: Path) -> None:
    some = of()

    async def walked(below: bytes) -> dict[bytes, bytes]:
        found = {}
        for file in await some.list_files(at(store), below):
            path = below + b"/" + file.name if below else file.name
            if file.is_directory:
                found |= await walked(path)
            else:
                found[path] = await some.read_file(at(store), path, 0, processes.MOST_READ)
                assert len(found[path]) == file.size
        return found

    async with some.running():
        found = await walked(b"")
        name, content = max(found.items(), key=lambda one: len(one[1]))
        assert await some.read_file(at(store), name, 7, 5) == content[7:12]
        assert await some.read_file(at(store), name, len(content), 5) == b""
        assert await some.read_file(at(store), name, len(content) + 100, 5) == b""
        assert len(descendants(parent_of(some))) == 1  # one child has answered all of it
    assert found == {bytes(path.relative_to(array)): path.read_bytes() for path in files_of(array)}


async def test_children_of_a_store_are_ended_when_they_are_idle(
    store: config.Store, array: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = of()
    async with some.running():
        await some.list_files(at(store), b"")
        (first,) = descendants(parent_of(some))
        await some.list_files(at(store), b"")
        assert descendants(parent_of(some)) == [first]
        monkeypatch.setattr(processes, "KEPT_SECONDS", 0.0)
        await some.list_files(at(store), b"")
        assert first not in descendants(parent_of(some))


async def test_new_keys_are_used_at_once(s3: S3, store: config.Store, array: Path) -> None:
    some = of()
    assert store.credentials_file is not None
    async with some.running():
        await some.list_files(at(store), b"")
        s3.credentials(store.credentials_file, secret="wrong")
        with pytest.raises(Unreachable, match="refuses the key of its credentials_file"):
            await some.list_files(at(store), b"")
        with pytest.raises(Unreachable, match="refuses the key of its credentials_file"):
            await some.read_file(at(store), b"__schema", 0, 10)
        with pytest.raises(Unreachable, match="refuses the key of its credentials_file"):
            await some.examine(at(store))
        s3.credentials(store.credentials_file)
        assert (await some.examine(at(store))).rows == 4


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "No such file or directory"),
        ("access_key_id = 'a'", "has two lines of TOML"),
        ("access_key_id = 'a'\nsecret_access_key = 'SECRET'\nother = 1", "has two lines of TOML"),
        ("secret_access_key = SECRET", "has two lines of TOML"),
    ],
)
async def test_credentials_that_are_none(s3: S3, tmp_path: Path, content: str | None, sentence: str) -> None:
    keys, some = tmp_path / "keys.toml", of()
    if content is not None:
        keys.write_text(content)
    async with some.running():
        with pytest.raises(SettingsError, match=sentence) as refused:
            await some.examine(at(store_of(s3.endpoint, keys)))
    assert "SECRET" not in refused.value.message


async def test_without_keys_nobody_s_are_used(
    s3: S3, array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret)
    some = of()
    async with some.running():
        with pytest.raises(Unreachable, match=r"answers with the HTTP status|refuses"):  # moto's is 500
            await some.list_files(at(store_of(s3.endpoint, None)), b"")


async def test_what_is_not_there(store: config.Store, s3: S3, array: Path, tmp_path: Path) -> None:
    some = of()
    async with some.running():
        for asked in (
            some.examine(at(store, b"none.tiledb")),
            some.list_files(at(store, b"none.tiledb"), b""),
            some.list_files(at(store), b"none"),
            some.read_file(at(store), b"none", 0, 10),
        ):
            with pytest.raises(NotFound, match="is not there"):
                await asked
        with pytest.raises(Unreachable, match="the store has no s3://no-bucket"):
            await some.list_files(at(store_of(s3.endpoint, store.credentials_file, "s3://no-bucket")), b"")
        s3.client.put_object(Bucket="results", Key="tables/text/file.txt", Body=b"no array")
        with pytest.raises(InvalidValue, match="no TileDB array"):
            await some.examine(at(store, b"text"))


@pytest.mark.parametrize(
    "path",
    [b"../../others/tables/cells.tiledb", b"/others", b"a//b", b"", b".", b"a/../b", b"a\0b", b"a\nb", b"\xff"],
)
async def test_no_path_leads_out_of_the_store(store: config.Store, array: Path, path: bytes) -> None:
    some = of()
    async with some.running():
        for asked in (some.examine(at(store, path)), some.read_file(at(store), path or b"..", 0, 10)):
            with pytest.raises(InvalidValue, match="is no path in the store lab"):
                await asked
        assert some._parent is None  # nobody was asked


async def test_too_much_at_a_time(store: config.Store, array: Path) -> None:
    some = of()
    async with some.running():
        with pytest.raises(InvalidValue, match="are allowed"):
            await some.read_file(at(store), b"x", 0, processes.MOST_READ + 1)


async def test_a_store_that_is_away(tmp_path: Path, s3: S3) -> None:
    keys, some = s3.credentials(tmp_path / "keys.toml"), of()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with some.running():
            for asked in (some.examine, lambda one: some.list_files(one, b"")):
                before = time.monotonic()
                with pytest.raises(Unreachable, match="the store of s3://results does not answer"):
                    await asked(at(store_of(f"http://127.0.0.1:{port}", keys)))
                assert time.monotonic() - before < 12


async def test_a_store_that_says_nothing(tmp_path: Path, s3: S3) -> None:
    keys, some = s3.credentials(tmp_path / "keys.toml"), of(timeout_seconds=2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_store = store_of(f"http://127.0.0.1:{silent.getsockname()[1]}", keys)
        async with some.running():
            with pytest.raises(Unreachable, match="not read within 2 s"):
                await some.read_file(at(silent_store), b"x", 0, 10)
            await no_child(some)


@pytest.mark.skipif(landlock.version() < 4, reason="the kernel's Landlock knows no ports")
async def test_an_array_in_a_store_that_takes_its_reader_over_reaches_nothing_else(
    wicked: None, s3: S3, store: config.Store
) -> None:
    some = of()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        async with some.running():
            outcomes = json.loads((await some.examine(at(store, b"deed.ask_around.%d" % port))).manifest)
    assert outcomes.pop("connect to the store").startswith("worked")
    assert {name: how for name, how in outcomes.items() if not how.startswith("refused")} == {}
    assert len(outcomes) == 10


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [(None, 443), ("https://s3.example.org", 443), ("http://s3.example.org", 80), ("http://10.0.0.1:9000", 9000)],
)
async def test_the_port_of_a_store(endpoint: str | None, port: int) -> None:
    assert stores.port(store_of(endpoint, None)) == port
