"""SecretTokens: kept as a salted hash, compared, never shown, not to be guessed."""

from __future__ import annotations

import pickle
import traceback

import pytest

from repofs.errors import InvalidValue, TooManyGuesses
from repofs.registration import tokens
from repofs.registration.tokens import GUESSES, SECONDS_A_GUESS, Guesses
from repofs.table import MOST_TOKEN_BYTES, Secret, checked_token, read_registration

TOKEN = "s3cr3t-T0ken-of-the-array"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_same_token_has_the_same_digest_by_its_salt_only() -> None:
    salt, other = tokens.new_salt(), tokens.new_salt()
    assert tokens.digest(salt, Secret(b"x")) == tokens.digest(salt, Secret(b"x"))
    assert tokens.digest(salt, Secret(b"x")) != tokens.digest(other, Secret(b"x"))
    assert tokens.digest(salt, Secret(b"x")) != tokens.digest(salt, Secret(b"y"))


def test_tokens_are_compared_whole() -> None:
    assert tokens.same(Secret(b"token"), Secret(b"token"))
    assert not tokens.same(Secret(b"token"), Secret(b"token "))
    assert not tokens.same(Secret(b"token"), Secret(b"toke"))


def test_no_text_has_the_secret() -> None:
    secret = Secret(TOKEN.encode())
    try:
        raise ValueError(secret)
    except ValueError as error:
        told = "".join(traceback.format_exception(error))
    assert TOKEN not in f"{secret} {secret!r} {[secret]} {told}"
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize("token", [b"", b"a\0b", b"x" * (MOST_TOKEN_BYTES + 1), b"x" * 65536])
def test_what_can_be_no_token_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidValue, match="a SecretToken has 1 to"):
        checked_token(token)


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "%s", "token": "x"}',
        '{"%s": 1}',
        '{"uri": 7, "token": "%s"}',
        '{"targets": ["%s"]}x',
        '["%s"]',
        '{"token": ["%s"]}',
        '{"token": "%s',
        '{"targets": "%s", "token": "x"}',
        '{"name": "/", "token": "%s"}',
        '{"token": "%s", "targets": ["Image:-1"]}',
        '{"token": "%s", "targets": ["Image:1e9"]}',
        '{"token": "%s", "targets": ["image:1"]}',
        '{"token": "%s\\u0000"}',
    ],
)
def test_a_refusal_of_the_object_does_not_repeat_the_token(text: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_registration((text % TOKEN).encode(), "table.register")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_wrong_tokens_are_bounded_and_come_back() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for _ in range(GUESSES):
        guesses.require("alice", "array")
        guesses.wrong("alice", "array")
    with pytest.raises(TooManyGuesses, match="try again in 12 s"):
        guesses.require("alice", "other array")
    with pytest.raises(TooManyGuesses):
        guesses.require("bob", "array")
    guesses.require("bob", "other array")
    clock.now += SECONDS_A_GUESS
    guesses.require("alice", "array")
    guesses.wrong("alice", "array")
    with pytest.raises(TooManyGuesses):
        guesses.require("alice", "array")


def test_who_guesses_under_many_names_is_remembered_by_the_array() -> None:
    guesses = Guesses(Clock())
    for uid in range(30_000):
        guesses.wrong(uid, "array")
    with pytest.raises(TooManyGuesses):
        guesses.require(30_001, "array")
    assert len(guesses._spent) <= 10_001
