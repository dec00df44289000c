"""Where the directory is kept. Imports the domain and SQLAlchemy."""
