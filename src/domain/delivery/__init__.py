"""Webhooks: their rules, their messages and deliveries, the addresses that they may call, and leases."""
