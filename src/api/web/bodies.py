"""What bodies have in common: the domain's rules in their schema, integers, and patches."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticKnownError

from api.web.requests import JSON_TYPE, MERGE_PATCH_TYPE
from domain.values import MAX_ID, Attributes, Text

NOT_BLANK: Final = r"^[^\u0000]*\S[^\u0000]*$"
"""Not blank, and without the character NUL."""


def text(rule: Text, description: str, example: str) -> Any:
    """What the schema says of a string. The domain enforces the rule."""
    return Field(
        description=description,
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": rule.max, "pattern": NOT_BLANK},
    )


def attributes(rule: Attributes, example: dict[str, object]) -> Any:
    """What the schema says of a JSON object."""
    description = f"An object of the client's own: at most {rule.max_bytes} bytes as JSON and {rule.max_depth} levels"
    return Field(description=description, examples=[example])


def whole(value: object) -> object:
    """An integer as JSON has it: 1 and 1.0 are the same number (RFC 8259), 1.5, "1" and true are not integers."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | float | str | bytes):
        raise PydanticKnownError("int_type")
    return value


EntityId = Annotated[int, Field(ge=1, le=MAX_ID), BeforeValidator(whole)]
"""The id of an entity in a body."""


def patch_body(model: str) -> dict[str, Any]:
    """What a route that takes a JSON merge patch declares as its `openapi_extra`."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return {"requestBody": {"content": dict.fromkeys((MERGE_PATCH_TYPE, JSON_TYPE), schema)}}
