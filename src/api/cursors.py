"""Cursors: where a list goes on, for the client to hand back as it is."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from domain.errors import Malformed
from domain.values import is_id

CHECK_BYTES: Final = 9
MAX_LENGTH: Final = 4096


def write_cursor(after: int, of: str) -> str:
    """A cursor of the list that `of` describes, its filter and order: it serves for no other list."""
    payload = json.dumps(after).encode()
    return urlsafe_b64encode(check(payload, of) + payload).decode().rstrip("=")


def read_cursor(cursor: str, of: str) -> int:
    """The id that `write_cursor` was given. Raises `Malformed` if altered, or from another list."""
    try:
        after = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[CHECK_BYTES:])
    except (ValueError, RecursionError) as error:
        raise Malformed("The cursor is not one of this list.") from error
    if not is_id(after) or cursor != write_cursor(after, of):
        raise Malformed("The cursor is not one of this list.")
    return after


def check(payload: bytes, of: str) -> bytes:
    """Against mistakes, not against forgers: a forged position shows nothing that the list would not."""
    return blake2b(of.encode() + b"\0" + payload, digest_size=CHECK_BYTES).digest()
