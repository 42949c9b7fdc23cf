"""promidata-sync: keeps a PostgreSQL catalogue and a picture store true to a Promidata feed."""
