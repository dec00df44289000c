"""SCIM 2.0: a second protocol over the same services."""
