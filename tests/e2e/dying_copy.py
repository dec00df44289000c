"""A `roster copy` that kills itself before it stores the batch whose number is its first argument.

The other arguments are those of `roster`.
"""

import os
import signal
import sys
from itertools import count
from typing import Any

from api.commands.main import app
from repositories.engines.postgres.copies import PostgresTarget
from repositories.engines.sqlite.upkeep.copies import SqliteTarget

LAST = int(sys.argv.pop(1))


def dying(write: Any) -> Any:
    numbers = count(1)

    async def write_or_die(*arguments: Any) -> None:
        if next(numbers) == LAST:
            os.kill(os.getpid(), signal.SIGKILL)
        await write(*arguments)

    return write_or_die


if __name__ == "__main__":
    for kind in (PostgresTarget, SqliteTarget):
        kind.write = dying(kind.write)  # type: ignore[method-assign]
    app()
