"""The server process: its protocol, workers, logs, metrics and health."""
