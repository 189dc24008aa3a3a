"""What both ways to a server keep to, that of httpx and that of sockets of our own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. A cold model loads for minutes and sends nothing meanwhile, hence the long
    `first_byte`.
    """

    connect: float = 5.0
    metadata: float = 10.0  # the whole of a call that generates nothing
    first_byte: float = 600.0
    idle: float = 120.0  # between two pieces of an answer


HEADERS_LIMIT = 200  # lines of one head; servers and proxies send fewer than 30
IDLE_ORIGINS = 100  # whose connections are kept after their last request
# Of one origin. Many servers close a connection that was idle for five seconds: a request that is
# just then on its way would fail, so we close it first.
KEPT = 4.0  # seconds
