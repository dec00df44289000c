"""The storage of the directory. It imports the domain and SQLAlchemy."""
