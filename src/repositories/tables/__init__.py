"""What all tables of entities share: statements, stores, and the references between them."""
