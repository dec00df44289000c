"""Stores in memory, which keep the same promises: for unit tests of services, and for experiments."""
