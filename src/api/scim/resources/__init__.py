"""Users and groups over SCIM: the endpoints, how a resource is made of an entity, what lists are filtered by."""
