"""The rules of the catalogue, pure: no I/O of any kind."""
