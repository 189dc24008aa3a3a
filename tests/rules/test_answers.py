"""What is accepted of an answer while it arrives, and what is said of it at its end."""

import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ollama_admin.domain.answers import Piece, Stats, StreamEvent
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import ModelMismatch, StreamInterrupted, UpstreamError
from ollama_admin.rules.answers import ANSWER_LIMIT, Answer

END = datetime(2026, 1, 1, 12, tzinfo=UTC)
CALL = {"function": {"name": "f"}}


def answer(**given: Any) -> Answer:
    usual: dict[str, Any] = {
        "server": ServerRef(id=1, name="gpu", url="http://gpu"),
        "model": "alpha",
        "accepted": frozenset({"alpha"}),
        "needs_reason": False,
        "allow_remote": False,
        "started": 100.0,
    }
    return Answer(**(usual | given))


def said(**what: Any) -> StreamEvent:
    return StreamEvent(**({"model": "alpha"} | what))


def taken(*events: StreamEvent, **given: Any) -> Answer:
    """An answer that these records came for, a second after one another."""
    arriving = answer(**given)
    for seconds, event in enumerate(events, start=1):
        arriving.take(event, arriving.started + seconds)
    return arriving


def test_an_answer_of_which_nothing_came_has_not_begun_and_its_tokens_are_not_estimated() -> None:
    nothing = answer()
    assert (nothing.is_begun, nothing.is_estimated) == (False, False)


# pieces


@pytest.mark.parametrize("what", [{"response": "a"}, {"thinking": "a"}, {"tool_calls": (CALL,)}])
def test_what_says_something_is_a_piece_and_kept(what: dict[str, Any]) -> None:
    arriving = answer(takes_tool_calls=True)
    event = said(**what, record={"raw": 1})
    piece = Piece(
        response=event.response,
        thinking=event.thinking,
        tool_calls=event.tool_calls,
        record={"raw": 1},
    )
    taken_piece = arriving.take(event, 101)
    assert taken_piece == piece
    assert taken_piece.record == {"raw": 1}
    kept = (arriving.response.getvalue(), arriving.thinking.getvalue(), tuple(arriving.tool_calls))
    assert kept == (event.response, event.thinking, event.tool_calls)


def test_what_says_nothing_is_no_piece_and_no_first_token() -> None:
    arriving = answer()
    assert arriving.take(said(record={"raw": 1}), 101) is None
    assert (arriving.first_at, arriving.record) == (None, {"raw": 1})
    assert arriving.take(said(response="a"), 105) is not None
    assert arriving.take(said(response="b"), 109) is not None
    assert arriving.first_at == 105


def test_where_every_record_is_wanted_each_is_a_piece_but_the_last() -> None:
    arriving = answer(every_record=True)
    assert arriving.take(said(record={"raw": 1}), 101) is not None
    assert arriving.first_at is None
    assert arriving.take(said(), 102) is None
    last = said(response="end", done=True, record={"raw": 2})
    assert arriving.take(last, 103) is None
    assert (arriving.first_at, arriving.response.getvalue(), arriving.record) == (
        103,
        "end",
        {"raw": 2},
    )


def test_text_and_thinking_have_four_mebibytes_together_and_no_more() -> None:
    arriving = taken(said(response="r" * 2**21))
    assert arriving.take(said(thinking="t" * 2**21), 102) is not None
    for more in ({"response": "r"}, {"thinking": "t"}):
        with pytest.raises(StreamInterrupted, match="longer than 4 MiB"):
            arriving.take(said(**more), 103)


