"""The translation between users of the directory and users of SCIM (RFC 7643, section 4.1).

`userName`, `externalId` and `active` are stored in fields of the user. The record has all other attributes
(`domain.scim`). REST and SCIM agree, because both read the same user.
"""

from collections.abc import Mapping
from typing import Any, Final

from api.scim.schemas.resources import USERS
from api.scim.values import Resource
from domain.scim import email_of, name_of
from domain.users import NAME, NewUser, Status, User
from domain.values import JsonObject

HELD: Final = ("userName", "externalId", "active")
"""The attributes that are completely stored in a field of the user."""


def username_of(user: User) -> str:
    """SCIM requires a `userName`. For a user without a username it is the id."""
    return str(user.id) if user.username is None else user.username


def resource_of(user: User) -> Resource:
    resource: dict[str, Any] = {"userName": username_of(user), **record_shown(user)}
    if user.external_id is not None:
        resource["externalId"] = user.external_id
    if user.status is Status.SUSPENDED:
        resource["active"] = False
    elif not is_active_unassigned(user):
        resource["active"] = True
    return resource


def record_shown(user: User) -> Mapping[str, Any]:
    if user.scim is not None:
        return {name: value for name, value in user.scim.items() if name not in {"schemas", "active"}}
    emails = {} if user.email is None else {"emails": [{"value": user.email, "primary": True}]}
    return {"displayName": user.name, **emails}


def is_active_unassigned(user: User) -> bool:
    """Whether a client has removed `active`. Such a user is active, and SCIM does not show the attribute."""
    return user.scim is not None and "active" in user.scim


def record_of(resource: Resource) -> JsonObject:
    """The record to store. It is never empty, so it also marks users that SCIM has created."""
    record = {name: value for name, value in resource.items() if name not in HELD}
    unassigned = {} if "active" in resource else {"active": None}
    return {"schemas": USERS.schemas_of(resource), **in_order(record), **unassigned}


def in_order(resource: Mapping[str, Any]) -> Resource:
    """The attributes in the order of the schema, so that the same resource is always the same JSON."""
    return {each.name: resource[each.name] for each in USERS.attributes.values() if each.name in resource}


def new_user(resource: Resource) -> NewUser:
    """The user to create. It is active unless the resource says otherwise. Raises `Invalid`."""
    given = {"active": True, **resource}
    return NewUser(
        name=name_of(given, given["userName"], NAME.max),
        email=email_of(given),
        username=given["userName"],
        external_id=given.get("externalId") or None,
        status=status_in(given),
        scim=record_of(given),
    )


def changed(user: User, resource: Resource) -> User:
    """The user after a write through SCIM. A field changes only if its attribute has changed. Raises `Invalid`."""
    before = resource_of(user)
    if resource == before:
        return user
    is_kept = user.scim is None and all(
        before.get(each) == resource.get(each) for each in {*before, *resource} - {*HELD}
    )
    return user.revised(
        name=name_after(user, before, resource),
        email=user.email if resource.get("emails") == before.get("emails") else email_of(resource),
        username=user.username if resource["userName"] == before["userName"] else resource["userName"],
        external_id=resource.get("externalId") or None,
        status=status_in(resource),
        scim=user.scim if is_kept and "active" in resource else record_of(resource),
    )


def name_after(user: User, before: Resource, resource: Resource) -> str:
    was, name = (name_of(each, each["userName"], NAME.max) for each in (before, resource))
    return user.name if name == was else name


def status_in(resource: Resource) -> Status:
    return Status.SUSPENDED if resource.get("active") is False else Status.ACTIVE
