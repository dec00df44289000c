"""What both engines share of the upkeep: backups, copies, and removing erased data from the files."""
