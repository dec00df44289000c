"""Files of people and groups: writing and reading newline-delimited JSON and CSV."""
