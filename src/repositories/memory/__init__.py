"""The same promises without a database: for unit tests of services, and for trying things out."""
