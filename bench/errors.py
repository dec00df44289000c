"""The error that stops a measurement."""


class BenchError(Exception):
    """Something is missing or wrong. The message is for the person who runs the benchmark."""
