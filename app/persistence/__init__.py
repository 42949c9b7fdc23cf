"""PostgreSQL: the engine, the tables, and a repository a subject."""
