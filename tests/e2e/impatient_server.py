"""The server with short time-outs, for tests that reach them."""

from unittest.mock import patch

import api.process.protocol
import api.process.startup
import api.web.requests
from api.commands.main import app

if __name__ == "__main__":
    with (
        patch.multiple(api.process.protocol, HEAD_TIMEOUT_S=0.3, REST_TIMEOUT_S=0.6),
        patch.multiple(api.process.startup, KEEP_ALIVE_S=1),
        patch.multiple(api.web.requests, BODY_TIMEOUT_S=0.3),
    ):
        app()
