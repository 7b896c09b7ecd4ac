"""`api/docs`: the API as a page that needs nothing from elsewhere, made of its OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "code{font-size:.95em}section{border-top:1px solid #ccc;padding:.5em 0}"
    "table{border-collapse:collapse}td{padding:.1em 1em .1em 0;vertical-align:top}"
)
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"}

router = APIRouter()


@router.get("/api/docs", include_in_schema=False)
async def get_docs(request: Request) -> HTMLResponse:
    """The page."""
    return HTMLResponse("".join(_page(request.app.openapi())), headers=_HEADERS)


def _page(described: Mapping[str, Any]) -> Iterator[str]:
    title = escape(f"The HTTP API of {described['info']['title']}")
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    yield f"<h1>{title}</h1><p>{escape(described['info']['description'])}</p>"
    yield "<p>For programs: <a href='openapi.json'>its OpenAPI description</a>.</p>"
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"<section><h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield f"<p>{escape(operation['description'])}</p><table>"
            yield from (*_parameters(operation), *_body(operation), *_answers(operation))
            yield "</table></section>"


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", []):
        yield _row(parameter["name"], f"in the {parameter['in']}", parameter.get("description", ""))


def _body(operation: Mapping[str, Any]) -> Iterator[str]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for name, schema in content["schema"]["properties"].items():
            yield _row(name, "in the body", schema.get("description", ""))


def _answers(operation: Mapping[str, Any]) -> Iterator[str]:
    for status, answer in operation["responses"].items():
        yield _row(status, "answer", answer["description"])


def _row(name: str, where: str, what: str) -> str:
    return f"<tr><td><code>{escape(name)}</code><td>{escape(where)}<td>{escape(what)}"
