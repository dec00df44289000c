"""Strict requests: they check media types, size, slow bodies, and JSON that other parsers would not accept."""

import asyncio
import json
import re
from datetime import timedelta
from typing import Any, Final

from fastapi import Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError
from starlette.exceptions import HTTPException

from api.strict_json import OddJsonError, no_deeper, read_json
from domain.values import DURATION, duration

MAX_BODY_BYTES: Final = 1024 * 1024
BODY_TIMEOUT_S: Final = 20
"""Seconds within which the whole body has to arrive."""

JSON_TYPE: Final = "application/json"
MERGE_PATCH_TYPE: Final = "application/merge-patch+json"

DIGITS: Final = re.compile("-?(0|[1-9][0-9]*)")


class StrictRequest(Request):
    async def body(self) -> bytes:
        """The body. Its size, its time and its media type are checked."""
        if not hasattr(self, "_body"):
            self._body = await self._bounded_body()
            if self._body:
                self._refuse_other_media_types()
        return self._body

    async def _bounded_body(self) -> bytes:
        if int(self.headers.get("content-length", 0)) > MAX_BODY_BYTES:
            raise HTTPException(413, f"A body holds at most {MAX_BODY_BYTES} bytes.")
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._read()
        except TimeoutError as error:
            raise HTTPException(408, "The body took too long to arrive.") from error

    async def _read(self) -> bytes:
        body = bytearray()
        async for chunk in self.stream():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                raise HTTPException(413, f"A body holds at most {MAX_BODY_BYTES} bytes.")
        return bytes(body)

    @property
    def media_types(self) -> tuple[str, ...]:
        """The accepted media types."""
        return (MERGE_PATCH_TYPE, JSON_TYPE) if self.method == "PATCH" else (JSON_TYPE,)

    def _refuse_other_media_types(self) -> None:
        taken = self.media_types
        sent = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if sent not in taken:
            header = "Accept-Patch" if self.method == "PATCH" else "Accept"  # RFC 5789, RFC 9110 section 15.5.16
            raise HTTPException(415, f"Send {' or '.join(taken)}.", {header: ", ".join(taken)})

    async def json(self) -> Any:
        """The body as strict JSON (RFC 8259): in UTF-8, without NaN and Infinity, and with no name twice in an
        object."""
        try:
            return no_deeper(read_json((await self.body()).decode()))
        except json.JSONDecodeError as error:
            raise HTTPException(400, f"The body is not JSON: {error.msg} at character {error.pos}.") from error
        except UnicodeDecodeError as error:
            raise HTTPException(400, f"The body is not UTF-8, from byte {error.start}.") from error
        except RecursionError as error:
            raise HTTPException(400, "The body nests too deep.") from error
        except OddJsonError as error:
            raise HTTPException(400, str(error)) from error
        except ValueError as error:  # an integer of thousands of digits
            raise HTTPException(400, "The body holds a number that is too long.") from error


def overlap_query(description: str) -> Any:
    """The parameter `overlap`. `overlap_in` reads it."""
    return Query(
        description=f"{description}: a number followed by d, h, m or s",
        examples=["1h"],
        json_schema_extra={"pattern": f"^{DURATION.pattern}$"},
    )


def overlap_in(text: str, most: timedelta) -> timedelta:
    if (span := duration(text)) is None or span > most:
        detail = f"Must be a duration of at most {most.days} days, such as 7d, 12h, 30m or 45s."
        raise RequestValidationError([{"type": "duration", "loc": ("query", "overlap"), "msg": detail}])
    return span


def one_spelling(text: object) -> object:
    if isinstance(text, str) and not DIGITS.fullmatch(text):
        raise PydanticKnownError("int_parsing")
    return text


PlainInteger = BeforeValidator(one_spelling)
"""Refuses other spellings of an integer that pydantic accepts: `+1`, `1.0`, `01`, ` 1`, `1_0`, or with a line break at
the end.

Put it after the bounds, as in `Annotated[int, Field(ge=1), PlainInteger]`. Otherwise the schema lacks the bounds.
"""
