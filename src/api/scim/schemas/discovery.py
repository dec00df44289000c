"""The schemas of discovery itself (RFC 7643, sections 5 to 7), and all schemas by their URNs."""

from typing import Final

from api.scim.schemas.attributes import CORE, Attribute, Schema, by_name, one, shown
from api.scim.schemas.resources import ENTERPRISE_SCHEMA, GROUP_SCHEMA, USER_SCHEMA

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
        shown("interopProfileConformant", "Whether the server follows the interoperability profile.", type="boolean"),
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
"""All schemas by URN, including those of discovery itself."""
