"""Imports: many rows at once, by the same rules as for single requests."""
