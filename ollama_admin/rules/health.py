"""What one look at a server, or one request to it, makes of its health. Pure."""

from dataclasses import replace
from datetime import datetime, timedelta

from ollama_admin.domain.health import Health
from ollama_admin.domain.servers import ServerStatus
from ollama_admin.errors import (
    AdminError,
    ServerUnauthorized,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)

FIRST = 1.0  # seconds that a server is asked last after its first failure
LONGEST = 60.0  # seconds, after many in a row
JITTER = 0.2  # of the time, either way: not all processes try it at one moment
FARTHEST = LONGEST * (1 + JITTER)  # seconds from now on; a later end is of a wrong clock


def failed(before: Health, at: datetime, status: ServerStatus, error: str, random: float) -> Health:
    """The health after a failure; `random` is from 0 to 1. The time in which others are asked first
    doubles with each failure in a row, but not for one that comes within it: that request began
    before, or had nobody else to ask.
    """
    after = replace(before, status=status, since=_since(before, status, at), at=at, error=error)
    if is_asked_last(before, at):
        return after
    failures = before.failures + 1
    seconds = min(LONGEST, FIRST * 2 ** min(before.failures, 10))
    seconds *= 1 + JITTER * (2 * random - 1)
    return replace(after, failures=failures, asked_last_until=at + timedelta(seconds=seconds))


def answered(
    before: Health, at: datetime, *, by_model: bool, latency_ms: int | None = None
) -> Health:
    """The health after a good answer, `by_model` to a request for one.

    A server that answers a question for its version can be reached, and its runner may be stuck all
    the same: a failure of a request is forgotten with a request that is answered.
    """
    status = ServerStatus.ONLINE
    after = replace(
        before,
        status=status,
        since=_since(before, status, at),
        at=at,
        good_at=at,
        error=None,
        latency_ms=before.latency_ms if latency_ms is None else latency_ms,
    )
    may_be_stuck = before.status in (ServerStatus.ERROR, ServerStatus.ONLINE)
    if may_be_stuck and not by_model:
        return after
    return replace(after, failures=0, asked_last_until=None)


def is_asked_last(health: Health, at: datetime) -> bool:
    """Whether others are asked first at a time. A time that another host's clock set too far ahead
    is none.
    """
    until = health.asked_last_until
    if until is None:
        return False
    return at < until <= at + timedelta(seconds=FARTHEST)


def is_news(before: Health, after: Health) -> bool:
    """Whether others should hear of it, and not only that it is still so."""
    return (before.status, before.failures) != (after.status, after.failures)


def status_after(error: AdminError) -> ServerStatus:
    """What a server is called after an error of it."""
    if isinstance(error, ServerUnreachable):
        return ServerStatus.OFFLINE
    if isinstance(error, ServerUnauthorized):
        return ServerStatus.UNAUTHORIZED
    return ServerStatus.ERROR


def tells_of_server(error: AdminError) -> bool:
    """Whether the error of a request is the server's own, whatever it was asked for: it is away, or
    lets nobody in, or cannot work now.
    """
    if isinstance(error, (ServerUnreachable, ServerUnauthorized)):
        return True
    is_whole = not isinstance(error, StreamInterrupted)
    return is_whole and isinstance(error, UpstreamError) and error.may_pass_on


def _since(before: Health, status: ServerStatus, at: datetime) -> datetime:
    if before.status is status and before.since is not None:
        return before.since
    return at
