"""What all bodies share: schemas with the rules of the domain, ids, times, integers, and patches."""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

from api.web.requests import JSON_TYPE, MERGE_PATCH_TYPE, PlainInteger
from domain.values import MAX_ID, Attributes, Text

NOT_BLANK: Final = r"^[^\u0000]*\S[^\u0000]*$"
"""Not blank, and without the character NUL."""


def add_example(schema: dict[str, Any]) -> None:
    """Add an example to the schema of a body, from the examples of its fields."""
    found = {name: examples_in(field) for name, field in schema["properties"].items()}
    schema["examples"] = [{name: examples[0] for name, examples in found.items() if examples}]


def examples_in(field: dict[str, Any]) -> list[Any]:
    """The examples of a field. If it may be null, those of its other type."""
    return [example for part in (field, *field.get("anyOf", ())) for example in part.get("examples", ())]


ONLY_IF_ASKED: Final = ("created_at", "updated_at", "version")


def add_default_example(schema: dict[str, Any]) -> None:
    """The same, with the fields that an answer shows without the parameter `fields`."""
    add_example(schema)
    for name in ONLY_IF_ASKED:
        schema["examples"][0].pop(name, None)
    schema["required"] = []


class BodyIn(BaseModel):
    """The body of a request. Undeclared fields are refused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=add_example)


class BodyOut(BaseModel):
    """The body of an answer. With the parameter `fields` it has only these fields, so no field is required."""

    model_config = ConfigDict(json_schema_extra=add_default_example)


def text(rule: Text, description: str, example: str) -> Any:
    """The schema of a string. The domain enforces the rule."""
    return Field(
        description=description,
        examples=[example],
        json_schema_extra={"minLength": 1, "maxLength": rule.max, "pattern": NOT_BLANK},
    )


def attributes(rule: Attributes, example: dict[str, object]) -> Any:
    """The schema of a JSON object."""
    description = (
        f"A JSON object with members of the client's choice: at most {rule.max_bytes} bytes as JSON and "
        f"{rule.max_depth} levels"
    )
    return Field(description=description, examples=[example])


def whole(value: object) -> object:
    """Accepts integers in JSON: 1 and 1.0 are the same number (RFC 8259). 1.5, "1" and true are not integers."""
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
"""Fields that all answers with an entity can show."""


def patch_body(model: str) -> dict[str, Any]:
    """The `openapi_extra` of a route that accepts a JSON merge patch."""
    schema = {"schema": {"$ref": f"#/components/schemas/{model}"}}
    return {"requestBody": {"content": dict.fromkeys((MERGE_PATCH_TYPE, JSON_TYPE), schema)}}
