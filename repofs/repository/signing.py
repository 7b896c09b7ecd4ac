"""What a daemon of this repository has written down, known by a signature with the repository's key.

A signature is the HMAC-SHA256 of a purpose and a text, cut to 16 bytes, in base64 without padding: what was signed for
one purpose does not pass for another.

    SIGNATURE TEXT          a value as JSON; packed: zlib, then base64, which keeps what is long on a short line
"""

from __future__ import annotations

import base64
import hmac
import json
import zlib
from typing import Any

_SIGNATURE_BYTES = 16
_ANY_NAME = ("utf-8", "surrogateescape")  # of a file: what is no UTF-8 comes back as it was

to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Signer:
    """Signs for one purpose, with the key of one repository."""

    def __init__(self, key: bytes, purpose: bytes) -> None:
        self._key = key
        self._purpose = purpose and purpose + b" "

    def sign(self, text: bytes) -> bytes:
        """Return *text* with its signature before it."""
        return self._signature(text) + b" " + text

    def read(self, signed: bytes) -> bytes | None:
        """Return the text of what `sign` returned; None when the signature is not ours."""
        signature, _, text = signed.partition(b" ")
        return text if hmac.compare_digest(signature, self._signature(text)) else None

    def pack(self, value: object) -> bytes:
        """Return *value*, of the types that JSON has, signed and on one line."""
        text = to_json(value).encode(*_ANY_NAME)
        return self.sign(base64.b64encode(zlib.compress(text, 1)))

    def unpack(self, packed: bytes) -> Any:
        """Return the value of what `pack` returned; None when it is damaged or not ours."""
        text = self.read(packed)
        return None if text is None else json.loads(zlib.decompress(base64.b64decode(text)).decode(*_ANY_NAME))

    def _signature(self, text: bytes) -> bytes:
        digest = hmac.digest(self._key, self._purpose + text, "sha256")[:_SIGNATURE_BYTES]
        return base64.b64encode(digest).rstrip(b"=")
