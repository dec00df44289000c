"""The interfaces to the directory: HTTP and the command line. It imports services and the domain."""
