"""The HTTPS door: registered exactly as omero2pandas does, refused with a status and a sentence, and nothing leaks."""

from __future__ import annotations

import contextlib
import errno
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from repofs.errors import (
    AccessDenied,
    AlreadyExists,
    Busy,
    InvalidValue,
    NotFound,
    OtherGroup,
    RepofsError,
    TokenMissing,
    TokenRejected,
    TooManyGuesses,
    Unreachable,
)
from repofs.people import Actor, People
from tests.helpers.web import ALICE, BOB, PAYLOAD, TOKEN, Door, served

pytestmark = pytest.mark.usefixtures("log")


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with served(tmp_path) as door:
        yield door


def refused(answer: requests.Response, status: int, *words: str) -> None:
    """Check that *answer* is an error in the one shape, with these words, and that nothing is told beside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["message"]
    for word in words:
        assert word in answer.json()["message"]


# --- as omero2pandas does it ----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/omero", "/a/b"])
def test_a_table_is_registered_as_omero2pandas_does(tmp_path: Path, prefix: str) -> None:
    with served(tmp_path, prefix=prefix) as door:
        answer = door.register()
        assert answer.status_code == 200
        assert answer.json() == {"data": {"file_annotation": 7}}
        ((who, asked),) = door.behind.asked
        assert who.uid == ALICE
        assert (asked.uri, asked.name, asked.targets) == (PAYLOAD["uri"], "cells", ("Image:101",))
        assert asked.token is not None and asked.token.reveal() == TOKEN.encode()


def test_the_token_is_a_cookie_too(door: Door) -> None:
    answer = door.token()
    assert answer.headers["content-type"] == "application/json"
    assert answer.cookies["csrftoken"] == answer.json()["data"]
    assert "Secure" in answer.headers["set-cookie"]
    assert answer.headers["cache-control"] == "no-store"


def test_the_referer_of_omero2pandas_has_no_path(door: Door) -> None:
    assert door.register(Referer=door.address).status_code == 200
    assert door.register(Referer=door.address + "/webclient/?show=image-1").status_code == 200


def test_a_session_may_come_as_bearer(door: Door) -> None:
    answer = door.register("none", Authorization=f"Bearer {door.session(BOB)}")
    assert answer.status_code == 200
    assert door.behind.asked[0][0].uid == BOB


def test_an_array_without_token_is_left_to_the_registrar(door: Door) -> None:
    assert door.register(drop=["X-SecretToken"]).status_code == 200
    assert door.behind.asked[0][1].token is None


# --- refused by the house -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (InvalidValue("no array"), 400),
        (AccessDenied("not you"), 403),
        (TokenRejected("not it"), 403),
        (NotFound("nothing"), 404),
        (AlreadyExists("again"), 409),
        (OtherGroup("two groups"), 409),
        (TokenMissing("none"), 422),
        (TooManyGuesses("wait"), 429),
        (Unreachable("away"), 502),
        (Busy("busy"), 503),
        (RepofsError("broken"), 500),
    ],
)
def test_each_refusal_has_its_status(door: Door, refusal: RepofsError, status: int) -> None:
    door.behind.refusal = refusal
    refused(door.register(), status, refusal.message)


def test_a_refusal_of_the_kernel_tells_no_path(door: Door) -> None:
    door.behind.refusal = PermissionError(errno.EACCES, "Permission denied", "/secret/place")
    answer = door.register()
    refused(answer, 403, "Permission denied")
    assert "/secret/place" not in answer.text


@pytest.mark.parametrize("broken", [ZeroDivisionError("inside"), OSError(errno.EMFILE, "inside", "/secret/place")])
def test_what_breaks_is_told_without_a_trace(tmp_path: Path, broken: Exception, log: io.StringIO) -> None:
    with served(tmp_path) as door:
        door.behind.refusal = broken
        answer = door.register()
        refused(answer, 500, "log")
        assert "inside" not in answer.text and "Traceback" not in answer.text
        door.behind.refusal = None
        assert door.register().status_code == 200
    assert "Traceback" in log.getvalue()  # there it belongs


# --- sessions -------------------------------------------------------------------------------------


def test_no_session_is_none(door: Door) -> None:
    refused(door.register("invented"), 401, ".repofs/session")
    refused(door.register("%00"), 401)
    answer = requests.post(door.address + "/omero_plus/api/v0/table", json=PAYLOAD, verify=str(door.certificate))
    refused(answer, 401)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert door.behind.asked == []


def test_a_session_that_has_ended_is_none(door: Door) -> None:
    session = door.session()
    door.web.sessions.end(session)
    refused(door.register(session), 401)


def test_a_session_ends_with_its_user(door: Door) -> None:
    session = door.session()
    door.behind.people = People(actors={ALICE: Actor(ALICE, "another")})
    refused(door.register(session), 401)
    assert door.behind.asked == []


# --- forged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["X-CSRFToken", "Referer"])
def test_a_post_without_proof_of_intent_is_refused(door: Door, header: str) -> None:
    refused(door.register(drop=[header]), 403)
    assert door.behind.asked == []


def test_a_post_without_the_cookie_is_refused(door: Door) -> None:
    refused(door.register(cookies={}), 403, "CSRF")


def test_a_token_is_good_for_its_own_session_only(door: Door) -> None:
    mine, hers = door.session(ALICE), door.session(BOB)
    token = door.get(f"/api/v0/token?bsession={hers}")
    refused(door.register(mine, token=token), 403, "CSRF")
    assert door.register(hers, token=token).status_code == 200


def test_the_cookie_of_another_token_is_refused(door: Door) -> None:
    refused(door.register(cookies=door.get(f"/api/v0/token?bsession={door.session(BOB)}").cookies), 403, "CSRF")


@pytest.mark.parametrize("token", ["", "invented", "0.0.0", "9" * 32 + ".99999999999." + "0" * 64, "ä"])
def test_an_invented_token_is_refused(door: Door, token: str) -> None:
    answer = door.register(cookies={"csrftoken": token}, X_CSRFToken=token)
    refused(answer, 403, "CSRF")


@pytest.mark.parametrize(
    "referer",
    [
        "http://127.0.0.1:{port}",
        "https://evil.example",
        "https://127.0.0.1:{port}.evil.example",
        "https://127.0.0.1:1",
        "https://127.0.0.1",
        "https://[",
        "https://127.0.0.1:x",
        "null",
    ],
)
def test_another_referer_is_refused(door: Door, referer: str) -> None:
    refused(door.register(Referer=referer.format(port=door.port)), 403, "Referer")


def test_a_host_that_is_not_ours_is_refused(door: Door) -> None:
    """A name that somebody has made to mean this machine."""
    answer = door.register(Referer="https://evil.example", Host="evil.example")
    refused(answer, 403, "web.hosts")


def test_a_host_that_is_set_is_ours(tmp_path: Path) -> None:
    with served(tmp_path, hosts=("Omero.Example.org",)) as door:
        token = door.token()
        cookies = {"csrftoken": token.json()["data"]}  # a browser gets it from this host
        host = "omero.example.org"
        answer = door.register(token=token, cookies=cookies, Referer=f"https://{host}", Host=host)
        assert answer.status_code == 200


# --- bad bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "UTF-8"),
        (b"[]", "object"),
        (b'{"uri": "/a", "uri": "/b"}', "twice"),
        ({**PAYLOAD, "owner": "root"}, "unknown key"),
        ({**PAYLOAD, "token": TOKEN}, "unknown key"),
        ({**PAYLOAD, "targets": ["Image:-1"]}, "Image:-1"),
        ({**PAYLOAD, "targets": ["Image:1e9"]}, "Image:1e9"),
        ({**PAYLOAD, "targets": [f"Image:{number}" for number in range(1, 10_001)]}, "10000 are given"),
        ({**PAYLOAD, "targets": "Image:1"}, "list"),
        ({**PAYLOAD, "uri": "/a\0b"}, "uri"),
        ({**PAYLOAD, "uri": "/" + "a" * 5000}, "uri"),
        ({**PAYLOAD, "name": "../x"}, "name"),
        (b"[" * 50_000, "not JSON"),
        (b'{"uri": ' + b"9" * 50_000 + b"}", "not JSON"),
    ],
)
def test_a_bad_body_is_refused(door: Door, payload: Any, word: str) -> None:
    refused(door.register(payload=payload), 400, word)
    assert door.behind.asked == []


@pytest.mark.parametrize("token", ["t" * 1025, "t" * 4000, "tök", ""])
def test_a_bad_token_is_refused_and_not_told(door: Door, token: str) -> None:
    answer = door.register(X_SecretToken=token)
    refused(answer, 400)
    assert not token or token not in answer.text


def test_a_token_of_64_kib_is_refused(door: Door) -> None:
    with contextlib.suppress(requests.exceptions.ConnectionError):  # it is closed while more headers come
        assert door.register(X_SecretToken="t" * (64 << 10)).status_code == 431
    assert door.behind.asked == []


def test_two_tokens_are_refused(door: Door) -> None:
    with door.connect() as client:
        csrf = door.token().json()["data"]
        body = json.dumps(PAYLOAD)
        client.sendall(
            f"POST /omero_plus/api/v0/table?bsession={door.session()} HTTP/1.1\r\nHost: 127.0.0.1:{door.port}\r\n"
            f"Referer: {door.address}\r\nX-CSRFToken: {csrf}\r\nCookie: csrftoken={csrf}\r\n"
            f"X-SecretToken: a\r\nX-SecretToken: b\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    assert door.behind.asked == []


@pytest.mark.parametrize("size", [1025, 200_000, 20_000_000])
def test_a_large_body_is_refused(tmp_path: Path, size: int) -> None:
    with served(tmp_path, body_bytes=1024) as door:
        refused(door.register(payload=b"x" * size), 413, "1024")
        assert door.register().status_code == 200


# --- other requests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/api", "/api/v0/token/", "/api/v0/../../etc/passwd", "/%2e%2e/web.pem", "/docs"]
)
def test_what_is_not_there_is_not_found(door: Door, path: str) -> None:
    refused(door.get(path), 404)


def test_another_method_is_refused(door: Door) -> None:
    refused(door.get("/omero_plus/api/v0/table"), 405)
    refused(requests.delete(door.address + "/api/v0/token", verify=str(door.certificate)), 405)


# --- secrets --------------------------------------------------------------------------------------


def test_no_secret_is_in_the_log(tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as door:
        session, csrf = door.session(), door.token()
        assert door.register(session, token=csrf).status_code == 200
        door.register(session, payload=b"{", token=csrf)
        door.register(session, payload={**PAYLOAD, "token": TOKEN}, token=csrf)
        door.get(f"/{session}/{TOKEN}")
        door.behind.refusal = ZeroDivisionError()
        door.register(session, token=csrf)
        door.web.sessions.end(session)
        refused(door.register(session, token=csrf), 401)
    said = "".join([log.getvalue(), *capfd.readouterr()])
    assert said.count('"event": "request"') >= 6 and "ZeroDivisionError" in said
    for secret in (TOKEN, session, csrf.json()["data"], "bsession"):
        assert secret not in said
