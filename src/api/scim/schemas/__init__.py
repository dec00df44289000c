"""The schemas of RFC 7643 as data."""
