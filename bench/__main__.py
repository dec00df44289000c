"""`python -m bench [compare | growth | layers | memory]`."""

import signal
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from types import ModuleType
from typing import Final

from bench import compare, growth, layers, memory
from bench.errors import BenchError

COMMANDS: Final[dict[str, ModuleType]] = {
    "compare": compare,
    "growth": growth,
    "layers": layers,
    "memory": memory,
}


def main(arguments: Sequence[str]) -> int:
    """The first argument names the command. Without one, `compare` runs."""
    named = bool(arguments) and arguments[0] in COMMANDS
    command = COMMANDS[arguments[0] if named else "compare"]
    parser = ArgumentParser(
        prog="python -m bench",
        description=command.__doc__,
        epilog="Commands: compare (if none is named), growth, layers, memory.",
    )
    command.declare(parser)
    options = parser.parse_args(arguments[1:] if named else arguments)
    try:
        status: int = command.run(options)
    except BenchError as error:
        print("bench:", error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that it ends the servers
    sys.exit(main(sys.argv[1:]))
