"""The server with small bounds of time, for tests that run into them."""

from unittest.mock import patch

import api.routing
import api.server
from api.cli import app

if __name__ == "__main__":
    with (
        patch.multiple(api.server, HEAD_TIMEOUT_S=0.3, REST_TIMEOUT_S=0.6, KEEP_ALIVE_S=1),
        patch.multiple(api.routing, BODY_TIMEOUT_S=0.3),
    ):
        app()
