"""Discovery: /ServiceProviderConfig, /ResourceTypes, /Schemas (RFC 7644, section 4)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api.scim.schemas.discovery import CONFIG_SCHEMA, RESOURCE_TYPE_SCHEMA, SCHEMA_SCHEMA, SCHEMAS
from api.scim.schemas.resources import RESOURCE_TYPES
from api.web.requests import MAX_BODY_BYTES
from domain.lists.pages import DEFAULT_LIMIT, MAX_LIMIT

MAX_BULK: Final = 1000
"""The most operations of one bulk request."""

PROFILE: Final = "https://datatracker.ietf.org/doc/draft-zollner-scim-interop-profile/"
RFC: Final = "https://www.rfc-editor.org/rfc/rfc7644"


def config(base: str, *, strict: bool) -> dict[str, Any]:
    yes = {"supported": True}
    return {
        "schemas": [CONFIG_SCHEMA.id],
        "documentationUri": PROFILE if strict else RFC,
        "patch": yes,
        "bulk": {**yes, "maxOperations": MAX_BULK, "maxPayloadSize": MAX_BODY_BYTES},
        "filter": {**yes, "maxResults": MAX_LIMIT},
        "changePassword": {"supported": False},
        "sort": yes,
        "etag": yes,
        "pagination": {
            "cursor": True,
            "index": True,
            "defaultPaginationMethod": "index",
            "defaultPageSize": DEFAULT_LIMIT,
            "maxPageSize": MAX_LIMIT,
        },
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "API key",
                "description": "A key of Roster with the scope scim, as a bearer token",
                "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
                "primary": True,
            }
        ],
        **({"interopProfileConformant": True} if strict else {}),
        "meta": {"resourceType": CONFIG_SCHEMA.name, "location": f"{base}/{CONFIG_SCHEMA.name}"},
    }


def resource_types(base: str) -> Mapping[str, dict[str, Any]]:
    return {each["name"]: each for each in described_types(base)}


def described_types(base: str) -> Iterator[dict[str, Any]]:
    for each in RESOURCE_TYPES:
        extensions = [{"schema": extension.id, "required": False} for extension in each.extensions]
        yield {
            "schemas": [RESOURCE_TYPE_SCHEMA.id],
            "id": each.name,
            "name": each.name,
            "description": each.description,
            "endpoint": each.endpoint,
            "schema": each.schema.id,
            **({"schemaExtensions": extensions} if extensions else {}),
            "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{each.name}"},
        }


def schemas(base: str) -> Mapping[str, dict[str, Any]]:
    return {
        each.id: {
            "schemas": [SCHEMA_SCHEMA.id],
            "id": each.id,
            "name": each.name,
            "description": each.description,
            "attributes": [attribute.described() for attribute in each.attributes.values()],
            "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{each.id}"},
        }
        for each in SCHEMAS.values()
    }
