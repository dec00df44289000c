"""The care of a SQLite file: backups, copies, upgrades, its examination, and removing erased data."""
