"""Users and groups in SCIM: the endpoints, the translation of entities into resources, and the attributes in
filters."""
