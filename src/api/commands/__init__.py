"""The command line: `roster serve`, `roster db`, `roster keys`, `roster openapi`, `roster version`."""
