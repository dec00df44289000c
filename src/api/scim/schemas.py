"""The schemas of RFC 7643 as data: what Roster keeps of users and groups, and what discovery tells of itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from domain.scim import ENTERPRISE

CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:"
USER: Final = f"{CORE}User"
GROUP: Final = f"{CORE}Group"
MESSAGE: Final = "urn:ietf:params:scim:api:messages:2.0:"


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute or sub-attribute, with its characteristics (RFC 7643, section 7). `parts` by lower-case name."""

    name: str
    description: str
    type: str = "string"
    multi: bool = False
    required: bool = False
    exact: bool = False
    mutability: str = "readWrite"
    returned: str = "default"
    uniqueness: str = "none"
    canonical: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    parts: Mapping[str, "Attribute"] = field(default_factory=dict)

    @property
    def is_complex(self) -> bool:
        return self.type == "complex"

    @property
    def is_read_only(self) -> bool:
        return self.mutability == "readOnly"

    def described(self) -> dict[str, Any]:
        """As /Schemas shows it."""
        shown: dict[str, Any] = {"name": self.name, "type": self.type}
        if self.parts:
            shown["subAttributes"] = [each.described() for each in self.parts.values()]
        shown.update(multiValued=self.multi, description=self.description, required=self.required)
        if self.canonical:
            shown["canonicalValues"] = list(self.canonical)
        if self.references:
            shown["referenceTypes"] = list(self.references)
        shown.update(caseExact=self.exact, mutability=self.mutability, returned=self.returned)
        return {**shown, "uniqueness": self.uniqueness}


def by_name(attributes: Iterable[Attribute]) -> Mapping[str, Attribute]:
    return {each.name.lower(): each for each in attributes}


