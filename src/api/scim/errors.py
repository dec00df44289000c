"""Refusals as SCIM errors (RFC 7644, section 3.12)."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from api.scim.schemas.resources import MESSAGE
from api.web.problems import STATUS
from domain.errors import Conflict, Gone, Invalid, Malformed, Refusal

ERROR: Final = f"{MESSAGE}Error"


class Refused(Refusal):
    """A refusal that exists only in SCIM: its status, and SCIM's keyword for it (`scimType`), if there is one."""

    code = "scim"

    def __init__(self, detail: str, scim_type: str | None = None, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(detail)
        self.scim_type = scim_type
        self.status = int(status)


def invalid_value(detail: str) -> Refused:
    return Refused(detail, "invalidValue")


def invalid_syntax(detail: str) -> Refused:
    return Refused(detail, "invalidSyntax")


def invalid_path(detail: str) -> Refused:
    return Refused(detail, "invalidPath")


def unchangeable(name: str) -> Refused:
    return Refused(f"{name} cannot be changed in this way.", "mutability")


STATUSES: Final[Mapping[type[Refusal], int]] = {**STATUS, Invalid: 400, Gone: 404}
"""In SCIM a deleted resource is a 404, and a value that breaks a rule is a 400."""

TYPES: Final[Mapping[type[Refusal], str]] = {
    Conflict: "uniqueness",
    Invalid: "invalidValue",
}
MAX_DETAIL: Final = 1000


def status_of(refusal: Refusal) -> int:
    return refusal.status if isinstance(refusal, Refused) else STATUSES[type(refusal)]


def error_of(refusal: Refusal) -> dict[str, Any]:
    return error_body(status_of(refusal), detail_of(refusal), type_of(refusal))


def type_of(refusal: Refusal) -> str | None:
    """SCIM's keyword for a refusal. If `Malformed` has a position, a filter is malformed, otherwise a header."""
    match refusal:
        case Refused(scim_type=scim_type):
            return scim_type
        case Malformed(position=position):
            return None if position is None else "invalidFilter"
    return TYPES.get(type(refusal))


def detail_of(refusal: Refusal) -> str:
    if isinstance(refusal, Invalid):
        return " ".join(f"{named(each.pointer)}: {each.detail}" for each in refusal.faults)
    if isinstance(refusal, Conflict):
        return f"Another one has this {named(refusal.field)}."
    if isinstance(refusal, Malformed) and refusal.position is not None:
        return f"At character {refusal.position}: {refusal.detail}"
    return refusal.detail


NAMES: Final = {"username": "userName", "external_id": "externalId", "email": "emails", "name": "displayName"}
"""The SCIM attributes of fields."""


def named(place: str) -> str:
    first = place.lstrip("/").partition("/")[0]
    if first.isdigit():
        return "members"  # it is one of the members
    return NAMES.get(first, "resource" if first in {"", "scim"} else first)


def error_body(status: int, detail: str, scim_type: str | None = None) -> dict[str, Any]:
    """The body of an error. The RFC defines the status as a string."""
    body: dict[str, Any] = {"schemas": [ERROR], "status": str(status), "detail": detail[:MAX_DETAIL]}
    return {**body, "scimType": scim_type} if scim_type else body
