"""What is accepted of an answer while it arrives, and what is said of it at its end."""

from typing import Any

import pytest

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import StreamInterrupted
from ollama_admin.rules.answers import Answer


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


def test_text_and_thinking_have_four_million_characters_together_and_no_more() -> None:
    taken = answer()
    taken.take(said(response="r" * 2**21), 101)
    assert taken.take(said(thinking="t" * 2**21), 102) is not None
    for more in ({"response": "r"}, {"thinking": "t"}):
        with pytest.raises(StreamInterrupted, match="longer than 4 Mi characters"):
            taken.take(said(**more), 103)
