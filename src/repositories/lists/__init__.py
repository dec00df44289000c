"""Filters, sorts and pages of lists in SQL."""
