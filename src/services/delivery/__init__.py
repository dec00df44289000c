"""Webhooks: the operations on them and on their deliveries, and sending to them in the background of the server."""
