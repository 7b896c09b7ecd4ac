"""Tables over HTTPS: which there are, for whom, and their rows as they are written."""

from __future__ import annotations

import io
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import requests

import repofs
from repofs.errors import InvalidValue, Unreachable
from repofs.model import ObjectRef
from repofs.table import Column, Selection, TableState
from repofs.web.errors import STATUS
from tests.doors.test_web import refused
from tests.helpers.waiting import until
from tests.helpers.web import ALICE, BOB, Door, a_table, served

pytestmark = pytest.mark.usefixtures("log")

COLUMNS = (Column("area", "Double", "float64"), Column("Ort ä", "String", "string", True))
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with served(tmp_path) as door:
        one = a_table(1, columns=COLUMNS, targets=(ObjectRef("Image", 101), ObjectRef("Dataset", 7)))
        door.behind.registry.load(
            [
                one,
                a_table(2, targets=(ObjectRef("Image", 102),), state=TableState.CHANGED),
                a_table(3, targets=(ObjectRef("Image", 101),), owner_uid=BOB),
            ]
        )
        yield door


def get(door: Door, path: str, uid: int = ALICE, **options: Any) -> requests.Response:
    return door.get(path, headers={"Authorization": f"Bearer {door.session(uid)}"}, timeout=20, **options)


def ids(answer: requests.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [table["id"] for table in answer.json()["data"]]


# --- which there are ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/api/v0/tables", "/api/v0/tables/1", "/api/v0/tables/1/columns", "/api/v0/tables/1/rows", "/api/v0/session"],
)
def test_nothing_is_told_without_a_session(door: Door, path: str) -> None:
    refused(door.get(path), 401)


def test_tables_are_listed_for_who_may_see_them(door: Door) -> None:
    assert ids(get(door, "/api/v0/tables")) == [1, 2]
    assert ids(get(door, "/api/v0/tables", BOB)) == [3]
    assert ids(door.get(f"/api/v0/tables?bsession={door.session()}")) == [1, 2]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("image=101", [1]),
        ("image=101&image=102", [1, 2]),
        ("dataset=7&image=102", [1, 2]),
        ("dataset=101", []),
        ("plate=1", []),
    ],
)
def test_tables_are_listed_by_what_they_are_on(door: Door, query: str, expected: list[int]) -> None:
    assert ids(get(door, f"/api/v0/tables?{query}")) == expected
    assert ids(door.get(f"/api/v0/tables?{query}&bsession={door.session()}")) == expected


def test_a_table_is_told(door: Door) -> None:
    assert get(door, "/api/v0/tables/1").json() == {
        "data": {
            "id": 1,
            "name": "cells1",
            "uri": "/data/1.tiledb",
            "rows": 3,
            "columns": 2,
            "targets": ["Image:101", "Dataset:7"],
            "state": "registered",
            "registered": "2026-01-02T03:04:05+00:00",
        }
    }
    assert get(door, "/api/v0/tables/2").json()["data"]["state"] == "changed"
    assert get(door, "/api/v0/tables/1/size").json() == {"data": {"rows": 3, "columns": 2}}
    assert get(door, "/api/v0/tables/1/columns").json() == {
        "data": [
            {"name": "area", "type": "Double", "dtype": "float64", "nullable": False},
            {"name": "Ort ä", "type": "String", "dtype": "string", "nullable": True},
        ]
    }


@pytest.mark.parametrize("path", ["", "/columns", "/size", "/rows"])
def test_a_table_that_is_not_hers_is_as_none(door: Door, path: str) -> None:
    refused(get(door, f"/api/v0/tables/3{path}"), 404, "FileAnnotation:3 is no table")
    refused(get(door, f"/api/v0/tables/4{path}"), 404, "FileAnnotation:4 is no table")
    assert door.behind.exported == []


@pytest.mark.parametrize("number", ["0", "-1", "1e3", "x", "9" * 30])
def test_a_number_that_is_none_is_refused(door: Door, number: str) -> None:
    refused(get(door, f"/api/v0/tables/{number}"), 400, "number")


def test_an_address_that_is_none_is_told_where_they_are_described(door: Door) -> None:
    for path in ("/", "/api/v0/nothing"):
        refused(get(door, path), 404, "api/docs")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("image=-1", "image"),
        ("image=x", "image"),
        ("imgae=101", "imgae"),
    ],
)
def test_a_bad_question_is_refused(door: Door, query: str, word: str) -> None:
    refused(get(door, f"/api/v0/tables?{query}"), 400, word)


# --- rows -----------------------------------------------------------------------------------------


def test_rows_are_what_is_written(door: Door) -> None:
    written = io.BytesIO()
    table = pyarrow.table({"area": [1.0, 2.5], "name": ["HeLa", None]})
    with pyarrow.ipc.new_stream(written, table.schema) as stream:
        stream.write_table(table)
    whole = written.getvalue()
    door.behind.pieces = [whole[:10], whole[10:]]
    answer = get(door, "/api/v0/tables/1/rows")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == ARROW
    assert pyarrow.ipc.open_stream(answer.content).read_all() == table
    assert door.behind.exported == [(1, "arrow", Selection())]


