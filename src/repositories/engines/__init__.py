"""Where statements run: SQLite and PostgreSQL, with one way of asking both."""
