"""What keeps a conversation at one server: one key for all its turns, another one for the next."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.rules.affinity import affinity_key

PATHS = (
    "/api/generate",
    "/api/chat",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
)
OTHERS = ("/api/embed", "/api/embeddings", "/v1/embeddings", "/api/show", "/", "")
SESSION, CHAT = b"x-claude-code-session-id", b"x-openwebui-chat-id"
SYSTEM, FIRST = "You are a careful assistant.", "Why is the sky blue?"

Pairs = Sequence[tuple[bytes, bytes]]


def conversation(path: str, first: str = FIRST, system: str = SYSTEM, turns: int = 1) -> Any:
    """A body of the dialect, after so many turns."""
    said = [{"role": "user", "content": first}]
    for number in range(1, turns):
        said.append({"role": "assistant", "content": f"answer {number}"})
        said.append({"role": "user", "content": f"question {number}"})
    match path:
        case "/api/generate":
            return {"model": "alpha", "system": system, "prompt": first}
        case "/v1/completions":
            return {"model": "alpha", "prompt": f"{system}\n{first}"}
        case "/v1/responses":
            return {"model": "alpha", "instructions": system, "input": said}
        case "/v1/messages":
            return {"model": "alpha", "system": system, "messages": said}
    return {"model": "alpha", "messages": [{"role": "system", "content": system}, *said]}


def key(path: str, body: Any, headers: Pairs = (), key_id: str = "k1") -> bytes | None:
    return affinity_key(path, headers, body, key_id)


@pytest.mark.parametrize("path", PATHS)
def test_a_conversation_keeps_its_key_and_another_one_has_another(path: str) -> None:
    first = key(path, conversation(path))
    assert first is not None
    assert len(first) == 16
    assert key(path, conversation(path, turns=5)) == first
    others = [
        key(path, conversation(path, first="Why is it dark?")),
        key(path, conversation(path, system="You are a pirate.")),
        key(path, conversation(path) | {"model": "beta"}),
        key(path, conversation(path), key_id="k2"),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize("path", PATHS)
def test_options_and_tools_change_no_key(path: str) -> None:
    body = conversation(path)
    more = {"stream": False, "options": {"seed": 1}, "tools": [{"name": "t"}], "temperature": 0}
    assert key(path, body | more) == key(path, body)


@pytest.mark.parametrize("path", OTHERS)
def test_what_holds_no_conversation_has_no_key(path: str) -> None:
    body = {"model": "alpha", "input": "text", "prompt": "text", "prompt_cache_key": "k"}
    assert key(path, body, [(SESSION, b"s1")]) is None


@pytest.mark.parametrize("path", PATHS)
def test_the_session_of_a_header_comes_first(path: str) -> None:
    body, cached = conversation(path), conversation(path) | {"prompt_cache_key": "c1"}
    session = key(path, body, [(b"host", b"h"), (SESSION, b"s1"), (CHAT, b"c")])
    assert session == key(path, cached, [(CHAT, b"other"), (SESSION, b"s1")])
    assert session == key(path, None, [(SESSION, b" s1 ")])
    chat = key(path, body, [(CHAT, b"s1")])
    assert chat == session  # the name of the header is none of the key: ids are long
    assert len({session, key(path, cached), key(path, body), key(path, body, [(CHAT, b"c")])}) == 4


@pytest.mark.parametrize("path", PATHS)
def test_a_prompt_cache_key_comes_before_what_is_said(path: str) -> None:
    cached = {"prompt_cache_key": "c1"}
    one = key(path, conversation(path) | cached)
    assert one == key(path, conversation(path, first="something else") | cached)
    assert one != key(path, conversation(path) | {"prompt_cache_key": "c2"})


@pytest.mark.parametrize("empty", ["", None, 7, [], {}])
def test_an_empty_session_or_cache_key_is_none(empty: Any) -> None:
    body = conversation("/api/chat")
    headers = [(SESSION, b""), (CHAT, b"  ")]
    assert key("/api/chat", body | {"prompt_cache_key": empty}, headers) == key("/api/chat", body)


def test_blocks_of_text_are_their_text() -> None:
    blocks = [
        {"type": "text", "text": SYSTEM[:5], "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": SYSTEM[5:]},
    ]
    first = [{"type": "text", "text": FIRST}, {"type": "image", "source": {"data": "AAAA"}}]
    plain = conversation("/v1/messages")
    in_blocks = {"system": blocks, "messages": [{"role": "user", "content": first}]}
    assert key("/v1/messages", plain | in_blocks) == key("/v1/messages", plain)
    chat = conversation("/v1/chat/completions")
    in_blocks = {"messages": [chat["messages"][0], {"role": "user", "content": first}]}
    assert key("/v1/chat/completions", chat | in_blocks) == key("/v1/chat/completions", chat)


def test_a_response_takes_a_text_a_list_and_a_system_message_as_input() -> None:
    path = "/v1/responses"
    said = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": FIRST}]}]
    expected = key(path, conversation(path))
    assert key(path, {"model": "alpha", "instructions": SYSTEM, "input": FIRST}) == expected
    assert key(path, {"model": "alpha", "instructions": SYSTEM, "input": said}) == expected
    developer = {"role": "developer", "content": SYSTEM}
    assert key(path, {"model": "alpha", "input": [developer, *said]}) == expected


def test_a_prompt_that_grows_keeps_the_key_of_its_first_two_kilobytes() -> None:
    for path in ("/api/generate", "/v1/completions"):
        begun = {"model": "alpha", "prompt": "é" * 1024}
        assert key(path, begun) == key(path, begun | {"prompt": "é" * 1024 + " and more"})
        assert key(path, begun) != key(path, begun | {"prompt": "é" * 1023})
        assert key(path, begun) == key(path, begun | {"prompt": ["é" * 1024, "another"]})


def test_a_long_system_prompt_leaves_room_for_the_message_that_differs() -> None:
    """Coding agents begin with 80 KB that are the same in all their conversations."""
    system = "rules " * 2**16
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"):
        one = key(path, conversation(path, system=system))
        assert one != key(path, conversation(path, first="another task", system=system))


@pytest.mark.parametrize("path", PATHS)
def test_two_kilobytes_of_the_names_of_a_model_and_a_caller_count(path: str) -> None:
    body = conversation(path)
    begun = "n" * 2047
    keys = [key(path, body | {"model": f"{begun}{end}"}) for end in ("ab", "ac", "b")]
    assert keys[0] == keys[1] != keys[2]
    keys = [key(path, body, key_id=f"{begun}{end}") for end in ("ab", "ac", "b")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/v1/responses", "/v1/messages"])
def test_thirty_kilobytes_of_a_system_prompt_count(path: str) -> None:
    begun = "s" * (30 * 1024 - 1)
    keys = [key(path, conversation(path, system=f"{begun}{end}")) for end in ("ab", "ac", "b")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "path", ["/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages"]
)
def test_thirty_kilobytes_of_the_first_message_count(path: str) -> None:
    begun = "m" * (30 * 1024 - 1)
    keys = [key(path, conversation(path, first=f"{begun}{end}")) for end in ("ab", "ac", "b")]
    assert keys[0] == keys[1] != keys[2]


def test_thirty_kilobytes_of_a_session_and_of_a_cache_key_count() -> None:
    begun = "s" * (30 * 1024 - 1)
    body = conversation("/api/chat")
    ends = ("ab", "ac", "b")
    keys = [key("/api/chat", body, [(SESSION, f"{begun}{end}".encode())]) for end in ends]
    assert keys[0] == keys[1] != keys[2]
    keys = [key("/api/chat", body | {"prompt_cache_key": f"{begun}{end}"}) for end in ends]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(("before", "is_there"), [(255, True), (256, False)])
def test_the_first_message_is_looked_for_among_256(before: int, is_there: bool) -> None:
    said = [{"role": "assistant", "content": "hello"}] * before
    body = {"messages": [*said, {"role": "user", "content": FIRST}]}
    assert (key("/api/chat", body) is not None) is is_there


def test_where_a_system_prompt_ends_and_the_message_begins_makes_a_difference() -> None:
    one = conversation("/api/chat", system="be kind", first="ly say hi")
    other = conversation("/api/chat", system="be kindly", first=" say hi")
    assert key("/api/chat", one) != key("/api/chat", other)


@pytest.mark.parametrize("path", PATHS)
def test_where_nothing_is_said_there_is_no_key(path: str) -> None:
    for body in (None, {}, {"model": "alpha"}, {"model": "alpha", "messages": [], "prompt": ""}):
        assert key(path, body) is None


# wrong types, and bodies of any size

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = ("model", "system", "prompt", "messages", "input", "instructions", "prompt_cache_key")
message = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "system", "developer", "assistant"]) | json_values,
        "content": json_values
        | st.lists(st.fixed_dictionaries({}, optional={"text": json_values}), max_size=3),
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={name: json_values | st.lists(message | json_values, max_size=4) for name in FIELDS},
)


@given(st.sampled_from(PATHS), bodies | json_values, st.text(max_size=20))
def test_wrong_types_never_raise(path: str, body: Any, key_id: str) -> None:
    found = affinity_key(path, [(b"a", b"b")], body, key_id)
    assert found is None or len(found) == 16
    assert found == affinity_key(path, (), body, key_id)


class Text(str):
    """A text that counts the bytes that are made of it."""

    __slots__ = ()
    encoded = 0

    def __getitem__(self, index: Any) -> "Text":
        return Text(str.__getitem__(self, index))

    def encode(self, *args: Any, **options: Any) -> bytes:
        Text.encoded += len(self)
        return str.encode(self, *args, **options)


@pytest.mark.parametrize("path", PATHS)
def test_of_a_long_body_64_kilobytes_are_read_at_most(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Text, "encoded", 0)
    blocks = [{"type": "text", "text": Text("x" * 1000)}] * 1000
    long: Mapping[str, Any] = {
        "model": Text("m" * 10**6),
        "system": Text("s" * 10**6),
        "instructions": blocks,
        "prompt": Text("p" * 10**6),
        "messages": [{"role": "system", "content": blocks}, {"role": "user", "content": blocks}],
        "input": [{"role": "user", "content": Text("i" * 10**6)}],
    }
    assert key(path, long) is not None
    assert 0 < Text.encoded <= 2**16
