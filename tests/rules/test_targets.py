"""Targets as people write them: read as OMERO's importer reads them, or refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repofs.errors import InvalidValue
from repofs.targets import Container, Named, Pick, Target, Template, parse, parse_request


@pytest.mark.parametrize(
    ("text", "project", "dataset"),
    [
        ("Dataset:12", None, 12),
        ("Dataset:id:12", None, 12),
        ("Dataset:name:My day: 1", None, Named("My day: 1")),
        ("Dataset:+name:X", None, Named("X")),
        ("Dataset:-name:X", None, Named("X", Pick.OLDEST)),
        ("Dataset:%name:X", None, Named("X", Pick.ONLY)),
        ("Dataset:@name:X", None, Named("X", Pick.NEW)),
        ("Dataset:name:Project:a/Dataset:b", None, Named("Project:a/Dataset:b")),
        ("Project:3", 3, None),
        ("Project:name:P", Named("P"), None),
        ("Project:name:P/Dataset:name:D", Named("P"), Named("D")),
        ("Project:7/Dataset:@name:D/E", 7, Named("D/E", Pick.NEW)),
        ("Project:-name:a/b/Dataset:id:9", Named("a/b", Pick.OLDEST), 9),
    ],
)
def test_targets_as_omero_writes_them(text: str, project: Container | None, dataset: Container | None) -> None:
    target = parse(text)
    assert target == Target(project, dataset)
    assert parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "Dataset", "Dataset:", "Dataset:name:", "Dataset:name: ", "Dataset:0", "Dataset:-1", "Dataset:²", "Image:1",
        f"Project:{2**63}", "Screen:1", "Dataset:!name:X", "Dataset:++name:X", "Dataset:+id:1", "Dataset:title:X",
        "Project:1/Dataset:", "Project:/Dataset:1", "Dataset:name:\0", "Dataset:name:" + "x" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match="target"):
        parse(text)


@given(st.text())
@example("Dataset:" + "9" * 900)
@example("regex:" + "(" * 900)
@example("regex:(?<Container1>a{999999999999999999999})")
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_request(text)
    except InvalidValue as error:
        assert error.message


@pytest.mark.parametrize(
    ("text", "directory", "target"),
    [
        ("regex:^.*images/(?<Container1>.*?)", "/home/a/images/dv", Target(None, Named("dv"))),
        ("regex:-name:^.*images/(?<Container1>.*?)", "/images/dv", Target(None, Named("dv", Pick.OLDEST))),
        ("regex:@name:.*/(?<Container1>[^/]*)", "/a/b", Target(None, Named("b", Pick.NEW))),
        ("regex:+name:^.*pathway/(?<Container1>[^/]*)/.*", "/x/pathway/week-1/2015_000", Target(None, Named("week-1"))),
        (r"regex:.*(?<=day:)(?<Container1>\w+)(?<!x)", "/day:one", Target(None, Named("one"))),
        ("regex:(?:/x)/(?<Container1>.+)", "/x/y", Target(None, Named("y"))),
    ],
)
def test_a_pattern_takes_the_name_out_of_the_directory(text: str, directory: str, target: Target) -> None:
    template = parse_request(text)
    assert isinstance(template, Template)
    assert template.target(directory) == target


@pytest.mark.parametrize("directory", ["/data/other", "/data/images/", "/data/images/ "])
def test_a_directory_in_which_the_pattern_finds_no_name_has_no_target(directory: str) -> None:
    template = parse_request("regex:^.*images/(?<Container1>.*?)")
    assert isinstance(template, Template)
    with pytest.raises(InvalidValue, match="finds no Container1"):
        template.target(directory)


@pytest.mark.parametrize(
    "text", ["regex:", "regex:(?<Container1>", "regex:(?<Other>.*)", "regex:++name:(?<Container1>.)"]
)
def test_a_pattern_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        parse_request(text)


def test_what_is_always_new_is_new_once_a_run() -> None:
    target = parse("Project:@name:P/Dataset:@name:D")
    assert target.makes_new
    assert not target.then().makes_new
    assert str(target.then()) == "Project:+name:P/Dataset:+name:D"
    assert parse("Project:3").then() == parse("Project:3")
