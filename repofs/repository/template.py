"""The template of import directories, OMERO's `omero.fs.repo.path`: where the originals of an import are put.

    %user%_%userId%  //  %year%-%month%/%day%/%time%
    user directory       import directory, below it

The terms and what they expand to are OMERO's (`docs/reference/template.md`). Ours: what a term has expanded to is
never expanded again, so a user named %time% stays one; and a template by which a user directory could move, or two
imports could meet, is refused at start.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from repofs.errors import SettingsError
from repofs.repository.names import safe

_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_TERM = re.compile(r"%([A-Za-z]+)(?::([^%/]+))?%")
_ANY = "[^/]+"
_HASH_DIGITS = 8

# Each term, and a pattern of the names that it expands to.
TERMS = {
    "user": _ANY, "userId": r"\d+", "group": _ANY, "groupId": r"\d+", "institution": _ANY, "perms": "rw[rwa-]{4}",
    "year": r"\d{4}", "month": r"\d\d", "monthname": "|".join(_MONTHS), "day": r"\d\d",
    "time": r"\d\d-\d\d-\d\d\.\d{3}", "hash": "[0-9A-F]+", "increment": r"\d+", "subdirs": r"\d+",
    "session": _ANY, "sessionId": r"\d+", "thread": _ANY,
}  # fmt: skip
_STEADY = ("user", "userId", "group", "groupId", "institution")  # the same tomorrow
_PARAMETERS = {
    "hash": (r"[1-8](,[1-8])*", "%hash:3,3,2%, 8 digits at most"),
    "increment": (r"1?[0-9]", "%increment:4%"),
    "subdirs": (r"[1-9]", "%subdirs:3%"),
}  # and %institution:any text%
_COUNTING = ("time", "increment", "subdirs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the terms stand for in one import. *exists* and *entries* are asked of paths below the user directory."""

    user: str
    user_id: int
    group: str
    group_id: int
    perms: str  # "rw----"
    institution: str  # empty: none
    session: str  # UUID
    session_id: int
    thread: str
    now: datetime  # told in the local time zone
    client_paths: tuple[str, ...]  # the files of the import, as whoever brought them calls them
    exists: Callable[[str], bool]  # for %increment%
    entries: Callable[[str], int] = lambda _: 0  # how many names a directory has, 0 when absent; for %subdirs%


@dataclass(frozen=True, slots=True)
class _Term:
    name: str
    parameter: str | None

    @property
    def digits(self) -> list[int]:
        """The parameter of a term that takes numbers, or what stands for it when it has none."""
        default = {"hash": str(_HASH_DIGITS), "increment": "0", "subdirs": "3"}[self.name]
        return [int(number) for number in (self.parameter or default).split(",")]


@dataclass(frozen=True, slots=True)
class _Component:
    """One name of a path, in its parts."""

    parts: tuple[str | _Term, ...]

    @property
    def terms(self) -> list[_Term]:
        return [part for part in self.parts if isinstance(part, _Term)]

    @property
    def optional(self) -> bool:
        """Whether it is left out at times: without an institution, or while there are few entries."""
        return any(term.name == "subdirs" or term == _Term("institution", None) for term in self.terms)

    @property
    def pattern(self) -> str:
        """A regular expression of the names that it becomes."""
        return "".join(
            re.escape(part) if isinstance(part, str) else f"(?:{TERMS[part.name]})" for part in self.parts
        )  # fmt: skip


class Template:
    """A legal template. *reserved* fully matches what import directories are called directly in a user directory."""

    reserved: re.Pattern[bytes]

    def __init__(self, text: str) -> None:
        """Read *text*; SettingsError saying what is wrong with it, and what would be right."""
        user, _, below = text.rpartition("//")
        if not user.strip("/") or not below.strip("/"):
            raise _illegal(text, "write user directory//import directory, as in %user%_%userId%//%year%/%time%")
        if "/" in user.strip("/"):
            raise _illegal(text, "a user directory is one name: no / before the //")
        self._user = _parse(text, user.strip("/"))
        self._below = [_parse(text, name) for name in below.strip("/").split("/")]
        self._check(text)
        self.reserved = re.compile("|".join(self._first_names()).encode())

    def _check(self, text: str) -> None:
        names = {term.name for term in self._user.terms}
        if changing := names.difference(_STEADY):
            raise _illegal(text, f"%{min(changing)}% changes, and a user directory cannot move: put it after the //")
        if not names & {"user", "userId"}:
            raise _illegal(text, "the part before the // needs %user% or %userId%: a directory for each user")
        fixed = {term.name for component in self._below if not component.optional for term in component.terms}
        if not fixed & {"time", "increment"}:
            raise _illegal(
                text, "the part after the // needs %time% or %increment%, in a name without %institution% and %subdirs%"
            )
        if any(re.fullmatch(pattern, "any name") for pattern in self._first_names()):
            raise _illegal(text, "the first name after the // could be any, which leaves users none: try %year%")

    def _first_names(self) -> Iterator[str]:
        """Yield a pattern of each component that can come first, with its log where it can also be the last."""
        for number, component in enumerate(self._below):
            last = all(later.optional for later in self._below[number + 1 :])
            yield component.pattern + (r"(?:\.log)?" if last else "")
            if not component.optional:
                return

    def user_directory(self, terms: Terms) -> str:
        """Return the name of the user's directory; SettingsError when it needs an institution and there is none."""
        names = _expand(self._user, terms, [])
        if not names:
            raise SettingsError("the template needs an institution: set repository.institution")
        return names[0]

    def import_directory(self, terms: Terms, attempt: int = 0) -> str:
        """Return the path of an import's directory below the user directory: *attempt* n is of n milliseconds later."""
        now = terms.now.astimezone() + timedelta(milliseconds=attempt)
        terms = replace(terms, now=now)
        path: list[str] = []
        for component in self._below:
            path += _expand(component, terms, path)
        return "/".join(path)