def test_wide_characters_and_calls_of_tools_count_as_much_as_they_take() -> None:
    wide = {"response": "\N{ROCKET}" * (2**22 // 12)}  # 12 bytes each, where JSON is in ASCII
    long = {"tool_calls": ({"arguments": "z" * 2**22},)}
    many = {"tool_calls": ({"arguments": [[]] * 60_000},)}  # of 120 kB
    assert taken(said(**wide)).size <= ANSWER_LIMIT
    for kept in (wide | {"thinking": "\N{ROCKET}"}, long, many):
        with pytest.raises(StreamInterrupted, match="longer than 4 MiB"):
            taken(said(**kept), takes_tool_calls=True)


def test_many_small_pieces_are_joined_as_they_come() -> None:
    arriving = taken(said())
    event = said(response="\N{ROCKET}")
    tracemalloc.start()
    for _ in range(20_000):
        arriving.take(event, 103)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < 12 * 20_000
    assert arriving.response.getvalue() == "\N{ROCKET}" * 20_000


def test_what_is_joined_keeps_every_line_end() -> None:
    text = "a\r\nb\rc\n\u2028\n"
    assert taken(*(said(response=character) for character in text)).response.getvalue() == text


def test_calls_of_tools_that_nobody_offered_are_refused() -> None:
    calls = said(tool_calls=(CALL,))
    with pytest.raises(UpstreamError, match="it calls tools, and none were offered") as before:
        taken(calls)
    assert not isinstance(before.value, StreamInterrupted)
    with pytest.raises(StreamInterrupted, match="it calls tools, and none were offered"):
        taken(said(response="a"), calls)


# whose answer


def test_an_answer_under_another_name_is_refused_before_anything_is_shown() -> None:
    with pytest.raises(ModelMismatch, match="answered as 'beta', not as 'alpha'"):
        taken(said(model="beta", response="a"))
    with pytest.raises(ModelMismatch, match="answered as ''"):
        taken(said(model="", response="a"))
    with pytest.raises(ModelMismatch, match="does not say which model answers"):
        taken(said(model=None, response="a"))
    with pytest.raises(ModelMismatch, match="does not say which model answered"):
        taken(said(model=None, done=True)).require_end()


def test_a_name_that_was_said_once_holds_for_what_follows() -> None:
    taken(said(), said(model=None, response="a"), said(model=None, done=True)).require_end()


def test_a_remote_host_answers_only_where_that_is_allowed() -> None:
    with pytest.raises(ModelMismatch, match="to a remote host, which was not allowed"):
        taken(said(is_remote=True))
    assert taken(said(is_remote=True), said(), allow_remote=True).is_remote
    assert not taken(said(), allow_remote=True).is_remote


def test_an_error_before_the_first_token_is_the_servers_and_after_it_an_interruption() -> None:
    error = StreamEvent(error="no")
    with pytest.raises(UpstreamError, match="server gpu failed: no") as before:
        taken(error)
    with pytest.raises(StreamInterrupted, match="in the middle of the answer: no"):
        taken(said(response="a"), error)
    assert not isinstance(before.value, StreamInterrupted)


# the end


def test_an_answer_ends_with_its_mark_and_on_v1_with_a_reason() -> None:
    taken(said(done=True)).require_end()
    taken(said(done=True), said()).require_end()
    taken(said(done_reason="stop"), said(done=True), needs_reason=True).require_end()
    for unfinished in (
        taken(said(response="abc")),
        taken(said(response="abc"), said(done_reason="stop"), needs_reason=True),
        taken(said(response="abc"), said(done=True), needs_reason=True),
    ):
        with pytest.raises(StreamInterrupted, match="without its end mark, after 3 characters"):
            unfinished.require_end()


@pytest.mark.parametrize("reason", ["load", "unload"])
def test_a_model_that_was_only_loaded_has_not_answered(reason: str) -> None:
    last = said(done=True, done_reason=reason)
    with pytest.raises(UpstreamError, match=f"did not read the prompt, and says '{reason}'"):
        taken(last).require_end()
    taken(last, only_loads=True).require_end()


def test_the_server_took_the_request_on_as_long_before_its_end_as_it_says() -> None:
    last = said(done=True, created_at=END, total_duration=90_000_000_000)
    assert taken(last).server_started == END - timedelta(seconds=90)
    assert taken(said(created_at=END)).server_started is None
    assert taken(said(total_duration=1)).server_started is None
    assert taken(said(created_at=END, total_duration=2**80)).server_started is None


def test_the_numbers_are_the_servers_and_the_times_ours() -> None:
    arriving = taken(
        said(),
        said(response="a"),
        said(
            done=True,
            load_duration=2_999_999,
            eval_duration=3_000_000_000,
            prompt_tokens=11,
            output_tokens=10,
        ),
        said(),
    )
    assert arriving.stats(104.5) == Stats(
        total_ms=4500,
        load_ms=2,
        prompt_tokens=11,
        output_tokens=10,
        tokens_per_second=3.3,
        time_to_first_token_ms=2000,
    )


def test_the_time_to_the_first_token_counts_from_when_the_request_was_sent() -> None:
    arriving = taken(said(response="a"))
    assert arriving.first_at is not None
    arriving.sent_at = arriving.first_at - 0.25
    stats = arriving.stats(arriving.started + 9)
    assert (stats.time_to_first_token_ms, stats.total_ms) == (250, 9000)


def test_nanoseconds_are_counted_exactly() -> None:
    assert answer(load_duration=3_000_000).stats(100).load_ms == 3
    fast = answer(output_tokens=10**12, eval_duration=10**9)
    assert fast.stats(100).tokens_per_second == 1e12


def test_numbers_that_did_not_come_are_not_made_up() -> None:
    nothing = Stats(
        total_ms=1000,
        load_ms=None,
        prompt_tokens=None,
        output_tokens=None,
        tokens_per_second=None,
        time_to_first_token_ms=None,
    )
    assert answer().stats(101) == nothing
    for tokens, duration in ((0, 5), (5, 0)):
        stats = taken(said(output_tokens=tokens, eval_duration=duration)).stats(101)
        assert stats.tokens_per_second is None
