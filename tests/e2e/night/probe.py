"""Calls /health/live forty times a second until standard input ends. Prints the seconds that each call took.

It is a process of its own: beside hundreds of clients it would measure those.
"""

import http.client
import select
import sys
import time
from typing import Final

EVERY_S: Final = 0.025


def main(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=60)
    while not select.select([sys.stdin], [], [], EVERY_S)[0]:
        began = time.perf_counter()
        connection.request("GET", "/health/live")
        answer = connection.getresponse()
        answer.read()
        sys.stdout.write(f"{time.perf_counter() - began if answer.status == 200 else 60}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
