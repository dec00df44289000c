"""`roster serve`."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from api.commands.console import DatabaseUrl, Host, Port, Workers, fail, settings_from
from domain.errors import NotReady

Fd = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Serve on this open socket, such as 3 from systemd. --host must still say whom it reaches",
    ),
]


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    fd: Fd = None,
) -> None:
    """Serve the directory. Every flag but --fd can also be set in the environment, as ROSTER_HOST and so on."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # set for another program: the workers get a folder of their own
    settings = settings_from(host=host, port=port, workers=workers, database_url=database_url)
    with without_collection():
        from api.process.server import serve as run_server  # noqa: PLC0415  # the other commands start without it

    try:
        run_server(settings, fd)
    except NotReady as error:
        fail(str(error))


@contextmanager
def without_collection() -> Iterator[None]:
    """Imports without garbage collection: what a server imports, it keeps.

    Collections take a fifth of the start, and later each full one would pause the server for 0.1 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
