"""Files of people and groups: how they are written and read, as newline-delimited JSON and as CSV."""
