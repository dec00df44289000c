"""Logs: one line for each event, as JSON or for a console, with the request id. Logs of libraries have the same form.

They contain nothing that a client sent: no bodies, no paths, no e-mail addresses.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from api.settings import LogFormat, Settings

POSTGRES_DETAIL: Final = re.compile(r"^DETAIL:.*$", re.MULTILINE)


def configure_logs(settings: Settings) -> None:
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        without_details,
    ]
    renderer = renderer_for(settings)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(
            sys.stdout
        ),  # each line is one write, because workers share the output
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    logging.getLogger("roster").setLevel(level)


def renderer_for(settings: Settings) -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer() if is_for_console(settings) else structlog.processors.JSONRenderer()


def is_for_console(settings: Settings) -> bool:
    if settings.log_format is LogFormat.AUTO:
        return sys.stdout.isatty()
    return settings.log_format is LogFormat.CONSOLE


def without_details(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove the DETAIL of PostgreSQL's errors from tracebacks, because it contains values of rows."""
    if "exception" in event:
        event["exception"] = POSTGRES_DETAIL.sub("DETAIL: left out", event["exception"])
    return event
