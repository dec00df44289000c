"""The sentences about values of the wrong form. They are the same for bodies, parameters and settings."""

from collections.abc import Mapping
from typing import Any, Final

WORDS: Final[Mapping[str, str]] = {
    "missing": "Must be given.",
    "extra_forbidden": "There is no such field.",
    "string_type": "Must be a string.",
    "string_sub_type": "Must be a string.",
    "string_unicode": "Must not hold a lone surrogate.",
    "string_too_short": "Must hold at least {min_length} characters.",
    "string_too_long": "Must hold at most {max_length} characters.",
    "string_pattern_mismatch": "Must match {pattern}",
    "int_type": "Must be an integer.",
    "int_parsing": "Must be an integer.",
    "int_parsing_size": "Must be a smaller integer.",
    "int_from_float": "Must be an integer.",
    "float_type": "Must be a number.",
    "float_parsing": "Must be a number.",
    "finite_number": "Must be a finite number.",
    "bool_type": "Must be true or false.",
    "bool_parsing": "Must be true or false.",
    "dict_type": "Must be an object.",
    "model_type": "Must be an object.",
    "model_attributes_type": "Must be an object.",
    "list_type": "Must be an array.",
    "too_short": "Must have at least {min_length} items.",
    "too_long": "Must have at most {max_length} items.",
    "greater_than": "Must be more than {gt}.",
    "greater_than_equal": "Must be at least {ge}.",
    "less_than": "Must be less than {lt}.",
    "less_than_equal": "Must be at most {le}.",
    "enum": "Must be one of {expected}.",
    "literal_error": "Must be one of {expected}.",
    "datetime_parsing": "Must be a time of RFC 3339, as in 2026-07-01T12:00:00Z.",
    "datetime_type": "Must be a time of RFC 3339, as in 2026-07-01T12:00:00Z.",
    "timezone_aware": "Must have a time zone, as in 2026-07-01T12:00:00Z.",
    "path_not_file": "Must be a file that exists.",
}
"""Sentences by pydantic's name of the error. Pydantic's own sentences have another style, and some quote the value."""


def sentence_of(error: Mapping[str, Any]) -> str:
    """The sentence for an error of pydantic. An error that a route raised itself keeps its own sentence."""
    sentence = str(error["msg"]).removeprefix("Value error, ")
    if "input" not in error or error["type"] not in WORDS:
        return sentence.replace("Input should be", "Must be")
    return WORDS[error["type"]].format(**error.get("ctx", {}))
