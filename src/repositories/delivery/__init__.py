"""Webhooks, their deliveries, and leases in SQL."""