def test_a_part_is_asked_for(door: Door) -> None:
    parameters = {
        "columns": ["Ort ä", "area"],
        "start": 10,
        "stop": 20,
        "query": "(area > most) & (`Ort ä` == who)",
        "variables": json.dumps({"most": 2.5, "who": "Köln", "n": 3, "is": True}),
    }
    assert get(door, "/api/v0/tables/1/rows", params=parameters).content == b"rows"
    ((_, _, selection),) = door.behind.exported
    assert selection == Selection(
        ("Ort ä", "area"), None, 10, 20, parameters["query"], {"most": 2.5, "who": "Köln", "n": 3, "is": True}
    )


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("start=-1", "start"),
        ("stop=x", "stop"),
        ("variables=x", "variables"),
        ("variables=[]", "variables"),
        ('variables={"a":1,"a":2}', "twice"),
        ('variables={"a":[]}', "variables"),
        ('variables={"a":null}', "variables"),
        ("colums=area", "colums"),
    ],
)
def test_a_bad_part_is_refused(door: Door, query: str, word: str) -> None:
    refused(get(door, f"/api/v0/tables/1/rows?{query}"), 400, word)
    assert door.behind.exported == []


@pytest.mark.parametrize(("refusal", "status"), [(InvalidValue("no column x"), 400), (Unreachable("away"), 502)])
def test_an_error_before_the_first_row_is_an_error(door: Door, refusal: OSError, status: int) -> None:
    door.behind.refusal = refusal
    refused(get(door, "/api/v0/tables/1/rows"), status, str(refusal))


def test_an_error_after_it_breaks_the_answer_off(door: Door) -> None:
    door.behind.pieces = [b"r" * 100_000, Unreachable("away")]
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        get(door, "/api/v0/tables/1/rows")
    door.behind.pieces = []
    assert get(door, "/api/v0/tables/1/rows").content == b""


def test_a_program_is_told_that_an_answer_broke_off(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(door.certificate))
    file = io.BytesIO()
    batch = pyarrow.record_batch({"area": list(range(20_000))})
    with pyarrow.ipc.new_stream(file, batch.schema) as writer:
        writer.write_batch(batch)
    door.behind.pieces = [file.getvalue()[:-1000], Unreachable("away")]
    with pytest.raises(Unreachable, match="broke off its answer"):
        repofs.read_table(annotation_id=1, server=door.address, session=door.session())


def test_rows_are_written_no_faster_than_they_are_read(door: Door) -> None:
    """A client that does not read holds up who writes; one that goes ends it."""
    door.behind.pieces = [b"x" * (1 << 20)] * 1000
    with door.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(
            f"GET /api/v0/tables/1/rows?bsession={door.session()} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        assert client.recv(12) == b"HTTP/1.1 200"
        for _ in range(40):
            client.recv(1 << 20)
        assert door.behind.written <= 40 << 20
        assert door.behind.ended == 0
    until(lambda: door.behind.ended == 1, "writing goes on", 10)
    assert door.behind.written < 100 << 20


def test_a_user_reads_one_table_at_a_time(door: Door) -> None:
    door.behind.pieces = [b"x" * 65_536] * 1000
    first = get(door, "/api/v0/tables/1/rows", stream=True)
    assert first.status_code == 200
    second = get(door, "/api/v0/tables/1/rows")
    assert (second.status_code, list(second.json())) == (503, ["message"])
    assert len(first.content) == 65_536_000
    door.behind.pieces = [b"again"]
    assert get(door, "/api/v0/tables/1/rows").content == b"again"


def test_many_rows_come_whole(door: Door) -> None:
    door.behind.pieces = [bytes([number % 256]) * (1 << 20) for number in range(100)]
    assert get(door, "/api/v0/tables/1/rows").content == b"".join(door.behind.pieces)


# --- the session ----------------------------------------------------------------------------------


def test_a_session_is_told_and_ended(door: Door) -> None:
    session = door.session(BOB)
    bearer = {"Authorization": f"Bearer {session}"}
    told = door.get("/api/v0/session", headers=bearer).json()["data"]
    assert (told["user"], told["uid"]) == ("bob", BOB)
    assert 28_000 < told["seconds"] <= 28_800
    url = door.address + "/api/v0/session"
    refused(requests.delete(url, headers=bearer, verify=str(door.certificate)), 403)
    token = door.token()
    proof = {**bearer, "Referer": door.address, "X-CSRFToken": token.json()["data"]}
    answer = requests.delete(url, headers=proof, cookies=token.cookies, verify=str(door.certificate))
    assert (answer.status_code, answer.content) == (204, b"")
    refused(door.get("/api/v0/session", headers=bearer), 401)


# --- its description ------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/omero"])
def test_the_api_is_described(tmp_path: Path, prefix: str) -> None:
    with served(tmp_path, prefix=prefix) as door:
        described = door.get("/api/openapi.json").json()
        assert sorted(described["paths"]) == [
            prefix + path
            for path in (
                "/api/v0/session",
                "/api/v0/tables",
                "/api/v0/tables/{number}",
                "/api/v0/tables/{number}/columns",
                "/api/v0/tables/{number}/rows",
                "/api/v0/tables/{number}/size",
                "/api/v0/token",
                "/omero_plus/api/v0/table",
            )
        ]
        for methods in described["paths"].values():
            for operation in methods.values():
                assert operation["description"]
                assert "422" not in operation["responses"]  # FastAPI's own shape, which no client gets
                assert operation["responses"]["4XX"]


def test_the_reference_has_each_request_and_status(door: Door) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference" / "http-api.md").read_text()
    for path, methods in door.get("/api/openapi.json").json()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path.replace('{number}', '9')}`" in text
    _, _, statuses = text.partition("## Errors")
    listed = {int(status) for status in re.findall(r"^\| (\d{3}) \|", statuses, flags=re.MULTILINE)}
    assert {int(status) for status in STATUS.values()} < listed


def test_the_page_needs_nothing_from_elsewhere(door: Door) -> None:
    answer = door.get("/api/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for word in ("/omero_plus/api/v0/table", "X-SecretToken", "X-CSRFToken", "bsession", "variables", "targets"):
        assert word in answer.text
    assert not re.search(r"<script|src=|@import|url\(|href='(?!openapi\.json')", answer.text)
