"""The console as a separate app, mounted at /console."""

from functools import partial
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from api.checks import Checks, look
from api.console import changes, groups, home, imports, keys, signing_in, system, webhooks
from api.console.jobs import Jobs
from api.console.pages import MOUNT, not_served, refused
from api.console.people import bulk, listing, person
from api.console.sessions import Sessions
from domain.errors import Refusal

ASSETS: Final = Path(__file__).with_name("assets")

ROUTES: Final = (
    *signing_in.ROUTES,
    *home.ROUTES,
    *listing.ROUTES,
    *bulk.ROUTES,
    *person.ROUTES,
    *groups.ROUTES,
    *changes.ROUTES,
    *imports.ROUTES,
    *keys.ROUTES,
    *webhooks.ROUTES,
    *system.ROUTES,
)


def mount_console(app: FastAPI, secret: str) -> None:
    """Serve the console in addition to the API. `secret` signs the cookies of sessions."""
    console = Starlette(
        routes=[*ROUTES, Mount("/assets", StaticFiles(directory=ASSETS), name="console_assets")],
        exception_handlers={Refusal: refused, HTTPException: not_served},
    )
    console.state = app.state
    app.state.sessions = Sessions(secret)
    app.state.jobs = Jobs()
    app.state.closing.callback(app.state.jobs.close)
    app.state.checks = Checks(partial(look, app.state.container))
    app.mount(MOUNT, console, name="console")
