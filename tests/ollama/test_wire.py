"""What servers send, read into the domain: recordings of real ones, and everything that is not what
they send.
"""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.ollama import wire
from ollama_admin.ollama.calls import json_body
from ollama_admin.ollama.response import BadAnswer, read_json
from ollama_admin.ollama.wire import Refusal
from tests.fake_ollama import Recording

DIGEST = "a" * 64


def recorded(name: str) -> Any:
    return read_json(Recording.load(name).body)


def refusal_of(name: str) -> Refusal:
    return wire.refusal(recorded(name))


# Lists of models


def test_the_listing_of_a_current_server() -> None:
    models = {model.name: model for model in wire.listed_models(recorded("tags"))}
    assert models["alpha:latest"] == ListedModel(
        name="alpha:latest",
        digest="a3cca91b0ee2b289bfbd653abde14241aa6f51bf386c6a964b47808bac7f6878",
        size=2163064,
        format="gguf",
        family="llama",
        families=("llama",),
        parameter_size="539K",
        quantization_level="unknown",
        modified_at=datetime(2026, 11, 23, 0, 15, 8, 701078, tzinfo=UTC),
    )
    assert list(models)[:3] == ["beta:latest", "emb:latest", "derived:latest"]
    assert (
        models["copy:latest"].digest
        == models["alpha:latest"].digest
        != models["derived:latest"].digest
    )
    assert "user/ns:Tag-1" in models


def test_the_listing_of_an_old_server() -> None:
    models = wire.listed_models(recorded("old-tags"))
    assert [(model.name, model.digest and model.digest[:12], model.size) for model in models] == [
        ("alpha:latest", "6cde9107bff4", 2163146),
        ("emb:latest", "8619f89de27b", 2158538),
        ("loop:latest", "5dccbca88759", 2158506),
    ]


def test_a_moved_name_is_listed_with_its_new_digest() -> None:
    before = {model.name: model.digest for model in wire.listed_models(recorded("tags"))}
    after = {model.name: model.digest for model in wire.listed_models(recorded("tags-after-retag"))}
    assert [name for name in before if after[name] != before[name]] == ["alpha:latest"]


def test_v1_lists_names_and_nothing_that_could_be_relied_on() -> None:
    models = wire.v1_models(recorded("v1-models"))
    assert models[:3] == [
        ListedModel(name="endless:latest"),
        ListedModel(name="thinker:latest"),
        ListedModel(name="user/ns:Tag-1"),
    ]
    assert len(models) == 9


def test_a_server_may_list_nothing() -> None:
    assert wire.listed_models(recorded("tags-empty")) == []
    assert wire.listed_models({"models": None}) == []
    assert wire.v1_models(recorded("v1-models-empty")) == []


# Builds, versions, loaded models


@pytest.mark.parametrize(
    ("name", "capability"),
    [("show", "completion"), ("show-embedding", "embedding"), ("old-show", "completion")],
)
def test_show_tells_what_a_build_can_do(name: str, capability: str) -> None:
    assert wire.build_details(recorded(name)) == BuildDetails(
        capabilities=(capability,), context_length=2048, embedding_length=288
    )


def test_show_of_old_servers_and_of_thinkers() -> None:
    assert wire.build_details(recorded("old-show-embedding")).capabilities == ("embedding",)
    assert wire.build_details(recorded("show-thinker")).capabilities == (
        "completion",
        "thinking",
        "tools",
    )


def test_show_of_unknown_shape_tells_little_rather_than_something_wrong() -> None:
    unknown = BuildDetails(capabilities=(), context_length=None, embedding_length=None)
    assert wire.build_details({}) == unknown
    assert wire.build_details({"model_info": None, "capabilities": None}) == unknown
    assert (
        wire.build_details(
            {"model_info": {"general.architecture": "x", "x.context_length": "many"}}
        )
        == unknown
    )
    assert (
        wire.build_details({"model_info": {"general.architecture": ["x"], "x.context_length": 8}})
        == unknown
    )
    odd = {"capabilities": ["tools", 7, "tools", "x" * 101, "a\0b", "completion"]}
    assert wire.build_details(odd).capabilities == ("completion", "tools")
    with pytest.raises(BadAnswer, match="capabilities is text, not a list"):
        wire.build_details({"capabilities": "tools"})


@pytest.mark.parametrize(("name", "version"), [("version", "0.33.0"), ("old-version", "0.9.6")])
def test_the_version_of_a_server(name: str, version: str) -> None:
    assert wire.version(recorded(name)) == version


