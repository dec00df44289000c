"""A server that kills itself in the middle of a write that has an idempotency key: just before COMMIT, or just after.

Says which by its first argument; the others are those of `roster`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from api.commands.main import app
from repositories.work import SqlUnitOfWork

MOMENT = sys.argv.pop(1)

write = SqlUnitOfWork.commit


async def commit_and_die(commit: Callable[[], Awaitable[None]]) -> None:
    if MOMENT == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await commit()
    os.kill(os.getpid(), signal.SIGKILL)


async def write_and_die(work: SqlUnitOfWork) -> None:
    if work._context.idempotency_key is not None:
        work._executor.commit = partial(commit_and_die, work._executor.commit)  # type: ignore[method-assign]
    await write(work)


if __name__ == "__main__":
    assert MOMENT in ("before", "after")
    SqlUnitOfWork.commit = write_and_die  # type: ignore[assignment, method-assign]
    app()
