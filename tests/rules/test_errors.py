"""The family of errors: each an OSError with an errno, its sentence as the message."""

from __future__ import annotations

import errno

import pytest

from repofs import errors

FAMILY = [
    one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.RepofsError)
]  # fmt: skip


@pytest.mark.parametrize("error", FAMILY)
def test_one_except_serves_all(error: type[errors.RepofsError]) -> None:
    with pytest.raises(OSError) as caught:
        raise error("write it again")
    assert caught.value.errno == error.code and errno.errorcode[error.code]
    assert str(caught.value) == "write it again"
    assert error.__doc__


@pytest.mark.parametrize("error", [errors.NotFound, errors.InvalidValue, errors.AlreadyExists, errors.NotPermitted])
def test_what_another_process_told_is_what_it_was(error: type[errors.RepofsError]) -> None:
    told = errors.told(error.code, "write it again")
    assert type(told) is error and str(told) == "write it again"


def test_what_another_process_told_keeps_its_number() -> None:
    told = errors.told(errno.EAGAIN, "later")
    assert (type(told), told.errno, str(told)) == (errors.RepofsError, errno.EAGAIN, "later")
