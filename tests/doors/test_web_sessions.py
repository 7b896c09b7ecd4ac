"""Sessions and CSRF tokens by themselves: how many, how long, whose."""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, field

import pytest

from repofs.errors import AccessDenied, InvalidValue, NotFound, RepofsError
from repofs.people import ROOT, Actor, People, Privilege
from repofs.web.csrf import Tokens
from repofs.web.grants import Grants
from repofs.web.sessions import MOST, Sessions
from tests.helpers.web import ALICE, BOB, PEOPLE


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_session_lasts_as_long_as_is_set(clock: Clock) -> None:
    sessions = Sessions(60, lambda: PEOPLE, clock)
    key = sessions.create(ALICE)
    clock.now += 59
    assert sessions.who(key) == ALICE
    session = sessions.find(key)
    assert session is not None and sessions.seconds_left(session) == 1
    clock.now += 1
    assert sessions.who(key) is None
    assert sessions.find(key) is None


def test_one_more_than_may_be_ends_the_oldest(clock: Clock) -> None:
    sessions = Sessions(60, lambda: PEOPLE, clock)
    of_bob = sessions.create(BOB)
    keys = [sessions.create(ALICE) for _ in range(MOST + 1)]
    assert [sessions.who(key) for key in keys] == [None] + [ALICE] * MOST
    assert sessions.who(of_bob) == BOB


@pytest.mark.parametrize("uid", [61099, 0])
def test_only_experimenters_have_sessions(uid: int) -> None:
    people = People(actors={0: ROOT, **PEOPLE.actors}) if uid else PEOPLE
    with pytest.raises(AccessDenied, match="repofs user add"):
        Sessions(60, lambda: people).create(uid)


def test_a_uid_that_another_account_has_now_has_no_session() -> None:
    people = PEOPLE
    sessions = Sessions(60, lambda: people)
    key, of_bob = sessions.create(ALICE), sessions.create(BOB)
    people = People(actors={ALICE: Actor(ALICE, "carol"), BOB: Actor(BOB, "bob")})
    assert sessions.who(key) is None
    assert sessions.who(of_bob) == BOB
    people = PEOPLE
    assert sessions.who(key) is None  # not even when she is back


def test_keys_are_not_kept() -> None:
    sessions = Sessions(60, lambda: PEOPLE)
    key = sessions.create(ALICE)
    assert not any(isinstance(one, (str, bytes)) and one in (key, key.encode()) for one in _held(sessions))


def _held(thing: object, depth: int = 4) -> list[object]:
    held = gc.get_referents(thing) if depth else []
    return held + [one for inner in held for one in _held(inner, depth - 1) if not isinstance(inner, type)]


def test_a_token_lasts_as_long_as_a_session(clock: Clock) -> None:
    tokens = Tokens(60, clock)
    token = tokens.create(None)
    clock.now += 59
    assert tokens.good(token, "any")
    clock.now += 1
    assert not tokens.good(token, "any")


def test_a_token_of_a_session_is_good_for_no_other() -> None:
    tokens = Tokens(60)
    token = tokens.create("mine")
    assert tokens.good(token, "mine")
    assert not tokens.good(token, "hers")
    assert not tokens.good(token, "")


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_changed_token_is_none(place: int) -> None:
    tokens = Tokens(60)
    token = tokens.create(None)
    changed = list(token)
    changed[place] = "0" if changed[place] != "0" else "1"
    assert not tokens.good("".join(changed), "any")
    assert not Tokens(60).good(token, "any")  # nor one of another daemon


# --- asked for by a command -----------------------------------------------------------------------


CHIEF, CLERK = 61003, 61004
OFFICE = People(
    actors={
        **PEOPLE.actors,
        CHIEF: Actor(CHIEF, "chief", administrator=True, privileges=frozenset(Privilege)),
        CLERK: Actor(CLERK, "clerk", administrator=True, privileges=frozenset({Privilege.SUDO})),
    }
)


@dataclass
class Asked:
    """Grants, their sessions, and what the audit trail was told."""

    sessions: Sessions = field(default_factory=lambda: Sessions(60, lambda: OFFICE))
    told: list[tuple[int, str, str]] = field(default_factory=list)

    def create(self, uid: int, user: str | None = None, audit_uid: int | None = None) -> str:
        """Return the user of the session that was begun; its key is one."""
        grants = Grants(self.sessions, lambda: OFFICE, self._done)
        begun = json.loads(grants.create(uid, user, uid if audit_uid is None else audit_uid))
        owner = self.sessions.who(begun["session"])
        assert owner is not None and OFFICE.actors[owner].name == begun["user"]
        return str(begun["user"])

    def _done(self, actor_uid: int, act: str, *, user: str) -> None:
        self.told.append((actor_uid, act, user))


@pytest.mark.parametrize(
    ("uid", "user", "expected"),
    [(ALICE, None, "alice"), (ALICE, "alice", "alice"), (CLERK, "bob", "bob"), (CHIEF, "clerk", "clerk"),
     (0, "chief", "chief")],
)  # fmt: skip
def test_a_session_is_given_to_who_may_have_it_and_audited(uid: int, user: str | None, expected: str) -> None:
    asked = Asked()
    assert asked.create(uid, user, 4321) == expected
    assert asked.told == [(4321, "session.create", expected)]


@pytest.mark.parametrize(
    ("uid", "user", "refusal", "words"),
    [
        (ALICE, "bob", AccessDenied, "Sudo"),
        (ALICE, "nobody-here", AccessDenied, "Sudo"),  # who there is, is not told either
        (CLERK, "chief", AccessDenied, "privileges"),
        (61099, None, AccessDenied, "no experimenter"),
        (61099, "alice", AccessDenied, "Sudo"),
        (CHIEF, "nobody-here", NotFound, "repofs user list"),
        (0, None, InvalidValue, "--as USER"),
    ],
)
def test_a_session_is_refused(uid: int, user: str | None, refusal: type[RepofsError], words: str) -> None:
    asked = Asked()
    with pytest.raises(refusal, match=words):
        asked.create(uid, user)
    assert asked.told == []
