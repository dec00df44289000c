"""Running the deliverer in a server, for as long as the app runs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog

from api.delivery.posting import Posting
from services.delivery.deliverer import Deliverer

log = structlog.get_logger("roster")

AFTER_FAILURE_S: Final = 1.0


@asynccontextmanager
async def delivering(deliverer: Deliverer, post: Posting) -> AsyncIterator[None]:
    """Deliver while the block runs. At its end, wait some seconds for the answers to messages that were sent."""
    running = asyncio.create_task(keep_running(deliverer))
    try:
        yield
    finally:
        await deliverer.finish()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await post.close()


async def keep_running(deliverer: Deliverer) -> None:
    """Run the deliverer. If it fails because of a defect, log the error and start it again from what is stored."""
    while True:
        try:
            await deliverer.run()
        except Exception:
            log.exception("delivering to webhooks failed")
            await asyncio.sleep(AFTER_FAILURE_S)
