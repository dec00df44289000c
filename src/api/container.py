"""The dependency injection container: how the parts are put together. The only module that names repositories.

To replace a part, in a test or in a product built on this one, override its provider when you build the container:
`Container(units=providers.Object(MemoryUnitsOfWork()))`.
"""

import time

from dependency_injector import containers, providers

from api.randomness import random_characters
from api.settings import Settings
from domain.work import utc_now
from repositories.database import Database, database_at
from repositories.work import SqlUnitsOfWork
from services.access import Access
from services.changes import ChangeService
from services.keys import KeyService
from services.users import UserService

__all__ = ["Container", "Database"]


class Container(containers.DeclarativeContainer):
    """From settings to database to units of work to services. A service is built for each request's occasion."""

    settings = providers.Singleton(Settings)
    serving = providers.Object(True)
    database = providers.Singleton(
        database_at,
        settings.provided.database_url,
        serving=serving,
        pool_size=settings.provided.pool_size,
        pool_timeout_s=settings.provided.pool_timeout_s,
    )
    clock = providers.Object(utc_now)
    units = providers.Singleton(SqlUnitsOfWork, database, clock)
    access = providers.Singleton(Access, units, providers.Object(time.monotonic), clock)
    randomness = providers.Object(random_characters)
    keys = providers.Factory(KeyService, units, randomness, access.provided.forget)
    users = providers.Factory(UserService, units)
    changes = providers.Factory(ChangeService, units)
