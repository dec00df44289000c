"""Cursors: where a list continues. The client sends a cursor back unchanged."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from domain.errors import Malformed
from domain.lists.pages import Position, Sort

CHECK_BYTES: Final = 9
MAX_LENGTH: Final = 8192


def write_cursor(position: Position, of: str) -> str:
    """A cursor of the list that `of` describes, with its filter and order. It is valid for no other list."""
    payload = json.dumps(position, separators=(",", ":")).encode()
    return urlsafe_b64encode(check(payload, of) + payload).decode().rstrip("=")


def read_cursor(cursor: str, of: str, sort: Sort) -> Position:
    """The position that `write_cursor` was given. Raises `Malformed` if altered, or from another list."""
    try:
        position = tuple(json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[CHECK_BYTES:]))
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed("The cursor is not one of this list.") from error
    sort.keys_at(position)
    if cursor != write_cursor(position, of):
        raise Malformed("The cursor is not one of this list.")
    return position


def check(payload: bytes, of: str) -> bytes:
    """A check against mistakes, not against forgery: a forged position shows nothing that the list would not."""
    return blake2b(of.encode() + b"\0" + payload, digest_size=CHECK_BYTES).digest()
