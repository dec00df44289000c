"""Units of work in SQL, and background tasks."""