@pytest.mark.parametrize(
    "document", [None, [], "0.33.0", {}, {"version": 3}, {"version": ""}, {"version": "1\0"}]
)
def test_what_has_no_version_is_not_ollama(document: Any) -> None:
    assert wire.version(document) is None
    assert wire.version({"version": "9" * 101}) is None


def test_the_context_of_a_loaded_model() -> None:
    assert wire.running_context(recorded("ps-two-builds"), "alpha:latest") == 2048
    assert wire.running_context(recorded("ps-nothing-loaded"), "alpha:latest") is None
    assert wire.running_context(recorded("old-ps"), "alpha:latest") is None
    assert wire.running_context({"models": [7, {"name": "m", "context_length": 5}]}, "m") == 5
    assert wire.running_context({"models": [{"name": "m", "context_length": -5}]}, "m") is None


# Records of an answer


def native(name: str) -> list[StreamEvent]:
    return [
        wire.native_event(read_json(line))
        for line in Recording.load(name).body.splitlines()
        if line
    ]


def v1(name: str) -> list[StreamEvent]:
    events = [wire.v1_event(line) for line in Recording.load(name).body.splitlines() if line]
    return [event for event in events if event is not None]


def test_a_generated_stream() -> None:
    *pieces, last = native("generate-stream")
    assert [(event.model, event.response, event.done) for event in pieces] == [
        ("alpha", " I", False),
        ("alpha", " am", False),
        ("alpha", " alpha", False),
    ]
    assert last == StreamEvent(
        model="alpha",
        done=True,
        done_reason="stop",
        created_at=datetime(2026, 11, 23, 0, 15, 9, 235027, tzinfo=UTC),
        total_duration=263629301,
        load_duration=255616915,
        eval_duration=1741000,
        prompt_tokens=25,
        output_tokens=4,
    )


def test_a_chat_tells_thinking_from_the_answer() -> None:
    events = native("chat-thinking")
    assert "".join(event.thinking for event in events) == " hm, let me see "
    assert "".join(event.response for event in events) == " It is done"
    assert [event.done for event in events] == [False] * 8 + [True]


def test_a_native_stream_that_breaks_ends_in_an_error() -> None:
    for name in ("generate-runner-killed", "chat-runner-killed"):
        last = native(name)[-1]
        assert last.error == "an error was encountered while running the model: unexpected EOF"
        assert not last.done


def test_a_silent_end_is_no_end() -> None:
    for name in ("generate-silent-end", "old-chat-silent-end"):
        assert not any(event.done for event in native(name))


def test_a_remote_model_is_known_by_its_records() -> None:
    event = wire.native_event(
        read_json(b'{"model":"m","remote_host":"https://ollama.com","response":"x","done":false}')
    )
    assert event.is_remote
    assert wire.native_event(
        read_json(b'{"model":"m","remote_model":"m:big","response":"x"}')
    ).is_remote
    assert not native("generate-stream")[0].is_remote


def test_a_v1_stream_with_its_usage() -> None:
    *pieces, finish, usage, done = v1("v1-stream-usage")
    assert [event.response for event in pieces] == [" I", " am", " alpha"]
    assert finish == StreamEvent(model="alpha", done_reason="stop")
    assert usage == StreamEvent(model="alpha", prompt_tokens=25, output_tokens=4)
    assert done == StreamEvent(done=True)


