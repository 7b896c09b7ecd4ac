"""The HTTPS door of a mount: from a session to a table and its rows, as real users with real arrays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from repofs.catalog import tables
from repofs.catalog.engine import open_engine
from repofs.table import Table
from tests.helpers import arrays
from tests.helpers.command_line import repofs
from tests.helpers.mounting import CHECKOUT, Drive, fact
from tests.helpers.people import ALICE, BOB, CAROL, ROOT, Person

EVE = Person("eve", 61099, 61099)  # a stranger
TOKEN = "the-SecretToken-of-cells"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


PORT = _free_port()
SERVER = f"https://localhost:{PORT}"
SETTINGS = f"""
[drops]
settle_seconds = 0.3
[readers]
workers = 1
[web]
listen = "127.0.0.1:{PORT}"
prefix = "/omero"
[[administrators]]
group = "root"
[[sources]]
name = "outside"
path = "@outside@"
"""


def session(drive: Drive, person: Person) -> str:
    """Return the key that *person* reads in the mount."""
    return person.run("cat", drive.mountpoint / ".repofs" / "session").stdout.strip()


def get(drive: Drive, path: str, key: str) -> requests.Response:
    return requests.get(
        f"{SERVER}/omero/api/v0/{path}",
        headers={"Authorization": f"Bearer {key}"},
        verify=str(drive.repository / "web.pem"),
        timeout=60,
    )


def register(drive: Drive, array: Path | str, image: str, key: str, token: str = TOKEN) -> requests.Response:
    """Register as omero2pandas does."""
    verify = str(drive.repository / "web.pem")
    csrf = requests.get(f"{SERVER}/omero/api/v0/token", verify=verify, timeout=60)
    return requests.post(
        url=f"{SERVER}/omero/omero_plus/api/v0/table?bsession={key}",
        json={"uri": str(array), "name": "cells", "targets": [image]},
        headers={
            "Content-Type": "application/json",
            "X-SecretToken": token,
            "X-CSRFToken": csrf.json()["data"],
            "Referer": SERVER,
        },
        cookies=csrf.cookies,
        allow_redirects=False,
        verify=verify,
        timeout=60,
    )


@pytest.fixture
def image(drive: Drive, folder: Path, scan: Path) -> str:
    """An image of alice's: Image:N."""
    copy = folder / "scan.tif"
    ALICE.run("cp", scan, copy)
    drive.wait_imported(copy)
    images = fact(copy, "images")
    assert images is not None
    return images


@pytest.fixture
def array(outside: Path, image: str) -> Path:
    """An array beside the mount."""
    path = outside / f"cells-{image.partition(':')[2]}.tiledb"
    arrays.make(path, TOKEN)
    for directory, names, files in os.walk(path):
        for name in (directory, *(os.path.join(directory, one) for one in (*names, *files))):
            os.chmod(name, 0o755)
    return path


# --- sessions -------------------------------------------------------------------------------------


def test_each_reader_gets_a_session_of_her_own(drive: Drive) -> None:
    first, second, bobs = session(drive, ALICE), session(drive, ALICE), session(drive, BOB)
    assert len({first, second, bobs}) == 3
    uids = [get(drive, "session", key).json()["data"]["uid"] for key in (first, second, bobs)]
    assert uids == [ALICE.uid, ALICE.uid, BOB.uid]


def test_the_file_of_the_session_is_a_file_of_one_line(drive: Drive) -> None:
    path = drive.mountpoint / ".repofs" / "session"
    assert ALICE.do(os.stat, path).st_size == len(ALICE.do(Path.read_bytes, path))
    assert oct(path.stat().st_mode & 0o777) == "0o444"
    with pytest.raises(OSError):
        ALICE.do(Path.write_text, path, "x")
    assert "session" in os.listdir(path.parent)


@pytest.mark.parametrize("person", [EVE, ROOT], ids=lambda person: person.name)
def test_who_is_no_experimenter_gets_no_session(drive: Drive, person: Person) -> None:
    with pytest.raises(PermissionError):
        person.do(Path.read_text, drive.mountpoint / ".repofs" / "session")


