"""A server that kills itself in the middle of a write that has an idempotency key: just before COMMIT, or just after.

Says which by its first argument; the others are those of `roster`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from api.commands.main import app
from domain.idempotency import Committed
from repositories.work.units_of_work import SqlUnitOfWork

MOMENT = sys.argv.pop(1)

write = SqlUnitOfWork.commit


async def commit_and_die(commit: Callable[[], Awaitable[None]]) -> None:
    if MOMENT == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await commit()
    os.kill(os.getpid(), signal.SIGKILL)


async def write_and_die(work: SqlUnitOfWork, result: Any) -> Committed[Any]:
    if work._context.idempotency_key is not None:
        executor = work.unit.executor
        executor.commit = partial(commit_and_die, executor.commit)  # type: ignore[method-assign]
    return await write(work, result)


if __name__ == "__main__":
    assert MOMENT in ("before", "after")
    SqlUnitOfWork.commit = write_and_die  # type: ignore[assignment, method-assign]
    app()
