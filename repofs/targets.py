"""Import targets, as OMERO's command line writes them: the one grammar of `repofs import -T`, bulk files, watched
folders and `user.repofs.target`. `docs/reference/targets.md` has it with examples.

    Dataset:12  Dataset:id:12           that dataset
    Dataset:name:X  Dataset:+name:X     the newest X of the owner, made if there is none
    Dataset:-name:X                     the oldest, made if there is none
    Dataset:%name:X                     the only one: refused when there are several, made if there is none
    Dataset:@name:X                     always a new one
    Project:…/Dataset:…                 that dataset, put into that project too
    Project:…                           that project, and the dataset that the path names (in the mount)
    regex:[+-%@]name:PATTERN            the dataset whose name the pattern finds in the path (a command's, not kept)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from repofs.errors import InvalidValue

MOST_CHARACTERS = 1024  # of a target, and of a pattern
GROUP = "Container1"  # what a pattern calls the part that is the name: OMERO's word

_REGEX = "regex"
_NUMBER = re.compile("[1-9][0-9]{0,17}")
_FORMS = "write Dataset:12, Dataset:name:X, Project:name:P/Dataset:name:D or Project:3"


class Pick(StrEnum):
    """Which of several containers of one name is meant, by the letter that OMERO has for it."""

    NEWEST = "+"
    OLDEST = "-"
    ONLY = "%"
    NEW = "@"


@dataclass(frozen=True, slots=True)
class Named:
    """A container by its name; *pick* says which one, and made if there is none."""

    name: str
    pick: Pick = Pick.NEWEST

    def __str__(self) -> str:
        return f"{self.pick}name:{self.name}"


Container = int | Named


@dataclass(frozen=True, slots=True)
class Target:
    """Where images are to go: one of the two, or both."""

    project: Container | None
    dataset: Container | None

    def __str__(self) -> str:
        parts = (("Project", self.project), ("Dataset", self.dataset))
        return "/".join(f"{kind}:{container}" for kind, container in parts if container is not None)

    @property
    def makes_new(self) -> bool:
        """Whether it means another container each time that it is looked up."""
        return is_new(self.project) or is_new(self.dataset)

    def then(self) -> Target:
        """Return what it means to the next import of the same run: what the first has made, not another new one."""
        return Target(_then(self.project), _then(self.dataset))


def is_new(container: Container | None) -> bool:
    """Return whether *container* means another one each time that it is looked up."""
    return isinstance(container, Named) and container.pick is Pick.NEW


def _then(container: Container | None) -> Container | None:
    return replace(container, pick=Pick.NEWEST) if isinstance(container, Named) and is_new(container) else container


def parse(text: str) -> Target:
    """Read a target. Raises InvalidValue when *text* is none."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidValue(f"a target has {MOST_CHARACTERS} characters at most")
    project, pair, dataset = text.partition("/Dataset:") if text.startswith("Project:") else (text, "", "")
    if pair:
        return Target(_container("Project", project, text), _container("Dataset", f"Dataset:{dataset}", text))
    if text.startswith("Project:"):
        return Target(_container("Project", text, text), None)
    return Target(None, _container("Dataset", text, text))


def require_dataset(target: Target) -> Target:
    """Return *target* of something that no directory in the mount names a dataset for. Raises InvalidValue without."""
    if target.dataset is None:
        raise InvalidValue(f"target={str(target)!r}: images go into a dataset: write {target}/Dataset:name:X")
    return target


def _container(kind: str, part: str, text: str) -> Container:
    found, _, rest = part.partition(":")
    if found != kind:
        raise InvalidValue(f"target={text!r}: {_FORMS}")
    how, colon, value = rest.partition(":")
    if not colon:
        how, value = "id", how
    if how == "id":
        if _NUMBER.fullmatch(value) is None:
            raise InvalidValue(f"target={text!r}: {value!r} is neither a number above 0 nor name:X")
        return int(value)
    return Named(_name(value, text), _pick(how, text))


def _pick(how: str, text: str) -> Pick:
    sign, name = (how[:1], how[1:]) if how[:1] in set(Pick) else (Pick.NEWEST, how)
    if name != "name":
        raise InvalidValue(f"target={text!r}: {how!r} is not id, name, +name, -name, %name or @name")
    return Pick(sign)


def _name(value: str, text: str) -> str:
    if not value.strip():
        raise InvalidValue(f"target={text!r}: a name is missing: write for example Dataset:name:X")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidValue(f"target={text!r}: the name has a byte that is no text")
    return value


@dataclass(frozen=True, slots=True)
class Template:
    """A pattern that finds the name of the dataset in the directory that a fileset lies in."""

    pattern: re.Pattern[str]
    pick: Pick

    def target(self, directory: str) -> Target:
        """Return the target of what lies in *directory*. Raises InvalidValue when the pattern finds no name in it."""
        match = self.pattern.fullmatch(directory)
        name = match[GROUP] if match else None
        if not name or not name.strip():
            raise InvalidValue(f"the pattern {self.pattern.pattern!r} finds no {GROUP} in {directory!r}")
        return Target(None, Named(_name(name, directory), self.pick))


def parse_request(text: str) -> Target | Template:
    """Read what a command is given: a target, or ``regex:`` and a pattern. Raises InvalidValue when it is neither.

    A pattern may run for long: it is for the process of whoever wrote it, never for the daemon.
    """
    action, _, rest = text.partition(":")
    if action != _REGEX:
        return require_dataset(parse(text))
    if len(text) > MOST_CHARACTERS:
        raise InvalidValue(f"a pattern has {MOST_CHARACTERS} characters at most")
    how, colon, pattern = rest.partition(":")
    if not (colon and how.lstrip("+-%@") == "name"):
        how, pattern = "name", rest  # a colon of the pattern's own
    try:
        # Java's and OMERO's way of naming a group; (?<= and (?<! are other things.
        compiled = re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise InvalidValue(f"{pattern!r} is no regular expression: {error}") from None
    if GROUP not in compiled.groupindex:
        raise InvalidValue(f"{pattern!r}: the part that is the name is missing: write (?<{GROUP}>…)")
    return Template(compiled, _pick(how, text))
