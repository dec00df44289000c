"""The settings for operators: by flag, by environment variable (`ROSTER_...`), or in `.env`, in this order."""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, FilePath, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import NotReady
from domain.limits import Limits


def require_networks(text: str) -> str:
    """Raises `ValueError` for an invalid list of networks, without the text."""
    try:
        networks_in(text)
    except ValueError:
        raise ValueError("Name addresses or networks, such as 10.0.0.0/8, separated by commas.") from None
    return text


def networks_in(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(item, strict=False) for item in items_of(text)]


class EmailForm(StrEnum):
    ANY = "any"
    ADDRESS = "address"


class LogFormat(StrEnum):
    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="ROSTER_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    database_url: Annotated[
        str,
        Field(
            description="sqlite:///file.db or postgresql://user:password@host/name, or several hosts, host1,host2",
            repr=False,
        ),
    ] = "sqlite:///roster.db"
    replica_url: Annotated[
        str,
        Field(
            description="PostgreSQL: URLs of streaming replicas that answer reads, separated by commas; empty for none",
            repr=False,
        ),
    ] = ""
    replica_lag_s: Annotated[
        float, Field(ge=1, le=3600, description="The largest lag, in seconds, with which a replica answers reads")
    ] = 5.0
    auto_upgrade: Annotated[
        bool,
        Field(
            description=(
                "SQLite: upgrade the schema at the start, after a copy of the file was made. If false, the server "
                "starts only after roster db upgrade was run, as on PostgreSQL"
            )
        ),
    ] = True
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
        float, Field(gt=0, le=60, description="Seconds that a request waits for a connection before it is refused")
    ] = 2.0
    drain_s: Annotated[
        float,
        Field(ge=0, le=300, description="Seconds to keep serving after SIGTERM, while the server reports not ready"),
    ] = 0.0
    shutdown_s: Annotated[
        int, Field(ge=1, le=300, description="Seconds that requests in progress have to finish after that")
    ] = 30
    limits: Annotated[Limits, Field(description="Bounds on what waits or grows: see docs/reliability.md")] = Limits()
    bootstrap_key: Annotated[
        SecretStr | None,
        Field(description="The secret of the first key, which is created while there are no keys", repr=False),
    ] = None
    bootstrap_key_file: Annotated[FilePath | None, Field(description="A file with that secret")] = None
    allowed_hosts: Annotated[
        str, Field(description="Host names to which the server answers, separated by commas; empty for all")
    ] = ""
    cors_origins: Annotated[
        str, Field(description="Web origins whose pages may call the API, separated by commas; empty for none")
    ] = ""
    keep_changes_days: Annotated[
        int | None, Field(ge=30, le=36500, description="Days for which changes are kept; for ever if it is not set")
    ] = None
    webhooks_allow_private: Annotated[
        bool, Field(description="Allow webhooks to use http and private addresses, for tests and private networks")
    ] = False
    trusted_proxies: Annotated[
        str,
        Field(
            description=(
                "Proxies whose Forwarded or X-Forwarded-For headers are trusted: addresses or networks, separated "
                "by commas; empty for none"
            )
        ),
        AfterValidator(require_networks),
    ] = ""
    public_url: Annotated[
        str,
        Field(
            pattern="^(https?://[^ ]+)?$",
            description=(
                "The URL at which clients reach the server. URLs in SCIM and links to the console begin with it"
            ),
        ),
    ] = ""
    scim: Annotated[bool, Field(description="Serve SCIM 2.0 at /scim/v2")] = True
    scim_strict: Annotated[
        bool,
        Field(
            description=(
                "Refuse everything that SCIM's interoperability profile refuses. Some providers send such requests"
            )
        ),
    ] = False
    console: Annotated[bool, Field(description="Serve the console at /console, if the extra console is installed")] = (
        True
    )
    console_secret: Annotated[
        SecretStr | None,
        Field(
            description="The secret that signs sessions of the console. Without it, a restart ends all sessions",
            repr=False,
        ),
    ] = None
    email_form: Annotated[
        EmailForm,
        Field(
            description=(
                "any: an e-mail address is any text, such as a@corp.local. address: a new one must have the form of "
                "an address on the internet"
            )
        ),
    ] = EmailForm.ANY
    log_format: Annotated[LogFormat, Field(description="auto: console on a terminal, else json")] = LogFormat.AUTO
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="debug to error")] = "info"

    @classmethod
    def unknown(cls) -> Iterator[str]:
        """A sentence for each unknown variable `ROSTER_...` in the environment or in `.env`."""
        known = [f"ROSTER_{name.upper()}" for name in cls.model_fields]
        given = {name.upper() for name in (*os.environ, *dotenv_values(str(cls.model_config["env_file"])))}
        for name in sorted(
            name for name in given if name.startswith("ROSTER_") and name.partition("__")[0] not in known
        ):
            similar = get_close_matches(name, known, n=1, cutoff=0.8)
            yield f"{name} is not a setting." + (f" Did you mean {similar[0]}?" if similar else "")

    def environment(self) -> dict[str, str]:
        """The environment variables that give these settings."""
        return {f"ROSTER_{name.upper()}": plain(value) for name, value in self if value is not None}

    def bootstrap_secret(self) -> str | None:
        """The secret of the first key, if one is set. Raises `NotReady` if its file cannot be read."""
        if self.bootstrap_key_file is not None:
            return text_of(self.bootstrap_key_file)
        return None if self.bootstrap_key is None else self.bootstrap_key.get_secret_value()

    @property
    def engine(self) -> str:
        """The engine of the database, if the URL is valid."""
        return "sqlite" if self.database_url.startswith("sqlite") else "postgresql"

    @property
    def address(self) -> str:
        """The URL at which clients reach the server: the setting, or the address on which it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url.rstrip("/") or f"http://{host}:{self.port}"

    def is_local(self) -> bool:
        """Whether the server listens on an address that only this machine can reach."""
        return is_loopback(self.host)


def text_of(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):  # its message may quote the file
        raise NotReady(f"{file} cannot be read as text.") from None


def plain(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return json.dumps(asdict(value))
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def is_loopback(host: str) -> bool:
    """Whether a host name or address, without a port, is a loopback one."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def items_of(text: str) -> list[str]:
    """The items of a setting that is a list separated by commas."""
    return [item.strip() for item in text.split(",") if item.strip()]
