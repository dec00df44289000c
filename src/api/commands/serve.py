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
        help="Serve on this open socket, such as 3 from systemd. --host must still be its address",
    ),
]


def serve(
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    database_url: DatabaseUrl = None,
    fd: Fd = None,
) -> None:
    """Serve the directory. Every flag except --fd can also be set as an environment variable, such as ROSTER_HOST."""
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # it was set for another program: the workers get their own folder
    settings = settings_from(host=host, port=port, workers=workers, database_url=database_url)
    with without_collection():
        from api.process.server import serve as run_server  # noqa: PLC0415  # other commands do not import it

    try:
        run_server(settings, fd)
    except NotReady as error:
        fail(str(error))


@contextmanager
def without_collection() -> Iterator[None]:
    """Switches garbage collection off during imports, because imported objects are never freed.

    Collections would take a fifth of the start. Afterwards the objects are frozen: otherwise each full collection would
    pause the server for 0.1 s.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
