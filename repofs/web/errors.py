"""Errors as HTTP tells them: a status and ``{"message": "one sentence"}``, never a trace."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from repofs.errors import RepofsError, TooManyGuesses

STATUS: Mapping[int, HTTPStatus] = {
    errno.EINVAL: HTTPStatus.BAD_REQUEST,
    errno.EACCES: HTTPStatus.FORBIDDEN,
    errno.EPERM: HTTPStatus.FORBIDDEN,
    errno.EKEYREJECTED: HTTPStatus.FORBIDDEN,
    errno.ENOENT: HTTPStatus.NOT_FOUND,
    errno.EEXIST: HTTPStatus.CONFLICT,
    errno.EXDEV: HTTPStatus.CONFLICT,
    errno.ENOKEY: HTTPStatus.UNPROCESSABLE_ENTITY,
    errno.EHOSTUNREACH: HTTPStatus.BAD_GATEWAY,
    errno.EBUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}
NO_ADDRESS = "there is no such address: api/docs describes those that there are"
WENT_WRONG = "something went wrong here: the administrator finds it in the log of repofs"


def said(status: int, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return *message* as an answer of this status. Its content type is what clients compare: application/json."""
    return JSONResponse({"message": message}, status, headers)


def install(app: FastAPI) -> None:
    """Have *app* answer every error in the one shape."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_parameters)
    app.add_exception_handler(OSError, _of_house)
    app.add_exception_handler(Exception, _unexpected)  # and the framework raises it again


async def _of_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    nowhere = error.status_code == HTTPStatus.NOT_FOUND  # what is not there otherwise is a NotFound of the house
    return said(error.status_code, NO_ADDRESS if nowhere else error.detail, error.headers)


async def _of_parameters(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]  # of which the value is not told again
    name = ".".join(str(part) for part in first["loc"][1:])
    return said(HTTPStatus.BAD_REQUEST, f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}")


async def _of_house(_request: Request, error: Exception) -> JSONResponse:
    """Answer a refusal of the house, or of the kernel, by its errno."""
    assert isinstance(error, OSError)
    code = error.errno or 0
    status = STATUS.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(error, TooManyGuesses):
        status = HTTPStatus.TOO_MANY_REQUESTS
    if isinstance(error, RepofsError):
        return said(status, error.message)
    if code not in STATUS:
        raise error
    return said(status, os.strerror(code))  # without the path, which may be none of hers


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return said(HTTPStatus.INTERNAL_SERVER_ERROR, WENT_WRONG)
