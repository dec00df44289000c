"""PostgreSQL over asyncpg: a pool that writes, and one that reads."""
