"""What one process counts and measures, for Prometheus: in memory alone, no statement and no request an event.

    stage, client, store, pool ─▶ work.py, traffic.py, process.py ─▶ registry.py ─▶ a worker's own port (listening.py)
                                                                                └─▶ the API's /metrics (app/api/metrics)

What all processes share (queues, runs, suppliers, the change feed) the API reads from the ledger when it is scraped;
docs/decisions/0024 has the reasons. Every label's values are bounded: by a fixed list, or by `bounded.py`.
"""
