"""What Python programs ask of the HTTPS API when the mount is on another machine: which tables, and their rows."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from repofs.errors import AccessDenied, Busy, InvalidValue, NotFound, RepofsError, Unreachable
from repofs.table import Selection

if TYPE_CHECKING:
    import pyarrow as pa

VARIABLE = "REPOFS_SESSION"
_PATIENCE_SECONDS = 60.0
_ERRORS: dict[int, type[RepofsError]] = {
    400: InvalidValue, 401: AccessDenied, 403: AccessDenied, 404: NotFound, 502: Unreachable, 503: Busy,
}  # fmt: skip


class Server:
    """An API at ``https://HOST[:PORT][/PREFIX]``, asked with the key of a session (left out: what REPOFS_SESSION says).

    The certificate is checked against the machine's, or the file that the variable SSL_CERT_FILE names.
    """

    def __init__(self, address: str, session: str | None) -> None:
        """Raises InvalidValue for an address without TLS, or without a session."""
        key = session or os.environ.get(VARIABLE)
        if not address.startswith("https://"):
            raise InvalidValue(f"server={address!r}: write https://HOST, with its port and prefix if it has some")
        if not key:
            raise InvalidValue(f"no session is given: session=, or {VARIABLE}; .repofs/session in the mount has one")
        self._address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    def table_of_image(self, number: int) -> int:
        """Return the annotation of the only table on an image. Raises NotFound, InvalidValue for one of several."""
        tables = self._json("tables", {"image": number})
        if not tables:
            raise NotFound(f"Image:{number} has no table that you may see")
        if len(tables) > 1:
            names = ", ".join(f"FileAnnotation:{table['id']} ({table['name']})" for table in tables)
            raise InvalidValue(f"Image:{number} has {len(tables)} tables, name one by its annotation: {names}")
        return int(tables[0]["id"])

    def columns(self, number: int) -> tuple[str, ...]:
        """Return the names of the columns of ``FileAnnotation:number``. Raises NotFound."""
        return tuple(column["name"] for column in self._json(f"tables/{number}/columns"))

    def size(self, number: int) -> tuple[int, int]:
        """Return how many rows and columns it has. Raises NotFound."""
        size = self._json(f"tables/{number}/size")
        return size["rows"], size["columns"]

    @contextmanager
    def rows(self, number: int, selection: Selection) -> Iterator[pa.RecordBatchReader]:
        """Read what is selected of ``FileAnnotation:number``, by a range or a query. Raises NotFound, InvalidValue."""
        import pyarrow as pa

        asked = {
            "columns": selection.column_names,
            "start": selection.start,
            "stop": selection.stop,
            "query": selection.query,
            "variables": json.dumps(dict(selection.variables)) if selection.variables else None,
        }
        with self._get(f"tables/{number}/rows", asked) as answer, pa.ipc.open_stream(answer) as reader:
            yield reader

    def _json(self, path: str, parameters: dict[str, Any] | None = None) -> Any:
        with self._get(path, parameters or {}) as answer:
            return json.load(answer)["data"]

    @contextmanager
    def _get(self, path: str, parameters: dict[str, Any]) -> Iterator[Any]:
        given = {name: value for name, value in parameters.items() if value is not None}
        url = f"{self._address}/api/v0/{path}?{urllib.parse.urlencode(given, doseq=True)}"
        try:
            request = urllib.request.Request(url, headers=self._headers)
            answer = urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.read()) from None
        except urllib.error.URLError as error:
            raise Unreachable(f"{self._address} cannot be asked: {error.reason}") from None
        with answer:
            try:
                yield answer
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                raise Unreachable(f"{self._address} broke off its answer, its log says why: {error!r}") from None


def _refusal(status: int, body: bytes) -> RepofsError:
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):  # a proxy's page
        message = f"the server answers with the status {status}"
    return _ERRORS.get(status, RepofsError)(message)
