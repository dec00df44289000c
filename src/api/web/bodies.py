"""What bodies have in common: the domain's rules in their schema, ids, times, integers, and patches."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

from api.web.requests import JSON_TYPE, MERGE_PATCH_TYPE, PlainInteger
from domain.values import MAX_ID, Attributes, Text

NOT_BLANK: Final = r"^[^\u0000]*\S[^\u0000]*$"
"""Not blank, and without the character NUL."""


def add_example(schema: dict[str, Any]) -> None:
    """The example of a body has those of its fields."""
    found = {name: examples_in(field) for name, field in schema["properties"].items()}
    schema["examples"] = [{name: examples[0] for name, examples in found.items() if examples}]


def examples_in(field: dict[str, Any]) -> list[Any]:
    """Of a field, or of what it may be beside null."""
    return [example for part in (field, *field.get("anyOf", ())) for example in part.get("examples", ())]


ONLY_IF_ASKED: Final = ("created_at", "updated_at", "version")


def add_default_example(schema: dict[str, Any]) -> None:
    """The same, with what an answer shows without the parameter `fields`."""
    add_example(schema)
    for name in ONLY_IF_ASKED:
        schema["examples"][0].pop(name, None)
    schema["required"] = []


class BodyIn(BaseModel):
    """A body of a request. A field that it does not declare is refused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=add_example)


class BodyOut(BaseModel):
    """A body of an answer. With the parameter `fields` it has those that were asked for, so none is required."""

    model_config = ConfigDict(json_schema_extra=add_default_example)


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

PlainId = Annotated[int, Field(ge=1, le=MAX_ID), PlainInteger]
"""The id of an entity in a path or a query."""

WHEN: Final = "2026-07-01T12:00:00.123456Z"
ShownId = Annotated[int, Field(description="Never given out again", ge=1, le=MAX_ID, examples=[1])]
CreatedAt = Annotated[datetime, Field(description="When it was created, RFC 3339 in UTC", examples=[WHEN])]
UpdatedAt = Annotated[datetime, Field(description="When it last changed, RFC 3339 in UTC", examples=[WHEN])]
DeletedAt = Annotated[datetime | None, Field(description="When it was deleted, null while it is not")]
Version = Annotated[int, Field(ge=1, description="Rises by one with each change", examples=[1])]
"""What every answer about an entity can show."""


def patch_body(model: str) -> dict[str, Any]:
    """What a route that takes a JSON merge patch declares as its `openapi_extra`."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return {"requestBody": {"content": dict.fromkeys((MERGE_PATCH_TYPE, JSON_TYPE), schema)}}
