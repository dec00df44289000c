"""The operations of the directory. One public method is one unit of work. This package imports only the domain."""
