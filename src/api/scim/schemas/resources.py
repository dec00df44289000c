"""The schemas of users and groups, with the attributes that Roster stores (RFC 7643, sections 3 and 4)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.scim.schemas.attributes import CORE, Attribute, Schema, by_name, labelled, link, many, one, shown
from domain.scim import ENTERPRISE

USER: Final = f"{CORE}User"
GROUP: Final = f"{CORE}Group"
MESSAGE: Final = "urn:ietf:params:scim:api:messages:2.0:"


ADDRESS: Final = (
    one("formatted", "The whole address, for display or a label. It may have line breaks."),
    one("streetAddress", "Street, house number, and what else stands in such lines."),
    one("locality", "City or town."),
    one("region", "State or region."),
    one("postalCode", "ZIP or postal code."),
    one("country", "Country, as two letters of ISO 3166-1."),
    one("type", "What it is for.", canonical=("work", "home", "other")),
    one("primary", "Whether it is the preferred one. True for one value at the most.", type="boolean"),
)

USER_SCHEMA: Final = Schema(
    USER,
    "User",
    "User Account",
    by_name((
        one("userName", "The name to sign in with, unique regardless of case.", required=True, uniqueness="server"),
        one(
            "name",
            "The parts of the person's name.",
            one("formatted", "The whole name, for display."),
            one("familyName", "Family name or last name."),
            one("givenName", "Given name or first name."),
            one("middleName", "Middle names."),
            one("honorificPrefix", "Title, such as Ms."),
            one("honorificSuffix", "Suffix, such as III."),
        ),
        one("displayName", "The name for display: the name of the user in Roster."),
        one("nickName", "How the person is called casually."),
        link("profileUrl", "A page about the person.", "external"),
        one("title", "Such as Vice President."),
        one("userType", "Relation to the organisation, such as Employee."),
        one("preferredLanguage", "As in the header Accept-Language, such as en-US."),
        one("locale", "For formats of dates, numbers and currency, such as en-US."),
        one("timezone", "A name of the time zone database, such as Europe/Berlin."),
        one("active", "Whether the person may sign in: false is a suspended user.", type="boolean"),
        one("password", "Accepted and discarded: Roster keeps no passwords.", mutability="writeOnly", returned="never"),
        labelled("emails", "E-mail addresses. The primary one, or else the first, is the user's in Roster.",
                 "work", "home", "other"),
        labelled("phoneNumbers", "Telephone numbers.", "work", "home", "mobile", "fax", "pager", "other"),
        labelled("ims", "Addresses for instant messages.",
                 "aim", "gtalk", "icq", "xmpp", "msn", "skype", "qq", "yahoo"),
        labelled("photos", "Pictures of the person.", "photo", "thumbnail",
                 value=link("value", "The address of the picture.", "external")),
        many("addresses", "Postal addresses.", *ADDRESS),
        many(
            "groups",
            "The groups that the user is in. Change them by the members of groups.",
            shown("value", "The id of the group."),
            shown("$ref", "The address of the group.", type="reference", exact=True, references=("User", "Group")),
            shown("display", "The name of the group."),
            shown("type", "How the user is in it.", canonical=("direct", "indirect")),
            mutability="readOnly",
        ),
        labelled("entitlements", "What the person is entitled to.", "other"),
        labelled("roles", "What the person is, such as Student.", "other"),
        labelled("x509Certificates", "Certificates, in DER and base64.", "other",
                 value=one("value", "The certificate.", type="binary", exact=True)),
    )),
)  # fmt: skip

ENTERPRISE_SCHEMA: Final = Schema(
    ENTERPRISE,
    "EnterpriseUser",
    "Enterprise User",
    by_name((
        one("employeeNumber", "As the organisation numbers its people."),
        one("costCenter", "Cost center."),
        one("organization", "Organisation."),
        one("division", "Division."),
        one("department", "Department."),
        one(
            "manager",
            "The person's manager.",
            one("value", "The id of the manager's user."),
            link("$ref", "The address of the manager's user.", "User"),
            shown("displayName", "The manager's name."),
        ),
    )),
)  # fmt: skip

GROUP_SCHEMA: Final = Schema(
    GROUP,
    "Group",
    "Group",
    by_name((
        one("displayName", "The name of the group, unique regardless of case.", required=True, uniqueness="server"),
        many(
            "members",
            "Users and groups that are in this group.",
            one("value", "The id of the member.", mutability="immutable"),
            link("$ref", "The address of the member.", "User", "Group", mutability="immutable"),
            one("type", "Which of the two it is.", mutability="immutable", canonical=("User", "Group")),
        ),
    )),
)  # fmt: skip

COMMON: Final = by_name((
    many("schemas", "The URNs of the schemas in this representation.", type="reference", returned="always"),
    shown("id", "Given once, never again.", exact=True, returned="always", uniqueness="server"),
    one("externalId", "The client's own id of it.", exact=True),
    shown(
        "meta",
        "About the resource.",
        shown("resourceType", "User or Group.", exact=True),
        shown("created", "When it was created.", type="dateTime"),
        shown("lastModified", "When it last changed.", type="dateTime"),
        shown("location", "Its address.", type="reference", exact=True, references=("uri",)),
        shown("version", "Its entity tag.", exact=True),
    ),
))  # fmt: skip
"""The attributes that all resources have (RFC 7643, section 3.1). They are not in the schemas."""


Steps = tuple[Attribute, ...]
"""An attribute, after the extension and the complex attribute that contain it, if there are such."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of resource. `attributes` are, by lower-case name, the common attributes, those of its schema, and its
    extensions.

    An extension is a complex attribute whose name is the URN of its schema.
    """

    name: str
    endpoint: str
    description: str
    schema: Schema
    extensions: tuple[Schema, ...]
    attributes: Mapping[str, Attribute]

    @classmethod
    def of(cls, name: str, endpoint: str, description: str, schema: Schema, *extensions: Schema) -> "ResourceType":
        extending = (Attribute(each.id, each.description, "complex", parts=each.attributes) for each in extensions)
        attributes = {**COMMON, **schema.attributes, **by_name(extending)}
        return cls(name, endpoint, description, schema, extensions, attributes)

    def steps_to(self, name: str) -> Steps | None:
        """The attribute with this name in the notation of RFC 7644, section 3.10, in upper or lower case; None if there
        is none."""
        lower = name.lower().removeprefix(f"{self.schema.id.lower()}:")
        for extension in self.extensions:
            urn = extension.id.lower()
            if lower == urn or lower.startswith(f"{urn}:"):
                return walked((self.attributes[urn],), lower[len(urn) + 1 :])
        first, _, rest = lower.partition(".")
        attribute = self.attributes.get(first)
        return None if attribute is None else walked((attribute,), rest)

    def schemas_of(self, resource: Mapping[str, Any]) -> list[str]:
        """The URNs of all schemas of which the resource has attributes."""
        return [self.schema.id, *(each.id for each in self.extensions if each.id in resource)]


def walked(steps: Steps, path: str) -> Steps | None:
    """The steps extended by a path of lower-case names; None if there is no such attribute."""
    for name in path.split(".") if path else ():
        part = steps[-1].parts.get(name)
        if part is None:
            return None
        steps = (*steps, part)
    return steps


USERS: Final = ResourceType.of("User", "/Users", "The people of the directory.", USER_SCHEMA, ENTERPRISE_SCHEMA)
GROUPS: Final = ResourceType.of("Group", "/Groups", "Groups of people and of groups.", GROUP_SCHEMA)
RESOURCE_TYPES: Final = (USERS, GROUPS)