def test_a_v1_stream_that_breaks_names_no_model_and_has_no_end() -> None:
    *pieces, last = v1("v1-runner-killed")
    assert {event.model for event in pieces} == {"endless"}
    assert last == StreamEvent()
    assert not any(event.done or event.done_reason for event in v1("v1-runner-killed"))


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b": ping", None),
        (b"event: message", None),
        (b"id: 7", None),
        (b"data", None),
        (b"data: ", None),
        (b"data:[DONE]", StreamEvent(done=True)),
        (b"data: [DONE] ", StreamEvent(done=True)),
        (b'data: {"choices":[]}', StreamEvent()),
        (b'data: {"choices":null}', StreamEvent()),
        (b'data: {"model":"m","choices":[{"delta":{"content":null}}]}', StreamEvent(model="m")),
        (b'data: {"choices":[{"delta":{"reasoning":"hm"}}]}', StreamEvent(thinking="hm")),
        (b'data: {"choices":[{"delta":{"reasoning_content":"hm"}}]}', StreamEvent(thinking="hm")),
        (b'data: {"error":{"message":"gone","code":500}}', StreamEvent(error="gone")),
        (b'error: {"message":"gone","code":500}', StreamEvent(error="gone")),
    ],
)
def test_a_line_of_a_v1_stream(line: bytes, event: StreamEvent | None) -> None:
    assert wire.v1_event(line) == event


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"null",
        b'{"response":7}',
        b'{"model":["m"]}',
        b'{"message":{"content":{}}}',
        b'{"done_reason":false}',
        b"<html>",
        b'{"response":"\xff"}',
        b'{"response":"a","response":"b"}',
    ],
)
def test_a_native_line_of_another_shape_is_refused(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        wire.native_event(read_json(line))


@pytest.mark.parametrize(
    "line",
    [
        b"data: []",
        b"data: {",
        b'data: {"choices":{}}',
        b'data: {"choices":[7]}',
        b'data: {"choices":[{"delta":{"content":7}}]}',
        b'data: {"choices":[{"finish_reason":true}]}',
        b"data: [DONE",
        b"error: gone",
    ],
)
def test_a_v1_line_of_another_shape_is_refused(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        wire.v1_event(line)


@pytest.mark.parametrize("value", [-1, 2**63, True, 1.5, "7", None])
def test_a_count_that_is_none_is_unknown(value: Any) -> None:
    line = json.dumps({"model": "m", "done": True, "eval_count": value}).encode()
    assert wire.native_event(read_json(line)).output_tokens is None


@pytest.mark.parametrize("done", [None, 1, "true", [True]])
def test_only_true_is_done(done: Any) -> None:
    assert not wire.native_event(read_json(json.dumps({"model": "m", "done": done}).encode())).done


# Refusals


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "error-bad-format",
            'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object',
        ),
        ("error-bad-option", 'option "num_ctx" must be of type integer'),
        ("error-busy", "server busy, please try again.  maximum pending requests exceeded"),
        ("error-embedding-model", '"emb" does not support generate'),
        ("error-missing-model", "model 'nope' not found"),
        ("show-missing", "model 'nope:latest' not found"),
        ("v1-missing-model", "model 'nope' not found"),
        (
            "old-error-no-thinking",
            "registry.ollama.ai/library/alpha:latest does not support thinking",
        ),
        (
            "error-image-to-text-model",
            "Multimodal data provided, but model does not support multimodal requests.",
        ),
    ],
)
def test_the_text_of_a_refusal(name: str, text: str) -> None:
    assert refusal_of(name) == Refusal(text=text)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("error-too-long", 42023), ("cut-generate-refused", 42023), ("cut-chat-refused", 4446)],
)
def test_a_prompt_that_does_not_fit_is_known_with_its_numbers(name: str, tokens: int) -> None:
    refusal = refusal_of(name)
    assert refusal.prompt_too_long
    assert (refusal.prompt_tokens, refusal.context_tokens) == (tokens, 2048)
    assert refusal.text == (
        f"request ({tokens} tokens) exceeds the available context size (2048 tokens), try "
        "increasing it"
    )


def test_an_older_text_says_the_same_without_numbers() -> None:
    text = (
        "the prompt is longer than the context length currently available to the model; shorten it"
    )
    assert wire.refusal({"error": text}).prompt_too_long
    assert not refusal_of("error-busy").prompt_too_long


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "no",
        7,
        {},
        {"error": None},
        {"error": []},
        {"error": {}},
        {"error": {"message": 7}},
        {"detail": "x"},
    ],
)
def test_a_refusal_of_another_shape_has_no_text(document: Any) -> None:
    assert wire.refusal(document) == Refusal(text="")


def test_a_text_that_only_looks_nested_is_shown_as_it_is() -> None:
    for text in ("{not json", '{"code": 1}', '{"error": NaN}', "{}"):
        assert wire.refusal({"error": text}).text == text


def test_an_error_inside_an_error_is_opened_to_its_core() -> None:
    text = json.dumps({"error": json.dumps({"error": json.dumps({"error": {"message": "core"}})})})
    assert wire.refusal(json.loads(text)).text == "core"


