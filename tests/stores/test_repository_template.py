"""Templates: each term as documented, illegal ones refused, and no two imports in one place."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repofs.config import Settings
from repofs.errors import SettingsError
from repofs.repository.names import safe
from repofs.repository.template import TERMS, Template, Terms

PAGE = Path(__file__).parents[2] / "docs/reference/template.md"
DEFAULT = Settings().repository.template

ALICE = Terms(
    user="alice", user_id=2, group="imaging", group_id=3, perms="rwra--", institution="University of Dundee",
    session="c3fdd5d8-831a-40ff-80f2-0ba5baef448a", session_id=592, thread="importer",
    now=datetime(2026, 11, 22, 21, 15, 3, 123_456), client_paths=("/home/alice/scan.tif",),
    exists=lambda path: path in {f"2026/{number:0{width}}" for number in range(25) for width in (1, 4)},
    entries=lambda path: 1000 if path in ("2026", "2026/000", "2026/001", "2026/00", "2026/01") else 0,
)  # fmt: skip


def import_directory(below: str, terms: Terms = ALICE, attempt: int = 0) -> str:
    return Template(f"%user%//{below}").import_directory(terms, attempt)


# --- terms -------------------------------------------------------------------------------------


def rows() -> list[tuple[str, str]]:
    return re.findall(r"^\| `(%.*?%)` \|.*\| `(.*?)` \|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("term", "example"), rows())
def test_documented_examples(term: str, example: str) -> None:
    below = f"%year%/{term}" if "time" in term or "increment" in term else f"%year%/{term}/%time%"
    assert import_directory(below).removeprefix("2026/").removesuffix("/21-15-03.123") == example


def test_every_term_is_documented() -> None:
    assert {re.match("%([A-Za-z]+)", term)[1] for term, _ in rows()} == set(TERMS)  # type: ignore[index]


def test_default() -> None:
    template = Template(DEFAULT)
    assert template.user_directory(ALICE) == "alice_2"
    assert template.import_directory(ALICE) == "2026-11/22/21-15-03.123"


def test_attempts_are_milliseconds_and_roll_over_midnight() -> None:
    new_year = replace(ALICE, now=datetime(2026, 12, 31, 23, 59, 59, 999_000))
    template = Template(DEFAULT)
    assert template.import_directory(ALICE, 7) == "2026-11/22/21-15-03.130"
    assert template.import_directory(new_year, 1) == "2027-01/01/00-00-00.000"


@given(now=st.datetimes(datetime(1971, 1, 1), datetime(9000, 1, 1)), attempt=st.integers(0, 10_000))
def test_no_two_attempts_meet(now: datetime, attempt: int) -> None:
    template, terms = Template("%user%//%year%/%month%-%day%/%time%"), replace(ALICE, now=now.replace(tzinfo=UTC))
    assert template.import_directory(terms, attempt) != template.import_directory(terms, attempt + 1)


def test_times_are_local() -> None:
    moment = datetime(2026, 11, 22, 21, 15, 3, tzinfo=UTC)
    expected = moment.astimezone().strftime("%H-%M-%S.000")
    assert import_directory("%time%", replace(ALICE, now=moment)) == expected


def test_what_a_term_expands_to_is_not_expanded() -> None:
    assert import_directory("%user%-%time%", replace(ALICE, user="%year%")) == "%year%-21-15-03.123"


def test_percent_signs_that_are_no_terms_stay() -> None:
    assert import_directory("100%_%%_%year%%/%time%") == "100%_%%_2026%/21-15-03.123"


def test_institution() -> None:
    nowhere = replace(ALICE, institution=" ")
    assert import_directory("a/in-%institution%/%time%", nowhere) == "a/21-15-03.123"
    assert import_directory("a/in-%institution:X: y%/%time%", nowhere) == "a/in-X; y/21-15-03.123"
    with pytest.raises(SettingsError, match=r"repository\.institution"):
        Template("%institution%_%user%//%time%").user_directory(nowhere)


@pytest.mark.parametrize(("paths", "value"), [
    (["a"], 31 + 97 * 97),
    (["/a/"], 31 + 97 * 97),  # a path is its names
    (["b", "a"], 31 * (31 + 97 * 97) + 97 * 98),  # sorted
    (["hello"], 31 + 97 * 99162322),  # "hello".hashCode(), as many textbooks of Java have it
    (["\U0001f52c"], 31 + 97 * (31 * 0xD83D + 0xDD2C)),  # two units of UTF-16
])  # fmt: skip
def test_hash_is_javas(paths: list[str], value: int) -> None:
    terms = replace(ALICE, client_paths=tuple(paths))
    assert import_directory("%hash%/%time%", terms) == f"{value & 0xFFFFFFFF:08X}/21-15-03.123"


@given(paths=st.lists(st.text(), max_size=5), data=st.data())
def test_hash_knows_no_order(paths: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(paths))
    one, other = (
        import_directory("%hash%/%time%", replace(ALICE, client_paths=tuple(order))) for order in (paths, shuffled)
    )
    assert one == other


def test_hash_in_directories_and_the_text_around_it() -> None:
    whole = import_directory("%hash%/%time%")[:8]
    path = import_directory("a-%hash:3,3,2%-b/%time%")
    assert path == f"a-{whole[:3]}-b/{whole[3:6]}/{whole[6:]}/21-15-03.123"


@given(below=st.integers(0, 5000))
def test_increment_is_the_next(below: int) -> None:
    asked: list[str] = []

    def exists(path: str) -> bool:
        asked.append(path)
        number = path.removeprefix("2026/inc-")
        return number.isdigit() and 1 <= int(number) <= below

    terms = replace(ALICE, exists=exists)
    assert import_directory("%year%/inc-%increment:3%", terms) == f"2026/inc-{below + 1:03}"
    assert len(asked) < 60


def test_increment_passes_by_a_log() -> None:
    terms = replace(ALICE, exists=lambda path: path in ("1", "2.log"))
    assert import_directory("%increment%", terms) == "3"


@given(filled=st.integers(0, 1200))
def test_subdirs_fill_one_after_the_other(filled: int) -> None:
    full = {"/".join(["year", *name]) for name in numbered(filled)} | {"year"}
    terms = replace(ALICE, entries=lambda path: 10 if path in full else 9)
    (expected,) = numbered(filled + 1)[filled:]
    assert import_directory("year/%subdirs:1%/%time%", terms) == "/".join(["year", *expected, "21-15-03.123"])


def numbered(count: int) -> list[str]:
    """Return "0" to "9", "10", … as the names of directories, one a digit."""
    return [str(number) for number in range(count)]


def test_subdirs_are_left_out_while_there_is_room() -> None:
    terms = replace(ALICE, entries=lambda _: 999)
    assert import_directory("a/b-%subdirs%-c/%time%", terms) == "a/21-15-03.123"
    terms = replace(ALICE, entries=lambda path: {"a": 1000}.get(path, 0))
    assert import_directory("a/b-%subdirs%-c/%time%", terms) == "a/b-000-c/21-15-03.123"


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "expected"), [
    ("alice", "alice"), ("a/b\\c", "a!b!c"), ('"*:<>?|', "'x;[]%!"), ("a\0b\x1fc\x7fd\x85", "a_b_c_d_"),
    ("con", "con_"), ("CON.x", "_CON.x"), ("com0", "com0"), ("LPT9", "LPT9_"), ("$MFT", "_$MFT"), ("Zoë", "Zoë"),
])  # fmt: skip
def test_names_become_safe(name: str, expected: str) -> None:
    assert safe(name) == expected


@given(name=st.text())
def test_any_name_makes_one_visible_component(name: str) -> None:
    directory = Template("%user%//%year%/%user%/%time%")
    terms = replace(ALICE, user=name)
    user = directory.user_directory(terms)
    assert user and "/" not in user and "\0" not in user and not user.startswith(".")
    assert directory.import_directory(terms).split("/") == ["2026", user, "21-15-03.123"]


# --- what users may not make -------------------------------------------------------------------

legal = [
    DEFAULT, "%userId%//%time%", "%user%//%increment%", "x_%userId%//%institution%_x/%monthname%/%time%",
    "%user%//%subdirs%/%hash:3,3,2%/%increment:6%", "/%group%-%user%//in+%session%/%thread%/%time%/",
    "%user%//%perms%/%time%", "%user%//%time%/%institution%", "%user%//Messungen-%day%-ü/%increment%",
]  # fmt: skip


@given(
    text=st.sampled_from(legal),
    institution=st.sampled_from(["", "Dundee"]),
    full=st.booleans(),
    attempt=st.integers(0, 10**9),
)
def test_every_import_directory_begins_with_a_reserved_name(
    text: str, institution: str, full: bool, attempt: int
) -> None:
    template = Template(text)
    terms = replace(
        ALICE, institution=institution, exists=lambda _: False, entries=lambda path: 1000 * (full and "/" not in path)
    )
    path = template.import_directory(terms, attempt)
    assert template.reserved.fullmatch(path.split("/")[0].encode())
    assert template.reserved.fullmatch(f"{path}.log".split("/")[0].encode())


@pytest.mark.parametrize("name", [b"ProjectX", b"2026", b"2026-11x", b"2026-11.log", b"20261-1", b"\xff", b"2026-11\n"])
def test_other_names_are_the_users(name: bytes) -> None:
    assert not Template(DEFAULT).reserved.fullmatch(name)


# --- illegal templates -------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "reason"), [
    ("", "//"), ("%user%/%time%", "//"), ("//%time%", "//"), ("%user%//", "//"), ("%user%///", "//"),
    ("%group%/%user%//%time%", "one name"), ("%user%//a//%time%", "one name"),
    ("all//%time%", "%user% or %userId%"), ("%group%//%time%", "%user% or %userId%"),
    ("%user%_%year%//%time%", "%year% changes"), ("%user%_%perms%//%time%", "%perms% changes"),
    ("%user%//%year%/%hash%", "%time% or %increment%"), ("%user%//a/%institution%-%time%", "%time% or %increment%"),
    ("%user%//%user%/%time%", "could be any"), ("%user%//%group%%thread%/%time%", "could be any"),
    ("%user%//%institution%/%time%", "could be any"), ("%user%//%subdirs%/%thread%/%time%", "could be any"),
    ("%user%//%nonsense%/%time%", "%nonsense% is not a term"), ("%user%//%USER%/%time%", "%USER% is not a term"),
    ("%user%//%year%/../%time%", "cannot be a name"), ("%user%//.x/%time%", "cannot be a name"),
    (".%user%//%time%", "cannot be a name"), ("%user%//a\0/%time%", "cannot be a name"),
    ("%user%//%institution:a\nb%%time%", "cannot be a name"),
    ("%user%//%time%%increment%", "more than one"), ("%user%//%year:4%/%time%", "no parameter"),
    ("%user%//%hash:9%/%time%", "no parameter of %hash%"), ("%user%//%hash:4,5%/%time%", "no parameter of %hash%"),
    ("%user%//%hash:0%/%time%", "no parameter of %hash%"), ("%user%//%increment:x%", "no parameter of %increment%"),
    ("%user%//%subdirs:0%/%time%", "no parameter of %subdirs%"),
])  # fmt: skip
def test_illegal(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)):
        Template(text)


@given(text=st.text(st.sampled_from("%/.a:1") | st.characters(), max_size=30) | st.lists(
    st.sampled_from([*(f"%{term}%" for term in TERMS), "/", "//", "-", "%", "%hash:3,3%", "%user%//", "%time%"]),
    max_size=8).map("".join))  # fmt: skip
def test_any_text_is_legal_or_refused_with_a_sentence(text: str) -> None:
    try:
        template = Template(text)
    except SettingsError as error:
        assert repr(text) in str(error)
        return
    later = replace(ALICE, now=ALICE.now + timedelta(seconds=1), exists=lambda _: True)
    later = replace(later, exists={template.import_directory(replace(ALICE, exists=lambda _: False))}.__contains__)
    one = template.import_directory(replace(ALICE, exists=lambda _: False))
    assert one != template.import_directory(later)
    assert all(component not in ("", ".", "..") for component in one.split("/"))
    assert template.reserved.fullmatch(one.split("/")[0].encode())
