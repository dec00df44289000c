"""Removing old changes while the server runs, if the operator has set a retention time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Final

import structlog

from services.retention import AT_ONCE, Retention

log = structlog.get_logger("roster")

EVERY_S: Final = 600.0
BETWEEN_S: Final = 0.2
"""The pause between two transactions, in seconds, so that other writers do not wait long."""


@asynccontextmanager
async def trimming(retention: Retention, keep_days: int | None) -> AsyncIterator[None]:
    """Remove old changes from time to time while the block runs, unless changes are kept for ever."""
    if keep_days is None:
        yield
        return
    running = asyncio.create_task(trim_again_and_again(retention, timedelta(days=keep_days)))
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def trim_again_and_again(retention: Retention, keep: timedelta) -> None:
    while True:
        removed = 0
        try:
            removed = await retention.trim(keep)
        except Exception:
            log.exception("old changes cannot be removed")
        await asyncio.sleep(BETWEEN_S if removed == AT_ONCE else EVERY_S)
