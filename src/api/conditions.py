"""Conditional requests (RFC 9110, section 13): entity tags to versions, preconditions to what a service expects."""

import re
from typing import Annotated, Final

from fastapi import Header

from domain.versions import Expected

TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
ANY: Final = "*"

IfMatch = Annotated[
    str | None,
    Header(description="Only if the version is one of these entity tags; else 412", examples=['"1"'], max_length=1000),
]
IfNoneMatch = Annotated[
    str | None,
    Header(description="Only if the version is none of these entity tags; else 304", examples=['"1"'], max_length=1000),
]


def tag_of(version: int) -> str:
    """A strong entity tag: the same version is the same to the byte."""
    return f'"{version}"'


def expected_by(if_match: str | None) -> Expected:
    """The versions that an If-Match header names. Weak tags, and tags that were never given out, match nothing."""
    if if_match is None or if_match.strip() == ANY:
        return None
    return {int(tag) for weak, tag in TAG.findall(if_match) if not weak and tag.isascii() and tag.isdigit()}


def is_unchanged(version: int, if_none_match: str | None) -> bool:
    """Whether a client that sent this If-None-Match has the version already. Weak tags serve here."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == ANY or str(version) in {tag for _, tag in TAG.findall(if_none_match)}
