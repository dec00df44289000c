"""Where the directory is stored. Imports the domain and SQLAlchemy."""