def test_a_session_by_command(drive: Drive) -> None:
    where = ("-C", drive.repository, "session", "create")
    done = ALICE.run(sys.executable, "-m", "repofs", *map(str, where))
    assert get(drive, "session", done.stdout.strip()).json()["data"]["uid"] == ALICE.uid
    given = repofs(*where, "--as", "bob", "--json").json
    assert given["user"] == "bob"
    assert get(drive, "session", given["session"]).json()["data"]["uid"] == BOB.uid
    assert "--as USER" in repofs(*where).err
    assert repofs(*where, "--as", "nobody-here").code == 3


def test_only_administrators_ask_for_the_session_of_another(drive: Drive) -> None:
    done = ALICE.run(
        *(sys.executable, "-m", "repofs", "-C", str(drive.repository), "session", "create", "--as", "bob"),
        check=False,
    )  # fmt: skip
    assert done.returncode == 4 and done.stdout == ""
    assert "Sudo" in done.stderr


# --- tables ---------------------------------------------------------------------------------------


def test_a_table_is_registered_and_read(drive: Drive, array: Path, image: str) -> None:
    import pyarrow

    key = session(drive, ALICE)
    answer = register(drive, array, image, key)
    assert answer.status_code == 200, answer.text
    number = answer.json()["data"]["file_annotation"]
    tables = get(drive, f"tables?image={image.partition(':')[2]}", key).json()["data"]
    assert [(one["id"], one["targets"], one["rows"]) for one in tables] == [(number, [image], arrays.ROWS)]
    rows = get(drive, f"tables/{number}/rows?columns=area&query=area%20%3E%201", key)
    assert rows.status_code == 200, rows.text
    assert pyarrow.ipc.open_stream(rows.content).read_all()["area"].to_pylist() == [1.5, 2.0]
    wrong = get(drive, f"tables/{number}/rows?columns=nothing", key)
    assert wrong.status_code == 400 and "nothing" in wrong.json()["message"]
    unread = get(drive, f"tables/{number}/rows?query=area%20%3E", key)
    assert unread.status_code == 400 and "query" in unread.json()["message"]
    assert get(drive, f"tables/{number}", session(drive, BOB)).status_code == 200  # his group is read-only
    assert get(drive, f"tables/{number}", session(drive, CAROL)).status_code == 404


def test_a_table_is_not_registered_by_who_may_not(drive: Drive, array: Path, image: str) -> None:
    for person, token, status in ((ALICE, "another", 403), (BOB, TOKEN, 403), (CAROL, TOKEN, 403)):
        answer = register(drive, array, image, session(drive, person), token)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
        assert TOKEN not in answer.text
    assert get(drive, f"tables?image={image.partition(':')[2]}", session(drive, ALICE)).json()["data"] == []
    log = drive.log.read_text()
    assert TOKEN not in log and "bsession" not in log


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("file:///etc", 400),
        ("http://169.254.169.254/latest", 400),
        ("s3://other-bucket/x.tiledb", 400),
        ("/etc/passwd", 400),
        ("cells.tiledb", 400),
        ("@mount@/../repository", 400),
        ("@mount@/alice_2/%2e%2e/%2e%2e", 404),
        ("@outside@/../repository", 400),
        ("@outside@/nothing.tiledb", 404),
    ],
)
def test_what_is_no_place_for_arrays_is_refused(drive: Drive, uri: str, status: int) -> None:
    uri = uri.replace("@mount@", str(drive.mountpoint)).replace("@outside@", str(drive.outside))
    answer = register(drive, uri, "Image:1", session(drive, ALICE))
    assert (answer.status_code, list(answer.json())) == (status, ["message"]), answer.text


def test_without_the_setting_there_is_no_door_and_no_session(own_drive: Drive) -> None:
    with pytest.raises(OSError) as caught:
        ALICE.do(Path.read_text, own_drive.mountpoint / ".repofs" / "session")
    assert caught.value.errno == errno.ENOENT
    answer = repofs("-C", own_drive.repository, "session", "create", "--as", "alice")
    assert answer.code == 3 and "web.listen" in answer.err
    loaded = Path(f"/proc/{own_drive.pid}/maps").read_text()
    assert "pydantic_core" in loaded and "cryptography" not in loaded  # what the door needs is not there


