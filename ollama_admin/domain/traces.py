"""Where a request stands in a trace that goes through several programs: the header `traceparent`
of W3C Trace Context.
"""

import hashlib
import re

from ollama_admin.domain.values import made_often

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)


@made_often
class TraceContext:
    """`span_id` is what the next program is told as its parent; `parent_id` is the span above it,
    None where there is none. Ids are hex digits.
    """

    trace_id: str
    span_id: str
    parent_id: str | None = None
    is_sampled: bool = True

    @property
    def header(self) -> str:
        """The `traceparent` for the next program."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02}"


def given_trace(text: str) -> TraceContext | None:
    """What a `traceparent` says, to be passed on as it is; None for a text that is none."""
    match = _TRACEPARENT.fullmatch(text)
    if match is None:
        return None
    is_sampled = bool(int(match[3], 16) & 1)
    return TraceContext(trace_id=match[1], span_id=match[2], is_sampled=is_sampled)


def continued(request_id: str, text: str) -> TraceContext:
    """A span of our own, below that of the `traceparent` which a request came with, or the first of
    a trace. Its id is that of the request.
    """
    above = given_trace(text)
    if above is None:
        trace_id = hashlib.sha256(request_id.encode()).hexdigest()[:32]
        return TraceContext(trace_id=trace_id, span_id=request_id)
    return TraceContext(
        trace_id=above.trace_id,
        span_id=request_id,
        parent_id=above.span_id,
        is_sampled=above.is_sampled,
    )
