"""A server that kills itself in the middle of a write that has an idempotency key: just before COMMIT, or just after.

Says which by its first argument; the others are those of `roster`.
"""

import os
import signal
import sys

from api.cli import app
from repositories.work import SqlUnitOfWork

MOMENT = sys.argv.pop(1)

commit = SqlUnitOfWork._commit


async def commit_and_die(work: SqlUnitOfWork) -> None:
    dies = work._occasion.once is not None
    if dies and MOMENT == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    await commit(work)
    if dies and MOMENT == "after":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    assert MOMENT in ("before", "after")
    SqlUnitOfWork._commit = commit_and_die  # type: ignore[assignment, method-assign]
    app()
