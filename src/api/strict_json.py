"""JSON as RFC 8259 has it, that every program reads alike: no NaN, no Infinity, no name twice in an object."""

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 64
"""How many levels a document may nest; the domain allows fewer where it knows more."""


class OddJsonError(ValueError):
    """JSON that Python accepts, and that other parsers refuse or read differently."""


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
    """The document, if recursive code can work on it."""
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return document
        level = [member for each in nested for member in (each.values() if isinstance(each, dict) else each)]
    raise OddJsonError("The body nests too deep.")


DECODER: Final = json.JSONDecoder(object_pairs_hook=unique_members, parse_constant=refuse_constant, parse_float=finite)


def read_json(text: str) -> Any:
    """Raises `OddJsonError`, `json.JSONDecodeError`, `RecursionError`, and `ValueError` at too long a number."""
    return DECODER.decode(text)
