"""What all tables of entities share: their statements, their stores, and the references between them."""