def one(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    """A single-valued attribute: complex if it has parts."""
    type_ = "complex" if parts else characteristics.pop("type", "string")
    return Attribute(name, description, type_, parts=by_name(parts), **characteristics)


def many(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    return one(name, description, *parts, multi=True, **characteristics)


def labelled(name: str, description: str, *types: str, value: Attribute | None = None) -> Attribute:
    """A multi-valued attribute with the parts of RFC 7643, section 2.4."""
    return many(
        name,
        description,
        value or one("value", "The value itself."),
        one("display", "A name for people."),
        one("type", "What it is for.", canonical=types),
        one("primary", "Whether it is the preferred one. True for one value at the most.", type="boolean"),
    )


def shown(name: str, description: str, *parts: Attribute, **characteristics: Any) -> Attribute:
    """A read-only attribute."""
    return one(name, description, *parts, mutability="readOnly", **characteristics)


def link(name: str, description: str, *types: str, **characteristics: Any) -> Attribute:
    return one(name, description, type="reference", exact=True, references=types, **characteristics)


@dataclass(frozen=True, slots=True)
class Schema:
    id: str
    name: str
    description: str
    attributes: Mapping[str, Attribute]


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
        labelled("entitlements", "What the person is entitled to."),
        labelled("roles", "What the person is, such as Student."),
        labelled("x509Certificates", "Certificates, in DER and base64.",
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
"""The attributes of every resource (RFC 7643, section 3.1), which no schema lists."""


Steps = tuple[Attribute, ...]
"""An attribute, with those before it that lead to it: an extension, a complex attribute."""


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of resource. `attributes` has, by lower-case name, the common ones, those of its schema, and extensions.

    An extension is a complex attribute with the URN of its schema as its name.
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
        """The attribute of a name in the notation of RFC 7644, section 3.10, in any case; None if there is none."""
        lower = name.lower().removeprefix(f"{self.schema.id.lower()}:")
        for extension in self.extensions:
            urn = extension.id.lower()
            if lower == urn or lower.startswith(f"{urn}:"):
                return walked((self.attributes[urn],), lower[len(urn) + 1 :])
        first, _, rest = lower.partition(".")
        attribute = self.attributes.get(first)
        return None if attribute is None else walked((attribute,), rest)

    def schemas_of(self, resource: Mapping[str, Any]) -> list[str]:
        """The URNs of the schemas that a resource has attributes of."""
        return [self.schema.id, *(each.id for each in self.extensions if each.id in resource)]


def walked(steps: Steps, path: str) -> Steps | None:
    """The steps, and those of a path of lower-case names behind them; None if it leads nowhere."""
    for name in path.split(".") if path else ():
        part = steps[-1].parts.get(name)
        if part is None:
            return None
        steps = (*steps, part)
    return steps


USERS: Final = ResourceType.of("User", "/Users", "The people of the directory.", USER_SCHEMA, ENTERPRISE_SCHEMA)
GROUPS: Final = ResourceType.of("Group", "/Groups", "Groups of people and of groups.", GROUP_SCHEMA)
RESOURCE_TYPES: Final = (USERS, GROUPS)

SUPPORTED: Final = one("supported", "Whether it is supported.", type="boolean", mutability="readOnly", required=True)

CONFIG_SCHEMA: Final = Schema(
    f"{CORE}ServiceProviderConfig",
    "ServiceProviderConfig",
    "What of the protocol is supported",
    by_name((
        shown("documentationUri", "Help for people.", type="reference", exact=True, references=("external",)),
        shown("patch", "PATCH.", SUPPORTED, required=True),
        shown(
            "bulk", "Bulk requests.", SUPPORTED,
            shown("maxOperations", "The most operations in one request.", type="integer", required=True),
            shown("maxPayloadSize", "The most bytes of one request.", type="integer", required=True),
            required=True,
        ),
        shown(
            "filter", "Filters.", SUPPORTED,
            shown("maxResults", "The most resources in one answer.", type="integer", required=True),
            required=True,
        ),
        shown("changePassword", "Changes of passwords.", SUPPORTED, required=True),
        shown("sort", "Sorted lists.", SUPPORTED, required=True),
        shown("etag", "Entity tags.", SUPPORTED, required=True),
        shown(
            "pagination", "Pages of lists (RFC 9865).",
            shown("cursor", "Pages by cursor.", type="boolean", required=True),
            shown("index", "Pages by index.", type="boolean", required=True),
            shown("defaultPaginationMethod", "What applies if none is asked for.", canonical=("cursor", "index")),
            shown("defaultPageSize", "How many there are if no count is given.", type="integer"),
            shown("maxPageSize", "The most that one page has.", type="integer"),
            shown("cursorTimeout", "For how many seconds a cursor is valid.", type="integer"),
        ),
        shown(
            "authenticationSchemes", "How callers prove who they are.",
            shown("type", "The scheme.", required=True,
                  canonical=("oauth", "oauth2", "oauthbearertoken", "httpbasic", "httpdigest")),
            shown("name", "Its name.", required=True),
            shown("description", "What it is.", required=True),
            shown("specUri", "Its specification.", type="reference", exact=True, references=("external",)),
            shown("documentationUri", "Help for people.", type="reference", exact=True, references=("external",)),
            shown("primary", "Whether it is the preferred one.", type="boolean"),
            multi=True, required=True,
        ),
    )),
)  # fmt: skip

RESOURCE_TYPE_SCHEMA: Final = Schema(
    f"{CORE}ResourceType",
    "ResourceType",
    "A kind of resource",
    by_name((
        shown("id", "The name of the resource type."),
        shown("name", "The name of the resource type.", required=True),
        shown("description", "What it is."),
        shown("endpoint", "Its path, relative to the base.", type="reference", required=True, references=("uri",)),
        shown("schema", "The URN of its schema.", type="reference", exact=True, required=True, references=("uri",)),
        shown(
            "schemaExtensions", "The schemas that extend it.",
            shown("schema", "The URN of the extension.", type="reference", exact=True, required=True,
                  references=("uri",)),
            shown("required", "Whether each resource has it.", type="boolean", required=True),
            multi=True,
        ),
    )),
)  # fmt: skip


def characteristics() -> list[Attribute]:
    return [
        shown("name", "Its name.", exact=True, required=True),
        shown("type", "The type of its values.", exact=True, required=True,
              canonical=("string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary")),
        shown("multiValued", "Whether it has many values.", type="boolean", required=True),
        shown("description", "What it is.", exact=True),
        shown("required", "Whether each resource has it.", type="boolean"),
        shown("canonicalValues", "Values that are suggested.", exact=True, multi=True),
        shown("caseExact", "Whether letters compare in their case.", type="boolean"),
        shown("mutability", "Whether and when it can be written.", exact=True,
              canonical=("readOnly", "readWrite", "immutable", "writeOnly")),
        shown("returned", "When answers have it.", exact=True, canonical=("always", "never", "default", "request")),
        shown("uniqueness", "Among which resources it is unique.", exact=True,
              canonical=("none", "server", "global")),
        shown("referenceTypes", "What it may refer to.", exact=True, multi=True),
    ]  # fmt: skip


SCHEMA_SCHEMA: Final = Schema(
    f"{CORE}Schema",
    "Schema",
    "The attributes of a schema",
    by_name((
        shown("id", "The URN of the schema.", exact=True, required=True),
        shown("name", "Its name for people."),
        shown("description", "What it is."),
        shown(
            "attributes", "Its attributes.", *characteristics(),
            shown("subAttributes", "The parts of a complex attribute.", *characteristics(), multi=True),
            multi=True, required=True,
        ),
    )),
)  # fmt: skip

OF_RESOURCES: Final = (USER_SCHEMA, ENTERPRISE_SCHEMA, GROUP_SCHEMA)
"""What /Schemas lists (RFC 7644, section 4)."""

SCHEMAS: Final = {each.id: each for each in (*OF_RESOURCES, CONFIG_SCHEMA, RESOURCE_TYPE_SCHEMA, SCHEMA_SCHEMA)}
"""Those of discovery itself are described too, each by its URN."""
