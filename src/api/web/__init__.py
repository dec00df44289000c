"""What every call over HTTP shares: routing, access, problems, lists, streams, OpenAPI."""
