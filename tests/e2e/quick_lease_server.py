"""The server with a short lease: another process takes over the delivery to webhooks soon after a kill."""

from unittest.mock import patch

import services.delivery.deliverer
import services.delivery.lease
from api.commands.main import app

if __name__ == "__main__":
    with (
        patch.multiple(services.delivery.lease, LOOK_EVERY_S=0.2, GONE_AFTER_S=1.0),
        patch.multiple(services.delivery.deliverer, LOOK_EVERY_S=0.2, BEAT_EVERY_S=0.3, GIVEN_UP_AFTER_S=0.5),
    ):
        app()
