"""Units of work in SQL, and what goes on between them."""
