"""Conditional requests (RFC 9110, section 13): from entity tags to the versions that a service expects."""

import re
from collections.abc import Collection
from typing import Annotated, Final

from fastapi import Header

from domain.errors import Malformed
from domain.versions import ANY_VERSION, Expected

TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
TAGS: Final = re.compile(rf"[ \t,]*{TAG.pattern}([ \t]*,[ \t,]*{TAG.pattern})*[ \t,]*")
ANY: Final = "*"
VERSION: Final = re.compile("[1-9][0-9]{0,15}")

IfMatch = Annotated[
    str | None,
    Header(
        description="Only if the version is one of these entity tags. Otherwise the answer is a 412",
        examples=['"1"'],
        max_length=1000,
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(
        description=(
            "Only if the version is none of these entity tags. Otherwise the answer is a 304, or a 412 for a write"
        ),
        examples=['"1"'],
        max_length=1000,
    ),
]


def tag_of(version: int) -> str:
    """A strong entity tag: answers with the same version have the same bytes."""
    return f'"{version}"'


def expected_by(if_match: str | None) -> Expected:
    """The versions that an If-Match header names. Weak tags, and tags that do not come from Roster, match nothing.

    Raises `Malformed` if the header is not a list of entity tags.
    """
    return None if if_match is None else versions_in("If-Match", if_match, weak_too=False)


def unwanted_by(if_none_match: str | None) -> Collection[int]:
    """The versions that an If-None-Match header names, because the client has them already. Here weak tags match
    too."""
    return () if if_none_match is None else versions_in("If-None-Match", if_none_match, weak_too=True)


def versions_in(name: str, header: str, *, weak_too: bool) -> Collection[int]:
    if header.strip() == ANY:
        return ANY_VERSION
    if not TAGS.fullmatch(header):
        raise Malformed(f'{name} holds entity tags in double quotes, as in {name}: "2", or an asterisk.')
    return {int(tag) for weak, tag in TAG.findall(header) if VERSION.fullmatch(tag) and (weak_too or not weak)}
