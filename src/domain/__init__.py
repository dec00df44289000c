"""The core of the directory: entities, their rules, and the interfaces of stores. It imports only the standard
library."""
