"""Values of attributes as anybody may set them: read, or refused with EINVAL; nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from repofs.errors import InvalidValue
from repofs.model import Duplicates, Policy, Skip
from repofs.xattrs import ImportCommand, decode_import, decode_policy, decode_target

DEFAULT = Policy(3.0, Duplicates.IMPORT)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
keys = st.sampled_from(["settle_seconds", "duplicates", "exclude", "marker", "skip", "other"])


@given(st.sampled_from(ImportCommand), st.sampled_from(["", "\n", "\0"]))
def test_a_command_as_echo_and_setfattr_write_it(command: ImportCommand, end: str) -> None:
    assert decode_import((command.value + end).encode()) is command


@given(st.binary())
@example(b"[" * 60_000)
@example(b'{"settle_seconds": ' + b"9" * 5000 + b"}")
@example(b"Dataset:" + b"9" * 5000)
@example("Dataset:²".encode())
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    for decode in (decode_import, decode_target, lambda one: decode_policy(one, DEFAULT)):
        try:
            decode(value)
        except InvalidValue as error:
            assert error.message


@given(st.dictionaries(keys, anything, max_size=3))
@example({"marker": "\ud800"})
@example({"exclude": ["\ud800"]})
@example({"skip": [["thumbnails"]]})
def test_any_json_is_a_policy_or_refused(raw: dict[str, object]) -> None:
    try:
        policy = decode_policy(json.dumps(raw).encode(), DEFAULT)
    except InvalidValue as error:
        assert error.message.startswith("policy")
        return
    assert 0.1 <= policy.settle_seconds <= 86_400
    (policy.marker or "").encode()  # the name of a file
    for key in set(asdict(DEFAULT)) - set(raw):
        assert getattr(policy, key) == getattr(DEFAULT, key)


def test_steps_to_skip_are_omeros_words() -> None:
    policy = decode_policy(b'{"skip": ["thumbnails", "checksum"]}', DEFAULT)
    assert policy.skip == (Skip.THUMBNAILS, Skip.CHECKSUM)
    assert decode_policy(b'{"settle_seconds": 1}', policy).skip == policy.skip
    for wrong in (b'{"skip": "thumbnails"}', b'{"skip": ["upgrade"]}', b'{"skip": null}'):
        with pytest.raises(InvalidValue, match="a list of thumbnails, minmax, checksum"):
            decode_policy(wrong, DEFAULT)


def test_a_key_that_stands_twice_is_refused() -> None:
    with pytest.raises(InvalidValue, match="twice"):
        decode_policy(b'{"settle_seconds": 1, "settle_seconds": 2}', DEFAULT)


@pytest.mark.parametrize(
    "text", ["Dataset:12", "Dataset:name:X", "Project:3", "Project:name:a:b", "Dataset:name:Größe"]
)
def test_targets(text: str) -> None:
    assert decode_target(text.encode() + b"\n") == text


@pytest.mark.parametrize(
    "text", ["", "Dataset", "Dataset:", "Dataset:name:", "Dataset:0", "Dataset:-1", "Image:1", "Project:1 "]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(InvalidValue, match="target="):
        decode_target(text.encode())
