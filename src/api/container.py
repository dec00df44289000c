"""The dependency injection container, which connects the parts. It is the only module that imports repositories.

To replace a part, in a test or in your own product, override its provider when you build the container:
`Container(units=providers.Object(MemoryUnitsOfWork()))`.
"""

import random
import secrets
import time
from typing import TYPE_CHECKING

from dependency_injector import containers, providers
from pydantic_core import to_json

from api.delivery.posting import Posting
from api.emails import form_of
from api.randomness import random_characters
from api.settings import Settings
from domain.delivery.deliveries import Post
from domain.limits import Limits
from domain.work import Clock, UnitsOfWork, utc_now
from repositories.copies import Copy
from repositories.engines.database import Database, database_at
from repositories.engines.meter import NO_METER, Meter
from repositories.work.places import Places
from repositories.work.units_of_work import SqlUnitsOfWork
from services.authentication import Authenticator
from services.batches import BatchService
from services.changes import ChangeService
from services.delivery.deliverer import Deliverer
from services.delivery.deliveries import DeliveryService
from services.delivery.ledger import Ledger
from services.delivery.sender import SenderDependencies
from services.delivery.webhooks import WebhookService
from services.exports import ExportService
from services.groups import GroupService
from services.imports.service import ImportService
from services.keys import KeyService
from services.memberships import MembershipService
from services.provisioning import ProvisioningService
from services.retention import Retention
from services.users import UserService

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.monitoring.metrics import Metrics

__all__ = ["Container", "Database"]


def metrics_of(engine: str) -> "Metrics":
    from api.monitoring.metrics import Metrics  # noqa: PLC0415  # commands do not import it

    return Metrics(engine)


def meter_for(serving: bool, metrics: "Callable[[], Metrics]") -> Meter:
    return metrics() if serving else NO_METER


def deliverer_of(settings: Settings, units: UnitsOfWork, post: Post, metrics: "Metrics", clock: Clock) -> Deliverer:
    dependencies = SenderDependencies(
        ledger=Ledger(units, holder=secrets.token_hex(8)),
        post=post,
        encode=to_json,
        meter=metrics,
        clock=clock,
        random=random.random,
    )
    return Deliverer(dependencies, time.monotonic, alone=settings.engine == "sqlite")


def places_for_imports(limits: Limits) -> Places:
    return Places(limits.imports, limits.imports, "Too many imports are under way. Try again later.")


class Container(containers.DeclarativeContainer):
    """Builds the database from the settings, the units of work from the database, and services from the units of work.

    A service is built for the context of each request.
    """

    settings = providers.Singleton(Settings)
    serving = providers.Object(True)
    handover_s = providers.Object(0.0)
    metrics = providers.Singleton(metrics_of, settings.provided.engine)
    meter = providers.Singleton(meter_for, serving, metrics.provider)
    database = providers.Singleton(
        database_at,
        settings.provided.database_url,
        serving=serving,
        pool_size=settings.provided.pool_size,
        pool_timeout_s=settings.provided.pool_timeout_s,
        auto_upgrade=settings.provided.auto_upgrade,
        handover_s=handover_s,
        replica_url=settings.provided.replica_url,
        replica_lag_s=settings.provided.replica_lag_s,
        limits=settings.provided.limits,
        meter=meter,
    )
    copies = providers.Factory(Copy, database)
    clock = providers.Object(utc_now)
    units = providers.Singleton(SqlUnitsOfWork, database, clock, settings.provided.limits)
    authenticator = providers.Singleton(Authenticator, units, providers.Object(time.monotonic), clock)
    randomness = providers.Object(random_characters)
    keys = providers.Factory(KeyService, units, randomness, authenticator.provided.forget)
    is_email = providers.Singleton(form_of, settings.provided.email_form)
    users = providers.Factory(UserService, units, is_email=is_email)
    groups = providers.Factory(GroupService, units)
    memberships = providers.Factory(MembershipService, units)
    provisioning = providers.Factory(ProvisioningService, units)
    changes = providers.Factory(ChangeService, units)
    post = providers.Singleton(Posting, settings.provided.webhooks_allow_private)
    random_bytes = providers.Object(secrets.token_bytes)
    webhooks = providers.Factory(WebhookService, units, random_bytes, settings.provided.webhooks_allow_private)
    deliveries = providers.Factory(DeliveryService, units, random_bytes, post, clock)
    retention = providers.Singleton(Retention, units)
    deliverer = providers.Singleton(deliverer_of, settings, units, post, metrics, clock)
    exports = providers.Factory(ExportService, units)
    batches = providers.Factory(BatchService, units, is_email=is_email)
    import_places = providers.Singleton(places_for_imports, settings.provided.limits)
    imports = providers.Factory(ImportService, units, is_email=is_email)