def test_v1_hands_the_error_of_the_inference_process_on_as_a_message() -> None:
    inner = {"error": {"code": 400, "message": "too long", "n_prompt_tokens": 3000, "n_ctx": 2048}}
    outer = {
        "error": {
            "message": json.dumps(inner),
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
    }
    assert wire.refusal(outer) == Refusal(text="too long", prompt_tokens=3000, context_tokens=2048)


def test_an_error_text_can_be_stored() -> None:
    assert wire.refusal({"error": {"message": "a\0b"}}).text == "a\\x00b"


# Strict JSON


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"<html>",
        b"{",
        b'{"a":1',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"NaN",
        b'{"a":NaN}',
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b'{"a":-1e999}',
        b"9" * 5000,
        b"9" * 310,
        b"[" * 200_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 200_000,
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\udc80":1}',
        b'{"a":"\\x"}',
        b'{"a":"\n"}',
        b'{"a":"\x00"}',
        '{"a":1}'.encode("utf-16"),
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_not_strictly_json_is_refused(data: bytes) -> None:
    with pytest.raises(BadAnswer, match="cannot be read as JSON"):
        read_json(data)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a": [1, 2.5, -0.0, true, null]} \r\n', {"a": [1, 2.5, -0.0, True, None]}),
        (b'"\\ud83d\\ude80"', "🚀"),
        ('"🚀\u2028\u0085"'.encode(), "🚀\u2028\u0085"),
        (b'"\\u0000"', "\0"),
        (b"12345678901234567890", 12345678901234567890),
        (b"1e308", 1e308),
        (b"[" * 100 + b"]" * 100, None),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_json_is_read_as_it_is(data: bytes, value: Any) -> None:
    read = read_json(data)
    assert read == (value if value is not None else json.loads(data))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.booleans(),
)
def test_any_json_arrives_unchanged(value: Any, escaped: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_bytes_are_json_or_a_bad_answer(data: bytes) -> None:
    with contextlib.suppress(BadAnswer):
        json.dumps(read_json(data), allow_nan=False)


# Lists of another shape


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (None, "the answer is null"),
        ([], "the answer is a list"),
        ("models", "the answer is text"),
        (True, "the answer is a boolean"),
        (1.5, "the answer is a number"),
        ({}, "models is null, not a list"),
        ({"models": {}}, "models is an object, not a list"),
        ({"models": [{"name": "a"}, None]}, "models[1] is null, not an object"),
        ({"models": [{}]}, "models[0].name is not a name"),
        ({"models": [{"name": ""}]}, "models[0].name is not a name"),
        ({"models": [{"name": 7}]}, "models[0].name is not a name"),
        ({"models": [{"name": "a\0"}]}, "models[0].name has a character that cannot be stored"),
        (
            {"models": [{"name": "a", "digest": "sha256:12"}]},
            "models[0].digest is not a sha256 digest",
        ),
        ({"models": [{"name": "a", "digest": 7}]}, "models[0].digest is not a sha256 digest"),
        (
            {"models": [{"name": "a", "digest": "g" * 64}]},
            "models[0].digest is not a sha256 digest",
        ),
        (
            {"models": [{"name": "a", "digest": "٣" * 64}]},
            "models[0].digest is not a sha256 digest",
        ),
        (
            {"models": [{"name": "a", "remote_host": 7}]},
            "models[0].remote_host is a number, not text",
        ),
        (
            {"models": [{"name": "a", "details": {"family": []}}]},
            "models[0].details.family is a list, not text",
        ),
        (
            {"models": [{"name": "a", "details": {"format": "\0"}}]},
            "models[0].details.format has a character",
        ),
    ],
)
def test_a_listing_of_another_shape_is_refused_and_the_place_named(
    document: Any, path: str
) -> None:
    with pytest.raises(BadAnswer) as caught:
        wire.listed_models(document)
    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ([], "the answer is a list"),
        ({}, "data is null, not a list"),
        ({"data": "x"}, "data is text, not a list"),
        ({"data": [7]}, "data[0] is a number, not an object"),
        ({"data": [{"id": "a"}, {"id": None}]}, "data[1].id is not a name"),
    ],
)
def test_a_v1_listing_of_another_shape_is_refused_and_the_place_named(
    document: Any, path: str
) -> None:
    with pytest.raises(BadAnswer) as caught:
        wire.v1_models(document)
    assert path in str(caught.value)


def test_what_is_unknown_is_left_out_and_what_is_new_is_ignored() -> None:
    entry = {
        "name": "m",
        "digest": f"sha256:{DIGEST.upper()}",
        "size": "big",
        "details": {"families": ["a", 7, "b\0"], "parent_model": 3, "new": {}},
        "modified_at": "yesterday",
        "capabilities": 7,
        "brand_new": [1],
    }
    assert wire.listed_models({"models": [entry], "more": 1}) == [
        ListedModel(name="m", digest=DIGEST, families=("a",)),
    ]
    assert wire.listed_models(
        {"models": [{"name": "m", "details": 7, "size": -1, "digest": ""}]}
    ) == [ListedModel(name="m")]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        (
            "2026-11-23T00:15:08.742579398+02:00",
            datetime(2026, 11, 22, 22, 15, 8, 742579, tzinfo=UTC),
        ),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+02:00", None),
        ("2026-11-23T00:15:08", None),
        ("", None),
        (7, None),
    ],
)
def test_a_time_is_read_as_utc_or_not_at_all(text: Any, time: datetime | None) -> None:
    (model,) = wire.listed_models({"models": [{"name": "m", "modified_at": text}]})
    assert model.modified_at == time
    assert time is None or (
        model.modified_at is not None and model.modified_at.utcoffset() == timedelta(0)
    )


