"""promidata-sync: keeps a PostgreSQL catalogue and a picture store true to a Promidata feed."""

VERSION = "0.2.0.dev0"
