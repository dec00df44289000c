"""The attributes of a SCIM user (RFC 7643) for which a user has no field, and how the two are kept in agreement.

The record is a JSON object with the attributes of RFC 7643, section 4.1. It has what the fields of a user cannot hold:
several e-mail addresses, parts of a name, telephone numbers. A value that a field holds is in the record too if the
record says more about it: `displayName` is the user's name, and one of the `emails` is the user's e-mail. If the name
or the e-mail is changed elsewhere, the record is changed with it.
"""

from collections.abc import Sequence
from typing import Any, Final

from domain.values import Attributes, JsonObject

ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

RECORD: Final = Attributes(
    max_bytes=64 * 1024,
    folds=True,
    exact=frozenset(
        {("photos", "value"), ("x509Certificates", "value"), ("profileUrl",), (ENTERPRISE, "manager", "$ref")}
    ),
)
"""Strings compare without regard to case, except for references and binaries (RFC 7643, sections 2.3.6 and 2.3.7)."""


def name_of(record: JsonObject, username: str, longest: int) -> str:
    """The name of the user: the first name in the record that is not blank, or otherwise the username."""
    parts: Any = record.get("name") or {}
    full = f"{parts.get('givenName') or ''} {parts.get('familyName') or ''}"
    names: Sequence[Any] = (record.get("displayName"), parts.get("formatted"), full, username)
    return next((name.strip() for name in names if name and name.strip()), username)[:longest].strip()


def email_of(record: JsonObject) -> str | None:
    """The e-mail of the user: the primary address, or otherwise the first one."""
    chosen = chosen_among(record.get("emails"))
    value = None if chosen is None else chosen.get("value")
    return value if value and value.strip() else None


def chosen_among(emails: Any) -> Any:
    first = next(iter(listed(emails)), None)
    return next((each for each in listed(emails) if each.get("primary") is True), first)


def listed(emails: Any) -> Sequence[Any]:
    return emails or ()


def renamed(record: JsonObject, name: str) -> JsonObject:
    """The record of a user whose name was changed elsewhere."""
    return {**record, "displayName": name}


def readdressed(record: JsonObject, email: str | None) -> JsonObject:
    """The record of a user whose e-mail was changed elsewhere: the new address replaces the one that `email_of`
    chose."""
    emails, chosen = record.get("emails"), chosen_among(record.get("emails"))
    others = {name: value for name, value in record.items() if name != "emails"}
    if email is None:
        kept = [each for each in listed(emails) if each is not chosen]
    elif chosen is None:
        kept = [{"value": email, "primary": True}]
    else:
        kept = [{**each, "value": email} if each is chosen else each for each in listed(emails)]
    return {**others, "emails": kept} if kept else others
