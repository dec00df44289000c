"""Strict JSON (RFC 8259), which every program reads the same way: no NaN, no Infinity, no name twice in an object."""

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 64
"""The deepest nesting of a document. The rules of some fields allow less."""


class OddJsonError(ValueError):
    """JSON that Python accepts, but that other parsers refuse or read differently."""


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise OddJsonError("An object of the body has a member twice.")
    return members


def refuse_constant(name: str) -> float:
    raise OddJsonError(f"The body holds {name}, which is not JSON.")


def finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise OddJsonError("The body has a number that is out of range.")
    return number


def no_deeper(document: Any) -> Any:
    """The document. Raises `RecursionError` if it nests too deep for recursive code."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return document
        level = [member for each in nested for member in (each.values() if isinstance(each, dict) else each)]
    raise OddJsonError("The body nests too deep.")


DECODER: Final = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=refuse_constant, parse_float=finite)


def read_json(text: str) -> Any:
    """Decode JSON. Raises `OddJsonError`, `json.JSONDecodeError`, `RecursionError`, and `ValueError` for a number that
    is too long."""
    return DECODER.decode(text)