def test_a_door_that_cannot_be_is_told_at_the_mount(own_drive: Drive) -> None:
    own_drive.allowed = ["nothing can listen"]
    own_drive.stop()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (own_drive.repository / "settings.toml").write_text(f'[web]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"\n')
        with pytest.raises(AssertionError, match=r"web\.listen"):
            own_drive.start()
    (own_drive.repository / "settings.toml").write_text("")
    own_drive.start()


def test_by_attribute_and_over_https_it_is_the_same_in_the_catalogue(drive: Drive, array: Path, image: str) -> None:
    other = array.with_name(f"other-{array.name}")
    shutil.copytree(array, other)
    answer = register(drive, array, image, session(drive, ALICE))
    over_https = answer.json()["data"]["file_annotation"]
    asked = {"uri": str(other), "name": registered(drive, over_https).name, "targets": [image], "token": TOKEN}
    ALICE.do(os.setxattr, drive.home(ALICE), "user.repofs.table.register", json.dumps(asked).encode())
    told = json.loads(ALICE.do(os.getxattr, drive.home(ALICE), "user.repofs.tables"))
    by_attribute = int(told[0]["object"].partition(":")[2])
    one, two = registered(drive, over_https), registered(drive, by_attribute)
    assert one.digest != two.digest  # each by a salt of its own
    same = replace(two, id=one.id, uri=one.uri, place=one.place, registered=one.registered)
    assert replace(one, salt=b"", digest=b"") == replace(same, salt=b"", digest=b"")
    assert (two.place.kind, two.uri) == ("source", str(other))


def registered(drive: Drive, number: int) -> Table:
    """Return what the catalogue says of a table."""
    engine = open_engine(drive.layout.catalogue, read_only=True)
    with engine.begin() as conn:
        table = tables.get(conn, number)
    engine.dispose()
    return table


PROGRAM = """
import repofs
there = dict(server="{server}/omero", session="{key}")
number = {number}
assert repofs.get_table_columns(annotation_id=number, **there) == ("image", "area", "name")
assert repofs.get_table_size(annotation_id=number, **there) == (5, 3)
whole = repofs.read_table(image_id={image}, **there)
assert whole["area"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0] and whole["name"].tolist() == ["é"] * 5
some = repofs.read_table(annotation_id=number, column_names=["area"], rows=[1, 3], **there)
assert (some.index.tolist(), some["area"].tolist()) == ([1, 3], [0.5, 1.5])
found = repofs.read_table(annotation_id=number, query="area > low", variables=dict(low=1), **there)
assert found["image"].tolist() == [3, 4]
assert repofs.read_table(annotation_id=number, query="area > 9", **there).empty
for wrong, named in (({{**there, "session": "x"}}, "session"), ({{**there, "server": "http://x"}}, "https://HOST")):
    try:
        repofs.read_table(annotation_id=number, **wrong)
    except repofs.errors.RepofsError as error:
        assert named in str(error), error
    else:
        raise AssertionError(wrong)
try:
    repofs.read_table(annotation_id=99999, **there)
except repofs.errors.NotFound:
    print("read")
"""


def test_a_program_without_the_mount_reads_over_https(drive: Drive, array: Path, image: str) -> None:
    key = session(drive, ALICE)
    number = register(drive, array, image, key).json()["data"]["file_annotation"]
    program = PROGRAM.format(server=SERVER, key=key, number=number, image=image.removeprefix("Image:"))
    certificate = drive.outside / "web.pem"
    certificate.write_bytes((drive.repository / "web.pem").read_bytes().partition(b"-----BEGIN PRIVATE")[0])
    certificate.chmod(0o644)
    environment = (f"PYTHONPATH={CHECKOUT}", f"SSL_CERT_FILE={certificate}")
    assert BOB.run("env", *environment, sys.executable, "-c", program).stdout == "read\n"
