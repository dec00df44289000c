"""What keeps a measurement from being taken."""


class BenchError(Exception):
    """Something is missing or wrong; the message is for whoever runs the benchmark."""
