"""The server, which waits longer for the first request of a connection when it stops, since tests may be slow."""

from unittest.mock import patch

import api.process.protocol
from api.commands.main import app

if __name__ == "__main__":
    with patch.multiple(api.process.protocol, FIRST_REQUEST_S=60):
        app()
