"""How the outside talks to the directory: HTTP and the command line. Imports services and the domain."""
