"""Settings for operators: each with its value and the source of the value. Secrets are masked."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError

from api.settings import Settings, plain

MASK: Final = "********"
IN_AUTHORITY: Final = re.compile(r"(://[^/:@]*:)[^/]*@")
IN_QUERY: Final = re.compile(r"([?&]password=)[^&]*")


def rows_of(settings: Settings, flags: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """A row for each setting. `flags` are the names of the settings that a flag has set."""
    file = str(settings.model_config["env_file"])
    environment = {name.upper() for name in os.environ}
    written = {name.upper() for name in dotenv_values(file)}
    for name, value in settings:
        variable = f"ROSTER_{name.upper()}"
        yield {
            "setting": variable,
            "value": shown(value),
            "from": "flag" if name in flags else source_of(variable, environment, written, file),
        }


def flags_in(settings: Settings) -> list[str]:
    """The settings whose value comes from neither the environment, nor the file, nor a default. Empty if those are
    invalid."""
    try:
        others = Settings()
    except ValidationError:
        return []
    return [name for name, value in settings if getattr(others, name) != value]


def source_of(variable: str, environment: set[str], written: set[str], file: str) -> str:
    if any(name == variable or name.startswith(f"{variable}__") for name in environment):
        return "environment"
    if any(name == variable or name.startswith(f"{variable}__") for name in written):
        return file
    return "default"


def shown(value: object) -> str | None:
    if value is None:
        return None
    return MASK if isinstance(value, SecretStr) else without_password(plain(value))


def without_password(text: str) -> str:
    """The text. If it is a URL, without its password."""
    return IN_QUERY.sub(rf"\1{MASK}", IN_AUTHORITY.sub(rf"\1{MASK}@", text))
