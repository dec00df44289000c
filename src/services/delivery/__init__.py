"""Delivering to webhooks: what the server does by itself, beside the requests."""
