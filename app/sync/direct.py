"""Direct mode: the same stages and ledger in one process, without Redis."""
