"""Where a request stands in a trace: what comes with it goes on, or is continued."""

import pytest

from ollama_admin.domain.traces import TraceContext, continued, given_trace

TRACE, SPAN, OWN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


def test_what_came_is_passed_on_as_it_is() -> None:
    trace = given_trace(GIVEN)
    assert trace is not None
    assert trace.header == GIVEN


def test_a_span_of_our_own_stands_below_the_clients() -> None:
    trace = continued(OWN, GIVEN)
    assert trace == TraceContext(trace_id=TRACE, span_id=OWN, parent_id=SPAN)
    assert trace.header == f"00-{TRACE}-{OWN}-01"


def test_who_does_not_want_to_be_sampled_is_not() -> None:
    assert continued(OWN, f"00-{TRACE}-{SPAN}-00").header == f"00-{TRACE}-{OWN}-00"


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert continued(OWN, f"01-{TRACE}-{SPAN}-03-more").parent_id == SPAN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"{GIVEN}\r\nx: y",
    ],
)
def test_a_text_that_is_no_traceparent_begins_a_new_trace(text: str) -> None:
    assert given_trace(text) is None
    new, other = continued(OWN, text), continued(SPAN, text)
    assert (new.span_id, new.parent_id) == (OWN, None)
    assert new.trace_id != other.trace_id
    assert given_trace(new.header) is not None