def _illegal(text: str, reason: str) -> SettingsError:
    return SettingsError(f"repository.template = {text!r}: {reason}")


def _parse(text: str, name: str) -> _Component:
    parts: list[str | _Term] = []
    end = 0
    for match in _TERM.finditer(name):
        parts += [name[end : match.start()], _Term(match[1], match[2])]
        end = match.end()
    component = _Component(tuple(part for part in [*parts, name[end:]] if part))
    if not name or name.startswith(".") or not name.isprintable():
        raise _illegal(text, f"{name!r} cannot be a name")
    for term in component.terms:
        _check_term(text, term)
    if sum(term.name in _COUNTING for term in component.terms) > 1:
        raise _illegal(text, f"{name!r} has more than one of %time%, %increment% and %subdirs%")
    return component


def _check_term(text: str, term: _Term) -> None:
    if term.name not in TERMS:
        raise _illegal(text, f"%{term.name}% is not a term: there are {', '.join(TERMS)}")
    if term.parameter is None or term.name == "institution":
        return
    if term.name not in _PARAMETERS:
        raise _illegal(text, f"%{term.name}% takes no parameter: {term.parameter!r}")
    form, example = _PARAMETERS[term.name]
    if not re.fullmatch(form, term.parameter) or (term.name == "hash" and sum(term.digits) > _HASH_DIGITS):
        raise _illegal(text, f"{term.parameter!r} is no parameter of %{term.name}%: write for example {example}")


def _expand(component: _Component, terms: Terms, path: list[str]) -> list[str]:
    """Return the names that *component* becomes below *path*: one, none when it is left out, or several."""

    def names(count: int) -> list[str]:
        name, further = "", []
        for part in component.parts:
            value, *rest = [part] if isinstance(part, str) else _values(part, terms, count)
            name += value
            further += rest
        return [f"_{name}" if not name or name.startswith(".") else name, *further]

    def taken(count: int) -> bool:
        name = "/".join([*path, *names(count)])
        return terms.exists(name) or terms.exists(f"{name}.log")

    def full(further: list[str]) -> bool:
        return terms.entries("/".join([*path, *further])) >= limit

    present = {term.name: term for term in component.terms}
    if _Term("institution", None) in component.terms and not terms.institution.strip():
        return []
    if "increment" in present:
        return names(_first_not(taken))
    if "subdirs" in present:
        limit: int = 10 ** present["subdirs"].digits[0]
        return names(_first_not(lambda count: full(names(count)))) if full([]) else []
    return names(0)


def _values(term: _Term, terms: Terms, count: int) -> list[str]:
    """Return what *term* stands for when its counter is at *count*; more than one name where it makes directories."""
    match term.name:
        case "hash":
            return _pieces(f"{_java_hash(terms.client_paths):08X}", term.digits)
        case "increment":
            return [f"{count + 1:0{term.digits[0]}d}"]
        case "subdirs":
            width = term.digits[0]
            number = str(count)
            number = number.zfill(-(-len(number) // width) * width)
            return _pieces(number, [width] * (len(number) // width))
    return [_VALUES[term.name](terms) or safe(term.parameter or "")]


_VALUES: dict[str, Callable[[Terms], str]] = {
    "user": lambda terms: safe(terms.user),
    "userId": lambda terms: str(terms.user_id),
    "group": lambda terms: safe(terms.group),
    "groupId": lambda terms: str(terms.group_id),
    "institution": lambda terms: safe(terms.institution) if terms.institution.strip() else "",
    "perms": lambda terms: terms.perms,
    "year": lambda terms: f"{terms.now:%Y}",
    "month": lambda terms: f"{terms.now:%m}",
    "monthname": lambda terms: _MONTHS[terms.now.month - 1],
    "day": lambda terms: f"{terms.now:%d}",
    "time": lambda terms: f"{terms.now:%H-%M-%S}.{terms.now.microsecond // 1000:03d}",
    "session": lambda terms: safe(terms.session),
    "sessionId": lambda terms: str(terms.session_id),
    "thread": lambda terms: safe(terms.thread),
}


def _pieces(text: str, lengths: list[int]) -> list[str]:
    ends = list(itertools.accumulate(lengths))
    return [text[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _first_not(taken: Callable[[int], bool]) -> int:
    """Return the lowest number that is not taken, asking little where none below it is free."""
    if not taken(0):
        return 0
    low, high = 0, 1
    while taken(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if taken(middle) else (low, middle)
    return high


def _java_hash(client_paths: tuple[str, ...]) -> int:
    """Return what OMERO hashes: java.util.List.hashCode() of its sorted FsFiles, 32 bits."""
    total = 1
    for path in sorted(
        "/".join(filter(None, path.split("/"))).encode("utf-16-be", "surrogatepass") for path in client_paths
    ):
        code = 0
        for (unit,) in struct.iter_unpack(">H", path):
            code = 31 * code + unit & 0xFFFFFFFF
        total = 31 * total + 97 * code & 0xFFFFFFFF
    return total
