"""What an operator can set: by flag, by environment (`ROSTER_...`), in `.env`, in this order."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class LogFormat(StrEnum):
    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="ROSTER_", env_file=".env", extra="ignore", frozen=True)

    database_url: Annotated[
        str, Field(description="sqlite:///file.db or postgresql://user:password@host/name", repr=False)
    ] = "sqlite:///roster.db"
    host: Annotated[str, Field(description="The address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="The port to listen on; 0 takes a free one")] = 8000
    workers: Annotated[int, Field(ge=1, le=64, description="Server processes; above 1 needs PostgreSQL")] = 1
    pool_size: Annotated[
        int,
        Field(
            ge=1,
            le=200,
            description="PostgreSQL connections for writing, and as many for reading; up to 4 more for streams",
        ),
    ] = 10
    pool_timeout_s: Annotated[
        float, Field(gt=0, le=60, description="How long a request waits for a connection before it is refused")
    ] = 3.0
    drain_s: Annotated[
        float, Field(ge=0, le=300, description="How long to go on serving, not ready, after SIGTERM")
    ] = 0.0
    shutdown_s: Annotated[
        int, Field(ge=1, le=300, description="How long requests in flight may take to finish after that")
    ] = 30
    log_format: Annotated[LogFormat, Field(description="auto: console on a terminal, else json")] = LogFormat.AUTO
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="debug to error")] = "info"

    def environment(self) -> dict[str, str]:
        """These settings as the environment variables that would give them."""
        return {f"ROSTER_{name.upper()}": str(value) for name, value in self}
