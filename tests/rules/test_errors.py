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
