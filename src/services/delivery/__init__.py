"""Delivering to webhooks, in the background of the server."""
