"""The server process: its protocol, workers, logs and start."""
