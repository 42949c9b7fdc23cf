"""A feed made and served by the project: fixture of the tests, origin of the demo and the bench.

    FeedSpec -> SampleFeed (documents, manifest, pictures; changes) -> SampleFeedServer (HTTP; faults, request log)

Nothing is read from files: a spec's seed decides every byte.
"""

from app.samplefeed.faults import Fault, FaultTable
from app.samplefeed.feed import SampleFeed
from app.samplefeed.request_log import LoggedRequest, RequestLog
from app.samplefeed.server import SampleFeedServer
from app.samplefeed.spec import FeedSpec, SupplierSpec, suppliers

__all__ = [
    "Fault",
    "FaultTable",
    "FeedSpec",
    "LoggedRequest",
    "RequestLog",
    "SampleFeed",
    "SampleFeedServer",
    "SupplierSpec",
    "suppliers",
]