def test_names_are_stored_exactly_or_refused_and_never_shortened() -> None:
    for name in ("m" * 500, "hf.co/user/Repo:Q4_K_M@x", "\x1b[31mred\n", "Ünïcödé 🚀", " m "):
        assert [model.name for model in wire.listed_models({"models": [{"name": name}]})] == [name]
    for read, key, field in (
        (wire.listed_models, "models", "name"),
        (wire.v1_models, "data", "id"),
    ):
        with pytest.raises(BadAnswer, match="has 501 characters, more than 500"):
            read({key: [{field: "m" * 501}]})


def test_names_that_are_equal_after_folding_are_two_models_and_a_name_given_twice_is_one() -> None:
    names = ["Alpha:latest", "alpha:latest", "Alpha:latest"]
    listed = wire.listed_models({"models": [{"name": name} for name in names]})
    assert [model.name for model in listed] == ["Alpha:latest", "alpha:latest"]


@pytest.mark.parametrize(
    "other", [{"digest": "b" * 64}, {"digest": None}, {"digest": DIGEST, "remote_host": "far"}]
)
def test_a_list_that_gives_one_name_two_builds_proves_nothing(other: dict[str, Any]) -> None:
    entries = [{"name": "m", "digest": DIGEST}, {"name": "n"}, {"name": "m"} | other]
    for models in (entries, entries[::-1]):
        with pytest.raises(BadAnswer, match="the server lists 'm' twice, as two builds"):
            wire.listed_models({"models": models})
    same = [entries[0], entries[0] | {"digest": f"sha256:{DIGEST}"}]
    assert [model.digest for model in wire.listed_models({"models": same})] == [DIGEST]


def test_a_listing_has_a_limit() -> None:
    models = [{"name": f"m{number}", "id": f"m{number}"} for number in range(10_001)]
    assert len(wire.listed_models({"models": models[:-1]})) == 10_000
    for read, key in ((wire.listed_models, "models"), (wire.v1_models, "data")):
        with pytest.raises(BadAnswer, match="the server lists 10001 models, more than 10000"):
            read({key: models})


ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.lists(st.integers() | st.text(max_size=3), max_size=2),
    st.sampled_from([DIGEST, f"sha256:{DIGEST}", "2026-11-23T00:15:08Z", "m:latest"]),
)
DETAILS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("parent_model", "format", "family", "families", "parameter_size", "quantization_level"),
        ANYTHING,
    ),
)
ENTRY = st.fixed_dictionaries(
    {"name": st.text(min_size=1, max_size=8) | ANYTHING},
    optional={
        "digest": st.just(DIGEST) | ANYTHING,
        "details": DETAILS | ANYTHING,
        **dict.fromkeys(
            ("model", "size", "modified_at", "remote_host", "remote_model", "new"), ANYTHING
        ),
    },
)


@given(st.fixed_dictionaries({"models": st.lists(ENTRY, max_size=3) | ANYTHING}) | ANYTHING)
def test_any_listing_is_read_or_refused_and_what_is_read_can_be_stored(document: Any) -> None:
    try:
        models = wire.listed_models(document)
    except BadAnswer:
        return
    for model in models:
        texts = [
            model.name,
            model.format,
            model.family,
            model.parameter_size,
            model.quantization_level,
        ]
        texts += [model.remote_host, model.remote_model, *(model.families or ())]
        assert all(isinstance(text, str) and "\0" not in text for text in texts if text is not None)
        assert model.name
        assert model.digest is None or (
            len(model.digest) == 64 and model.digest == model.digest.lower()
        )
        assert model.size is None or 0 <= model.size < 2**63
        assert model.modified_at is None or model.modified_at.tzinfo is UTC


# What is sent


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
BODY = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | NUMBER | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=10,
    ),
)


@given(BODY)
def test_a_body_is_the_bytes_that_httpx_would_make_of_it(document: Any) -> None:
    assert json_body(document) == httpx.Request("POST", "http://gpu", json=document).content


def test_a_body_is_compact_and_keeps_the_order_of_its_keys() -> None:
    assert json_body({"b": [1, 2.50], "a": {"é": None}}) == '{"b":[1,2.5],"a":{"é":null}}'.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_say_is_not_sent(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_body({"temperature": number})
