"""What all routes share: routing, access, problems, lists, streams, OpenAPI."""
