"""The one way out: manifest, documents, pictures and webhooks all leave through `OutboundClient`.

    url ─ urls.parse ─▶ WebAddress ─ policy ─▶ resolver (checked) ─▶ socket (checked again) ─▶ aiohttp
                                                                                                 │
    Fetched ◀─ body.read_body: byte caps, gzip by pieces ◀─ answers.judge: status -> error ◀─────┘

`addresses.py` knows which networks are refused, `urls.py` what an address may look like, `resolver.py` connects only to
what was checked, `connections.py` keeps what is connected, `gate.py` says who may ask a host now, `body.py` reads under
a cap, `answers.py` tells transient from permanent, `client.py` ties them.
"""

from app.outbound.client import Fetched, FetchLimits, OutboundClient

__all__ = ["FetchLimits", "Fetched", "OutboundClient"]
