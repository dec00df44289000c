"""Cursors: the place where a list continues. The client sends a cursor back unchanged."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b
from typing import Final

from domain.errors import Malformed
from domain.lists.pages import Position, Sort

CHECK_BYTES: Final = 9
MAX_LENGTH: Final = 8192

SEQ: Final = "seq"
POSITION: Final = "after"


def write_cursor(position: Position, of: str, seq: int | None = None) -> str:
    """A cursor for the list that `of` describes (path, filter and sort). It is not valid for other lists.

    `seq` is the number that the page has seen, if it may come from a replica.
    """
    content = position if seq is None else {SEQ: seq, POSITION: position}
    payload = json.dumps(content, separators=(",", ":")).encode()
    return urlsafe_b64encode(check(payload, of) + payload).decode().rstrip("=")


def read_cursor(cursor: str, of: str, sort: Sort) -> Position:
    """The position in a cursor. Raises `Malformed` if the cursor was changed or belongs to another list."""
    return read_cursor_with_seq(cursor, of, sort)[0]


def read_cursor_with_seq(cursor: str, of: str, sort: Sort) -> tuple[Position, int | None]:
    try:
        content = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[CHECK_BYTES:])
        seq = int(content[SEQ]) if isinstance(content, dict) else None
        position = tuple(content if seq is None else content[POSITION])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed("The cursor is not one of this list.") from error
    sort.keys_at(position)
    if cursor != write_cursor(position, of, seq):
        raise Malformed("The cursor is not one of this list.")
    return position, seq


def check(payload: bytes, of: str) -> bytes:
    """A checksum against mistakes, not against forgery: a forged position shows nothing that the list does not show
    anyway."""
    return blake2b(of.encode() + b"\0" + payload, digest_size=CHECK_BYTES).digest()
